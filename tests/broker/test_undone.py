"""What was taken away, or is to be, stays so where a failover forgets it: keys handed out, and operators ended."""

from datetime import timedelta
from pathlib import Path

import pytest

from broker.db import Connection
from broker.db import checkouts as checkout_store
from broker.db.checkouts import Checkout
from broker.model import Stage
from broker.service.operators import Role
from broker.service.reconcile_facts import Surveyed
from clients.secret import Secret
from clients.venue import Credential, KeyFacts, KeyType, Slot
from tests.broker.failing import Failing, failing_world
from tests.gateway.world import POLICY

pytestmark = pytest.mark.process


def handed_out(failing: Failing, holder: str) -> Checkout:
    service = failing.world.service
    (grant,) = service.grants.list().items
    out = service.checkouts.open(grant.id, ttl=timedelta(hours=1), holder=holder, reason="tax report")
    assert out.checkout is not None
    return out.checkout


def on_record(failing: Failing) -> dict[str, Checkout]:
    return {one.holder: one for one in failing.world.service.checkouts.list()}


async def test_a_key_that_the_record_forgot_to_be_handed_out_is_ended_by_a_cut(tmp_path: Path) -> None:
    """Its holder traded on under every cut, and for ever: nobody knew of it."""
    async with failing_world(tmp_path) as failing:
        service = failing.world.service
        (grant,) = service.grants.list().items
        service.grants.set_policy(grant.id, POLICY + "[checkout]\nmax_seconds = 3600\n")
        asked_back = handed_out(failing, "Bob")
        await failing.forget_what_follows()
        forgotten = handed_out(failing, "Ann")
        service.checkouts.close(asked_back.id)
        failing.fail_over()
        await failing.looked()
        assert on_record(failing)["Ann"] == forgotten
        assert on_record(failing)["Bob"].closed_at is not None
        await failing.world.cut("account:main")
        assert on_record(failing)["Ann"].closed_at is not None
        with service.desk.database.read() as connection:
            due = checkout_store.over(connection, service.desk.clock.now_us())
        assert {one.holder for one in due} == {"Ann", "Bob"}, "their key is rotated"


async def test_a_key_that_the_record_forgot_is_on_record_again_with_who_has_it(tmp_path: Path) -> None:
    """That stood in a log alone: no view showed it, and whoever had that key traded past everything."""
    async with failing_world(tmp_path) as failing:
        service = failing.world.service
        (grant,) = service.grants.list().items
        service.grants.set_policy(grant.id, POLICY + "[checkout]\nmax_seconds = 3600\n")
        await failing.forget_what_follows()
        fresh = Credential("FRESH", Secret("fresh-secret-fresh-secret"), KeyType.HMAC)
        uid = service.accounts.get("main").venue_uid or ""
        facts = KeyFacts(True, True, False, False, True, uid)
        made = service.keys.import_key("main", slot=Slot.TRADE, credential=fresh, facts=facts)
        forgotten = handed_out(failing, "Ann")
        assert forgotten.ref == made.ref
        failing.fail_over()
        await failing.looked()
        keys = {key.ref: key for key in service.keys.list("main")}
        assert (keys[made.ref].venue_key_id, keys[made.ref].stage) == ("FRESH", Stage.PREVIOUS)
        assert on_record(failing)["Ann"] == forgotten
        (said,) = (one for one in service.conditions.look() if one.kind == "checkout")
        assert "left with Ann, and is not proven dead" in said.says
        taken = service.reconciliation.look(
            lambda *_: facts, lambda *_: Surveyed(), confirmed=("main",), old_host_off=True
        )
        assert {one.key for one in taken.keys} == {str(ref) for ref in keys}, (
            "it is asked about as every key is"
        )


async def test_where_the_record_forgot_the_account_a_cut_says_who_has_its_key(tmp_path: Path) -> None:
    async with failing_world(tmp_path) as failing:
        service = failing.world.service
        await failing.forget_what_follows()
        service.accounts.create("other", venue="binance", upstream=service.accounts.get("main").upstream)
        fresh = Credential("FRESH", Secret("fresh-secret-fresh-secret"), KeyType.HMAC)
        facts = KeyFacts(True, True, False, False, True, "7")
        service.keys.import_key("other", slot=Slot.TRADE, credential=fresh, facts=facts)
        grant = service.grants.create(
            consumer="bot", account="other", policy=POLICY + "[checkout]\nmax_seconds = 3600\n"
        ).grant.id
        service.checkouts.open(grant, ttl=timedelta(hours=1), holder="Ann", reason="tax report")
        failing.fail_over()
        await failing.looked()
        (said,) = (one for one in service.conditions.look() if "Ann has the key other/trade/1" in one.says)
        assert (said.kind, said.account) == ("cut", "other")


async def test_an_operator_who_was_ended_is_nobody_after_a_failover(tmp_path: Path) -> None:
    """Who had a token that was taken away could thaw again."""
    async with failing_world(tmp_path) as failing:
        operators = failing.world.service.operators
        operators.create("owner", frozenset({Role.ADMIN}))
        token = operators.create("mallory", frozenset({Role.ADMIN}))
        await failing.forget_what_follows()
        assert operators.end("mallory")
        failing.fail_over()
        await failing.looked()
        assert operators.by_token(token) is None


async def test_what_was_done_is_looked_at_once_in_a_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in each heartbeat, for as long as a cut stands that only the history before had on record."""
    asked: list[str] = []
    get = checkout_store.get

    def counted(connection: Connection, checkout: str) -> Checkout | None:
        asked.append(checkout)
        return get(connection, checkout)

    async with failing_world(tmp_path) as failing:
        world = failing.world
        (grant,) = world.service.grants.list().items
        world.service.grants.set_policy(grant.id, POLICY + "[checkout]\nmax_seconds = 3600\n")
        handed_out(failing, "Ann")
        await failing.forget_what_follows()
        await world.cut("consumer:bot")
        failing.fail_over()
        monkeypatch.setattr(checkout_store, "get", counted)
        await failing.looked()
        for _ in range(3):
            await world.authority.beat()
        assert len(asked) == 1
