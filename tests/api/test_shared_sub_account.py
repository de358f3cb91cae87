"""What a list has lives, whoever's key is beside it; and every home opens whose accounts share a sub-account, or lost one."""

import pytest

from broker.db import accounts as account_store
from broker.db import rotations as rotation_store
from broker.gate import Mode
from broker.model import Death, KeyRef, Stage
from broker.service import reconcile_named
from clients.errors import VenueRefused
from clients.keys import VenueKey
from clients.secret import Secret
from clients.venue import Credential, KeyType, Slot
from rotation.journal import Journal
from rotation.plan import draw_up
from tests.api.desk import SAFE, UPSTREAM, Desk
from tests.api.test_lost_manager import manager, opens, reconciled, typed
from tests.rotation.place import now

EMAIL = "a@b.c"
MAIN, NEAR = VenueKey("REALmain", ""), VenueKey("REALnear", "")
GONE = VenueRefused("binance", "key.facts", "unknown_key", status=401, code="-2008")
REFUSED = VenueRefused("binance", "key.facts", "key_refused", status=401, code="-2015")


def imported(desk: Desk, account: str, key_id: str) -> None:
    credential = Credential(key_id, Secret("planted-real-secret"), KeyType.HMAC)
    desk.service.keys.import_key(account, slot=Slot.TRADE, credential=credential, facts=SAFE)


def managed(desk: Desk, account: str, email: str, *listed: VenueKey) -> None:
    desk.warden.keys[email] = listed
    desk.service.managers.assign(account, "master", email, lambda: listed)


def close(desk: Desk) -> str:
    cut, _ = desk.service.cuts.close(
        targets=("everything",), mode=Mode.CLOSED, reason="failover", actor="portcullis"
    )
    return cut.id


def ended(desk: Desk, ref: KeyRef, key_id: str) -> None:
    """End a key by a person's word, as `rotation answer --deleted` does."""
    with desk.service.desk.database.write() as connection:
        assert account_store.set_stage(connection, ref, Stage.TOMBSTONE, key_id=key_id, death=Death.STATED)


def death(desk: Desk, ref: KeyRef) -> Death:
    return next(key.death for key in desk.service.keys.list(ref.account) if key.ref == ref)


@pytest.fixture(autouse=True)
def placed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """`main`, which is to be managed, and `near`, by hand."""
    monkeypatch.setattr(reconcile_named, "SETTLES_US", 0)
    desk.service.accounts.create_egress("out", addresses=("127.0.0.1",), source="127.0.0.1")
    manager(desk.service)
    for name in ("main", "near"):
        desk.service.accounts.create(name, venue="binance", egress="out", upstream=UPSTREAM)
        imported(desk, name, f"REAL{name}")


@pytest.mark.parametrize("beside", [(), (NEAR,)], ids=["alone", "with another account's key"])
async def test_a_word_on_a_tombstone_that_the_list_has_is_not_taken(
    desk: Desk, beside: tuple[VenueKey, ...]
) -> None:
    """Beside another account's key nothing was compared: a living key was confirmed as deleted, and the home opened."""
    imported(desk, "main", "FRESHmain")
    managed(desk, "main", EMAIL, MAIN, VenueKey("FRESHmain", ""), *beside)
    old = KeyRef("main", Slot.TRADE, 1)
    ended(desk, old, "REALmain")
    close(desk)
    found = await reconciled(desk, deleted=[str(old)], confirmed=["main", "near"])
    assert death(desk, old) is Death.STATED, "the list of this very comparison has it"
    assert any(f"{old} is dead on record" in one["what"] for one in found["steps"])
    assert not found["well"]


@pytest.mark.parametrize("beside", [(), (NEAR,)], ids=["alone", "with another account's key"])
async def test_a_word_on_a_key_in_use_that_the_list_has_is_not_taken(
    desk: Desk, beside: tuple[VenueKey, ...]
) -> None:
    """Nobody can ask with it from here; the list has it."""
    managed(desk, "main", EMAIL, MAIN, *beside)
    close(desk)
    desk.venue.dead["REALmain"] = REFUSED
    found = await reconciled(desk, deleted=["main/trade/1"])
    assert "main/trade/1 is said to be deleted, and the exchange has it" in str(found["missing"])


