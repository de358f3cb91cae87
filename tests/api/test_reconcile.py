"""What the program closed by itself is thawed only after somebody compared with the venues, and all was well."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from broker.db import Connection, meta
from broker.db import accounts as account_store
from broker.db import cuts as cut_store
from broker.db import rotations as rotation_store
from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.model import Account, KeyRef, KeyVersion, Stage
from broker.ports import Clock
from broker.service.host_guard import RECONCILED
from broker.service.reconcile import RESTORED, RESTORED_KEYS
from clients.egress import Egress
from clients.errors import VenueRefused, VenueUnavailable
from clients.keys import VenueKey
from clients.secret import Secret
from clients.venue import Credential, KeyFacts, KeyType, Slot
from tests.api.desk import POLICY, SAFE, UPSTREAM, Desk, FakeVenue
from tests.broker.test_reconcile_named import aged

BODY = {"confirmed": ["main"], "old_host_off": True}


@pytest.fixture
def closed(desk: Desk) -> str:
    """A home with a key, and everything closed by the program."""
    desk.service.accounts.create("main", venue="binance", upstream=UPSTREAM)
    credential = Credential("REAL", Secret("planted-real-secret"), KeyType.HMAC)
    desk.service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=SAFE)
    cut, _ = desk.service.cuts.close(
        targets=("everything",), mode=Mode.CLOSED, reason="restored", actor="portcullis"
    )
    return cut.id


async def thawed(desk: Desk, cut: str) -> int:
    async with desk.client() as client:
        return (await client.post("/v1/thaws", json={"cut": cut, "reason": "looked"})).status_code


async def test_nothing_is_thawed_before_it_is_reconciled(desk: Desk, closed: str) -> None:
    assert await thawed(desk, closed) == 409
    async with desk.client() as client:
        found = (await client.post("/v1/reconciliations", json=BODY)).json()
    (step,) = found.pop("steps")
    assert found == {"well": True, "keys": [
        {"key": "main/trade/1", "stage": "current", "finding": "alive", "note": ""}], "missing": [],
        "environment": "paper", "waits": "Everything that was closed stays closed."}  # fmt: skip
    assert step["commands"] == [f'portcullis thaw {closed} --reason "compared with the exchanges"']
    assert await thawed(desk, closed) == 200


async def test_an_older_reconciliation_does_not_count(desk: Desk, closed: str) -> None:
    async with desk.client() as client:
        await client.post("/v1/reconciliations", json=BODY)
    later, _ = desk.service.cuts.close(
        targets=("everything",), mode=Mode.CLOSED, reason="failover", actor="portcullis"
    )
    assert await thawed(desk, later.id) == 409
    assert await thawed(desk, closed) == 200


async def test_the_closing_is_thawed_by_a_step_however_many_cuts_are_put_on_record_after_it(
    desk: Desk, closed: str
) -> None:
    """Those that a failover forgot are younger than it; of five hundred it was not listed, and nothing led out."""
    record = {"mode": Mode.CLOSED.value, "reason": "forgotten", "actor": "unknown", "opened_us": 2**61}
    with desk.service.desk.database.write() as connection:
        for number in range(501):
            cut_store.add(connection, {"id": f"cut_{number}", **record}, ("consumer:bot",))
    async with desk.client() as client:
        found = (await client.post("/v1/reconciliations", json=BODY)).json()
    assert found["steps"][0]["commands"][0].split()[2] == closed


class SetBack:
    """A clock that was put right by an hour."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now_us(self) -> int:
        return self._clock.now_us() - 3_600_000_000

    def now(self) -> datetime:
        return self._clock.now() - timedelta(hours=1)

    def boot_us(self) -> int:
        return self._clock.boot_us()


@pytest.mark.usefixtures("closed")
async def test_a_clock_that_is_set_back_makes_no_older_reconciliation_count(desk: Desk) -> None:
    """Nor does what was declared before: another host's clock, after a restore, is another clock."""
    async with desk.client() as client:
        assert (await client.post("/v1/reconciliations", json=BODY)).json()["well"]
        desk.service.desk.clock = SetBack(desk.service.desk.clock)
        later, _ = desk.service.cuts.close(
            targets=("everything",), mode=Mode.CLOSED, reason="failover", actor="portcullis"
        )
        assert await thawed(desk, later.id) == 409
        assert len((await client.post("/v1/reconciliations", json={})).json()["missing"]) == 1
        assert await thawed(desk, later.id) == 409
        assert (await client.post("/v1/reconciliations", json=BODY)).json()["well"]
    assert await thawed(desk, later.id) == 200


