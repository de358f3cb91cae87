"""A list that has another account's key is perhaps another sub-account's: what it has besides proves no death."""

from dataclasses import replace

import pytest

from broker.gate import Mode
from broker.model import Manager
from broker.service import reconcile_named
from clients.errors import VenueRefused
from clients.keys import VenueKey
from clients.secret import Secret
from clients.venue import Credential, KeyType, Slot
from tests.api.desk import SAFE, UPSTREAM, Desk
from tests.api.test_lost_manager import manager, opens, reconciled

EMAIL, LABEL = "a@b.c", "rot_" + "0a" * 10


@pytest.fixture
def managed(desk: Desk) -> Desk:
    """`main` is managed, and the list that is had for it has the key of `near`."""
    service = desk.service
    service.accounts.create_egress("out", addresses=("127.0.0.1",), source="127.0.0.1")
    made: Manager = manager(service)
    for name in ("main", "near"):
        service.accounts.create(name, venue="binance", upstream=UPSTREAM)
        credential = Credential(f"REAL{name}", Secret("planted-real-secret"), KeyType.HMAC)
        service.keys.import_key(name, slot=Slot.TRADE, credential=credential, facts=SAFE)
    desk.warden.keys[EMAIL] = (VenueKey("REALmain", ""),)
    service.managers.assign("main", made.name, EMAIL, lambda: desk.warden.keys[EMAIL])
    desk.warden.keys[EMAIL] = (VenueKey("REALnear", LABEL),)
    return desk


def close(desk: Desk) -> str:
    cut, _ = desk.service.cuts.close(
        targets=("everything",), mode=Mode.CLOSED, reason="restored", actor="portcullis"
    )
    return cut.id


@pytest.fixture
def closed(managed: Desk) -> str:
    """Everything is closed."""
    return close(managed)


@pytest.mark.parametrize(
    "since", [(), (VenueKey("MADEsince", "rot_" + "0b" * 10),)], ids=["it", "one made since"]
)
async def test_it_shows_no_key_dead_and_says_what_is_odd(
    desk: Desk, closed: str, monkeypatch: pytest.MonkeyPatch, since: tuple[VenueKey, ...]
) -> None:
    """In a ban every key is refused by name; the label of a rotation made the other account's key one of this one."""
    del closed
    desk.warden.keys[EMAIL] += since
    monkeypatch.setattr(reconcile_named, "SETTLES_US", 0)
    desk.venue.fault = VenueRefused("binance", "key.facts", "unknown_key")
    found = [await reconciled(desk) for _ in range(3)][-1]
    judged = {one["key"]: one["finding"] for one in found["keys"]}
    assert judged["main/trade/1"] != "dead", found["keys"]
    said = [one["what"] for one in found["steps"] if "near/trade/1" in one["what"] and "main" in one["what"]]
    assert said, found["steps"]
    assert not [one for one in found["steps"] if "Delete it there" in one["what"]], "it may be in use"


async def test_a_list_of_keys_that_no_record_knows_shows_no_key_dead(
    desk: Desk, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their label was one of rotations: that made the list this account's, and its living key dead in a ban."""
    del closed
    desk.warden.keys[EMAIL] = (VenueKey("MADEelsewhere", LABEL), VenueKey("STRANGEunlabelled", ""))
    monkeypatch.setattr(reconcile_named, "SETTLES_US", 0)
    desk.venue.fault = VenueRefused("binance", "key.facts", "unknown_key")
    found = [await reconciled(desk) for _ in range(3)][-1]
    judged = {one["key"]: one for one in found["keys"]}
    assert judged["main/trade/1"]["finding"] == "undecided"
    assert "may be another sub-account's" in judged["main/trade/1"]["note"]
    for key in "MADEelse", "STRANGEu":
        (step,) = [one for one in found["steps"] if key in one["what"]]
        assert "Delete nothing there before" in step["what"], "it may be in use"
        assert "portcullis account list" in step["what"]


@pytest.mark.parametrize("listed", ["another account's", "one made since the backup", "none"])
async def test_whoever_looked_a_key_up_is_believed_beside_it(managed: Desk, listed: str) -> None:
    """The word that was asked for was not taken: a list that was compared with nothing counted as one that has the key."""
    desk, service, keys = managed, managed.service, ["main/trade/1"]
    if listed != "another account's":
        desk.warden.keys[EMAIL] = ()
    if listed == "one made since the backup":  # both keys were rotated since: nothing there is on record
        reads = Credential("REALread", Secret("planted-real-secret"), KeyType.HMAC)
        service.keys.import_key(
            "main", slot=Slot.READ, credential=reads, facts=replace(SAFE, can_trade=False)
        )
        desk.warden.keys[EMAIL] = (VenueKey("MADEsince", LABEL),)
        keys.append("main/read/1")
    closed = close(desk)
    desk.venue.fault = VenueRefused("binance", "key.facts", "unknown_key")
    found = await reconciled(desk)
    for key in keys:
        assert any(f"portcullis reconcile --deleted {key}" in one["commands"] for one in found["steps"])
    found = await reconciled(desk, deleted=keys)
    assert "is said to be deleted, and the exchange has it" not in str(found["missing"])
    if listed == "another account's":
        return  # that list stands in the way until the account is under its own sub-account
    desk.venue.dead = dict.fromkeys(("REALmain", "REALread"), desk.venue.fault)
    desk.venue.fault = None  # the ban is over
    desk.warden.keys[EMAIL] = tuple(VenueKey(f"FRESH{key}", "") for key in keys)
    for key in keys:
        fresh = Credential(f"FRESH{key}", Secret("planted-real-secret"), KeyType.HMAC)
        service.keys.import_key("main", slot=Slot(key.split("/")[1]), credential=fresh, facts=SAFE)
    await reconciled(desk, confirmed=["near"])
    await opens(desk, closed)