@pytest.mark.parametrize("own", [(MAIN,), ()], ids=["with its own", "alone"])
@pytest.mark.parametrize("stage", [Stage.CURRENT, Stage.TOMBSTONE])
async def test_what_another_accounts_list_has_lives_too(
    desk: Desk, own: tuple[VenueKey, ...], stage: Stage
) -> None:
    """A key of the account by hand is in the list of the managed one: it was believed deleted, and called dead."""
    managed(desk, "main", EMAIL, MAIN)
    desk.warden.keys[EMAIL] = (*own, NEAR)
    near = KeyRef("near", Slot.TRADE, 1)
    if stage is Stage.TOMBSTONE:
        imported(desk, "near", "FRESHnear")
        ended(desk, near, "REALnear")
    close(desk)
    desk.venue.dead["REALnear"] = GONE
    for _ in range(2):
        found = await reconciled(desk, confirmed=["main", "near"], deleted=[str(near)])
        assert f"{near} is said to be deleted, and the exchange has it" in str(found["missing"])
        assert [one["finding"] for one in found["keys"] if one["key"] == str(near)] != ["dead"]
    if stage is Stage.TOMBSTONE:
        assert death(desk, near) is Death.STATED
        assert any(f"{near} is dead on record" in one["what"] for one in found["steps"])


async def test_two_accounts_of_one_sub_account_open_by_comparing(desk: Desk) -> None:
    """The list of the managed one has the other's key beside its own: "see to that", for ever, with nothing to see to."""
    managed(desk, "main", EMAIL, MAIN, NEAR)
    closed = close(desk)
    found = await reconciled(desk)
    assert [one["what"].partition(":")[0] for one in found["steps"] if one["blocks"]] == ["near"]
    await reconciled(desk, confirmed=["near"])
    await opens(desk, closed)


async def test_a_key_that_such_a_list_lacks_is_said_as_in_any_other(desk: Desk) -> None:
    """It is the account's own list: what it lacks, and what no record knows, is as odd as ever."""
    managed(desk, "main", EMAIL, MAIN)
    imported(desk, "main", "FRESHmain")
    desk.warden.keys[EMAIL] = (VenueKey("FRESHmain", ""), NEAR, VenueKey("STRANGEkey-here", "x"))
    desk.venue.dead["REALmain"] = GONE
    close(desk)
    found = [await reconciled(desk, confirmed=["near"]) for _ in range(2)][-1]
    assert {one["key"]: one["finding"] for one in found["keys"]}["main/trade/1"] == "dead"
    (step,) = [one for one in found["steps"] if one["blocks"]]
    assert "STRANGEk" in step["what"]
    assert "Delete it there" in step["what"]


async def test_an_account_that_went_on_as_another_one_is_given_up_by_words(desk: Desk) -> None:
    """Its sub-account is another account's now, with another key: no step led out."""
    managed(desk, "main", EMAIL, MAIN)
    desk.warden.keys[EMAIL] = (NEAR,)
    desk.venue.dead["REALmain"] = GONE
    closed = close(desk)
    found = await reconciled(desk, deleted=["main/trade/1"])
    (step,) = [one for one in found["steps"] if one["what"].startswith("main:")]
    assert "near/trade/1" in step["what"]
    assert "main/trade/1 is undecided" in step["do"]
    assert "portcullis reconcile --confirm main" in step["commands"]
    await reconciled(desk, confirmed=["main", "near"])
    await opens(desk, closed)


async def test_an_account_whose_sub_account_is_gone_is_given_up_by_words(desk: Desk) -> None:
    """One such account kept everything closed, and no word was heard."""
    managed(desk, "main", EMAIL, MAIN)
    del desk.warden.keys[EMAIL]
    desk.venue.dead["REALmain"] = GONE
    closed = close(desk)
    found = await reconciled(desk, deleted=["main/trade/1"])
    (step,) = [one for one in found["steps"] if one["what"].startswith("main:")]
    assert "the exchange lists no sub-account a@b.c under master any more" in step["what"]
    assert "portcullis reconcile --confirm main" in step["commands"]
    await reconciled(desk, confirmed=["main", "near"])
    await opens(desk, closed)


@pytest.mark.parametrize("email", [EMAIL, "gone@b.c"])
async def test_a_word_on_such_an_account_takes_no_question_about_its_key_away(desk: Desk, email: str) -> None:
    """That there are no other keys is said; whether this one lives is not."""
    managed(desk, "main", email, MAIN)
    desk.warden.keys = {EMAIL: (NEAR,)}
    desk.venue.dead["REALmain"] = GONE
    close(desk)
    found = await reconciled(desk, confirmed=["main", "near"])
    (step,) = [one for one in found["steps"] if one["blocks"]]
    assert "main/trade/1 is undecided" in step["what"]
    assert not any("rotation start" in one for one in step["commands"]), "a key would be made in that list"


