"""Queries on what operators ask of the rotator. An ask is worked on by whoever claimed it, and answered once."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Select, select, true
from sqlalchemy.engine import Row

from broker.db import tables as t
from broker.steady import Span, Watch

CLAIM_US = 180_000_000
"""For so long who claimed an ask works on it undisturbed."""

AGAIN_US = 200_000
"""After so long one that could not be carried out is tried again."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One ask. `body` is JSON; `outcome` is None until it was answered, then empty where it was done.

    `claimed_until_us` names the claim of who works on it.
    """

    id: str
    rotation: str
    what: str
    body: str
    operator: str
    created_us: int
    done_us: int | None = None
    outcome: str | None = None
    claimed_until_us: int = 0


def add(connection: Connection, one: Ask) -> None:
    """Insert an ask."""
    connection.execute(
        t.ROTATION_ASKS.insert().values(
            id=one.id, rotation=one.rotation, what=one.what, body=one.body, operator=one.operator,
            created_us=one.created_us,
        )
    )  # fmt: skip


def get(connection: Connection, ask: str) -> Ask | None:
    """Return one ask."""
    row = connection.execute(select(t.ROTATION_ASKS).where(t.ROTATION_ASKS.c.id == ask)).first()
    return None if row is None else _ask(row)


def of(connection: Connection, rotation: str) -> list[Ask]:
    """Return what was asked of one rotation, oldest first."""
    query = select(t.ROTATION_ASKS).where(t.ROTATION_ASKS.c.rotation == rotation)
    return [_ask(row) for row in connection.execute(query.order_by(t.ROTATION_ASKS.c.created_us))]


def over_with(connection: Connection, text: str) -> list[str]:
    """Return the asks that were answered and have a text in their body."""
    asked = t.ROTATION_ASKS.c
    query = select(asked.id).where(asked.done_us.is_not(None), asked.body.contains(text, autoescape=True))
    return list(connection.execute(query).scalars())


def _waiting(kinds: Collection[str] | None) -> Select[Any]:
    asked = t.ROTATION_ASKS.c
    of_kind = true() if kinds is None else asked.what.in_(kinds)
    return select(t.ROTATION_ASKS).where(asked.done_us.is_(None), of_kind).order_by(asked.created_us)


def _is_free(row: Row[Any], watch: Watch) -> bool:
    """Tell whether nobody works on it: its claim is over, by the clocks (`broker.steady`)."""
    if not row.claimed_until_us:
        return True
    length_us = AGAIN_US if row.claimed_by is None else CLAIM_US
    one = Span(row.claimed_until_us, length_us, row.claimed_base, row.claimed_skew_us)
    return watch.is_over(f"ask {row.id}", one)


def is_waiting(
    connection: Connection, watch: Watch, kinds: Collection[str] | None = None, who: str = ""
) -> bool:
    """Tell whether an ask waits that nobody else works on; of any kind, where none are named.

    What `who` asks has claimed itself is one that its last life was cut off from.
    """
    rows = connection.execute(_waiting(kinds))
    return any((who and row.claimed_by == who) or _is_free(row, watch) for row in rows)


def claim(connection: Connection, who: str, watch: Watch, kinds: Collection[str] | None = None) -> Ask | None:
    """Claim the oldest ask that nobody works on; of any kind, where none are named."""
    rows = connection.execute(_waiting(kinds).with_for_update(skip_locked=True))
    found = next((row for row in rows if row.claimed_by == who or _is_free(row, watch)), None)
    if found is None:
        return None
    claim = watch.begin(CLAIM_US)
    _put_down(connection, found.id, who, claim)
    return replace(_ask(found), claimed_until_us=claim.until_us)


def is_held(connection: Connection, ask: Ask, who: str) -> bool:
    """Tell whether an ask is still who claimed it, and not answered; it stays so until the transaction ends."""
    asked = t.ROTATION_ASKS.c
    query = (
        select(asked.id)
        .where(
            asked.id == ask.id,
            asked.done_us.is_(None),
            asked.claimed_by == who,
            asked.claimed_until_us == ask.claimed_until_us,
        )
        .with_for_update()
    )
    return connection.execute(query).first() is not None


def refuse_waiting(connection: Connection, outcome: str, now_us: int) -> list[str]:
    """Answer everything that waits, and return what: whoever works on it has lost it."""
    asked = t.ROTATION_ASKS.c
    query = select(asked.id).where(asked.done_us.is_(None)).order_by(asked.id)
    found = list(connection.execute(query).scalars())
    connection.execute(
        t.ROTATION_ASKS.update()
        .where(asked.id.in_(found))
        .values(done_us=now_us, outcome=outcome, claimed_by=None)
    )
    return found


def put_off(connection: Connection, ask: str, watch: Watch) -> None:
    """Let an ask go, and keep it from being claimed for a moment."""
    _put_down(connection, ask, None, watch.begin(AGAIN_US))


def _put_down(connection: Connection, ask: str, who: str | None, claim: Span) -> None:
    connection.execute(
        t.ROTATION_ASKS.update()
        .where(t.ROTATION_ASKS.c.id == ask)
        .values(
            claimed_by=who, claimed_until_us=claim.until_us, claimed_base=claim.base,
            claimed_skew_us=claim.skew_us,
        )
    )  # fmt: skip


def finish(connection: Connection, ask: str, now_us: int, outcome: str) -> None:
    """Write down what became of an ask, once."""
    asked = t.ROTATION_ASKS.c
    connection.execute(
        t.ROTATION_ASKS.update()
        .where(asked.id == ask, asked.done_us.is_(None))
        .values(done_us=now_us, outcome=outcome)
    )


def _ask(row: Row[Any]) -> Ask:
    return Ask(
        row.id, row.rotation, row.what, row.body, row.operator, row.created_us, row.done_us, row.outcome
    )
