"""Manager keys are taken in only if they may do no more than needed, and get accounts that are really theirs."""

from dataclasses import replace
from typing import Any

import pytest

from clients.errors import VenueRefused, VenueUnavailable
from clients.keys import VenueKey
from clients.secret import Secret
from clients.venue import Credential, KeyType, Slot
from tests.api.desk import SAFE, UPSTREAM, Desk

SECRET = "planted-manager-secret"
NEW = {"name": "master", "key_id": "MANAGER", "secret": SECRET, "upstream": UPSTREAM}


async def ask(desk: Desk, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    async with desk.client() as client:
        answer = await client.request(method, f"/v1/{path}", json=body)
        assert SECRET not in answer.text
        return answer.status_code, answer.json()


@pytest.fixture
def account(desk: Desk) -> str:
    desk.service.accounts.create("main", venue="binance", upstream=UPSTREAM)
    key = Credential("REAL", Secret("planted-real-secret"), KeyType.HMAC)
    desk.service.keys.import_key("main", slot=Slot.TRADE, credential=key, facts=SAFE)
    desk.warden.keys["a@b.c"] = (VenueKey("REAL", ""),)
    return "main"


async def test_it_is_stored_and_listed_without_its_secret(desk: Desk) -> None:
    status, made = await ask(desk, "POST", "managers", NEW)
    assert status == 201, made
    manager = desk.service.managers.get("master")
    assert desk.service.managers.credential(manager).secret.reveal() == SECRET
    assert desk.service.desk.secrets.metadata(manager.path)["venue_key_id"] == "MANAGER"
    _, listed = await ask(desk, "GET", "managers")
    assert [one["venue_key_id"] for one in listed["items"]] == ["MANAGER"]
    _, audit = await ask(desk, "GET", "audit")
    assert "manager.import" in [entry["action"] for entry in audit["items"]]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(SAFE, can_withdraw=True), "can_withdraw"),
        (replace(SAFE, ip_restricted=False), "any_address"),
        (replace(SAFE, can_trade=False), "lacks_rights"),
        (replace(SAFE, can_read=False), "lacks_rights"),
    ],
)
async def test_one_that_may_do_too_much_or_too_little_is_refused(desk: Desk, facts: Any, reason: str) -> None:
    desk.warden.facts_said = facts
    status, problem = await ask(desk, "POST", "managers", NEW)
    assert (status, problem["reason"]) == (409, reason)
    assert desk.service.managers.list() == ()
    assert desk.service.desk.secrets.paths("managers/") == ()


@pytest.mark.parametrize("fault", [
    VenueRefused("binance", "subaccount.list", "not_permitted", status=400, code="-1002"),
    VenueUnavailable("binance", "x", "timed_out"),
])  # fmt: skip
async def test_one_the_venue_does_not_answer_for_is_refused(desk: Desk, fault: Exception) -> None:
    desk.warden.fault = fault
    status, _ = await ask(desk, "POST", "managers", NEW)
    assert status >= 400
    assert desk.service.managers.list() == ()


async def test_a_name_is_given_once(desk: Desk) -> None:
    await ask(desk, "POST", "managers", NEW)
    status, problem = await ask(desk, "POST", "managers", NEW | {"key_id": "OTHER"})
    assert (status, problem["reason"]) == (409, "taken")


async def test_an_account_whose_keys_are_listed_comes_under_it(desk: Desk, account: str) -> None:
    await ask(desk, "POST", "managers", NEW)
    status, made = await ask(
        desk, "PUT", f"accounts/{account}/manager", {"manager": "master", "subaccount": "a@b.c"}
    )
    assert (status, made["manager"], made["subaccount"]) == (200, "master", "a@b.c")


@pytest.mark.parametrize(
    ("listed", "subaccount", "reason"),
    [
        ((VenueKey("STRANGER", ""),), "a@b.c", "other_account"),
        ((), "a@b.c", "other_account"),
        ((), "not@there", "bad_subaccount"),
    ],
)
async def test_somebody_elses_sub_account_is_refused(
    desk: Desk, account: str, listed: tuple[VenueKey, ...], subaccount: str, reason: str
) -> None:
    await ask(desk, "POST", "managers", NEW)
    desk.warden.keys["a@b.c"] = listed
    status, problem = await ask(
        desk, "PUT", f"accounts/{account}/manager", {"manager": "master", "subaccount": subaccount}
    )
    assert (status >= 400, problem["reason"]) == (True, reason)
    assert desk.service.accounts.get(account).manager is None


async def test_two_accounts_are_never_the_same_sub_account(desk: Desk, account: str) -> None:
    await ask(desk, "POST", "managers", NEW)
    body = {"manager": "master", "subaccount": "a@b.c"}
    await ask(desk, "PUT", f"accounts/{account}/manager", body)
    desk.service.accounts.create("second", venue="binance", upstream=UPSTREAM)
    status, problem = await ask(desk, "PUT", "accounts/second/manager", body)
    assert (status, problem["reason"]) == (409, "taken")


def key_of(name: str) -> Credential:
    return Credential(name, Secret("planted-real-secret"), KeyType.HMAC)


def replaced(desk: Desk) -> None:
    """Let the account have a second key in use; the first one is deleted at the exchange, which nobody proved."""
    desk.service.keys.import_key("main", slot=Slot.TRADE, credential=key_of("FRESH"), facts=SAFE)
    desk.venue.dead["REAL"] = VenueRefused("binance", "key.facts", "unknown_key", status=401, code="-2008")


