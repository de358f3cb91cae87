"""Random histories of two bots, one account and one gateway that dies: what `model` says must hold does, in all of them.

One history again: its number is the seed in the test's name, and a longer history begins as a shorter one does.
"""

from pathlib import Path

import pytest

from broker.gateway.account_view import AccountView
from tests.gateway.model import Model, drawn
from tests.gateway.mortal import Mortal
from tests.gateway.world import running_world
from tests.long import LONG

SEEDS, STEPS = (60, 200) if LONG else (6, 60)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
async def test_what_must_hold_does_in_a_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    alone, steps = drawn(seed, STEPS)
    async with running_world(tmp_path) as world:
        model = Model(world, Mortal(world, tmp_path / "edge"), alone=alone)
        venue_us = AccountView.venue_us
        monkeypatch.setattr(AccountView, "venue_us", lambda view: venue_us(view) + model.later_us)
        await model.begin()
        at = 0
        try:
            for at, step in enumerate(steps):  # noqa: B007 - it is told on failure
                assert not (broken := await model.play(step)), broken
            at = len(steps)
            assert not (broken := await model.leave()), broken
        except BaseException as fault:
            fault.add_note("\n".join((f"seed {seed}, step {at} of {STEPS}; before it broke:", *model.events)))
            raise
        assert model.done, "nothing was done"


def test_a_history_is_that_of_its_number() -> None:
    assert drawn(7, 50) == drawn(7, 50)
    assert drawn(7, 50)[1] == drawn(7, 90)[1][:50]
    assert drawn(7, 50) != drawn(8, 50)
