"""A sweep of a list that is perhaps another sub-account's has nothing deleted there; and another account's dead key lives."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from broker.db import accounts as account_store
from broker.db import findings
from broker.db import managers as manager_store
from broker.model import Death, KeyRef, Stage
from broker.service import Service
from clients.keys import VenueKey
from clients.paper.exchange import MASTER
from clients.venue import Credential, KeyFacts, KeyType, Slot
from clients.venues.binance.admin import BinanceAdmin
from rotation.state import State
from tests.rotation.place import ACCOUNT_ADDRESS, EMAIL, QUICK, STRANGER, Place, now, running_place
from tests.rotation.test_sweeper import sweeper

pytestmark = pytest.mark.sockets

TRADES = {"enableSpotAndMarginTrading": True}


def facts(uid: int | str) -> KeyFacts:
    return KeyFacts(True, True, False, False, True, str(uid))


async def said(here: Place) -> dict[str, str]:
    await asyncio.to_thread(sweeper(here).sweep, now())
    return {one.key_id: one.says for one in here.world.service.rotations.findings()}


def put_under(service: Service, account: str, email: str) -> None:
    with service.desk.database.write() as connection:
        manager_store.assign(connection, account, "master", email)


@pytest.mark.parametrize("ours", ["none", "a dead one", "a living one"])
async def test_what_is_in_a_list_without_a_key_of_ours_is_looked_up_first(tmp_path: Path, ours: str) -> None:
    """It said "delete it at the exchange" of a living bot's key, in a list that was asked for by a slip of the e-mail."""
    async with running_place(tmp_path) as here:
        here.plays = (STRANGER, *(("second/trade/1",) if ours == "a dead one" else ()))
        service, paper = here.world.service, here.world.paper
        listed, own = "wrong@paper.test", "right@paper.test"
        for email in (listed, own):
            paper.account(email)
        theirs = paper.exchange.make_key(listed, KeyType.HMAC, TRADES, ips=(ACCOUNT_ADDRESS,), label="a bot")
        service.accounts.create("second", venue="binance", egress="out", upstream=paper.base_url)
        mine = ours == "a living one"
        real = paper.key(own if ours == "none" else listed, ips=(ACCOUNT_ADDRESS,))
        assert real.secret is not None
        key = Credential(real.key_id, real.secret, KeyType.HMAC)
        uid = paper.exchange.accounts[own if ours == "none" else listed].uid
        ref = service.keys.import_key("second", slot=Slot.TRADE, credential=key, facts=facts(uid)).ref
        if ours == "a dead one":
            with service.desk.database.write() as connection:
                account_store.set_stage(connection, ref, Stage.TOMBSTONE, death=Death.STATED)
        put_under(service, "second", listed)
        says = (await said(here))[theirs.key_id]
        assert ("delete it at the exchange" in says) is mine
        assert ("look whose it is before" in says) is not mine
        paper.exchange.keys[real.key_id].deleted = ours == "a dead one"  # as the record has it


@pytest.mark.parametrize("mine", [False, True], ids=["none of ours", "one of ours"])
@pytest.mark.parametrize("stage", [Stage.CURRENT, Stage.TOMBSTONE])
async def test_another_accounts_key_is_told_as_what_it_is(
    tmp_path: Path, stage: Stage, *, mine: bool
) -> None:
    """One that is dead by a word, and lives there, was told as a key in use; nobody else lists that account."""
    async with running_place(tmp_path) as here:
        here.plays = ("",)  # it begins with a death that is none
        service, paper = here.world.service, here.world.paper
        service.accounts.create("near", venue="binance", egress="out", upstream=paper.base_url)
        uid = paper.exchange.accounts[EMAIL].uid
        real = paper.exchange.make_key(EMAIL, KeyType.HMAC, TRADES, ips=(ACCOUNT_ADDRESS,))
        assert real.secret is not None
        key = Credential(real.key_id, real.secret, KeyType.HMAC)
        near = service.keys.import_key("near", slot=Slot.TRADE, credential=key, facts=facts(uid)).ref
        with service.desk.database.write() as connection:
            account_store.set_stage(connection, near, stage, death=Death.STATED)
            gone = {real.key_id: str(near)}
            findings.lacking(connection, "near", "master: near@paper.test", gone, 1)
        if not mine:
            paper.exchange.keys[here.old_key].deleted = True
        says = (await said(here))[real.key_id]
        assert ("two accounts are one sub-account" in says) is mine
        assert ("perhaps managed under another sub-account" in says) is not mine
        death = next(one.death for one in service.keys.list("near"))
        dead = stage is Stage.TOMBSTONE
        assert ("dead on record, and lives" in says) is dead
        assert death is (Death.UNPROVEN if dead else Death.STATED)
        with service.desk.database.write() as connection:
            known = findings.lacking(connection, "near", "master: near@paper.test", gone, 10**12)
            assert known == {}, "a list has it: what others lack proves nothing"
            findings.found(connection, "main", (), 2)
            again = findings.lacking(connection, "near", "master: near@paper.test", gone, 10**12)
            assert again == {real.key_id: 10**12}, "it begins anew"
        paper.exchange.keys[real.key_id].deleted = dead  # as it says


