"""Manager keys are taken in only if they may do no more than needed, and get accounts that are really theirs."""

import json
from dataclasses import replace
from typing import Any

import pytest

from broker.db import meta
from broker.gate import Mode
from broker.service.declared import LATELY_US
from broker.service.reconcile_named import SETTLES_US
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


def aged(desk: Desk, fact: str, by_us: int, base: str | None = None) -> None:
    """Let what was seen or said be so long ago, or before the last boot."""
    with desk.service.desk.database.write() as connection:
        known = json.loads(meta.get(connection, fact) or "{}")
        for one in (found.get("at", found) for found in known.values()):
            one["boot_us"] -= by_us
            one["wall_us"] -= by_us
            one["base"] = one["base"] if base is None else base
        assert known
        meta.put(connection, fact, json.dumps(known))


async def test_a_key_that_is_dead_at_the_exchange_keeps_no_account_from_its_manager_key(
    desk: Desk, account: str
) -> None:
    """It was said to belong to another sub-account; the one in use is listed, and this one refused by name."""
    del account
    await ask(desk, "POST", "managers", NEW)
    replaced(desk)
    desk.warden.keys["a@b.c"] = (VenueKey("FRESH", ""),)
    assert (await put(desk))[0] == 409
    aged(desk, "manage_named", SETTLES_US)
    status, made = await put(desk)
    assert (status, made.get("manager")) == (200, "master"), made


@pytest.mark.parametrize(
    "between", ["a moment", "served", "a boot", "another sub-account's list", "it alone is listed no more"]
)
async def test_a_refusal_by_name_that_was_seen_once_puts_no_account_anywhere(
    desk: Desk, account: str, between: str
) -> None:
    """In a ban living keys are refused so: one look was believed, and another sub-account was managed as this one."""
    del account
    await ask(desk, "POST", "managers", NEW)
    replaced(desk)
    desk.warden.keys |= {"a@b.c": (VenueKey("FRESH", ""),), "b@b.c": (VenueKey("FRESH", ""),)}
    status, problem = await put(desk, "b@b.c" if between == "another sub-account's list" else "a@b.c")
    assert (status, problem["reason"]) == (409, "seen_once"), problem
    assert "portcullis reconcile --deleted main/trade/1" in problem["detail"]
    aged(
        desk, "manage_named", SETTLES_US - 1_000_000 if between == "a moment" else SETTLES_US,
        "another boot" if between == "a boot" else None,
    )  # fmt: skip
    if between == "served":
        gone = desk.venue.dead.pop("REAL")
        assert (await put(desk))[1]["reason"] == "other_account"
        desk.venue.dead["REAL"] = gone
    if between == "it alone is listed no more":
        desk.warden.keys["a@b.c"] = ()
        desk.venue.dead["FRESH"] = desk.venue.dead["REAL"]
        assert (await put(desk))[1]["reason"] == "other_account"
        desk.warden.keys["a@b.c"] = (VenueKey("FRESH", ""),)
    status, problem = await put(desk)
    assert (status, problem["reason"]) == (409, "seen_once"), problem
    assert desk.service.accounts.get("main").manager is None


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed since before it"])
@pytest.mark.parametrize(
    ("age_us", "base", "counts"),
    [
        (LATELY_US - 3_600_000_000, None, True), (LATELY_US + 1_000_000, None, False),
        (3_600_000_000, "before a boot", True), (LATELY_US, "before a boot", False),
    ],
)  # fmt: skip
async def test_an_old_word_puts_no_account_anywhere(
    desk: Desk, account: str, *, closed: bool, age_us: int, base: str | None, counts: bool
) -> None:
    """It was said in a trouble that is over; nothing forgets it before everything is closed the next time."""
    del account
    await ask(desk, "POST", "managers", NEW)
    if closed:
        desk.service.cuts.close(
            targets=("everything",), mode=Mode.CLOSED, reason="restored", actor="portcullis"
        )
    desk.warden.keys["a@b.c"] = ()
    desk.venue.dead["REAL"] = VenueRefused("binance", "x", "key_refused", status=401, code="-2015")
    await ask(desk, "POST", "reconciliations", {"deleted": ["main/trade/1"]})
    aged(desk, "reconcile_deleted_at", age_us, base)
    status, problem = await put(desk)
    assert (status == 200) is (counts or closed), problem
    await ask(desk, "POST", "reconciliations", {"deleted": ["main/trade/1"]})
    assert (await put(desk))[0] == 200, "said once more it counts"


@pytest.mark.parametrize("fault", [KeyError("x"), ValueError("x")])
async def test_what_fails_unforeseen_bars_no_key_and_decides_nothing(
    desk: Desk, account: str, fault: Exception
) -> None:
    """A manager key's secret that is no key, an answer of a strange form: both ended as an error of ours."""
    await ask(desk, "POST", "managers", NEW)
    desk.warden.keys["b@b.c"], desk.venue.dead["REAL"] = (), fault
    assert (await put(desk, "b@b.c"))[1].get("reason") == "other_account"
    assert (await put(desk))[0] == 200
    desk.warden.fault = fault
    new = {"account": account, "slot": "trade", "key_id": "FRESH", "secret": "planted-real-secret"}
    assert (await ask(desk, "POST", "keys", new))[0] == 201


async def test_a_shared_sub_account_is_no_circle(desk: Desk, account: str) -> None:
    """An import said "manage it there", that said "taken": now each names what leads out."""
    await ask(desk, "POST", "managers", NEW)
    assert (await put(desk))[0] == 200
    desk.service.accounts.create("near", venue="binance", upstream=UPSTREAM)
    desk.warden.keys |= {"wrong@b.c": (), "a@b.c": (VenueKey("REAL", ""), VenueKey("NEAR", ""))}
    under = {"manager": "master", "subaccount": "wrong@b.c"}
    assert (await ask(desk, "PUT", "accounts/near/manager", under))[0] == 200
    new = {"account": "near", "slot": "trade", "key_id": "NEAR", "secret": "planted-real-secret"}
    release = "portcullis account release near"
    _, problem = await ask(desk, "POST", "keys", new)
    assert release in problem["detail"]
    status, problem = await ask(desk, "PUT", "accounts/near/manager", under | {"subaccount": "a@b.c"})
    assert (status, problem["reason"]) == (409, "taken")
    assert release in problem["detail"]
    assert (await ask(desk, "POST", "accounts/near/release"))[0] == 200
    assert (await ask(desk, "POST", "keys", new))[0] == 201
    assert desk.service.accounts.get(account).subaccount == "a@b.c"


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
