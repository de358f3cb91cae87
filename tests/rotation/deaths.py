"""Rotators that die, others that go on, and what must be left at the end; shared by the crash matrices.

A scenario says how the exchange misbehaves and what else happens; a death says in which state and around which effect
a rotator is killed (`before:creating:create`).
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from broker.db import tables as t
from broker.model import Stage
from rotation.decide import decide
from rotation.state import Event, IllegalTransition, Incident, Resume, RollBack, Rotation, State
from tests.places import contents
from tests.rotation.forked import rotating
from tests.rotation.place import QUICK, Place, now

BUSY = replace(QUICK, canary_for=timedelta(minutes=2), drain_for=timedelta(minutes=3))
"""On a busy machine a gateway takes its time to try a key, and to leave another: given up, a rotation never comes to the
states behind."""

NEVER = "never"
ENDS = frozenset({State.DONE.value, State.ABANDONED.value, State.HALTED.value})

_CREATE = {"method": "POST", "path": "/sapi/v2/sub-account"}
_DELETE = {"method": "DELETE", "path": "/sapi/v1/sub-account"}
_LOST_CREATE = {"do": "lose-reply", "match": _CREATE}


@dataclass(frozen=True)
class Scenario:
    """How the exchange misbehaves, what an operator or an incident does meanwhile, and which states that reaches.

    `tell` is told as soon as the rotation is in `at`. `states` are those of `EFFECTS` this scenario adds to the matrix.
    """

    states: tuple[State, ...] = ()
    faults: tuple[Mapping[str, Any], ...] = ()
    switches: Mapping[str, object] = field(default_factory=dict)
    bad_key: bool = False
    at: State | None = None
    tell: Event | None = None

    @property
    def is_incident(self) -> bool:
        return isinstance(self.tell, Incident)


_STRAIGHT = (
    *(State.PREPARING, State.CREATING, State.VERIFYING, State.CANARY, State.CUTTING_OVER, State.DRAINING),
    State.RETIRING_OLD,
)
_LEAKED, _BACK = Incident((1,), "the old key leaked"), RollBack("the operator says so")

SCENARIOS: Mapping[str, Scenario] = {
    "straight": Scenario(_STRAIGHT),
    "create-lost": Scenario((State.RECONCILING,), (_LOST_CREATE,)),
    "create-refused": Scenario(faults=({"do": "error", "status": 400, "code": -9000, "match": _CREATE},)),
    "create-late": Scenario(faults=({"do": "error-after", "status": 500, "match": _CREATE},)),
    "create-garbled": Scenario(faults=({"do": "garbage", "match": _CREATE},)),
    "delete-lost": Scenario(faults=({"do": "lose-reply", "match": _DELETE},)),
    "delete-not-applied": Scenario(faults=({"do": "accept-not-apply", "match": _DELETE},)),
    "delete-refused": Scenario(faults=({"do": "error", "status": 400, "code": -9000, "match": _DELETE},)),
    "limited": Scenario(
        faults=(
            {
                "do": "error", "status": 429, "code": -1003, "retry_after": "1",
                "match": {"path": "/sapi/v1/sub-account"}, "times": 2,
            },
        )
    ),
    "lists-lag": Scenario(faults=(_LOST_CREATE,), switches={"listing_delay_ms": 500}),
    "deletes-lag": Scenario(switches={"deletion_delay_api_ms": 1500, "deletion_delay_sapi_ms": 700}),
    "unnamed-refusals": Scenario(switches={"deleted_key_sapi_code": -2015}),
    "bad-key": Scenario((State.DISCARDING_NEW,), bad_key=True),
    "taken-back": Scenario((State.ROLLING_BACK, State.DRAINING_NEW), at=State.DRAINING, tell=_BACK),
    "leaked": Scenario((State.HALTING,), at=State.CANARY, tell=_LEAKED),
    "leaked-in-doubt": Scenario(
        faults=(_LOST_CREATE,), switches={"listing_delay_ms": 800}, at=State.RECONCILING, tell=_LEAKED
    ),
    "leaked-late": Scenario(at=State.DRAINING, tell=_LEAKED),
}  # fmt: skip

_RETIRES = ("read-clock", "delete", "probe", "entomb")
EFFECTS: Mapping[State, tuple[str, ...]] = {
    State.PREPARING: ("prepare",),
    State.CREATING: ("read-clock", "create"),
    State.RECONCILING: ("find",),
    State.VERIFYING: ("verify",),
    State.CANARY: ("canary",),
    State.CUTTING_OVER: ("move",),
    State.DRAINING: ("drain",),
    State.ROLLING_BACK: ("move-back",),
    State.DRAINING_NEW: ("drain",),
    State.RETIRING_OLD: _RETIRES,
    State.DISCARDING_NEW: _RETIRES,
    State.HALTING: _RETIRES,
}
"""Every effect of every state that asks for one; HALTING's FIND is a scenario of its own."""

DEATHS = tuple(
    f"{when}:{state.value}:{effect}"
    for state, effects in EFFECTS.items()
    for effect in effects
    for when in ("before", "after")
)
MATRIX = (
    *(
        (name, death)
        for name, scenario in SCENARIOS.items()
        for death in DEATHS
        if State(death.split(":")[1]) in scenario.states
    ),
    ("leaked-in-doubt", "before:halting:find"),
    ("leaked-in-doubt", "after:halting:find"),
)
"""A death before and after every effect of every state, each in a scenario that reaches it for certain."""