@pytest.mark.usefixtures("closed")
async def test_a_closing_during_a_reconciliation_is_not_covered_by_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, made = type(desk.venue).inspect, list[str]()

    def closes(venue: FakeVenue, account: Account, egress: Egress, credential: Credential) -> KeyFacts:
        if not made:
            cut, _ = desk.service.cuts.close(
                targets=("everything",), mode=Mode.CLOSED, reason="failover", actor="portcullis"
            )
            made.append(cut.id)
        return asked(venue, account, egress, credential)

    monkeypatch.setattr(FakeVenue, "inspect", closes)
    async with desk.client() as client:
        await client.post("/v1/reconciliations", json=BODY)
    assert await thawed(desk, made[0]) == 409


async def test_a_key_of_the_old_host_is_known_whatever_its_clock_said(desk: Desk, closed: str) -> None:
    """It made the key at an instant that is still to come here."""
    with desk.service.desk.database.write() as connection:
        meta.put(connection, RESTORED, str(desk.service.desk.clock.now_us() - 3_600_000_000))
        meta.put(connection, RESTORED_KEYS, '["main/trade/1"]')
    async with desk.client() as client:
        found = (await client.post("/v1/reconciliations", json={"confirmed": ["main"]})).json()
    assert ["old-host-off" in text for text in found["missing"]] == [True]
    assert await thawed(desk, closed) == 409


async def test_an_operators_own_cut_needs_none(desk: Desk) -> None:
    cut, _ = desk.service.cuts.close(targets=("everything",), mode=Mode.CLOSED, reason="leak", actor="ann")
    assert await thawed(desk, cut.id) == 200


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        (VenueRefused("binance", "x", "unknown_key", status=401, code="-2008"), "undecided"),
        (VenueRefused("binance", "x", "key_refused", status=401, code="-2015"), "undecided"),
        (VenueUnavailable("binance", "x", "timed_out"), "undecided"),
    ],
)
async def test_a_key_that_is_not_good_stands_in_the_way(
    desk: Desk, closed: str, fault: Exception, finding: str
) -> None:
    desk.venue.fault = fault
    async with desk.client() as client:
        found = (await client.post("/v1/reconciliations", json=BODY)).json()
    assert (found["well"], found["keys"][0]["finding"]) == (False, finding)
    assert "planted" not in str(found)
    assert await thawed(desk, closed) == 409


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        (replace(SAFE, can_withdraw=True), "withdraw"),
        (replace(SAFE, ip_restricted=False), "any address"),
        (replace(SAFE, can_trade=False), "not trade"),
        (replace(SAFE, account_uid="7"), "another account"),
    ],
)
async def test_a_key_that_changed_is_said_and_stands_in_the_way(
    desk: Desk, closed: str, facts: object, word: str
) -> None:
    desk.venue.facts = facts  # type: ignore[assignment]
    async with desk.client() as client:
        found = (await client.post("/v1/reconciliations", json=BODY)).json()
    assert found["keys"][0]["finding"] == "changed"
    assert word in found["keys"][0]["note"]
    assert await thawed(desk, closed) == 409


async def test_what_cannot_be_listed_somebody_confirms(desk: Desk, closed: str) -> None:
    async with desk.client() as client:
        found = (await client.post("/v1/reconciliations", json={})).json()
    assert [text for text in found["missing"] if "--confirm main" in text]
    assert await thawed(desk, closed) == 409


async def test_a_restored_embedded_home_waits_for_its_old_host(desk: Desk, closed: str) -> None:
    with desk.service.desk.database.write() as connection:
        meta.put(connection, RESTORED, str(desk.service.desk.clock.now_us()))
    async with desk.client() as client:
        found = (await client.post("/v1/reconciliations", json={"confirmed": ["main"]})).json()
        assert ["old-host-off" in text for text in found["missing"]] == [True]
        assert await thawed(desk, closed) == 409
        assert (await client.post("/v1/reconciliations", json=BODY)).json()["well"]
    assert await thawed(desk, closed) == 200


@pytest.fixture
def managed(desk: Desk, closed: str) -> str:
    """The same, with the account under a manager key."""
    key = Credential("MANAGER", Secret("planted-manager-secret"), KeyType.HMAC)
    managers = desk.service.managers
    draft = managers.draft("master", venue="binance", egress="direct", upstream=UPSTREAM, key=key)
    managers.take(draft, key, SAFE)
    desk.warden.keys["a@b.c"] = (VenueKey("REAL", ""),)
    managers.assign("main", "master", "a@b.c", lambda: desk.warden.keys["a@b.c"])
    return closed


