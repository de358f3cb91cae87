"""What a gateway has closed is what is in force, whatever is lost, late or comes twice; see `gates_model`."""

import asyncio
from pathlib import Path

import pytest

from tests.broker.gates_model import Model
from tests.long import LONG

STEPS = 60
SEEDS = 2_000 if LONG else 16


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_gateway_has_closed_what_is_in_force(tmp_path: Path, seed: int) -> None:
    model = Model(seed, tmp_path)
    await model.do_beat()
    await model.start()
    try:
        async with asyncio.timeout(60):
            for _ in range(STEPS):
                broken = await model.step()
                assert not broken, (broken, model.events)
            assert not (unlike := await model.healed()), (unlike, model.events)
    finally:
        await model.end()
