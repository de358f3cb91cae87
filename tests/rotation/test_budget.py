"""Calls under one manager key stay within the venue's minute, with a reserve; who waits for it loses no try."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from clients.errors import Outcome, VenueUnavailable
from rotation.budget import MINUTE_S, Budgets, Haste, share
from rotation.decide import decide
from rotation.effects import Effects
from rotation.journal import Journal
from rotation.runner import Runner
from rotation.state import OUT_OF_BUDGET, Answer, Do, Effect, Reply, State
from rotation.venues import Venues
from tests.rotation.place import Place, now, running_place
from tests.rotation.world import BEGAN, World, planned


class Clock:
    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


def test_a_minute_has_so_many_calls_of_each_kind() -> None:
    clock = Clock()
    budgets = Budgets(clock)
    for _ in range(3):
        budgets.spend("master", "create", 3, "binance")
    budgets.spend("master", "delete", 3, "binance")
    budgets.spend("other", "create", 3, "binance")
    with pytest.raises(VenueUnavailable) as caught:
        budgets.spend("master", "create", 3, "binance")
    assert (caught.value.outcome, caught.value.reason) == (Outcome.RETRY, OUT_OF_BUDGET)
    clock.s += MINUTE_S - 0.001
    assert budgets.left("master", "create", 3) == 0
    clock.s += 0.001
    assert budgets.left("master", "create", 3) == 3
    budgets.spend("master", "create", 3, "binance")


def test_lists_and_deletes_are_counted_as_one_endpoint() -> None:
    """One path; the exchange counts it so, or each method by itself: no call is one too many either way."""
    budgets = Budgets(Clock())
    for number in range(48):
        budgets.spend("master", "delete" if number % 2 else "list", 48, "binance")
    for kind in ("list", "delete"):
        with pytest.raises(VenueUnavailable):
            budgets.spend("master", kind, 48, "binance")
    budgets.spend("master", "addresses", 48, "binance")


def test_what_can_wait_uses_half_of_what_rotations_may() -> None:
    assert [share(60, haste) for haste in Haste] == [24, 48, 60]


@pytest.mark.parametrize("state", [State.PREPARING, State.CREATING, State.RECONCILING, State.VERIFYING])
def test_waiting_for_the_budget_costs_no_try(state: State) -> None:
    rotation = replace(planned(World()), state=state, asked=Effect(Do.READ_CLOCK), tries=5, stamp_us=7)
    step = decide(rotation, Reply(Answer.RETRY, OUT_OF_BUDGET), BEGAN)
    assert (step.rotation.state, step.rotation.tries, step.rotation.stamp_us) == (state, 5, None)
    assert step.rotation.due_at == BEGAN + rotation.limits.budget_for


@pytest.mark.sockets
async def test_a_rotation_waits_for_the_budget_and_an_incident_does_not(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        service, clock = here.world.service, Clock()
        budgets = Budgets(clock)
        for _ in range(48):
            budgets.spend("master", "list", 60, "binance")
        account, venues = service.accounts.get("main"), Venues(service, budgets)

        def listed(haste: Haste) -> int:
            with venues.desk(account, haste=haste) as desk:
                return len(desk.admin.list(desk.subaccount))

        with pytest.raises(VenueUnavailable) as caught:
            await asyncio.to_thread(listed, Haste.ORDINARY)
        assert caught.value.reason == OUT_OF_BUDGET
        assert await asyncio.to_thread(listed, Haste.URGENT) == 1
        assert await _outlasts(here, venues, clock)


async def _outlasts(here: Place, venues: Venues, clock: Clock) -> bool:
    service = here.world.service
    journal = Journal(service.desk.database, service.audit, "one")
    runner = Runner(journal, Effects(service, venues), now)
    drawn = replace(here.plan(), limits=replace(here.plan().limits, budget_for=here.plan().limits.poll_for))
    await asyncio.to_thread(journal.plan, drawn)
    for _ in range(10):
        await asyncio.to_thread(runner.once)
        await asyncio.sleep(0.06)
    assert service.rotations.get(drawn.id).state == "preparing"
    clock.s += MINUTE_S
    return (await here.carried_out(drawn.id, runner)).state is State.DONE
