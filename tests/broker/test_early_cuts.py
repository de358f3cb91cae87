"""A cut that is on no record yet holds whatever lets a key leave, as it will once it is: whose place was taken included.

Whoever waits (for a secret, for a turn at the database) looks again after that, and the home's disk holds no lock.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.db import meta
from broker.db.turns import Urgency
from broker.deeds import Deed
from broker.errors import BrokerError, NotGranted, StoreUnavailable
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.model import KeyRef, new_id
from broker.service import Service, early, last_look
from broker.service.checkouts import HandedOut
from broker.service.host_guard import SUPERSEDED
from broker.service.unrecorded import Unrecorded
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from portcullis.foundation import found, opened
from portcullis.settings import Home

SAFE = KeyFacts(True, True, False, False, True, "42")
PATIENCE_S = 60.0
POLICY = (
    'allow = ["market", "trade"]\nsymbols = ["BTCUSDT"]\n[order]\nmax_notional = "1000"\n'
    "[checkout]\nmax_seconds = 3600\n"
)


def import_key(service: Service, name: str) -> None:
    service.keys.import_key(
        "main", slot=Slot.TRADE, credential=Credential(name, Secret(f"planted-{name}"), KeyType.HMAC), facts=SAFE
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = found(tmp_path / "home", Environment.PAPER, "solo").home
    with opened(made) as service:
        service.accounts.create_egress("out", addresses=("127.0.0.7",))
        service.accounts.create("main", venue="binance", egress="out", upstream="http://127.0.0.1:9")
        import_key(service, "A")
        service.grants.create_consumer("bot")
        service.grants.create(consumer="bot", account="main", policy=POLICY)
        service.destinations.create(
            "tool", account="main", slot=Slot.TRADE, kind="manual", settings={"what": "a tool"}
        )
        service.mirror.merge()
    return made


def take(handed: HandedOut) -> None:
    """Have a key leave, as an answer does."""
    assert handed.take(handed.look()) is not None


def check_out(service: Service) -> None:
    grant = service.grants.list().items[0].id
    take(service.checkouts.open(grant, ttl=timedelta(minutes=5), holder="Ann", reason="tax"))


def paste(service: Service) -> None:
    take(service.checkouts.paste("tool", "paste"))


def deliver(service: Service) -> None:
    """Look as a delivery does right before each of its steps."""
    (key,) = [one for one in service.keys.list("main") if one.stage.value == "current"]
    last_look.look(
        service.desk, Deed.DELIVER,
        lambda connection, early: service.checkouts.ensure_open(connection, key, "tool", early=early),
    )  # fmt: skip


WAYS = pytest.mark.parametrize("way", [check_out, paste, deliver])
HANDING_OUT = pytest.mark.parametrize("way", [check_out, paste])


def away(*_: object) -> None:
    raise StoreUnavailable("store_busy", "busy on purpose")


def cut(service: Service, target: str = "account:main", mode: Mode = Mode.CLOSED) -> bool:
    made, _ = service.cuts.close(targets=(target,), mode=mode, reason="leak", actor="me")
    return made.on_record


@WAYS
@pytest.mark.parametrize("beside", [False, True], ids=["broker", "rotator"])
def test_the_heir_of_a_key_that_is_cut_on_no_record_leaves_by_no_way(
    home: Home, monkeypatch: pytest.MonkeyPatch, way: Callable[[Service], None], *, beside: bool
) -> None:
    """Leases knew that it is covered; a checkout, a pasted key and a delivery looked at what the cut names alone."""
    with opened(home) as broker, opened(home) as rotator:
        broker.mirror.merge()
        rotator.mirror.merge()
        monkeypatch.setattr(broker.cuts.closing, "_write", away)
        assert not cut(broker, "key-version:main/trade/1")
        import_key(rotator, "B")
        with pytest.raises(NotGranted):
            way(rotator if beside else broker)


@WAYS
def test_what_had_replaced_a_cut_key_before_leaves_as_ever(
    home: Home, monkeypatch: pytest.MonkeyPatch, way: Callable[[Service], None]
) -> None:
    with opened(home) as broker:
        broker.mirror.merge()
        import_key(broker, "B")
        monkeypatch.setattr(broker.cuts.closing, "_write", away)
        assert not cut(broker, "key-version:main/trade/1")
        (made,) = broker.cuts.closing.standing()
        assert made.before is not None
        made.before.result(PATIENCE_S)
        monkeypatch.setattr(
            Unrecorded, "found", lambda _: iter(())
        )  # by the trail that is in doubt for half a minute
        way(broker)


def test_a_gateway_tries_no_heir_of_a_key_that_is_cut_on_no_record(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rotator asked one to, by the record alone."""
    with opened(home) as broker, opened(home) as rotator:
        broker.mirror.merge()
        monkeypatch.setattr(broker.cuts.closing, "_write", away)
        assert not cut(broker, "key-version:main/trade/1")
        seen = early.seen(rotator.desk)
        scopes = ("everything", f"key-version:{KeyRef('main', Slot.TRADE, 2)}")
        with rotator.desk.database.read() as connection:
            assert early.mode_of(connection, rotator.desk, seen, scopes) is Mode.CLOSED
            assert early.mode_of(connection, rotator.desk, seen, ("everything",)) is Mode.OPEN


