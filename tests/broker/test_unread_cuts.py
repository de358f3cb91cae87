"""No key leaves before the cuts in the secret store were taken in once since the start, by whatever way it would."""

from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.authority import LeaseAuthority
from broker.authority.cutover import Noted
from broker.db.cutovers import Canary
from broker.deeds import Deed
from broker.errors import NotGranted, StoreUnavailable
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.model import new_id
from broker.service import Service
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from portcullis.foundation import found, opened
from portcullis.seating import look_at, take
from portcullis.settings import Home

POLICY = 'allow = ["market", "trade"]\nsymbols = ["BTCUSDT"]\n[order]\nmax_notional = "1000"\n'
LEAVING = [one for one in Deed if one.leaves]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home whose account was cut by a broker that was killed before the database or a file of the home had it."""
    made = found(tmp_path / "home", Environment.PAPER, "solo").home
    with opened(made) as service:
        service.mirror.merge()
        service.accounts.create_egress("out", addresses=("127.0.0.7",))
        service.accounts.create("main", venue="binance", egress="out", upstream="http://127.0.0.1:9")
        key = Credential("REAL", Secret("planted-real"), KeyType.HMAC)
        facts = KeyFacts(True, True, False, False, True, "42")
        service.keys.import_key("main", slot=Slot.TRADE, credential=key, facts=facts)
        service.grants.create_consumer("bot")
        service.grants.create(
            consumer="bot", account="main", policy=POLICY + "[checkout]\nmax_seconds = 600\n"
        )
        service.destinations.create(
            "tool", account="main", slot=Slot.TRADE, kind="manual", settings={"what": "a tool"}
        )
        service.mirror.note(NotedCut(new_id("cut"), Mode.CLOSED, ("account:main",), "leak", "me", 1))
    return made


def checked_out(service: Service) -> None:
    (grant,) = service.grants.list().items
    service.checkouts.open(grant.id, ttl=timedelta(seconds=60), holder="Ann", reason="tax")


def pasted(service: Service) -> None:
    service.checkouts.paste("tool", "set up")


@pytest.mark.parametrize("way", [checked_out, pasted])
def test_a_cut_in_the_secret_store_alone_binds_who_is_handed_a_key(home: Home, way: Any) -> None:
    """It left until the first merge of the start: five seconds after a Vault that was away came back."""
    with opened(home) as service:
        with pytest.raises(StoreUnavailable, match="nothing was done") as unread:
            way(service)
        assert unread.value.reason == "cuts_not_read"
        service.mirror.merge()
        with pytest.raises(NotGranted):
            way(service)
        (standing,) = service.cuts.list(open_only=True).items
        service.cuts.thaw(standing.id, reason="well", actor="me")
        way(service)


@pytest.mark.parametrize("deed", LEAVING)
def test_who_works_beside_a_broker_waits_for_its_start(home: Home, deed: Deed) -> None:
    """The rotator reads no cuts there: it goes by whether the start that it works for has; not by one before."""
    with opened(home) as before:
        take(home, before)
        before.mirror.merge()
        before.desk.guard.leave_seat()
    with opened(home) as broker, opened(home) as rotator:
        take(home, broker)
        look_at(home, rotator, broker.desk.guard.seating.number, broker.desk.guard.start)
        for _ in range(2):
            with pytest.raises(StoreUnavailable) as unread:
                rotator.desk.guard.ensure(deed)
            assert unread.value.reason == "cuts_not_read"
            with (
                rotator.desk.database.read() as connection,
                pytest.raises(StoreUnavailable),
            ):
                rotator.desk.guard.fence(connection, deed)
        rotator.desk.guard.ensure(Deed.LOOK)  # what lets no key go goes on
        broker.mirror.merge()
        rotator.desk.guard.ensure(deed)


def test_who_forgot_that_it_was_read_is_told_again(home: Home) -> None:
    """A database that was put back beneath a broker would have kept every delivery back for good."""
    with opened(home) as broker, opened(home) as rotator:
        take(home, broker)
        look_at(home, rotator, broker.desk.guard.seating.number, broker.desk.guard.start)
        broker.mirror.merge()
        with broker.desk.database.write() as connection:
            connection.exec_driver_sql("DELETE FROM meta WHERE name = 'cuts_read_by'")
        with pytest.raises(StoreUnavailable):
            rotator.desk.guard.ensure(Deed.DELIVER)
        broker.mirror.merge()
        rotator.desk.guard.ensure(Deed.DELIVER)


def test_a_gateway_is_given_no_key_to_try_before_that_and_leases_go_on_after_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A canary needs no lease: the key that it tries was sent, whatever the secret store had closed."""
    with opened(home) as service:
        authority, begun = LeaseAuthority(service), list[Any]()

        def begin(_: Any, name: Any, work: Coroutine[Any, Any, None]) -> None:
            work.close()
            begun.append(name)

        monkeypatch.setattr(authority.cutovers, "_begin", begin)
        link: Any = SimpleNamespace(gateway="local", leases={}, holds={}, keys=set())
        authority.changes.links["local"] = link
        canary = Canary("rot_1", "local", "main/trade/1", 1)
        noted = Noted({}, frozenset(), {}, (canary,), ())
        authority.cutovers.follow(noted)
        assert not begun
        assert service.desk.guard.serves, "a lease that runs needs no store"
        service.mirror.merge()
        authority.cutovers.follow(noted)
        assert begun == [("rot_1", "local")]

        def away(*_: Any) -> None:
            raise StoreUnavailable("away", "the store does not answer")

        monkeypatch.setattr(service.desk.secrets.mirror, "change", away)
        with pytest.raises(StoreUnavailable):
            service.mirror.merge()
        assert service.mirror.serves, "a store that goes away later ends nothing"
        authority.close()
