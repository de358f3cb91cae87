"""The use cases over a real database and store; a cut outlives its process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData

from broker.db import accounts as account_store
from broker.db import cuts as cut_store
from broker.db import rows
from broker.db.log_tables import LOG
from broker.db.tables import METADATA
from broker.errors import Conflict, Malformed, NotFound, StoreUnavailable
from broker.gate import Mode
from broker.model import KeyRef, KeyVersion, Stage, moment
from broker.service import Service
from broker.service.operators import Role
from broker.service.service import found_home, open_service
from broker.stores.embedded import key as keys
from broker.stores.embedded.store import EmbeddedStore
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from tests.gateway.world import POLICY, WallClock, key_pair
from tests.places import contents, database_at

pytestmark = pytest.mark.usefixtures("kind")

UPSTREAM = "http://127.0.0.1:1"
ADDED_LATER = {"secret_intents", "audit", "audit_checkpoints", "sessions", "acts"}
GOOD = KeyFacts(
    can_read=True, can_trade=True, can_withdraw=False, can_transfer=False, ip_restricted=True, account_uid="1"
)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    database = database_at(tmp_path)
    database.upgrade()
    found_home(database, Environment.PAPER, "solo")
    store = EmbeddedStore(tmp_path / "secrets.db", keys.fresh())
    yield open_service(database, store, WallClock())
    store.close()
    database.close()


@pytest.fixture
def grant(service: Service) -> str:
    service.accounts.create("main", venue="binance", upstream=UPSTREAM)
    service.grants.create_consumer("bot")
    return service.grants.create(consumer="bot", account="main", policy=POLICY).grant.id


def credential(key_id: str = "REAL", secret: str = "planted-real-secret") -> Credential:
    return Credential(key_id, Secret(secret), KeyType.HMAC)


def test_a_key_that_may_do_too_much_or_too_little_is_refused_and_nothing_is_stored(service: Service) -> None:
    service.accounts.create("main", venue="binance", upstream=UPSTREAM)
    for change, reason in (
        ({"can_withdraw": True}, "can_withdraw"),
        ({"ip_restricted": False}, "any_address"),
        ({"can_trade": False}, "cannot_trade"),
        ({"can_read": False}, "cannot_read"),
    ):
        values = {name: getattr(GOOD, name) for name in KeyFacts.__dataclass_fields__} | change
        with pytest.raises(Conflict) as caught:
            service.keys.import_key(
                "main", slot=Slot.TRADE, credential=credential(), facts=KeyFacts(**values)
            )
        assert caught.value.reason == reason
    assert service.keys.list() == ()
    assert service.desk.secrets.paths("") == ()


def test_a_second_key_takes_over_and_the_same_again_is_the_same(service: Service) -> None:
    service.accounts.create("main", venue="binance", upstream=UPSTREAM)
    first = service.keys.import_key("main", slot=Slot.TRADE, credential=credential("A"), facts=GOOD)
    again = service.keys.import_key("main", slot=Slot.TRADE, credential=credential("A"), facts=GOOD)
    assert again.ref == first.ref
    second = service.keys.import_key("main", slot=Slot.TRADE, credential=credential("B"), facts=GOOD)
    assert [(key.ref.version, key.stage) for key in service.keys.list("main")] == [
        (1, Stage.PREVIOUS), (2, Stage.CURRENT),
    ]  # fmt: skip
    assert second.ref.version == 2
    other = KeyFacts(
        **{name: getattr(GOOD, name) for name in KeyFacts.__dataclass_fields__} | {"account_uid": "2"}
    )
    with pytest.raises(Conflict, match="another account"):
        service.keys.import_key("main", slot=Slot.TRADE, credential=credential("C"), facts=other)


def test_an_import_that_stopped_half_way_is_finished_by_the_next(service: Service) -> None:
    service.accounts.create("main", venue="binance", upstream=UPSTREAM)
    store, written = service.desk.secrets, service.desk.secrets.write

    def away(*_: object) -> None:
        raise StoreUnavailable("away", "the store is away")

    store.write = away  # type: ignore[method-assign,assignment]
    with pytest.raises(StoreUnavailable):
        service.keys.import_key("main", slot=Slot.TRADE, credential=credential(), facts=GOOD)
    assert [key.stage for key in service.keys.list()] == [Stage.PENDING]
    store.write = written  # type: ignore[method-assign]
    service.keys.import_key("main", slot=Slot.TRADE, credential=credential(), facts=GOOD)
    assert [(key.ref.version, key.stage) for key in service.keys.list()] == [(1, Stage.CURRENT)]


def test_importing_the_key_in_use_again_brings_back_its_secret_where_the_store_lost_it(
    service: Service,
) -> None:
    """It was said to be in use, and nothing was stored: a restart of its gateway found no key."""
    service.accounts.create("main", venue="binance", upstream=UPSTREAM)
    key = service.keys.import_key("main", slot=Slot.TRADE, credential=credential(), facts=GOOD)
    store = service.desk.secrets
    assert isinstance(store, EmbeddedStore)
    with store._transaction() as connection:
        connection.execute("DELETE FROM secrets WHERE path = ?", (key.path,))
    again = service.keys.import_key("main", slot=Slot.TRADE, credential=credential(), facts=GOOD)
    assert (again.ref, again.stage) == (key.ref, Stage.CURRENT)
    assert store.read(key.path)["secret"] == credential().secret


def test_a_key_that_a_rotation_left_unused_is_imported_where_its_secret_lies(service: Service) -> None:
    """The sweep says to import it again; its secret lay there under the labels of the rotation, and it never could."""
    service.accounts.create("main", venue="binance", upstream=UPSTREAM)
    ref = KeyRef("main", Slot.TRADE, 1)
    left = KeyVersion(ref, Stage.PENDING, "REAL", KeyType.HMAC, ref.path, moment(1), True, False)
    with service.desk.database.write() as connection:
        account_store.add_key(connection, left, 1)
    service.desk.secrets.write(ref.path, {"secret": credential().secret}, {"rotation": "rot_x"})
    made = service.keys.import_key("main", slot=Slot.TRADE, credential=credential(), facts=GOOD)
    assert (made.ref, made.stage) == (ref, Stage.CURRENT)


def test_cuts_of_one_instant_are_all_listed(service: Service) -> None:
    """Those that a database forgot are put there at once: of more than a page of them the rest was never shown."""
    made = {f"cut_{number}" for number in range(7)}
    record = {"mode": Mode.CLOSED.value, "reason": "test", "actor": "me", "opened_us": 5}
    with service.desk.database.write() as connection:
        for name in made:
            cut_store.add(connection, {"id": name, **record}, ("everything",))
    shown: list[str] = []
    after: str | None = ""
    while after is not None:
        page = service.cuts.list(open_only=True, after=after, limit=3)
        shown += [one.id for one in page.items]
        after = page.next
    assert len(shown) == len(made)
    assert set(shown) == made


def test_an_environment_is_for_ever_and_paper_stays_on_loopback(service: Service) -> None:
    for upstream in (None, "http://10.0.0.1:80", "https://127.0.0.1", "http://127.0.0.1/x"):
        with pytest.raises(Malformed) as caught:
            service.accounts.create("main", venue="binance", upstream=upstream)
        assert caught.value.problems[0].field == "upstream"
    with pytest.raises(Conflict):
        found_home(service.desk.database, Environment.LIVE, "solo")


def test_names_that_are_none_and_names_that_are_taken(service: Service) -> None:
    for name in ("", "Bot", "-x", "a" * 65, "a b", "a/b"):
        with pytest.raises(Malformed):
            service.grants.create_consumer(name)
    service.grants.create_consumer("bot")
    with pytest.raises(Conflict):
        service.grants.create_consumer("bot")
    with pytest.raises(NotFound, match="consumer list"):
        service.grants.consumer("nobody")


def test_a_bot_may_register_its_own_public_key_and_then_we_hold_no_secret(
    service: Service, grant: str
) -> None:
    _, public = key_pair(KeyType.ED25519)
    issued = service.grants.create(consumer="bot", account="main", policy=POLICY, public_key=public)
    assert issued.secret is None
    assert issued.grant.secret_path is None
    with pytest.raises(Malformed):
        service.grants.create(consumer="bot", account="main", policy=POLICY, public_key="no key")
    assert grant


def test_a_reissue_ends_the_old_key_and_a_revoked_grant_has_none(service: Service, grant: str) -> None:
    old = service.grants.get(grant)
    new = service.grants.reissue(grant)
    assert new.grant.key_id != old.key_id
    service.grants.revoke(grant, "test")
    with pytest.raises(Conflict):
        service.grants.reissue(grant)
    with service.desk.database.read() as connection:
        assert rows.gates(connection)[f"grant:{grant}"].epoch >= 2


@pytest.mark.parametrize(
    ("change", "raised"),
    [
        (('"1000"', '"2000"'), False),
        (('"1000"', '"900"'), True),
        (('"BTCUSDT", ', ""), True),
        (("collar_percent", "# collar_percent"), False),
    ],
)
def test_a_policy_that_narrows_raises_the_epoch(
    service: Service, grant: str, change: tuple[str, str], raised: bool
) -> None:
    with service.desk.database.read() as connection:
        before = rows.gates(connection).get(f"grant:{grant}")
    service.grants.set_policy(grant, POLICY.replace(*change))
    with service.desk.database.read() as connection:
        after = rows.gates(connection).get(f"grant:{grant}")
    assert (before != after) is raised
    assert service.grants.get(grant).policy_version == 2


def test_a_cut_names_what_exists_or_nothing_is_cut(service: Service, grant: str) -> None:
    for targets, error in (
        (("consumer:nobody",), NotFound), (("consumer:bot", "grant:none"), NotFound), ((), Malformed),
        (("bot",), Malformed), (("everything:x",), Malformed), (("venue:mtgox",), NotFound),
    ):  # fmt: skip
        with pytest.raises(error):
            service.cuts.close(targets=targets, mode=Mode.CLOSED, reason="test", actor="me")
    with service.desk.database.read() as connection:
        assert all(not one.closers for one in rows.gates(connection).values())
    with pytest.raises(Malformed):
        service.cuts.close(targets=("everything",), mode=Mode.CLOSED, reason=" ", actor="me")
    cut, _ = service.cuts.close(targets=(f"grant:{grant}",), mode=Mode.HALT, reason="leak?", actor="me")
    assert service.cuts.get(cut.id) == cut
    service.cuts.thaw(cut.id, reason="was nothing", actor="me")
    with pytest.raises(Conflict):
        service.cuts.thaw(cut.id, reason="again", actor="me")


def test_tokens_are_hashed_scoped_and_can_be_ended(service: Service, tmp_path: Path) -> None:
    token = service.operators.create("ann", frozenset({Role.RESPONDER}))
    found = service.operators.by_token(token)
    assert found is not None
    assert (found.may(Role.VIEWER), found.may(Role.RESPONDER), found.may(Role.ADMIN)) == (True, True, False)
    for wrong in ("", "pcls_op_", token.reveal() + "x", token.reveal()[:-1], "ü"):
        assert service.operators.by_token(Secret(wrong)) is None
    assert token.reveal().encode() not in contents(tmp_path)
    assert service.operators.end("ann")
    assert service.operators.by_token(token) is None


def test_an_idempotency_key_is_for_one_request_of_one_operator(service: Service) -> None:
    service.operators.remember("ann", "k", b"a", 201, "{}")
    assert service.operators.remembered("ann", "k", b"a") == (201, "{}")
    assert service.operators.remembered("bob", "k", b"a") is None
    with pytest.raises(Conflict):
        service.operators.remembered("ann", "k", b"b")


def test_no_secret_is_ever_in_the_database(service: Service, grant: str, tmp_path: Path) -> None:
    service.keys.import_key("main", slot=Slot.TRADE, credential=credential(), facts=GOOD)
    issued = service.grants.reissue(grant)
    assert issued.secret is not None
    found = contents(tmp_path)
    assert issued.grant.key_id.encode() in found
    assert b"planted-real-secret" not in found
    assert issued.secret.reveal().encode() not in found


def test_the_tables_are_what_the_migrations_make(tmp_path: Path) -> None:
    database = database_at(tmp_path)
    database.upgrade()
    for store, metadata, versions in (
        (database, METADATA, "alembic_version"),
        (database.log, LOG, "alembic_version_log"),
    ):

        def ours(name: str | None, kind: str, *_: object, named: MetaData = metadata) -> bool:
            return kind != "table" or name in named.tables  # in PostgreSQL both are in one database

        options = {"version_table": versions, "include_name": ours}
        with store.read() as connection:
            assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    database.downgrade()
    database.upgrade()
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnavailable, match="newer"):
        database.upgrade()
    database.close()


def test_a_name_that_an_older_program_wrote_again_is_moved_once(tmp_path: Path) -> None:
    database = database_at(tmp_path)
    database.upgrade()
    for _ in range(2):
        database.downgrade("0009")
        with database.write() as connection:
            connection.exec_driver_sql("INSERT INTO orders VALUES ('main', 'BTCUSDT', 'mine', 'g', 1)")
        database.upgrade()
        with database.log.read() as connection:
            assert connection.execute(LOG.tables["sent_orders"].select()).scalars().all() == ["main"]
            assert connection.execute(LOG.tables["orders"].select()).all() == []
    database.close()


def test_migrations_go_down_and_up_with_data_in_place(service: Service, grant: str, tmp_path: Path) -> None:
    service.keys.import_key("main", slot=Slot.TRADE, credential=credential(), facts=GOOD)
    service.cuts.close(targets=(f"grant:{grant}",), mode=Mode.CLOSED, reason="leak", actor="me")
    service.calls.lend(grant, "local", "boot")
    first = [
        table for table in METADATA.sorted_tables if table.name not in {*ADDED_LATER, "meta", "operators"}
    ]

    def held() -> list[object]:
        with service.desk.database.read() as connection:
            return [[tuple(row) for row in connection.execute(table.select())] for table in first]

    before = held()
    assert any(before)
    database = database_at(tmp_path)
    for revision in ("0003", "0002", "0001"):
        database.downgrade(revision)
        database.upgrade()
        assert held() == before, revision
    database.close()
    assert service.grants.get(grant).policy


KILLED = """
import json, sys
from pathlib import Path
from broker.gate import Mode
from broker.service.service import open_service
from broker.stores.embedded.store import EmbeddedStore
from clients.secret import Secret
from tests.places import database_at
from tests.gateway.world import WallClock
directory = Path(sys.argv[1])
store = EmbeddedStore(directory / "secrets.db", Secret(sys.argv[2]))
service = open_service(database_at(directory), store, WallClock())
cut, _ = service.cuts.close(targets=("everything",), mode=Mode.CLOSED, reason="leak", actor="me")
print(json.dumps(cut.id), flush=True)
sys.stdin.read()
"""


@pytest.mark.process
def test_a_cut_that_was_answered_survives_kill_9(tmp_path: Path) -> None:
    kek = keys.fresh()
    database = database_at(tmp_path)
    database.upgrade()
    found_home(database, Environment.PAPER, "solo")
    EmbeddedStore(tmp_path / "secrets.db", kek).close()
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), kek.reveal()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    cut_id = json.loads(child.stdout.readline())
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    with database.read() as connection:
        assert dict(rows.gates(connection)["everything"].closers) == {cut_id: Mode.CLOSED}
    database.close()


HOUR_US = 3600 * 1_000_000


class SetClock(WallClock):
    """Clocks that go on as a test says; the wall clock is also set."""

    passed_us = ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.passed_us + self.ahead_us

    def boot_us(self) -> int:
        return super().boot_us() + self.passed_us


@pytest.mark.parametrize("late", [0, 26, 24 * 365])
def test_a_limit_is_not_lent_again_by_a_broker_that_is_started_anew_after_its_clock_was_put_right(
    tmp_path: Path, late: int
) -> None:
    """A host without a clock of its own starts late, and hears the time a moment later."""
    database, clock = database_at(tmp_path), SetClock()
    database.upgrade()
    found_home(database, Environment.PAPER, "solo")
    store = EmbeddedStore(tmp_path / "secrets.db", keys.fresh())
    clock.ahead_us = -late * HOUR_US
    service = open_service(database, store, clock)
    clock.ahead_us = 0
    service.accounts.create("main", venue="binance", upstream=UPSTREAM)
    service.grants.create_consumer("bot")
    grant = service.grants.create(consumer="bot", account="main", policy=POLICY).grant.id
    while (loan := service.calls.lend(grant, "local", "boot")) is not None:
        service.calls.close_slices("local", ((loan.id, Decimal(0)),))
    assert service.calls.used(grant) == 10_000
    anew = open_service(database, store, clock)
    assert anew.calls.lend(grant, "local", "boot") is None
    assert anew.calls.used(grant) == 10_000
    store.close()
    database.close()


@pytest.mark.parametrize(("passed", "step"), [(0, 25), (0, -25), (0, 24 * 365), (23, 1), (23, -1)])
def test_a_limit_is_not_lent_again_because_a_clock_was_set(tmp_path: Path, passed: int, step: int) -> None:
    """What was spent so long ago was spent so long ago, whatever the wall clock says since: at most it counts longer."""
    database, clock = database_at(tmp_path), SetClock()
    database.upgrade()
    found_home(database, Environment.PAPER, "solo")
    store = EmbeddedStore(tmp_path / "secrets.db", keys.fresh())
    service = open_service(database, store, clock)
    service.accounts.create("main", venue="binance", upstream=UPSTREAM)
    service.grants.create_consumer("bot")
    grant = service.grants.create(consumer="bot", account="main", policy=POLICY).grant.id
    while (loan := service.calls.lend(grant, "local", "boot")) is not None:
        service.calls.close_slices("local", ((loan.id, Decimal(0)),))
    lent = service.calls.used(grant)
    assert lent == 10_000
    clock.passed_us += passed * HOUR_US
    clock.ahead_us += step * HOUR_US
    assert service.calls.lend(grant, "local", "boot") is None
    assert service.calls.used(grant) == lent
    clock.passed_us += (24 - passed + max(0, -step) + 1) * HOUR_US
    assert service.calls.lend(grant, "local", "boot") is not None, "it costs a delay"
    store.close()
    database.close()
