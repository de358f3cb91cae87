"""An account is released from its manager key, and made and looked up by hand: so every restored home opens."""

from typing import Any

import pytest

from broker.db import accounts as account_store
from broker.db import findings
from broker.deeds import Deed
from broker.errors import Withheld
from broker.gate import Mode
from broker.model import Death, KeyRef, Stage
from broker.service import reconcile_named
from clients.errors import VenueRefused, VenueUnavailable
from clients.keys import VenueKey
from clients.secret import Secret
from clients.venue import Credential, KeyType, Slot
from rotation.journal import Journal
from rotation.plan import draw_up
from tests.api.desk import POLICY, SAFE, UPSTREAM, Desk
from tests.api.test_lost_manager import manager, opens, reconciled, typed
from tests.losing import lose
from tests.rotation.place import now

EMAIL, OTHER = "a@b.c", "b@b.c"
GONE = VenueRefused("binance", "key.facts", "unknown_key", status=401, code="-2008")
REFUSED = VenueRefused("binance", "key.facts", "key_refused", status=401, code="-2015")
RELEASE = "portcullis account release {}"


@pytest.fixture(autouse=True)
def placed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """`main` and `second`, each with a key in use and by the way of the manager key."""
    monkeypatch.setattr(reconcile_named, "SETTLES_US", 0)
    service = desk.service
    service.accounts.create_egress("out", addresses=("127.0.0.1",), source="127.0.0.1")
    manager(service)
    for name in ("main", "second"):
        service.accounts.create(name, venue="binance", egress="out", upstream=UPSTREAM)
        credential = Credential(f"REAL{name}", Secret("planted-real-secret"), KeyType.HMAC)
        service.keys.import_key(name, slot=Slot.TRADE, credential=credential, facts=SAFE)


def managed(desk: Desk, account: str = "main", email: str = EMAIL) -> None:
    desk.warden.keys[email] = (VenueKey(f"REAL{account}", ""),)
    desk.service.managers.assign(account, "master", email, lambda: desk.warden.keys[email])


def close(desk: Desk) -> str:
    cut, _ = desk.service.cuts.close(
        targets=("everything",), mode=Mode.CLOSED, reason="restored", actor="portcullis"
    )
    return cut.id