async def put(desk: Desk, email: str = "a@b.c", manager: str = "master") -> tuple[int, Any]:
    body = {"manager": manager, "subaccount": email}
    return await ask(desk, "PUT", "accounts/main/manager", body)


async def test_a_key_that_is_dead_at_the_exchange_keeps_no_account_from_its_manager_key(
    desk: Desk, account: str
) -> None:
    """It was said to belong to another sub-account; the one in use is listed, and this one refused by name."""
    del account
    await ask(desk, "POST", "managers", NEW)
    replaced(desk)
    desk.warden.keys["a@b.c"] = (VenueKey("FRESH", ""),)
    status, made = await put(desk)
    assert (status, made.get("manager")) == (200, "master"), made


@pytest.mark.parametrize("listed", [(), (VenueKey("FRESH", ""),)], ids=["none", "the one in use"])
async def test_one_that_is_not_refused_by_name_is_deleted_by_a_word(
    desk: Desk, account: str, listed: tuple[VenueKey, ...]
) -> None:
    """What is printed leads on; a word on a key that is served is none, and no refusal by name counts in a bare list."""
    del account
    await ask(desk, "POST", "managers", NEW)
    replaced(desk)
    if listed:
        desk.venue.dead["REAL"] = VenueRefused("binance", "x", "key_refused", status=401, code="-2015")
    else:
        desk.venue.dead["FRESH"] = desk.venue.dead["REAL"]
    desk.warden.keys["a@b.c"] = listed
    for _ in range(2):
        status, problem = await put(desk)
        if status == 200:
            break
        assert (status, problem["reason"]) == (409, "other_account")
        command = problem["detail"].partition("portcullis reconcile --deleted ")[2]
        await ask(desk, "POST", "reconciliations", {"deleted": [command.partition(".")[0]]})
    assert (await put(desk))[0] == 200
    assert desk.service.accounts.get("main").subaccount == "a@b.c"


async def test_a_word_on_a_key_that_is_served_puts_no_account_elsewhere(desk: Desk, account: str) -> None:
    await ask(desk, "POST", "managers", NEW)
    desk.warden.keys["a@b.c"] = ()
    await ask(desk, "POST", "reconciliations", {"deleted": ["main/trade/1"]})
    assert (await put(desk))[0] == 409
    assert desk.service.accounts.get(account).manager is None


async def test_a_word_that_was_untrue_is_no_better_later(desk: Desk, account: str) -> None:
    """It was said in an outage, when nothing belied it; the exchange serves the key as the account is put elsewhere."""
    await ask(desk, "POST", "managers", NEW)
    desk.warden.keys["a@b.c"], desk.venue.fault = (), VenueUnavailable("binance", "x", "timed_out")
    await ask(desk, "POST", "reconciliations", {"deleted": ["main/trade/1"]})
    desk.venue.fault = None
    assert (await put(desk))[0] == 409
    desk.venue.fault = VenueUnavailable("binance", "x", "timed_out")
    assert (await put(desk))[0] == 200, "nothing belies it"
    assert desk.service.accounts.get(account).subaccount == "a@b.c"


async def test_another_manager_key_of_the_same_sub_account_is_taken_whatever_is_listed(
    desk: Desk, account: str
) -> None:
    """A restore that is older than a rotation, and a manager key that is dead: the printed way on was refused."""
    del account
    await ask(desk, "POST", "managers", NEW)
    await ask(desk, "POST", "managers", NEW | {"name": "master-2", "key_id": "OTHER"})
    assert (await put(desk))[0] == 200
    desk.warden.keys |= {"a@b.c": (VenueKey("MADEsince", "rot_" + "0a" * 10),), "b@b.c": ()}
    assert (await put(desk, manager="master-2"))[0] == 200
    assert desk.service.accounts.get("main").manager == "master-2"
    assert (await put(desk, "b@b.c", "master-2"))[0] == 409, "its living key is not there"


async def test_a_key_of_another_sub_account_is_not_imported(desk: Desk, account: str) -> None:
    """It was taken, and everything that a list lacks or has was said of the wrong keys from then on."""
    await ask(desk, "POST", "managers", NEW)
    assert (await put(desk))[0] == 200
    new = {"account": account, "slot": "trade", "key_id": "ELSEWHERE", "secret": "planted-real-secret"}
    status, problem = await ask(desk, "POST", "keys", new)
    assert (status, problem["reason"]) == (409, "other_account")
    assert len(desk.service.keys.list(account)) == 1
    desk.warden.keys["a@b.c"] = ()
    assert (await ask(desk, "POST", "keys", new | {"key_id": "REAL"}))[0] == 201, "it is on record"
    desk.warden.keys["a@b.c"] = (VenueKey("ELSEWHERE", ""),)
    assert (await ask(desk, "POST", "keys", new))[0] == 201


@pytest.mark.parametrize("how", ["refused", "timed out", "gone"])
async def test_a_list_that_cannot_be_had_keeps_no_key_out(desk: Desk, account: str, how: str) -> None:
    """A fresh key may be all that leads on."""
    await ask(desk, "POST", "managers", NEW)
    assert (await put(desk))[0] == 200
    if how == "gone":
        del desk.warden.keys["a@b.c"]
    else:
        desk.warden.fault = (
            VenueRefused("binance", "x", "unknown_key", status=401, code="-2008")
            if how == "refused"
            else VenueUnavailable("binance", "x", "timed_out")
        )
    new = {"account": account, "slot": "trade", "key_id": "FRESH", "secret": "planted-real-secret"}
    assert (await ask(desk, "POST", "keys", new))[0] == 201
