"""Queries on cuts, and on what a cut may name."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.engine import Row

from broker.db import tables as t


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


def unthaw(connection: Connection, cut: str) -> None:
    """Mark a cut as open again: the secret store never heard of its thaw."""
    connection.execute(
        t.CUTS.update().where(t.CUTS.c.id == cut).values(thawed_us=None, thawed_by=None, thawed_why=None)
    )


def get(connection: Connection, cut: str) -> Row[Any] | None:
    """Return one cut."""
    return connection.execute(select(t.CUTS).where(t.CUTS.c.id == cut)).first()


def scopes(connection: Connection, cut: str) -> tuple[str, ...]:
    """Return what a cut is about."""
    query = select(t.CUT_SCOPES.c.scope).where(t.CUT_SCOPES.c.cut == cut).order_by(t.CUT_SCOPES.c.scope)
    return tuple(connection.execute(query).scalars())


def page(connection: Connection, before_us: int, limit: int, *, open_only: bool) -> list[Row[Any]]:
    """Return cuts, newest first."""
    query = (
        select(t.CUTS).where(t.CUTS.c.opened_us < before_us).order_by(t.CUTS.c.opened_us.desc()).limit(limit)
    )
    if open_only:
        query = query.where(t.CUTS.c.thawed_us.is_(None))
    return list(connection.execute(query))


_VERSION = re.compile(r"[1-9][0-9]{0,8}")
"""One spelling of a number: a gate under another one would hold nothing."""


def is_version(ref: str) -> bool:
    """Tell whether a text is how a key version is written."""
    account, slot, version = (*ref.rsplit("/", 2), "", "")[:3]
    return bool(account and slot and _VERSION.fullmatch(version))


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
            t.KEY_VERSIONS.c.version == (int(version) if _VERSION.fullmatch(version) else -1),
        )
        return connection.execute(query).first() is not None
    column = columns[kind]
    return connection.execute(select(column).where(column == ref)).first() is not None