async def test_what_a_manager_key_lists_nobody_has_to_confirm(desk: Desk, managed: str) -> None:
    async with desk.client() as client:
        found = (await client.post("/v1/reconciliations", json={})).json()
    assert found["well"], found
    assert desk.warden.asked == ["master MANAGER"]
    assert await thawed(desk, managed) == 200


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ((VenueKey("REAL", ""), VenueKey("STRANGER-KEY", "my old bot")), ("STRANGER", "my old bot")),
        ((VenueKey("REAL", ""), VenueKey("X" * 64, "rot_0123456789abcdef0123")), ("broken-off", "XXXX")),
        ((), ("main/trade/1", "does not list")),
        (None, ("no sub-account a@b.c",)),
    ],
)
async def test_a_list_that_differs_stands_in_the_way_whoever_confirms(
    desk: Desk, managed: str, listed: tuple[VenueKey, ...] | None, words: tuple[str, ...]
) -> None:
    if listed is None:
        del desk.warden.keys["a@b.c"]
    else:
        desk.warden.keys["a@b.c"] = listed
    async with desk.client() as client:
        found = (await client.post("/v1/reconciliations", json=BODY)).json()
    assert not found["well"]
    assert all(word in " ".join(found["missing"]) for word in words), found["missing"]
    assert await thawed(desk, managed) == 409


async def test_a_list_that_cannot_be_had_stands_in_the_way(desk: Desk, managed: str) -> None:
    desk.warden.fault = VenueUnavailable("binance", "subaccount.key.list", "rate_limited")
    async with desk.client() as client:
        found = (await client.post("/v1/reconciliations", json=BODY)).json()
    assert ["rate_limited" in text for text in found["missing"]] == [True]
    assert await thawed(desk, managed) == 409


def waiting(desk: Desk) -> None:
    """Let a rotation by hand be open: its key version is pending, and nobody made it yet."""
    now = desk.service.desk.clock.now()
    ref = KeyRef("main", Slot.TRADE, 2)
    pending = KeyVersion(ref, Stage.PENDING, "", KeyType.ED25519, ref.path, now, True, False)
    with desk.service.desk.database.write() as connection:
        account_store.add_key(connection, pending, 0)


@pytest.mark.parametrize("pair", [False, True])
async def test_a_rotation_that_waits_for_a_person_leaves_no_circle(
    desk: Desk, closed: str, pair: bool
) -> None:
    """With a by-hand rotation pending a restored home is compared, confirmed and thawed."""
    waiting(desk)
    if pair:
        desk.service.desk.secrets.write("keys/main/trade/2", {"secret": Secret("planted-pair")}, {})
    async with desk.client() as client:
        found = (await client.post("/v1/reconciliations", json=BODY)).json()
    assert found["well"], found
    assert {one["key"]: one["finding"] for one in found["keys"]}["main/trade/2"] == "pending"
    assert desk.venue.asked == ["REAL"]
    assert await thawed(desk, closed) == 200


@pytest.mark.usefixtures("closed")
async def test_what_is_declared_is_said_once_one_after_another(desk: Desk) -> None:
    """Each declaration is kept; a later closing of everything forgets them."""
    with desk.service.desk.database.write() as connection:
        meta.put(connection, RESTORED, str(desk.service.desk.clock.now_us()))
    async with desk.client() as client:
        for body, left in (({}, 2), ({"confirmed": ["main"]}, 1), ({"old_host_off": True}, 0), ({}, 0)):
            found = (await client.post("/v1/reconciliations", json=body)).json()
            assert len(found["missing"]) == left, found
        desk.service.cuts.close(
            targets=("everything",), mode=Mode.CLOSED, reason="failover", actor="portcullis"
        )
        assert len((await client.post("/v1/reconciliations", json={})).json()["missing"]) == 2


async def test_what_is_declared_still_counts_once_everything_is_thawed(desk: Desk, closed: str) -> None:
    """Who compares again after the thaw is not told that nothing was said, and that all stays closed."""
    async with desk.client() as client:
        assert (await client.post("/v1/reconciliations", json=BODY)).json()["well"]
        assert await thawed(desk, closed) == 200
        assert (await client.post("/v1/reconciliations", json={})).json()["well"]


@pytest.mark.parametrize(
    "body", [{"confirmed": ["nobody"]}, {"deleted": ["main/trade/9"]}, {"deleted": ["main"]}]
)
async def test_a_declaration_about_nothing_is_refused(
    desk: Desk, closed: str, body: dict[str, list[str]]
) -> None:
    async with desk.client() as client:
        assert (await client.post("/v1/reconciliations", json=body)).status_code in {400, 404}
    assert await thawed(desk, closed) == 409


