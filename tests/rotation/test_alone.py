"""A key that no other one of its account could be listed beside: a ban and an empty list are no proof of its death."""

import asyncio
from pathlib import Path

import pytest

from broker.db import managers as manager_store
from clients.venue import Credential, KeyFacts, KeyType, Slot
from clients.venues.binance.admin import BinanceAdmin
from rotation.retire import ABSENT, BLIND, NAMED, NAMED_ALONE
from rotation.state import Answer
from tests.rotation.place import ACCOUNT_ADDRESS, EMAIL, Place, running_place
from tests.rotation.test_by_name import planned, probed, shut
from tests.rotation.test_listing import nothing

pytestmark = pytest.mark.sockets
NEAR = "near@paper.test"


def key_of(here: Place, account: str, email: str, slot: Slot = Slot.TRADE) -> str:
    """Import one more key, bound to the same address."""
    world = here.world
    made = world.paper.key(email, ips=(ACCOUNT_ADDRESS,))
    assert made.secret is not None
    facts = KeyFacts(True, True, False, False, True, str(world.paper.exchange.accounts[email].uid))
    credential = Credential(made.key_id, made.secret, KeyType.HMAC)
    world.service.keys.import_key(account, slot=slot, credential=credential, facts=facts)
    return made.key_id


def near(here: Place) -> str:
    """Have another account behind the same egress."""
    here.world.paper.account(NEAR)
    here.world.service.accounts.create(
        "near", venue="binance", egress="out", upstream=here.world.paper.base_url
    )
    return key_of(here, "near", NEAR)


def deleted(here: Place) -> None:
    exchange = here.world.paper.exchange
    exchange.switches["deleted_key_api_code"] = -2008
    exchange.keys[here.old_key].deleted = True


async def probe(here: Place, monkeypatch: pytest.MonkeyPatch) -> tuple[Answer, str]:
    """Ask about the account's key in use while the exchange lists none of its keys."""
    known = await planned(here)
    monkeypatch.setattr(BinanceAdmin, "_page", nothing)
    reply = await probed(here, known)
    return reply.answer, reply.reason


async def test_a_ban_and_an_empty_list_prove_no_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manager key is asked by another way, so that it was served says nothing of the ban."""
    async with running_place(tmp_path) as here:
        shut(here)
        assert await probe(here, monkeypatch) == (Answer.UNKNOWN, NAMED_ALONE)


@pytest.mark.parametrize("where", ["another slot", "another account"])
async def test_what_is_refused_just_so_beside_it_makes_it_no_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """In a ban every key is refused by name: that was taken for one that may be missing from the list."""
    async with running_place(tmp_path) as here:
        here.plays = ("key", "living")
        if where == "another slot":
            key_of(here, "main", EMAIL, Slot.READ)
        else:
            near(here)
        shut(here)
        assert await probe(here, monkeypatch) == (Answer.UNKNOWN, BLIND)


async def test_one_that_is_served_by_the_same_way_shows_that_it_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_place(tmp_path) as here:
        here.plays = ("dead", "living", "lives", "proven", "key", "use", "deleted")
        near(here)
        deleted(here)
        assert await probe(here, monkeypatch) == (Answer.UNKNOWN, NAMED)


async def test_so_does_a_manager_key_that_is_asked_by_the_same_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_place(tmp_path) as here:
        here.plays = ("dead", "living", "lives", "proven", "key", "use", "deleted")
        service, (first,) = here.world.service, here.world.service.managers.list()
        manager = service.managers.credential(first)
        facts = KeyFacts(True, True, False, False, True, "1")
        draft = await asyncio.to_thread(
            service.managers.draft,
            "near-master", venue="binance", egress="out", upstream=here.world.paper.base_url, key=manager,
        )  # fmt: skip
        service.managers.take(draft, manager, facts)
        with service.desk.database.write() as connection:
            manager_store.assign(connection, "main", "near-master", EMAIL)
        deleted(here)
        assert await probe(here, monkeypatch) == (Answer.UNKNOWN, ABSENT)
