"""A trail that was edited, cut, reordered, shortened or rewritten is found, and the place named."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from broker.audit import chain, checkpoint
from broker.audit.chain import FIRST, Entry
from broker.audit.ports import AnchorFailed
from broker.audit.verify import Report
from broker.db import audit as store
from broker.db import tables as t
from broker.service import Service
from broker.service.audit import Signer, acting, read_verified
from broker.service.service import found_home, open_service
from broker.stores.embedded import key as keys
from broker.stores.embedded.store import EmbeddedStore
from clients.venue import Environment
from tests.gateway.world import WallClock
from tests.places import database_at

pytestmark = pytest.mark.usefixtures("kind")


class Kept:
    """An anchor that keeps lines, and fails when told to."""

    name = "kept"

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.fails = False

    def keep(self, line: str) -> None:
        if self.fails:
            raise AnchorFailed("away on purpose")
        self.lines.append(line)


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def service(tmp_path: Path, kept: Kept) -> Iterator[Service]:
    database = database_at(tmp_path)
    database.upgrade()
    found_home(database, Environment.PAPER, "solo")
    store_ = EmbeddedStore(tmp_path / "secrets.db", keys.fresh())
    opened = open_service(database, store_, WallClock())
    opened.audit.sign_with(Signer("broker", Ed25519PrivateKey.generate(), (kept,)))
    for number in range(1, 7):
        opened.grants.create_consumer(f"bot-{number}")
        if number in {3, 6}:
            opened.audit.checkpoint(at_once=True)
    opened.grants.create_consumer("bot-7")
    yield opened
    store_.close()
    database.close()


def looked(service: Service, kept: Kept) -> Report:
    return read_verified(service.desk.database, kept.lines)


def test_an_untouched_trail_is_whole_and_says_how_far_it_is_anchored(service: Service, kept: Kept) -> None:
    report = looked(service, kept)
    assert report.bad == []
    assert report.records == {"control": 7}
    assert (report.checkpoints, report.anchors) == (2, 2)
    assert report.anchored == {"control": 6}


def rehash(connection: Connection, first: int) -> None:
    """Rewrite the chain from a record on, as one would who owns the database."""
    rows = [row for row in store.walk(connection) if row.writer == "control"]
    previous = next((row.digest for row in rows if row.seq == first - 1), FIRST)
    for row in rows:
        if row.seq >= first:
            fresh = chain.follow("control", row.seq - 1, previous, row.entry)
            where = (t.AUDIT.c.writer == "control", t.AUDIT.c.seq == row.seq)
            connection.execute(t.AUDIT.update().where(*where).values(previous=previous, digest=fresh.digest))
            previous = fresh.digest


def edit(connection: Connection, seq: int = 2) -> None:
    where = (t.AUDIT.c.writer == "control", t.AUDIT.c.seq == seq)
    connection.execute(t.AUDIT.update().where(*where).values(actor="somebody-else"))


def drop(connection: Connection, *seqs: int) -> None:
    connection.execute(t.AUDIT.delete().where(t.AUDIT.c.writer == "control", t.AUDIT.c.seq.in_(seqs)))


def swap(connection: Connection) -> None:
    """Exchange the contents of records 2 and 3, digests that fit themselves included."""
    rows = {row.seq: row for row in store.walk(connection)}
    drop(connection, 2, 3)
    for seq, content in ((2, rows[3]), (3, rows[2])):
        fresh = chain.digest("control", seq, content.entry, content.previous)
        connection.execute(
            t.AUDIT.insert().values(
                writer="control", seq=seq, at_us=content.entry.at_us, actor=content.entry.actor,
                action=content.entry.action, subject=content.entry.subject, details=content.entry.details,
                previous=content.previous, digest=fresh,
            )
        )  # fmt: skip


def edit_and_rehash(connection: Connection) -> None:
    edit(connection)
    rehash(connection, 2)


def forget_checkpoints(connection: Connection) -> None:
    connection.execute(t.AUDIT_CHECKPOINTS.delete())


def truncate(connection: Connection) -> None:
    drop(connection, 5, 6, 7)


def truncate_and_forget(connection: Connection) -> None:
    truncate(connection)
    forget_checkpoints(connection)


def rewrite_and_forget(connection: Connection) -> None:
    edit_and_rehash(connection)
    forget_checkpoints(connection)


def forge_checkpoint(connection: Connection) -> None:
    """Rewrite, and sign the new heads with a key of one's own."""
    edit_and_rehash(connection)
    forget_checkpoints(connection)
    key = Ed25519PrivateKey.generate()
    signed = checkpoint.sign(key, "broker", 1, 1, store.heads(connection), FIRST)
    store.add_checkpoint(connection, "broker", 1, checkpoint.dump(signed))