@WAYS
def test_a_cut_in_the_home_that_names_what_cannot_be_read_holds_everything(
    home: Home, way: Callable[[Service], None]
) -> None:
    """As it will once it is taken in."""
    with opened(home) as service:
        service.mirror.merge()
        cut = NotedCut(new_id("cut"), Mode.CLOSED, ("key-version:abc",), "leak", "me", 1)
        service.desk.unrecorded.keep(cut)
        with pytest.raises(NotGranted):
            way(service)


@HANDING_OUT
def test_the_home_is_looked_at_while_no_transaction_is_open(
    home: Home, monkeypatch: pytest.MonkeyPatch, way: Callable[[Service], None]
) -> None:
    """A disk that hung held the database's lock: no heartbeat, and every lease ended."""
    with opened(home) as service:
        service.mirror.merge()
        open_, looks = 0, list[int]()
        write, unrecorded = service.desk.database.write, Unrecorded.found

        @contextmanager
        def writing(*args: Any, **more: Any) -> Iterator[Any]:
            nonlocal open_
            with write(*args, **more) as connection:
                open_ += 1
                try:
                    yield connection
                finally:
                    open_ -= 1

        def looked(self: Unrecorded) -> Iterator[Any]:
            looks.append(open_)
            return unrecorded(self)

        monkeypatch.setattr(service.desk.database, "write", writing)
        monkeypatch.setattr(Unrecorded, "found", looked)
        way(service)
        assert looks
        assert not any(looks)


@HANDING_OUT
@pytest.mark.parametrize("mode", [Mode.CLOSED, Mode.HALT])
def test_what_is_cut_while_the_record_is_waited_for_is_not_handed_out(
    home: Home, monkeypatch: pytest.MonkeyPatch, way: Callable[[Service], None], mode: Mode
) -> None:
    """A cut of another process comes while the commit takes its time: on no record, a file in the home."""
    with opened(home) as broker, opened(home) as other:
        broker.mirror.merge()
        other.mirror.merge()
        monkeypatch.setattr(broker.cuts.closing, "_write", away)
        write, once = other.desk.database.write, iter([mode])

        @contextmanager
        def slow(*args: Any, **more: Any) -> Iterator[Any]:
            with write(*args, **more) as connection:
                yield connection
            if not args or args[0] is not Urgency.SAFETY:
                for one in once:
                    assert not cut(broker, mode=one)

        monkeypatch.setattr(other.desk.database, "write", slow)
        with pytest.raises(NotGranted):
            way(other)
        assert all(one.closed_at for one in other.checkouts.list()), "nobody has it for long"
        actions = [one.entry.action for one in other.audit.list(limit=50).items]
        asked = [one for one in actions if one.startswith("destination.key")]
        assert sorted(asked) == (["destination.key", "destination.key_kept"] if way is paste else [])


# --- all else that it was judged by -----------------------------------------------------------


def superseded(service: Service) -> None:
    with service.desk.database.write() as connection:
        meta.put(connection, SUPERSEDED, "7")


def revoked(service: Service) -> None:
    service.grants.revoke(service.grants.list().items[0].id, reason="left")


def ended(service: Service) -> None:
    (one,) = service.checkouts.list()
    service.checkouts.close(one.id)


def removed(service: Service) -> None:
    service.destinations.remove("tool")


def replaced(service: Service) -> None:
    import_key(service, "B")


@pytest.mark.parametrize(
    ("way", "meanwhile", "why"),
    [
        (check_out, superseded, "superseded"),
        (check_out, revoked, "no_checkout"),
        (check_out, ended, "ended"),
        (check_out, replaced, "moved"),
        (paste, superseded, "superseded"),
        (paste, removed, "no_destination"),
        (paste, replaced, "moved"),
    ],
)
def test_what_it_was_judged_by_is_judged_again_after_the_record_was_waited_for(
    home: Home, monkeypatch: pytest.MonkeyPatch, way: Callable[[Service], None],
    meanwhile: Callable[[Service], None], why: str,
) -> None:  # fmt: skip
    """Gates alone were looked at: the key left by a grant that was revoked, and from a host whose place was taken."""
    with opened(home) as broker, opened(home) as other:
        broker.mirror.merge()
        other.mirror.merge()
        write, once = other.desk.database.write, iter([meanwhile])

        @contextmanager
        def slow(*args: Any, **more: Any) -> Iterator[Any]:
            with write(*args, **more) as connection:
                yield connection
            for act in once:
                act(broker)

        monkeypatch.setattr(other.desk.database, "write", slow)
        with pytest.raises(BrokerError) as refused:
            way(other)
        assert refused.value.reason == why
        if meanwhile is not superseded:
            assert all(one.closed_at for one in broker.checkouts.list()), "nobody has it for long"