async def test_a_dead_key_that_was_replaced_by_hand_stands_in_nobodys_way(desk: Desk, closed: str) -> None:
    """Import a fresh one, and the old one, which the exchange does not know any more, is what it should be."""
    unknown = VenueRefused("binance", "x", "unknown_key", status=401, code="-2008")
    desk.venue.fault = unknown
    async with desk.client() as client:
        found = (await client.post("/v1/reconciliations", json=BODY)).json()
        assert "portcullis key import --account main --slot trade" in found["steps"][0]["commands"]
        assert found["keys"][0]["finding"] == "undecided", "nothing else is served from here"
        desk.venue.fault = None
        fresh = Credential("FRESH", Secret("planted-fresh"), KeyType.HMAC)
        desk.service.keys.import_key("main", slot=Slot.TRADE, credential=fresh, facts=SAFE)
        desk.venue.dead = {"REAL": unknown}
        found = (await client.post("/v1/reconciliations", json={})).json()
        assert (found["well"], found["keys"][0]["finding"]) == (False, "undecided"), "one look is no proof"
        assert "main/trade/2 was served by the same way after it: seen once" in found["keys"][0]["note"]
        assert await thawed(desk, closed) == 409
        aged(desk.service)
        found = (await client.post("/v1/reconciliations", json={})).json()
        assert found["keys"][0]["finding"] == "dead"
    assert found["well"], found
    assert await thawed(desk, closed) == 200


