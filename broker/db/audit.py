"""Queries on the audit trail. Records are inserted and read; nothing changes one."""

from collections.abc import Iterator

from sqlalchemy import Connection, func, select
from sqlalchemy.engine import Row

from broker.audit import chain
from broker.audit.chain import FIRST, Entry, Record
from broker.db import tables as t

_AT_ONCE = 1000
_LAST = 2**62


def append(connection: Connection, writer: str, entry: Entry) -> Record:
    """Add an entry to a writer's chain, in the caller's transaction."""
    query = (
        select(t.AUDIT.c.seq, t.AUDIT.c.digest)
        .where(t.AUDIT.c.writer == writer)
        .order_by(t.AUDIT.c.seq.desc())
        .limit(1)
    )
    head = connection.execute(query).first()
    seq, previous = (0, FIRST) if head is None else (head.seq, head.digest)
    record = chain.follow(writer, seq, previous, entry)
    connection.execute(
        t.AUDIT.insert().values(
            writer=writer, seq=record.seq, at_us=entry.at_us, actor=entry.actor, action=entry.action,
            subject=entry.subject, details=entry.details, previous=record.previous, digest=record.digest,
        )
    )  # fmt: skip
    return record


def last_of(
    connection: Connection, writer: str, subject: str, upto: int = _LAST, after: int = 0
) -> Record | None:
    """Return a writer's last record about a subject, up to one of its records and after another.

    The chain is read back to it, whole where there is none: whoever writes says after which record.
    """
    c = t.AUDIT.c
    query = select(t.AUDIT).where(c.writer == writer, c.subject == subject, c.seq <= upto, c.seq > after)
    row = connection.execute(query.order_by(t.AUDIT.c.seq.desc()).limit(1)).first()
    return None if row is None else _record(row)


def head(connection: Connection, writer: str) -> int:
    """Return the number of a writer's last record; 0 where it has none."""
    query = select(func.max(t.AUDIT.c.seq)).where(t.AUDIT.c.writer == writer)
    return int(connection.execute(query).scalar() or 0)


def about(connection: Connection, writer: str, subject: str, most: int) -> list[Entry]:
    """Return the last entries of a writer about a subject, newest first."""
    query = select(t.AUDIT).where(t.AUDIT.c.writer == writer, t.AUDIT.c.subject == subject)
    rows = connection.execute(query.order_by(t.AUDIT.c.seq.desc()).limit(most))
    return [_record(row).entry for row in rows]


def through(connection: Connection, writer: str, action: str, after: int, before_us: int) -> int:
    """Return the number up to which all records of a writer that are about an action are older than an instant."""
    c = t.AUDIT.c
    here = (c.writer == writer, c.action == action, c.seq > after)
    younger = connection.execute(select(func.min(c.seq)).where(*here, c.at_us >= before_us)).scalar()
    older = select(func.max(c.seq)).where(*here, c.at_us < before_us)
    if younger is not None:
        older = older.where(c.seq < younger)
    return int(connection.execute(older).scalar() or after)


def heads(connection: Connection) -> dict[str, tuple[int, str]]:
    """Return number and digest of every chain's last record."""
    last = (
        select(t.AUDIT.c.writer, func.max(t.AUDIT.c.seq).label("seq")).group_by(t.AUDIT.c.writer).subquery()
    )
    query = select(t.AUDIT.c.writer, t.AUDIT.c.seq, t.AUDIT.c.digest).join(
        last, (t.AUDIT.c.writer == last.c.writer) & (t.AUDIT.c.seq == last.c.seq)
    )
    return {row.writer: (row.seq, row.digest) for row in connection.execute(query)}


def walk(connection: Connection) -> Iterator[Record]:
    """Yield every record by writer and number, some at a time."""
    for writer in connection.execute(
        select(t.AUDIT.c.writer).distinct().order_by(t.AUDIT.c.writer)
    ).scalars():
        after = -(2**62)
        while True:
            query = select(t.AUDIT).where(t.AUDIT.c.writer == writer, t.AUDIT.c.seq > after)
            rows = connection.execute(query.order_by(t.AUDIT.c.seq).limit(_AT_ONCE)).all()
            yield from map(_record, rows)
            if len(rows) < _AT_ONCE:
                break
            after = rows[-1].seq


def page(connection: Connection, before: tuple[int, str, int], limit: int, only: str | None) -> list[Record]:
    """Return records, newest first, before an instant, writer and number."""
    at_us, writer, seq = before
    c = t.AUDIT.c
    query = select(t.AUDIT).where(
        (c.at_us < at_us)
        | ((c.at_us == at_us) & ((c.writer < writer) | ((c.writer == writer) & (c.seq < seq))))
    )
    if only is not None:
        query = query.where(c.writer == only)
    rows = connection.execute(query.order_by(c.at_us.desc(), c.writer.desc(), c.seq.desc()).limit(limit))
    return [_record(row) for row in rows]


def add_checkpoint(connection: Connection, signer: str, number: int, line: str) -> None:
    """Insert a signed statement."""
    connection.execute(t.AUDIT_CHECKPOINTS.insert().values(signer=signer, number=number, line=line))


def last_checkpoint(connection: Connection, signer: str) -> str | None:
    """Return a signer's last statement."""
    c = t.AUDIT_CHECKPOINTS.c
    query = select(c.line).where(c.signer == signer).order_by(c.number.desc()).limit(1)
    return connection.execute(query).scalar()


def checkpoints(connection: Connection) -> list[str]:
    """Return every signed statement, by signer and number."""
    c = t.AUDIT_CHECKPOINTS.c
    return list(connection.execute(select(c.line).order_by(c.signer, c.number)).scalars())


def _record(row: "Row[tuple[object, ...]]") -> Record:
    entry = Entry(row.at_us, row.actor, row.action, row.subject, row.details)
    return Record(row.writer, row.seq, entry, row.previous, row.digest)
