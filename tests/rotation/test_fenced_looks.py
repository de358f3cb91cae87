"""What a primary of before still answers is no yes: no key leaves by it, and nothing is deleted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from broker.db import primary
from broker.db.database import Database
from broker.deeds import Deed
from broker.errors import BrokerError, StoreUnavailable, Withheld
from broker.files.place import Content, Spot
from broker.gate import Mode
from broker.service import Service
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyType, Slot
from portcullis.foundation import found, opened
from rotation.destinations import delivery
from rotation.fence import Fence
from tests.broker.test_failover import named, until
from tests.broker.test_fenced_primary import port, set_read_only
from tests.places import database_document
from tests.rotation.test_last_look import SAFE
from tests.rotation.test_wanted import BEFORE, bring, draining
from tests.services.postgres.server import PostgresServer, postgres, standby

pytestmark = pytest.mark.process


def raised(does: Callable[[], object]) -> str:
    """Return why somebody was refused; empty where nobody was."""
    try:
        does()
    except BrokerError as fault:
        return fault.reason
    return ""


def finds_nobody(database: Database) -> None:
    """Fence first: who looks now for a server that takes writes finds none, and believes that for a while."""
    with database.read():
        pass


def at(database: Database) -> int:
    with database.read() as connection:
        return port(connection)


def filled(service: Service, env: Path) -> Fence:
    """Make an account with a key, a file that gets it, and a rotation that brings it."""
    service.accounts.create_egress("out", addresses=("127.0.0.7",))
    service.accounts.create("main", venue="binance", egress="out", upstream="http://127.0.0.1:9")
    credential = Credential("REAL", Secret("planted-secret"), KeyType.HMAC)
    service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=SAFE)
    where = {"path": str(env), "key_id": "KEY", "secret": "SECRET"}
    service.destinations.create("file", account="main", slot=Slot.TRADE, kind="dotenv", settings=where)
    return draining(service)


def switch_over(first: PostgresServer, second: PostgresServer, meanwhile: Callable[[], None]) -> None:
    set_read_only(first, "on")
    meanwhile()
    position = first.sql("SELECT pg_current_wal_lsn()")[0][0]
    until(lambda: second.sql(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == [(True,)])
    second.promote()


def cut_at(server: PostgresServer, broker: Service) -> None:
    """Cut, and have that on record there."""
    cut, _ = broker.cuts.close(targets=("account:main",), mode=Mode.CLOSED, reason="leak", actor="me")
    until(lambda: broker.cuts.get(cut.id).on_record)
    assert (cut.id,) in server.sql("SELECT id FROM cuts", "state")


def test_what_a_primary_of_before_knows_is_no_yes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key was written out after a cut that was on record at the new primary, and answered."""
    monkeypatch.setattr(primary, "_PAUSE_S", 1e9)
    monkeypatch.setattr(delivery, "WAIT_S", 1e6)  # what was done is saved after the errand, not beside it
    (tmp_path / "bot").mkdir()
    env = tmp_path / "bot" / ".env"
    env.write_text(BEFORE)
    with postgres() as first, standby(first) as second:
        named(tmp_path, first, second)
        made = found(tmp_path / "home", Environment.PAPER, "solo", database=database_document(tmp_path)).home
        with opened(made) as broker, opened(made) as rotator:
            fence = filled(broker, env)
            fence = Fence(rotator.desk.database, fence.rotation, fence.row_version)
            broker.mirror.merge()
            rotator.mirror.merge()
            guard, database = rotator.desk.guard, rotator.desk.database
            guard.ensure(Deed.DELETE)
            fence.ensure()
            read, once = Spot.read, iter([0])

            def slow(place: Spot) -> Content:
                for _ in once:
                    switch_over(first, second, lambda: finds_nobody(database))
                    cut_at(second, broker)
                    until(lambda: not list(made.cuts.glob("*.cut")))
                return read(place)

            monkeypatch.setattr(Spot, "read", slow)
            bring(rotator, fence)
            assert env.read_text() == BEFORE
            assert at(database) == first.port, "what there is can be read"
            second.sql("INSERT INTO meta (name, value) VALUES ('superseded_by', '7')", "state")
            for deed in (Deed.DELETE, Deed.DELIVER, Deed.MAKE):
                assert raised(lambda deed=deed: guard.ensure(deed)) == "guard_away"  # type: ignore[misc]
                no = guard.allows(deed)
                assert no is not None
                assert no.reason == "guard_away"
            for asks in (fence.ensure, lambda: guard.refuse(Deed.FORGET)):
                with pytest.raises(StoreUnavailable, match="takes no writes"):
                    asks()
            database._primary._not_before = 0.0
            with pytest.raises(Withheld, match="restored elsewhere"):
                guard.ensure(Deed.DELETE)
            assert at(database) == second.port
