"""Queries on cuts, and on what a cut may name."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, and_, case, or_, select
from sqlalchemy.engine import Row

from broker.db import tables as t
from broker.model import EVERYTHING, ITSELF, is_version

_AT_ONCE = 500


def add(connection: Connection, cut: Mapping[str, object], scopes: Iterable[str]) -> None:
    """Insert a cut and what it is about."""
    connection.execute(t.CUTS.insert().values(**cut))
    for name in scopes:
        connection.execute(t.CUT_SCOPES.insert().values(cut=cut["id"], scope=name))


def thaw(connection: Connection, cut: str, at_us: int, by: str, why: str) -> None:
    """Mark a cut as thawed."""
    connection.execute(
        t.CUTS.update().where(t.CUTS.c.id == cut).values(thawed_us=at_us, thawed_by=by, thawed_why=why)
    )


def hold_again(connection: Connection, cut: str, record: Mapping[str, object]) -> None:
    """Mark a cut as open, whether it was thawed or not, and say of it what is known now."""
    opened = {"thawed_us": None, "thawed_by": None, "thawed_why": None}
    connection.execute(t.CUTS.update().where(t.CUTS.c.id == cut).values(**record, **opened))


def forget_scopes(connection: Connection, cut: str) -> None:
    """Let a cut be about nothing, before it is about something else."""
    connection.execute(t.CUT_SCOPES.delete().where(t.CUT_SCOPES.c.cut == cut))


def closers(connection: Connection, cut: str) -> dict[str, str]:
    """Return the gates that a cut closes, and how."""
    query = select(t.CLOSERS.c.scope, t.CLOSERS.c.mode).where(t.CLOSERS.c.cut == cut)
    return {row.scope: row.mode for row in connection.execute(query)}


def widen(connection: Connection, cut: str, names: Iterable[str]) -> None:
    """Let a cut be about some more."""
    for name in set(names) - set(scopes(connection, cut)):
        connection.execute(t.CUT_SCOPES.insert().values(cut=cut, scope=name))


def standing(connection: Connection, ids: Collection[str]) -> dict[str, bool]:
    """Return which of some cuts are on record, and whether they stand there, with a closer at each of their gates."""
    found = {}
    asked = sorted(ids)
    for start in range(0, len(asked), _AT_ONCE):
        some = asked[start : start + _AT_ONCE]
        query = select(t.CUTS.c.id, t.CUTS.c.thawed_us).where(t.CUTS.c.id.in_(some))
        found.update({row.id: row.thawed_us is None for row in connection.execute(query)})
        here = (t.CLOSERS.c.cut == t.CUT_SCOPES.c.cut) & (t.CLOSERS.c.scope == t.CUT_SCOPES.c.scope)
        gone = (
            select(t.CUT_SCOPES.c.cut)
            .outerjoin(t.CLOSERS, here)
            .where(t.CUT_SCOPES.c.cut.in_(some), t.CLOSERS.c.cut.is_(None))
        )
        found.update(dict.fromkeys(connection.execute(gone.distinct()).scalars(), False))
    return found


def describe(connection: Connection, cut: str, reason: str, actor: str, opened_us: int) -> None:
    """Say of a cut who made it, why and when, where that was not known."""
    connection.execute(
        t.CUTS.update().where(t.CUTS.c.id == cut).values(reason=reason, actor=actor, opened_us=opened_us)
    )


def with_reason(connection: Connection, ids: Collection[str], reason: str) -> set[str]:
    """Return which of some cuts have a reason."""
    query = select(t.CUTS.c.id).where(t.CUTS.c.reason == reason)
    return set(connection.execute(query).scalars()) & set(ids)


def get(connection: Connection, cut: str) -> Row[Any] | None:
    """Return one cut."""
    return connection.execute(select(t.CUTS).where(t.CUTS.c.id == cut)).first()


def scopes(connection: Connection, cut: str) -> tuple[str, ...]:
    """Return what a cut is about."""
    query = select(t.CUT_SCOPES.c.scope).where(t.CUT_SCOPES.c.cut == cut).order_by(t.CUT_SCOPES.c.scope)
    return tuple(connection.execute(query).scalars())


def page(
    connection: Connection, before_us: int, limit: int, *, open_only: bool, before_id: str = ""
) -> list[Row[Any]]:
    """Return cuts, newest first; of those of one instant, as all that a database forgot are, before an id."""
    c = t.CUTS.c
    earlier = or_(c.opened_us < before_us, and_(c.opened_us == before_us, c.id < before_id))
    query = select(t.CUTS).where(earlier).order_by(c.opened_us.desc(), c.id.desc()).limit(limit)
    if open_only:
        query = query.where(t.CUTS.c.thawed_us.is_(None))
    return list(connection.execute(query))


def thawed_last(connection: Connection, limit: int) -> tuple[str, ...]:
    """Return the cuts that were thawed last, the latest of them last."""
    thawed = t.CUTS.c.thawed_us
    query = select(t.CUTS.c.id).where(thawed.is_not(None)).order_by(thawed.desc(), t.CUTS.c.id).limit(limit)
    return tuple(reversed(tuple(connection.execute(query).scalars())))


def by_itself(connection: Connection) -> frozenset[str]:
    """Return the cuts by which the program holds everything closed: after a restore, a failover."""
    query = select(t.CUTS.c.id).join(t.CUT_SCOPES, t.CUT_SCOPES.c.cut == t.CUTS.c.id)
    found = query.where(
        t.CUTS.c.thawed_us.is_(None), t.CUTS.c.actor == ITSELF, t.CUT_SCOPES.c.scope == EVERYTHING
    )
    return frozenset(connection.execute(found).scalars())


def of_everything(connection: Connection, limit: int) -> list[Row[Any]]:
    """Return the open cuts of everything: the program's own first, then the newest."""
    c = t.CUTS.c
    query = select(t.CUTS).join(t.CUT_SCOPES, t.CUT_SCOPES.c.cut == c.id)
    query = query.where(c.thawed_us.is_(None), t.CUT_SCOPES.c.scope == EVERYTHING)
    own = case((c.actor == ITSELF, 0), else_=1)
    return list(connection.execute(query.order_by(own, c.opened_us.desc(), c.id.desc()).limit(limit)))


def every_open(connection: Connection) -> frozenset[str]:
    """Return the ids of all cuts that are open."""
    return frozenset(connection.execute(select(t.CUTS.c.id).where(t.CUTS.c.thawed_us.is_(None))).scalars())


def exists(connection: Connection, kind: str, ref: str) -> bool:
    """Tell whether a scope names something there is."""
    columns = {
        "account": t.ACCOUNTS.c.name, "consumer": t.CONSUMERS.c.name, "grant": t.GRANTS.c.id,
        "gateway": t.GATEWAYS.c.name,
    }  # fmt: skip
    if kind == "key-version":
        account, slot, version = (*ref.rsplit("/", 2), "", "")[:3]
        query = select(t.KEY_VERSIONS.c.account).where(
            t.KEY_VERSIONS.c.account == account,
            t.KEY_VERSIONS.c.slot == slot,
            t.KEY_VERSIONS.c.version == (int(version) if is_version(ref) else -1),
        )
        return connection.execute(query).first() is not None
    column = columns[kind]
    return connection.execute(select(column).where(column == ref)).first() is not None
