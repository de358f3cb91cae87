"""A ccxt bot trades on through the gateway while its real key is rotated, and the rotator dies and dies again."""

import os
import random
from pathlib import Path

import pytest

from tests.foreign.places import CCXT, gateway
from tests.long import LONG
from tests.rotation.deaths import SCENARIOS, dealt, die_and_go_on, nothing_is_left_over
from tests.rotation.place import running_place

pytestmark = [
    *(pytest.mark.foreign, pytest.mark.process, pytest.mark.sockets),
    pytest.mark.timeout(600),
]
SEED = int(os.environ.get("PORTCULLIS_SEED", "1"))
RUNS = 60 if LONG else 3


@pytest.mark.parametrize("kind", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize("number", range(RUNS))
async def test_the_bot_sees_not_one_failed_request(tmp_path: Path, kind: str, number: int) -> None:
    del kind
    dice = random.Random(1_000 * SEED + number)  # noqa: S311 - a seed, so that a failure can be repeated
    name, deaths = dealt(dice)
    while SCENARIOS[name].is_incident:  # what leaked dies at once: bots on it are refused
        name, deaths = dealt(dice)
    scenario = SCENARIOS[name]
    async with running_place(tmp_path) as here:
        issued = here.world.issue("ccxt")
        assert issued.secret is not None

        async def rotate() -> None:
            await die_and_go_on(here, scenario, deaths)

        steps = await CCXT.run(
            ["load", "trade_on", "limit", "cancel"], rotate, mode="async",
            base=gateway(here.world), key=issued.grant.key_id, secret=issued.secret.reveal(),
        )  # fmt: skip
        rounds, failures, first = steps[1].saw
        assert failures == 0, (name, deaths, first)
        assert rounds, "where nothing is made a rotation is over within one round"
        assert [step.raised for step in steps] == [None] * 4
        nothing_is_left_over(here, scenario)
