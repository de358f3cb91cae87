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