def edit_checkpoint(connection: Connection) -> None:
    line = json.loads(store.checkpoints(connection)[0])
    line["at_us"] += 1
    where = t.AUDIT_CHECKPOINTS.c.number == 1
    connection.execute(t.AUDIT_CHECKPOINTS.update().where(where).values(line=json.dumps(line)))


@pytest.mark.parametrize(
    ("tamper", "kind_of_bad", "seq"),
    [
        (edit, "edited", 2),
        (lambda c: drop(c, 4), "missing", 4),
        (lambda c: drop(c, 1), "missing", 1),
        (swap, "reordered", 2),
        (truncate, "truncated", 5),
        (truncate_and_forget, "truncated", 5),
        (edit_and_rehash, "forked", 3),
        (rewrite_and_forget, "forked", 3),
        (forge_checkpoint, "unsigned", 0),
        (edit_checkpoint, "unsigned", 0),
    ],
)
def test_tampering_is_found_and_its_first_record_named(
    service: Service, kept: Kept, tamper: Callable[[Connection], None], kind_of_bad: str, seq: int
) -> None:
    with service.desk.database.write() as connection:
        tamper(connection)
    first = looked(service, kept).first_bad
    assert first is not None
    assert (first.kind, first.seq) == (kind_of_bad, seq)


def test_what_was_added_after_the_last_anchor_and_rewritten_is_not_proven(
    service: Service, kept: Kept
) -> None:
    """Honest about what it does not know: the report says up to where the trail is anchored."""
    with service.desk.database.write() as connection:
        edit(connection, 7)
        rehash(connection, 7)
    report = looked(service, kept)
    assert report.bad == []
    assert report.anchored["control"] == 6 < report.records["control"]


@pytest.mark.parametrize("line", ["{", "[]", "null", '{"version": 1}', "x" * 10])
def test_an_anchor_that_cannot_be_understood_is_said(service: Service, kept: Kept, line: str) -> None:
    kept.lines.append(line)
    first = looked(service, kept).first_bad
    assert first is not None
    assert first.kind == "unreadable"


def test_an_anchor_of_another_key_is_not_taken_for_ours(service: Service, kept: Kept) -> None:
    heads = checkpoint.load(kept.lines[0]).heads
    kept.lines.append(
        checkpoint.dump(checkpoint.sign(Ed25519PrivateKey.generate(), "broker", 9, 1, heads, FIRST))
    )
    first = looked(service, kept).first_bad
    assert first is not None
    assert first.kind == "unsigned"


def test_an_anchor_that_failed_is_said_and_covered_by_the_next(service: Service, kept: Kept) -> None:
    kept.fails = True
    service.audit.checkpoint(at_once=True)
    assert service.audit.unanchored() == {"kept": "away on purpose"}
    kept.fails = False
    service.audit.checkpoint(at_once=True)
    assert service.audit.unanchored() == {}
    assert looked(service, kept).anchored == {"control": 7}


def test_nothing_new_needs_no_checkpoint(service: Service, kept: Kept) -> None:
    service.audit.checkpoint(at_once=True)
    count = len(kept.lines)
    assert not service.audit.checkpoint(at_once=True)
    assert len(kept.lines) == count


def test_a_change_that_failed_left_no_record(service: Service, kept: Kept) -> None:
    with pytest.raises(Exception, match="already"):
        service.grants.create_consumer("bot-1")
    assert looked(service, kept).records == {"control": 7}


def test_who_acted_is_on_record(service: Service) -> None:
    token = acting.set("ann")
    service.grants.create_consumer("hers")
    acting.reset(token)
    newest = service.audit.list(limit=2).items
    assert (newest[0].entry.actor, newest[0].entry.action, newest[0].entry.subject) == (
        "ann", "consumer.create", "consumer:hers",
    )  # fmt: skip
    assert newest[1].entry.actor == "portcullis"


def test_two_chains_vouch_for_each_other(service: Service, kept: Kept) -> None:
    service.calls.ingest("local", "boot", [])
    with service.desk.database.write() as connection:
        store.append(connection, "calls", Entry(1, "local", "note", "gateway:local"))
    service.audit.checkpoint(at_once=True)
    with service.desk.database.write() as connection:
        connection.execute(t.AUDIT.delete().where(t.AUDIT.c.writer == "calls"))
    first = looked(service, kept).first_bad
    assert first is not None
    assert (first.kind, first.writer, first.seq) == ("truncated", "calls", 1)
