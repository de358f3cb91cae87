"""Rotations carried out for real: paper exchange, database, secret store, gateway, a bot that trades all the while."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.errors import Conflict, NotFound
from broker.model import KeyRef, Stage
from clients.venue import KeyType, Slot
from rotation.plan import draw_up
from rotation.state import KEYS_REFUSED, State
from tests.rotation.place import ACCOUNT_ADDRESS, QUICK, Place, now, running_place, trading

pytestmark = pytest.mark.sockets
KEYS = "/sapi/v2/sub-account/subAccountApi"
DELETES = {"method": "DELETE", "path": "/sapi/v1/sub-account/subAccountApi"}


def one_living_key(here: Place, version: int) -> None:
    """One key at the exchange, current on record; everything else is a tombstone without a secret."""
    known = {key.ref.version: key for key in here.world.service.keys.list("main")}
    assert [key.key_id for key in here.living()] == [known[version].venue_key_id]
    assert {number for number, key in known.items() if key.stage is Stage.CURRENT} == {version}
    for number, key in known.items():
        if number != version:
            assert key.stage is Stage.TOMBSTONE
            with pytest.raises(NotFound):
                here.world.service.desk.secrets.read(key.path)


async def test_a_key_rotates_while_a_bot_trades_and_no_request_fails(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here, trading(here.bot) as answers:
        while not answers():  # noqa: ASYNC110 - an answer tells nobody
            await asyncio.sleep(0.02)
        old = here.old_key
        done = await here.rotate()
        assert done.state is State.DONE, done.reason
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        assert set(answers()) == {(200, None)}
        one_living_key(here, 2)
        (fresh,) = here.living()
        assert (fresh.key_type, fresh.ips, fresh.label) == (KeyType.ED25519, (ACCOUNT_ADDRESS,), done.id)
        assert fresh.flags["enableSpotAndMarginTrading"]
        assert not any(
            fresh.may(flag) for flag in ("enableWithdrawals", "enableInternalTransfer", "enableMargin")
        )
        assert here.world.paper.exchange.keys[old].deleted
        assert here.history(done.id) == [
            "preparing", "creating", "verifying", "canary", "cutting-over", "draining", "retiring-old", "done",
        ]  # fmt: skip


@pytest.mark.parametrize("do", ["lose-reply", "error-after", "garbage", "error", "close"])
async def test_a_create_whose_answer_is_lost_is_looked_up(tmp_path: Path, do: str) -> None:
    async with running_place(tmp_path) as here:
        await here.world.paper.admin("POST", "faults", {"do": do, "match": {"method": "POST", "path": KEYS}})
        done = await here.rotate()
        assert done.state in {State.DONE, State.ABANDONED}
        one_living_key(here, 2 if done.state is State.DONE else 1)
        made = [row for row in here.world.executed() if row["action"] == "key-create"]
        assert len(made) <= 1


async def test_a_delete_that_is_accepted_and_not_applied_is_done_again(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        await here.world.paper.admin(
            "POST", "faults", {"do": "accept-not-apply", "match": DELETES, "times": 1}
        )
        done = await here.rotate()
        assert done.state is State.DONE
        one_living_key(here, 2)


@pytest.mark.parametrize("do", ["lose-reply", "error-after", "close"])
async def test_a_delete_whose_answer_is_lost_is_probed(tmp_path: Path, do: str) -> None:
    async with running_place(tmp_path) as here:
        await here.world.paper.admin("POST", "faults", {"do": do, "match": DELETES, "times": 2})
        done = await here.rotate()
        assert done.state is State.DONE
        one_living_key(here, 2)


async def test_a_key_that_says_no_more_than_2015_is_dead_only_by_two_lists(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        here.world.paper.exchange.switches["deleted_key_sapi_code"] = -2015
        done = await here.rotate()
        assert done.state is State.DONE
        assert done.retirement is not None
        assert done.retirement.proof.startswith(
            "absent from two lists a settling time apart. First seen so at 20"
        )
        one_living_key(here, 2)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"flags": {"withdrawals": True}}, "withdraw is on"),
        ({"flags": {"futures": True}}, "futures is on and should be off"),
        ({"flags": {"spot": False}}, "trade is off and should be on"),
        ({"ips": ["127.0.0.7", "127.0.0.9"]}, "should be to 127.0.0.7"),
    ],
)
async def test_a_key_that_is_not_as_ordered_is_never_cut_over_to(
    tmp_path: Path, changes: dict[str, object], word: str
) -> None:
    async with running_place(tmp_path) as here:
        exchange = here.world.paper.exchange
        make = exchange.make_key

        def spoiled(*args: object, **kwargs: object) -> object:
            key = make(*args, **kwargs)  # type: ignore[arg-type]
            names = {
                "withdrawals": "enableWithdrawals",
                "futures": "enableFutures",
                "spot": "enableSpotAndMarginTrading",
            }
            for name, value in dict(changes.get("flags", {})).items():  # type: ignore[call-overload]
                key.flags[names[name]] = bool(value)
            if "ips" in changes:
                key.ips = tuple(changes["ips"])  # type: ignore[arg-type]
            return key

        exchange.make_key = spoiled  # type: ignore[method-assign, assignment]
        done = await here.rotate()
        assert done.state is State.ABANDONED
        assert word in done.reason
        one_living_key(here, 1)
        assert "cutting-over" not in here.history(done.id)


async def test_a_manager_key_that_lacks_rights_fails_before_anything_is_made(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        master = next(key for key in here.world.paper.exchange.keys.values() if key.label == "manager")
        master.flags["enableSpotAndMarginTrading"] = False
        done = await here.rotate()
        assert done.state is State.ABANDONED
        assert "spot and margin trading" in done.reason
        assert not [row for row in here.world.executed() if row["action"] == "key-create"]
        one_living_key(here, 1)


async def test_a_slot_has_one_rotation_at_a_time(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        first, second = here.plan(), here.plan()
        here.runner().journal.plan(first)
        with pytest.raises(Conflict):
            here.runner().journal.plan(second)
        with pytest.raises(Conflict) as caught:
            here.plan()
        assert caught.value.reason == "rotating"
        assert len(here.world.service.keys.list("main")) == 2


@pytest.mark.parametrize("slot", [Slot.READ, Slot.RESPONDER, Slot.STANDBY])
async def test_every_slot_gets_its_key_with_its_own_rights(tmp_path: Path, slot: Slot) -> None:
    async with running_place(tmp_path) as here:
        service = here.world.service
        runner = here.runner()
        for version in (1, 2):
            planned = replace(draw_up(service, "main", slot, "asked", now()), limits=QUICK)
            assert planned.old == (version - 1 or None)
            runner.journal.plan(planned)
            done = await here.carried_out(planned.id, runner)
            assert done.state is State.DONE, done.reason
        keys = {key.ref: key for key in service.keys.list("main") if key.ref.slot is slot}
        assert [key.stage for _, key in sorted(keys.items(), key=str)] == [Stage.TOMBSTONE, Stage.CURRENT]
        fresh = next(key for key in here.living() if key.label == done.id)
        assert fresh.flags["enableSpotAndMarginTrading"] is (slot is not Slot.READ)
        assert len(here.living()) == 2, "and the trade key is untouched"
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        path = keys[KeyRef("main", slot, 2)].path
        assert path.startswith("responders/" if slot is Slot.RESPONDER else "keys/")


async def test_a_new_key_that_bots_are_refused_with_is_taken_back(tmp_path: Path) -> None:
    """The canary passed, then the exchange changes its mind: the old key still lives, and is in use again."""
    async with running_place(tmp_path) as here:
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        old = here.old_key
        planned = replace(here.plan(), limits=replace(QUICK, watch_for=timedelta(minutes=10)))
        runner = here.runner()
        await asyncio.to_thread(runner.journal.plan, planned)
        while here.world.service.rotations.get(planned.id).state != "draining":
            await asyncio.to_thread(runner.once)
            await asyncio.sleep(0.02)
        (fresh,) = [key for key in here.living() if key.key_id != old]
        fresh.ips = ("127.0.0.99",)
        while here.world.service.rotations.get(planned.id).state not in {"abandoned", "done"}:
            await here.bot.call("GET", "/api/v3/openOrders", symbol="BTCUSDT")
            await asyncio.to_thread(runner.once)
            await asyncio.sleep(0.02)
        assert "rolling-back" in here.history(planned.id)
        done = here.world.service.rotations.get(planned.id)
        assert done.reason.startswith(KEYS_REFUSED)
        one_living_key(here, 1)
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
