"""A person's delete that can never be proven has a way out: the rotation ends, and nothing is called dead for that."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.db.findings import LEFT
from broker.errors import Conflict
from broker.model import KeyRef, Stage
from broker.service.rotations import Wish
from clients.venue import Credential, KeyFacts, KeyType, Slot
from rotation.alerts.conditions import conditions
from rotation.decide import decide
from rotation.possible import commands
from rotation.retire import (
    ABSENT,
    ALIVE,
    BLIND,
    LISTED,
    NAMED,
    NAMED_ALONE,
    NO_LIST,
    UNASKED,
    UNNAMED,
)
from rotation.state import (
    TERMINAL,
    Answer,
    Answered,
    Do,
    Effect,
    Phase,
    Reply,
    Resume,
    Retirement,
    Rotation,
    State,
    Tick,
)
from tests.rotation.place import ACCOUNT_ADDRESS, EMAIL, Place, now
from tests.rotation.test_assisted import asks, hurry, person_makes, reached, running_alone, told
from tests.rotation.test_by_name import on_record, proof, waits_for_a_person
from tests.rotation.world import BEGAN, World, planned

REASONS = (ABSENT, ALIVE, BLIND, LISTED, NAMED, NAMED_ALONE, NO_LIST, UNASKED, UNNAMED, "timed_out", "")
REPLIES = st.builds(Reply, st.sampled_from([Answer.UNKNOWN, Answer.REFUSED]), st.sampled_from(REASONS))


def waiting(state: State, phase: Phase = Phase.PROBING) -> Rotation:
    version = 1 if state is State.RETIRING_OLD else 2
    known = replace(planned(World()), by_hand=True, state=state, new_key_id="N1", has_private=True)
    return replace(known, retirement=Retirement(version, by_hand=True, phase=phase))


@given(state=st.sampled_from([State.RETIRING_OLD, State.DISCARDING_NEW]), seen=st.lists(REPLIES | st.none()))
def test_whatever_is_seen_a_person_can_end_it_and_nothing_is_called_dead(
    state: State, seen: list[Reply | None]
) -> None:
    """At every moment until a death was proven, or stated where that counts. None: the person says it is deleted."""
    known, at = waiting(state), BEGAN
    for reply in seen:
        retirement = known.retirement
        assert retirement is not None
        if retirement.phase is Phase.ENTOMBING:
            break
        left = decide(known, Resume(leave=True), at)
        assert (left.rotation.state, left.effect) == (State.ABANDONED, None)
        assert left.rotation.retirement == retirement, "no proof, and no tombstone"
        assert any("--leave" in one for one in commands(known))
        at = max(at, known.due_at)
        if reply is None:
            known = decide(known, Answered(), at).rotation
            continue
        known = decide(known, Tick(), at).rotation
        assert known.asked == Effect(Do.PROBE, retirement.version)
        known = decide(known, reply, at).rotation


@pytest.mark.parametrize("body", [{"leave": True, "key_id": "N1"}, {"leave": True, "discard": True}, {}])
def test_only_that_word_ends_it(body: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError, match="cannot happen"):
        decide(waiting(State.RETIRING_OLD), Resume(**body), BEGAN)
    assert State.ABANDONED in TERMINAL


def test_a_death_that_was_proven_is_not_left() -> None:
    with pytest.raises(RuntimeError, match="cannot happen"):
        decide(waiting(State.RETIRING_OLD, Phase.ENTOMBING), Resume(leave=True), BEGAN)


# --- against the exchange ---------------------------------------------------------------------


async def asked(here: Place, rotation: str, wish: Wish, **body: object) -> str:
    ask, work = here.world.service.rotations.ask(rotation, wish, body), asks(here)
    while (outcome := here.world.service.rotations.outcome(ask.id).outcome) is None:
        await asyncio.to_thread(work.once)
    return outcome


async def looks(here: Place, rotation: str, times: int) -> None:
    runner = here.runner()
    for _ in range(times):
        here.world.paper.exchange.offset_us += 20_000_000
        hurry(here, rotation)
        await asyncio.to_thread(runner.once)


def imported(here: Place) -> KeyRef:
    service, exchange = here.world.service, here.world.paper.exchange
    real = here.world.paper.key(EMAIL, ips=(ACCOUNT_ADDRESS,))
    assert real.secret is not None
    facts = KeyFacts(True, True, False, False, True, str(exchange.accounts[EMAIL].uid))
    credential = Credential(real.key_id, real.secret, KeyType.HMAC)
    return service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=facts).ref


def stages(here: Place) -> dict[int, Stage]:
    keys = here.world.service.keys.list("main")
    return {key.ref.version: key.stage for key in keys if key.ref.slot is Slot.TRADE}


@pytest.mark.sockets
async def test_who_deleted_both_keys_gets_a_key_again(tmp_path: Path) -> None:
    """A leak: "delete them all". Nothing else is served to compare with, no word counted, and the slot took no key."""
    async with running_alone(tmp_path) as here:
        exchange, service = here.world.paper.exchange, here.world.service
        exchange.switches["deleted_key_api_code"] = -2008
        rotation, old, fresh = await waits_for_a_person(here)
        await looks(here, rotation, 4)
        exchange.keys[old].deleted = exchange.keys[fresh].deleted = True
        assert await told(here, rotation, {"deleted": True}) == ""
        await looks(here, rotation, 8)
        known = on_record(here, rotation)
        assert (known.state, stages(here)) == (State.RETIRING_OLD, {1: Stage.PREVIOUS, 2: Stage.CURRENT})
        with pytest.raises(Conflict, match="is being rotated by"):
            imported(here)
        way_out = f"rotation resume {rotation} --leave"
        assert any(way_out in one for one in commands(known))
        assert way_out in "\n".join(dict(service.rotations.get(rotation).todo)["steps"])
        assert way_out in await asked(here, rotation, Wish.ROLL_BACK, reason="x")

        assert await asked(here, rotation, Wish.RESUME, leave=True) == ""
        assert on_record(here, rotation).state is State.ABANDONED
        assert stages(here) == {1: Stage.PREVIOUS, 2: Stage.CURRENT}, "nothing is called dead"
        assert service.desk.secrets.read(KeyRef("main", Slot.TRADE, 1).path)
        (found,) = (one for one in service.rotations.findings() if one.what == LEFT)
        assert "main/trade/1 is not proven dead" in found.says
        assert "main/trade/2, which is in use, is not served from here either" in found.says
        told_of = [one for one in conditions(service, now()) if one.subject.endswith(f"/{LEFT}")]
        assert [one.step for one in told_of] == ["portcullis sweep retire main/trade/1"]
        assert not [one for one in conditions(service, now()) if one.kind == "given-up"], (
            "the new key is in use"
        )

        assert imported(here) == KeyRef("main", Slot.TRADE, 3)
        again = service.rotations.retire(KeyRef("main", Slot.TRADE, 1))
        assert await asyncio.to_thread(asks(here).once)
        assert service.rotations.outcome(again.id).outcome == ""
        for _ in range(20):
            await looks(here, again.rotation, 1)
            if on_record(here, again.rotation).over:
                break
        assert on_record(here, again.rotation).state is State.DONE
        assert "main/trade/3 was served by the same way right after" in proof(here)
        assert stages(here) == {1: Stage.TOMBSTONE, 2: Stage.PREVIOUS, 3: Stage.CURRENT}
        assert not [one for one in service.rotations.findings() if one.what == LEFT]


@pytest.mark.sockets
async def test_the_dead_key_of_another_account_keeps_no_rotation_from_its_end(tmp_path: Path) -> None:
    """That account was given up, and an account is never removed: its key was taken for a witness for ever."""
    async with running_alone(tmp_path) as here:
        exchange, service, paper = here.world.paper.exchange, here.world.service, here.world.paper
        exchange.switches["deleted_key_api_code"] = -2008
        exchange.keys[here.old_key].deleted = True
        here.plays = ("main/trade/1 is current, and its key is dead", "fresh/trade has 0 current versions")
        service.accounts.create("fresh", venue="binance", egress="out", upstream=paper.base_url)
        ask = service.rotations.start("fresh", Slot.TRADE, hmac=False)
        assert await asyncio.to_thread(asks(here).once)
        await reached(here, ask.rotation, State.CREATING)
        todo = dict(service.rotations.get(ask.rotation).todo)
        wrong = person_makes(here, todo, flags={"enableWithdrawals": True})
        assert await told(here, ask.rotation, {"key_id": wrong}) == ""
        await reached(here, ask.rotation, State.DISCARDING_NEW)
        exchange.keys[wrong].deleted = True
        await looks(here, ask.rotation, 6)
        known = on_record(here, ask.rotation)
        assert known.state is State.DISCARDING_NEW, "a refusal by name alone is no proof"
        assert known.retirement is not None
        assert await told(here, ask.rotation, {"deleted": True}) == ""
        await looks(here, ask.rotation, 8)
        known = on_record(here, ask.rotation)
        assert known.state is State.DISCARDING_NEW, "in a ban it would look just so: no word counts"
        assert f"rotation resume {ask.rotation} --leave" in "\n".join(commands(known))
        assert await asked(here, ask.rotation, Wish.RESUME, leave=True) == ""
        assert on_record(here, ask.rotation).state is State.ABANDONED
        assert Stage.TOMBSTONE not in {key.stage for key in service.keys.list("fresh")}, (
            "nothing is called dead"
        )
        assert Slot.TRADE in {key.ref.slot for key in service.keys.list("main") if key.stage is Stage.CURRENT}