@pytest.mark.usefixtures("closed")
async def test_a_ban_that_begins_in_the_middle_of_a_comparison_kills_no_key(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first key was served, everything after it refused by name: asked again, the first one is, too."""
    async with desk.client() as client:
        assert (await client.post("/v1/reconciliations", json=BODY)).json()["well"]
    for name in ("SECOND", "THIRD"):
        fresh = Credential(name, Secret("planted-fresh"), KeyType.HMAC)
        desk.service.keys.import_key("main", slot=Slot.TRADE, credential=fresh, facts=SAFE)
    unknown = VenueRefused("binance", "x", "unknown_key", status=401, code="-2008")
    inspect, asked = desk.venue.inspect, list[str]()

    def banned_after_one(account: Account, egress: Egress, credential: Credential) -> KeyFacts:
        asked.append(credential.key_id)
        if len(asked) > 1:
            raise unknown
        return inspect(account, egress, credential)

    monkeypatch.setattr(FakeVenue, "inspect", lambda _, *given: banned_after_one(*given))
    async with desk.client() as client:
        for _ in range(3):
            asked.clear()
            found = (await client.post("/v1/reconciliations", json=BODY)).json()
            assert [one["finding"] for one in found["keys"]] == ["alive", "undecided", "undecided"]
            assert asked == ["REAL", "SECOND", "THIRD", "REAL"]
            assert not found["well"]
            aged(desk.service)


async def test_an_account_goes_under_a_manager_key_while_a_rotation_waits_for_a_person(
    desk: Desk, managed: str
) -> None:
    """A key that was not made yet is no key of another sub-account."""
    waiting(desk)
    managers = desk.service.managers
    managers.assign("main", "master", "a@b.c", lambda: desk.warden.keys["a@b.c"])
    async with desk.client() as client:
        assert (await client.post("/v1/reconciliations", json={})).json()["well"]
    assert await thawed(desk, managed) == 200


async def reconciled(desk: Desk) -> dict[str, Any]:
    async with desk.client() as client:
        answer = await client.post("/v1/reconciliations", json=BODY)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_read_that_fails_is_named_and_what_is_known_is_answered(
    desk: Desk, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole of it was answered with a no: what was declared was on record, and what the exchange said was lost."""

    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("store_busy", "the database was busy")

    with monkeypatch.context() as patch:
        patch.setattr(rotation_store, "every_open", away)
        found = await reconciled(desk)
    assert not found["well"]
    assert [one["finding"] for one in found["keys"]] == ["alive"]
    (missing,) = found["missing"]
    assert "is rotated and is cut could not be read (the database was busy)" in missing
    assert await thawed(desk, closed) == 409, "what could not be read is no yes"
    assert (await reconciled(desk))["well"]
    assert await thawed(desk, closed) == 200


async def test_what_was_found_and_could_not_be_put_on_record_is_answered_and_counts_for_nothing(
    desk: Desk, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = meta.put

    def full(connection: Connection, name: str, value: str) -> None:
        if name == RECONCILED:
            raise StoreUnavailable("disk_full", "the disk is full")
        put(connection, name, value)

    with monkeypatch.context() as patch:
        patch.setattr(meta, "put", full)
        found = await reconciled(desk)
    assert not found["well"]
    assert [one["finding"] for one in found["keys"]] == ["alive"]
    assert "could not be put on record (the disk is full)" in found["missing"][0]
    assert await thawed(desk, closed) == 409


@pytest.mark.parametrize(
    "fault", [ZeroDivisionError(), StoreUnavailable("store_busy", "the database was busy")]
)
async def test_one_key_that_cannot_be_asked_about_keeps_no_other_back(
    desk: Desk, closed: str, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    assert (await reconciled(desk))["well"]
    desk.service.accounts.create("other", venue="binance", upstream=UPSTREAM)
    credential = Credential("OTHER", Secret("planted-other-secret"), KeyType.HMAC)
    desk.service.keys.import_key("other", slot=Slot.TRADE, credential=credential, facts=SAFE)
    if isinstance(fault, StoreUnavailable):
        get = desk.service.accounts.get

        def away(name: str) -> Account:
            if name == "other" and desk.venue.asked:
                raise fault
            return get(name)

        monkeypatch.setattr(desk.service.accounts, "get", away)
    else:
        desk.venue.dead["OTHER"] = fault
    found = await reconciled(desk)
    assert closed
    assert not found["well"]
    assert {one["key"]: one["finding"] for one in found["keys"]} == {
        "main/trade/1": "alive", "other/trade/1": "undecided",
    }  # fmt: skip


async def test_an_account_that_was_given_up_opens_by_a_word_and_one_in_use_does_not(
    desk: Desk, closed: str
) -> None:
    """After a move to another address, the old key deleted as the guide says, a restore asked for one more real key."""
    desk.venue.fault = VenueRefused("binance", "x", "key_refused", status=401, code="-2015")
    async with desk.client() as client:
        found = (await client.post("/v1/reconciliations", json=BODY)).json()
        assert "portcullis reconcile --deleted main/trade/1" in found["steps"][0]["commands"]
        assert "nobody has a grant on it" in found["steps"][0]["do"]
        given_up = BODY | {"deleted": ["main/trade/1"]}
        desk.service.grants.create_consumer("bot")
        grant = desk.service.grants.create(consumer="bot", account="main", policy=POLICY).grant
        assert not (await client.post("/v1/reconciliations", json=given_up)).json()["well"]
        assert await thawed(desk, closed) == 409
        desk.service.grants.revoke(grant.id, reason="moved")
        assert (await client.post("/v1/reconciliations", json=given_up)).json()["well"]
    assert await thawed(desk, closed) == 200


async def test_a_grant_on_an_account_that_was_given_up_is_compared_for_before_a_thaw(
    desk: Desk, closed: str
) -> None:
    desk.venue.fault = VenueRefused("binance", "x", "key_refused", status=401, code="-2015")
    async with desk.client() as client:
        given_up = BODY | {"deleted": ["main/trade/1"]}
        assert (await client.post("/v1/reconciliations", json=given_up)).json()["well"]
        desk.service.grants.create_consumer("bot")
        desk.service.grants.create(consumer="bot", account="main", policy=POLICY)
        assert await thawed(desk, closed) == 409
        assert not (await client.post("/v1/reconciliations", json=given_up)).json()["well"]


async def test_a_key_that_the_exchange_serves_is_over_by_nobodys_word(desk: Desk, closed: str) -> None:
    """It was changed, may withdraw, and was declared deleted while nobody could ask: the home opened beside it."""
    desk.venue.facts = replace(SAFE, can_withdraw=True)
    async with desk.client() as client:
        found = (await client.post("/v1/reconciliations", json=BODY | {"deleted": ["main/trade/1"]})).json()
    assert (found["well"], found["keys"][0]["finding"]) == (False, "changed")
    assert await thawed(desk, closed) == 409


@pytest.mark.usefixtures("closed")
async def test_an_account_whose_key_a_tool_has_is_not_given_up(desk: Desk) -> None:
    desk.service.destinations.create(
        "dash", account="main", slot=Slot.TRADE, kind="manual", settings={"what": "dashboard"}
    )
    desk.venue.fault = VenueRefused("binance", "x", "key_refused", status=401, code="-2015")
    async with desk.client() as client:
        word = BODY | {"deleted": ["main/trade/1"]}
        assert not (await client.post("/v1/reconciliations", json=word)).json()["well"]