async def ask(desk: Desk, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    async with desk.client() as client:
        answer = await client.request(method, f"/v1/{path}", json=body)
        return answer.status_code, answer.json()


async def released(desk: Desk, account: str = "main") -> tuple[int, Any]:
    return await ask(desk, "POST", f"accounts/{account}/release")


def steps_of(found: dict[str, Any], account: str) -> list[dict[str, Any]]:
    return [one for one in found["steps"] if one["blocks"] and one["what"].startswith(account)]


def commands_of(found: dict[str, Any], account: str) -> list[str]:
    return [command for one in steps_of(found, account) for command in one["commands"]]


# --- homes that could not be opened ---------------------------------------------------------------


async def test_an_account_without_a_grant_whose_list_is_empty_and_that_no_key_is_made_for(desk: Desk) -> None:
    """Its key is dead; every word on it was refused as long as a manager key listed the account's keys: none."""
    managed(desk)
    desk.warden.keys[EMAIL] = ()
    desk.venue.dead["REALmain"] = GONE
    closed = close(desk)
    await reconciled(desk, confirmed=["main", "second"], deleted=["main/trade/1"])
    found = await reconciled(desk, confirmed=["main"], deleted=["main/trade/1"])
    assert steps_of(found, "main"), "a list of its own is no account that was given up"
    assert RELEASE.format("main") in commands_of(found, "main")
    await typed(desk, RELEASE.format("main"))
    found = await reconciled(desk)
    assert not found["well"], "nothing opens by the release"
    assert commands_of(found, "main") == ["portcullis reconcile --confirm main"]
    await reconciled(desk, confirmed=["main"])
    await opens(desk, closed)


async def test_a_sub_account_that_is_gone_under_a_manager_key_that_is_lost(desk: Desk) -> None:
    """No other manager key was taken for it, and no word on its key."""
    managed(desk)
    del desk.warden.keys[EMAIL]
    desk.venue.dead["REALmain"] = GONE
    lose(desk.service.desk.secrets, desk.service.managers.get("master").path, "destroyed")
    closed = close(desk)
    found = await reconciled(desk, confirmed=["second"])
    new = "portcullis manager import --name master-2 --egress out"
    assert new in commands_of(found, "main")
    await typed(desk, new)
    status, problem = await ask(
        desk, "PUT", "accounts/main/manager", {"manager": "master-2", "subaccount": EMAIL}
    )
    assert (status, problem["reason"]) == (400, "bad_subaccount")
    assert RELEASE.format("main") in problem["detail"]
    assert RELEASE.format("main") in commands_of(found, "main")
    await typed(desk, RELEASE.format("main"))
    await reconciled(desk, deleted=["main/trade/1"], confirmed=["main"])
    await opens(desk, closed)


@pytest.mark.parametrize("both", [False, True], ids=["one goes by hand", "each goes under its own"])
async def test_two_accounts_under_each_others_sub_account(desk: Desk, both: bool) -> None:
    """Each one's own was taken by the other, and both keys are served."""
    managed(desk)
    managed(desk, "second", OTHER)
    desk.warden.keys = {EMAIL: (VenueKey("REALsecond", ""),), OTHER: (VenueKey("REALmain", ""),)}
    closed = close(desk)
    found = await reconciled(desk, confirmed=["main", "second"])
    own = {"main": OTHER, "second": EMAIL}
    for name, email in own.items():
        assert RELEASE.format(name) in commands_of(found, name)
        status, problem = await ask(
            desk, "PUT", f"accounts/{name}/manager", {"manager": "master", "subaccount": email}
        )
        assert (status, problem["reason"]) == (409, "taken")
        assert RELEASE.format("second" if name == "main" else "main") in problem["detail"]
    put = "portcullis account manage {} --manager master --subaccount {}"
    await typed(desk, RELEASE.format("main"))
    await typed(desk, put.format("second", EMAIL))
    if both:
        await typed(desk, put.format("main", OTHER))
        await opens(desk, closed)
        return
    found = await reconciled(desk)
    assert commands_of(found, "main") == ["portcullis reconcile --confirm main"]
    await reconciled(desk, confirmed=["main"])
    await opens(desk, closed)


@pytest.mark.parametrize("listed", ["another account's", "no sub-account"])
async def test_a_sub_account_under_no_manager_key_that_is_to_hand(desk: Desk, listed: str) -> None:
    """It trades; the one way out was a manager key that nobody had."""
    managed(desk)
    desk.warden.keys = {EMAIL: (VenueKey("REALsecond", ""),)} if listed == "another account's" else {}
    closed = close(desk)
    found = await reconciled(desk, confirmed=["main", "second"])
    assert RELEASE.format("main") in commands_of(found, "main")
    await typed(desk, RELEASE.format("main"))
    found = await reconciled(desk)
    assert commands_of(found, "main") == ["portcullis reconcile --confirm main"], "it is said anew"
    await reconciled(desk, confirmed=["main"])
    await opens(desk, closed)


# --- what a release is, and what it is not --------------------------------------------------------


async def test_it_is_audited_and_answered_and_does_nothing_twice(desk: Desk) -> None:
    managed(desk)
    for _ in range(2):
        status, shown = await released(desk)
        assert (status, shown["manager"], shown["subaccount"]) == (200, None, None)
    _, audit = await ask(desk, "GET", "audit")
    (entry,) = [one for one in audit["items"] if one["action"] == "account.release"]
    assert entry["subject"] == "account:main"
    assert "master" in entry["details"]
    assert EMAIL in entry["details"]
    assert [one["name"] for one in (await ask(desk, "GET", "accounts"))[1]["items"]] == ["main", "second"]
    assert (await released(desk, "nobody"))[0] == 404


async def test_whoever_lost_the_homes_place_changes_no_manager_key_of_an_account(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    managed(desk)

    def no(*_: object) -> None:
        raise Withheld("superseded", "restored elsewhere")

    monkeypatch.setattr(desk.service.desk.guard, "ensure", no)
    assert (await released(desk))[1]["reason"] == "superseded"
    body = {"manager": "master", "subaccount": EMAIL}
    assert (await ask(desk, "PUT", "accounts/main/manager", body))[1]["reason"] == "superseded"
    assert desk.service.accounts.get("main").manager == "master"
    assert Deed.MANAGE.asks


async def test_a_rotation_that_needs_the_manager_key_keeps_it(desk: Desk) -> None:
    managed(desk)
    planned = draw_up(desk.service, "main", Slot.TRADE, "asked", now())
    journal = Journal(desk.service.desk.database, desk.service.audit, "x")
    journal.plan(planned)
    status, problem = await released(desk)
    assert (status, problem["reason"]) == (409, "rotating")
    assert planned.id in problem["detail"]
    assert desk.service.accounts.get("main").manager == "master"


@pytest.mark.parametrize("way", ["released", "managed"])
async def test_a_rotation_that_was_drawn_up_before_is_not_begun_after(desk: Desk, way: str) -> None:
    """It would ask a manager key that looks after the account no more, or a person who need not."""
    if way == "released":
        managed(desk)
    planned = draw_up(desk.service, "main", Slot.TRADE, "asked", now())
    if way == "released":
        await released(desk)
    else:
        managed(desk)
    with pytest.raises(Exception, match="ask again") as caught:
        Journal(desk.service.desk.database, desk.service.audit, "x").plan(planned)
    assert getattr(caught.value, "reason", "") == "moved"


@pytest.mark.parametrize("said", [REFUSED, VenueUnavailable("binance", "x", "timed_out")])
async def test_a_living_key_is_called_dead_by_no_release(desk: Desk, said: Exception) -> None:
    """The list has it, and nothing else says anything: after the release nothing says that it is dead."""
    managed(desk)
    desk.venue.dead["REALmain"] = said
    close(desk)
    await released(desk)
    for _ in range(3):
        found = await reconciled(desk, confirmed=["main", "second"])
        assert {one["key"]: one["finding"] for one in found["keys"]}["main/trade/1"] == "undecided"
        assert not found["well"]


async def test_what_was_looked_up_beside_a_list_is_said_anew(desk: Desk) -> None:
    """A word on what a list had is none on what nobody lists."""
    managed(desk)
    desk.warden.keys[EMAIL] += (VenueKey("STRANGEkey-here", "x"),)
    closed = close(desk)
    found = await reconciled(desk, confirmed=["main", "second"])
    assert "STRANGEk" in str(found["missing"])
    await released(desk)
    found = await reconciled(desk)
    assert commands_of(found, "main") == ["portcullis reconcile --confirm main"]
    await reconciled(desk, confirmed=["main"])
    await opens(desk, closed)


@pytest.mark.parametrize("keys", ["a tombstone", "none"])
async def test_an_account_without_a_living_key_is_looked_up_too(desk: Desk, keys: str) -> None:
    """Its list had a key that no record knows: after the release nobody asked about it, and everything opened."""
    name, email = "main", EMAIL
    if keys == "none":
        name, email = "third", "c@b.c"
        desk.service.accounts.create(name, venue="binance", egress="out", upstream=UPSTREAM)
        desk.warden.keys[email] = ()
        await typed(desk, f"portcullis account manage {name} --manager master --subaccount {email}")
    else:
        managed(desk)
        with desk.service.desk.database.write() as connection:
            assert account_store.set_stage(
                connection, KeyRef(name, Slot.TRADE, 1), Stage.TOMBSTONE, death=Death.PROVEN
            )
    desk.warden.keys[email] = (VenueKey("STRANGEkey-here", "x"),)
    close(desk)
    assert "STRANGEk" in str((await reconciled(desk, confirmed=["second", "main"]))["missing"])
    await released(desk, name)
    found = await reconciled(desk)
    assert f"portcullis reconcile --confirm {name}" in commands_of(found, name)


async def test_what_a_sweep_found_stands_until_somebody_has_looked(desk: Desk) -> None:
    """No sweep looks at the account any more: what it alone could end is over, a key on no record is not."""
    managed(desk)
    service = desk.service
    ones = [
        findings.Finding("main", "STRANGEkey", "unknown", "a key that is not on record"),
        findings.Finding("main", "MANAGER", "manager", "the exchange refuses the manager key"),
        findings.Finding("main", "REALmain", "missing", "is not listed", "main/trade/1"),
        findings.Finding("main", "REALmain", "permissions", "it may WITHDRAW", "main/trade/1"),
    ]
    with service.desk.database.write() as connection:
        findings.begin(connection, "main", "swp_1", 1)
        findings.found(connection, "main", ones, 1)
        findings.lacking(connection, "main", f"master: {EMAIL}", {"OLDkey": "main/trade/0"}, 1)
    await released(desk)
    assert {one.what for one in service.rotations.findings()} == {"unknown", "permissions"}
    with service.desk.database.write() as connection:
        assert not findings.is_last(connection, "main", "swp_1"), "one on its way writes nothing"
        assert findings.lacking(connection, "main", f"master: {EMAIL}", {"OLDkey": "main/trade/0"}, 9) == {
            "OLDkey": 9
        }
    await reconciled(desk, confirmed=["second"])
    assert "unknown" in {one.what for one in service.rotations.findings()}
    await reconciled(desk, confirmed=["main"])
    assert {one.what for one in service.rotations.findings()} == {"permissions"}


async def test_an_account_with_a_grant_keeps_its_slot(desk: Desk) -> None:
    """Nobody is told to give up what a bot is to trade on."""
    managed(desk)
    desk.service.grants.create_consumer("bot")
    grant = {"consumer": "bot", "account": "main", "policy": POLICY}
    assert (await ask(desk, "POST", "grants", grant))[0] == 201
    desk.warden.keys[EMAIL] = ()
    desk.venue.dead["REALmain"] = GONE
    closed = close(desk)
    for _ in range(2):
        found = await reconciled(desk, confirmed=["main", "second"])
        assert RELEASE.format("main") not in commands_of(found, "main")
    await released(desk)
    found = await reconciled(desk, confirmed=["main"], deleted=["main/trade/1"])
    assert any("key import" in one for one in commands_of(found, "main"))
    assert not found["well"]
    assert any("end its grants, destinations and checkouts" in one["do"] for one in steps_of(found, "main"))
    (made,) = desk.service.grants.list().items
    assert (await ask(desk, "POST", f"grants/{made.id}/revoke", {"reason": "over"}))[0] == 200
    await opens(desk, closed)