async def test_a_manager_key_that_dies_in_the_middle_of_a_rotation_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old key is dead, and nobody could prove it: another manager key was refused for it, for ever."""
    async with running_place(tmp_path) as here:
        here.plays = ("",)
        service, paper, deletes = here.world.service, here.world.paper, BinanceAdmin.delete
        planned = replace(here.plan(), limits=replace(QUICK, probes=5))
        runner = here.runner()
        await asyncio.to_thread(runner.journal.plan, planned)

        def last(self: BinanceAdmin, *args: object, **named: object) -> None:
            deletes(self, *args, **named)  # type: ignore[arg-type]
            for one in paper.exchange.keys.values():
                one.deleted = one.deleted or one.account == MASTER

        with monkeypatch.context() as patch:
            patch.setattr(BinanceAdmin, "delete", last)
            assert (await here.carried_out(planned.id, runner)).state is State.STALLED
        made = paper.exchange.make_key(MASTER, KeyType.HMAC, TRADES, ips=("127.0.0.1",))
        assert made.secret is not None
        key = Credential(made.key_id, made.secret, KeyType.HMAC)
        draft = service.managers.draft(
            "master-2", venue="binance", egress="direct", upstream=paper.base_url, key=key
        )
        service.managers.take(draft, key, facts(1))
        listed = tuple(VenueKey(one.key_id, one.label) for one in here.living())
        assert here.old_key not in {one.key_id for one in listed}
        service.managers.assign("main", "master-2", EMAIL, lambda: listed)
        assert service.accounts.get("main").manager == "master-2"
        assert KeyRef("main", Slot.TRADE, 1) in {one.ref for one in service.keys.list("main")}


@pytest.mark.parametrize("when", ["before it begins", "while it lists", "put elsewhere while it lists"])
async def test_a_sweep_of_an_account_that_went_meanwhile_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """No later sweep would end what it found: nobody looks at that account again, or not at that list."""
    async with running_place(tmp_path) as here:
        here.plays = (STRANGER,)
        service, paper, lists = here.world.service, here.world.paper, BinanceAdmin.list
        paper.exchange.make_key(EMAIL, KeyType.HMAC, TRADES, ips=(ACCOUNT_ADDRESS,), label="a bot")
        managed = service.managers.managed()

        def goes(self: BinanceAdmin, subaccount: str) -> tuple[VenueKey, ...]:
            if when == "while it lists":
                service.managers.release("main")
            else:
                service.managers.assign(
                    "main", "master", "b@paper.test", lambda: (VenueKey(here.old_key, ""),)
                )
            return lists(self, subaccount)

        if when == "before it begins":
            service.managers.release("main")
            monkeypatch.setattr(service.managers, "managed", lambda: managed)
        else:
            monkeypatch.setattr(BinanceAdmin, "list", goes)
        (trouble,) = await asyncio.to_thread(sweeper(here).sweep, now())
        assert "main could not be swept" in trouble
        assert service.rotations.findings() == ()