@pytest.mark.parametrize("email", [EMAIL, "gone@b.c"])
async def test_no_word_is_heard_of_such_an_account_while_a_key_of_its_is_served(
    desk: Desk, email: str
) -> None:
    """That one belongs to a sub-account which is there: the account is put under it."""
    managed(desk, "main", email, MAIN)
    desk.warden.keys = {EMAIL: (NEAR,), "own@b.c": (MAIN,)}
    closed = close(desk)
    found = await reconciled(desk, confirmed=["main", "near"])
    (step,) = [one for one in found["steps"] if one["blocks"]]
    put = "portcullis account manage main --manager master --subaccount EMAIL"
    assert step["commands"] == [put, "portcullis account release main"]
    await typed(desk, put.replace("EMAIL", "own@b.c"))
    await opens(desk, closed)


@pytest.mark.parametrize("label", ["{}", "bot ({})", "({})"])
async def test_a_label_that_quotes_a_rotation_protects_no_key(desk: Desk, label: str) -> None:
    """What a rotation made bears its id, and nothing else: a stranger's was told not to be deleted."""
    managed(desk, "main", EMAIL, MAIN)
    planned = draw_up(desk.service, "main", Slot.TRADE, "asked", now())
    Journal(desk.service.desk.database, desk.service.audit, "x").plan(planned)
    desk.warden.keys[EMAIL] = (MAIN, VenueKey("THIEFkey-of-his", label.format(planned.id)))
    close(desk)
    found = await reconciled(desk)
    with desk.service.desk.database.read() as connection:
        assert [row.id for row in rotation_store.every_open(connection)] == [planned.id]
    (step,) = [one for one in found["steps"] if "THIEF" in one["what"] and one["blocks"]]
    assert ("do NOT delete it" in step["do"]) is (label == "{}")
    held = [one["what"] for one in found["steps"] if one["what"].startswith("the rotation")]
    assert ("THIEF" in str(held)) is (label == "{}")


async def test_an_unknown_key_in_a_list_of_anothers_is_told_and_opens_nothing(desk: Desk) -> None:
    """Nobody was told of it, and a word on the account opened everything beside it."""
    managed(desk, "main", EMAIL, MAIN)
    desk.warden.keys[EMAIL] = (NEAR, VenueKey("STRANGEkey-here", "x"))
    desk.venue.dead["REALmain"] = GONE
    closed = close(desk)
    found = await reconciled(desk, deleted=["main/trade/1"], confirmed=["main", "near"])
    (step,) = [one for one in found["steps"] if one["blocks"]]
    assert "STRANGEk" in step["what"]
    assert "Delete nothing there before" in step["what"]
    assert step["commands"] == ["portcullis reconcile", "portcullis account release main"]
    await typed(desk, step["commands"][1])
    await reconciled(desk, confirmed=["main"])
    await opens(desk, closed)


@pytest.mark.parametrize("strange", ["another account's", "one on no record"])
async def test_a_dead_key_shows_no_list_to_be_the_accounts(desk: Desk, strange: str) -> None:
    """The account had it under another sub-account: a key was to be made there, and what is in use there deleted."""
    imported(desk, "main", "FRESHmain")
    managed(desk, "main", EMAIL, MAIN, VenueKey("FRESHmain", ""))
    old = KeyRef("main", Slot.TRADE, 1)
    ended(desk, old, "REALmain")
    unknown = VenueKey("STRANGEkey-here", "x")
    desk.warden.keys[EMAIL] = (MAIN, unknown) if strange == "one on no record" else (MAIN, NEAR, unknown)
    desk.venue.dead["FRESHmain"] = GONE
    close(desk)
    for _ in range(2):
        found = await reconciled(desk, confirmed=["near"])
    steps = [one for one in found["steps"] if one["blocks"]]
    (told,) = [one for one in steps if "STRANGEk" in one["what"]]
    assert "Delete nothing there before" in told["what"]
    assert any(f"{old} is dead on record, and the exchange lists it" in one["what"] for one in steps)
    if strange == "another account's":
        assert any("perhaps managed under another sub-account" in one["what"] for one in steps)
        assert not any("rotation start" in one for step in steps for one in step["commands"])