def dealt(dice: random.Random) -> tuple[str, tuple[str, ...]]:
    """Deal a scenario, and one to three deaths of which some may not come about."""
    deaths = tuple(dice.choice(DEATHS) for _ in range(dice.randrange(1, 4)))
    return dice.choice(tuple(SCENARIOS)), deaths


async def rotator(here: Place, death: str) -> tuple[int, str]:
    """Run a rotator process to its end; return its exit code and what it said."""
    return await (await rotating(here.world.directory, death)).ended()


def release(here: Place) -> None:
    """Let the dead rotator's claim be over, as it would be a minute later."""
    with here.world.service.desk.database.write() as connection:
        connection.execute(t.ROTATIONS.update().values(claimed_until_us=0))


async def planned(here: Place, scenario: Scenario) -> Rotation:
    """Let the exchange misbehave, and put a rotation on record."""
    for fault in scenario.faults:
        await here.world.paper.admin("POST", "faults", fault)
    here.world.paper.exchange.switches.update(scenario.switches)
    if scenario.bad_key:
        _spoil(here)
    patient = timedelta(minutes=2) if scenario.at is State.DRAINING else QUICK.watch_for
    rotation = replace(here.plan(), limits=replace(BUSY, watch_for=patient))
    await asyncio.to_thread(here.runner().journal.plan, rotation)
    return rotation


def _spoil(here: Place) -> None:
    """Have the exchange make keys that may do more than was ordered."""
    exchange = here.world.paper.exchange
    make = exchange.make_key

    def spoiled(*args: Any, **kwargs: Any) -> Any:
        key = make(*args, **kwargs)
        key.flags["enableFutures"] = True
        return key

    exchange.make_key = spoiled  # type: ignore[method-assign]


async def die_and_go_on(here: Place, scenario: Scenario, deaths: Sequence[str]) -> list[str]:
    """Kill one rotator after the other, and let the last carry the rotation to its end; return the deaths that came.

    A rotation that stalls is resumed, as an operator would.
    """
    rotation = await planned(here, scenario)
    telling = asyncio.create_task(_tell_in_time(here, rotation.id, scenario))
    died = []
    try:
        for death in (*deaths, NEVER, NEVER, NEVER):
            code, said = await rotator(here, death)
            if code == 0 and said in ENDS:
                break
            if code == 0:
                assert said == State.STALLED.value, said
                await tell(here, rotation.id, Resume())
                continue
            assert code == -9, said
            died.append(death)
            release(here)
        assert said in ENDS, said
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    return died


async def _tell_in_time(here: Place, rotation: str, scenario: Scenario) -> None:
    """Tell the scenario's event once the rotation is where that is to happen."""
    if scenario.at is None or scenario.tell is None:
        return
    while True:
        if scenario.at.value in await asyncio.to_thread(here.history, rotation):
            break
        await asyncio.sleep(0.02)
    await tell(here, rotation, scenario.tell)


async def tell(here: Place, rotation: str, event: Event) -> None:
    """Tell a rotation something as soon as nobody works on it; nothing where it is over, or the event comes too late."""
    journal = here.runner("operator").journal
    while True:
        held = await asyncio.to_thread(journal.claim_one, rotation, now())
        if held is None:
            if here.world.service.rotations.get(rotation).ended_at is not None:
                return
            await asyncio.sleep(0.02)
            continue
        try:
            step = decide(held.rotation, event, now())
        except IllegalTransition:
            await asyncio.to_thread(journal.give_back, held, now())
            return
        await asyncio.to_thread(journal.save, held, step, event, now())
        return


def nothing_is_left_over(here: Place, scenario: Scenario) -> None:
    """One living key, created by one call, and no private half outside the store; after an incident, its keys are dead."""
    state = here.world.service.rotations.list(account="main").items[0].state
    if state == State.HALTED.value:
        halted_well(here)
    else:
        one_living_key(here)
    assert not (scenario.bad_key and state == State.DONE.value), "cut over to a key that is not as ordered"
    made = [row for row in here.world.executed() if row["action"] == "key-create"]
    assert len(made) <= 1, "a create was repeated"
    assert b"PRIVATE KEY" not in contents(here.world.directory)


def halted_well(here: Place) -> None:
    """The leaked key is dead, and what lives is on record as the current one; nothing lives that is not on record."""
    known = {key.ref.version: key for key in here.world.service.keys.list("main")}
    living = {key.key_id for key in here.living()}
    assert known[1].venue_key_id not in living, "the leaked key lives"
    assert known[1].stage is Stage.TOMBSTONE
    assert living <= {key.venue_key_id for key in known.values() if key.stage is Stage.CURRENT}


def one_living_key(here: Place) -> None:
    """One key at the exchange, on record as the current one, with its secret; everything else is a tombstone."""
    known = {key.ref.version: key for key in here.world.service.keys.list("main")}
    (current,) = [key for key in known.values() if key.stage is Stage.CURRENT]
    assert [key.key_id for key in here.living()] == [current.venue_key_id], "not one living key that we know"
    assert here.world.service.desk.secrets.read(current.path)["secret"].reveal()
    assert {key.stage for key in known.values() if key is not current} == {Stage.TOMBSTONE}
