"""Whoever stood still past its claim changes nothing when it wakes, whichever effect it was about to perform."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.db import tables as t
from broker.db.tables_root import METADATA
from broker.model import KeyRef
from broker.service.rotations import Wish
from clients.venue import Slot
from rotation.fence import Fence
from rotation.journal import Lost
from rotation.state import Do, Effect, Rotation, State
from tests.places import contents
from tests.rotation.deaths import release
from tests.rotation.place import POLLS, QUICK, Place, now, running_place
from tests.rotation.test_asks import asks
from tests.rotation.test_slips import said
from tests.rotation.test_sweeper import living

pytestmark = pytest.mark.sockets

_ITS_OWN = frozenset(
    {
        "key_versions",
        "rotations",
        "rotation_steps",
        "rotation_asks",
        "deliveries",
        "canaries",
        "findings",
        "accounts",
        "cut_scopes",
    }
)


def everything(here: Place) -> str:
    """Return all that a rotator could change: its tables, the secrets, the keys at the exchange."""
    service = here.world.service
    with service.desk.database.read() as connection:
        rows = {
            name: [list(map(str, row)) for row in connection.execute(table.select())]
            for name, table in METADATA.tables.items()
            if name in _ITS_OWN
        }
    secrets = {path: sorted(service.desk.secrets.metadata(path)) for path in service.desk.secrets.paths("")}
    readable = {path: _is_readable(here, path) for path in secrets}
    return json.dumps([rows, secrets, readable, sorted(living(here))], sort_keys=True)


def _is_readable(here: Place, path: str) -> bool:
    try:
        return bool(here.world.service.desk.secrets.read(path))
    except Exception:  # noqa: BLE001 - destroyed
        return False


STANDS = {
    Do.PREPARE: State.PREPARING, Do.VERIFY: State.VERIFYING, Do.CANARY: State.CANARY, Do.MOVE: State.CUTTING_OVER,
    Do.DRAIN: State.DRAINING, Do.DELETE: State.RETIRING_OLD, Do.ENTOMB: State.RETIRING_OLD,
    Do.MOVE_BACK: State.ROLLING_BACK, Do.CREATE: State.CREATING,
}  # fmt: skip


async def stopped_before(here: Place, do: Do) -> Rotation:
    """Carry a rotation on to an effect, and no further: whoever was to perform it stands still."""
    planned = replace(here.plan(), limits=replace(QUICK, watch_for=QUICK.drain_for))
    if do in {Do.DELETE, Do.ENTOMB}:
        planned = replace(planned, limits=QUICK)
    runner, stopped = here.runner("first"), list[Rotation]()
    await asyncio.to_thread(runner.journal.plan, planned)
    perform = runner.effects.perform

    class Stands(BaseException):
        pass

    def stands(rotation: Rotation, effect: Effect) -> Any:
        if effect.do is do:
            stopped.append(rotation)
            raise Stands
        return perform(rotation, effect)

    runner.effects.perform = stands  # type: ignore[method-assign]
    told = False
    for _ in range(POLLS):
        try:
            await asyncio.to_thread(runner.once)
        except Stands:
            break
        if (
            do is Do.MOVE_BACK
            and not told
            and here.world.service.rotations.get(planned.id).state == "draining"
        ):
            told = True
            assert await said(here, planned.id, Wish.ROLL_BACK, reason="asked") == ""
        await asyncio.sleep(0.02)
    (rotation,) = stopped
    assert rotation.state is STANDS[do]
    return rotation


@pytest.mark.parametrize("do", list(STANDS))
async def test_who_was_stopped_before_an_effect_past_its_claim_changes_nothing(
    tmp_path: Path, do: Do
) -> None:
    async with running_place(tmp_path) as here:
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        late = await stopped_before(here, do)
        release(here)
        held = here.runner("second").journal.claim_one(late.id, now())
        assert held is not None
        known = everything(here)
        with pytest.raises(Lost):
            await asyncio.to_thread(here.runner("first").effects.perform, late, late.asked or Effect(do))
        assert everything(here) == known
        assert b"PRIVATE KEY" not in contents(here.world.directory)


WRITES = (Do.VERIFY, Do.CANARY, Do.MOVE, Do.DRAIN, Do.MOVE_BACK, Do.ENTOMB)


@pytest.mark.parametrize("do", WRITES)
async def test_nor_does_who_was_stopped_between_its_last_look_and_its_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, do: Do
) -> None:
    """A look says nothing of the next line: the write itself names the claim."""
    async with running_place(tmp_path) as here:
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        service = here.world.service
        service.destinations.create(
            "tax", account="main", slot=Slot.TRADE, kind="manual", settings={"what": "a tax tool"}
        )
        if do is not Do.DRAIN:
            service.destinations.remove("tax")
        late = await stopped_before(here, do)
        with service.desk.database.write() as connection:
            connection.execute(t.ACCOUNTS.update().values(venue_uid=None))
        release(here)
        assert here.runner("second").journal.claim_one(late.id, now()) is not None
        known = everything(here)
        monkeypatch.setattr(Fence, "ensure", lambda _: None)
        effect = late.asked
        assert effect is not None
        with pytest.raises(Lost):
            await asyncio.to_thread(here.runner("first").effects.perform, late, effect)
        assert everything(here) == known


async def test_a_dying_key_is_not_moved_to_current_by_who_wakes_late(tmp_path: Path) -> None:
    """Stopped before MOVE; another goes on, is taken back, and discards the new key; then the first wakes."""
    async with running_place(tmp_path) as here:
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        old = here.old_key
        late = await stopped_before(here, Do.MOVE)
        release(here)
        second = here.runner("second")
        while here.world.service.rotations.get(late.id).state != "draining":
            await asyncio.to_thread(second.once)
        assert await said(here, late.id, Wish.ROLL_BACK, reason="the operator says so") == ""
        while here.world.service.rotations.get(late.id).state not in {"discarding-new", "abandoned"}:
            await asyncio.to_thread(second.once)
        with pytest.raises(Lost):
            await asyncio.to_thread(here.runner("first").effects.perform, late, Effect(Do.MOVE, 2))
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        current = [
            key.venue_key_id for key in here.world.service.keys.list("main") if key.stage.value == "current"
        ]
        assert current == [old]


async def test_an_ask_is_carried_out_once_though_who_claimed_it_first_wakes_late(tmp_path: Path) -> None:
    """Stopped between the claim of the ask and what it asks for; another carries it out; the state has moved on."""
    async with running_place(tmp_path) as here:
        service, first = here.world.service, asks(here, "first")
        planned = replace(here.plan(), limits=replace(QUICK, watch_for=QUICK.drain_for))
        here.runner().journal.plan(planned)
        ask = service.rotations.ask(planned.id, Wish.PAUSE, {})
        carry_out = first._carry_out

        def late(held: Any) -> str | None:
            with service.desk.database.write() as connection:
                connection.execute(t.ROTATION_ASKS.update().values(claimed_until_us=0))
            assert asks(here, "second").once()
            assert service.rotations.outcome(ask.id).outcome == ""
            with service.desk.database.write() as connection:  # and somebody lets it go on
                connection.execute(t.ROTATIONS.update().values(claimed_until_us=0))
            resumed = service.rotations.ask(planned.id, Wish.RESUME, {})
            assert asks(here, "second").once()
            assert service.rotations.outcome(resumed.id).outcome == ""
            return carry_out(held)

        first._carry_out = late  # type: ignore[method-assign]
        assert first.once()
        assert not service.rotations.get(planned.id).paused, "it was paused once, and resumed"
        assert service.rotations.outcome(ask.id).outcome == ""


async def test_what_prepared_late_writes_no_pair(tmp_path: Path) -> None:
    """The rotation was given up meanwhile, and what it prepared was destroyed."""
    async with running_place(tmp_path) as here:
        late = await stopped_before(here, Do.PREPARE)
        release(here)
        assert await said(here, late.id, Wish.ROLL_BACK, reason="asked") == ""
        here.runner().effects.burial.clear_up()
        with pytest.raises(Lost):
            await asyncio.to_thread(here.runner("first").effects.perform, late, Effect(Do.PREPARE, 2))
        assert here.world.service.desk.secrets.paths(KeyRef("main", Slot.TRADE, 2).path) == ()
