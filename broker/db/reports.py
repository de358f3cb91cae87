"""Queries on what processes report as wrong: only they see it, and everybody is to know."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, select

from broker.db import tables as t
from broker.db.upsert import upsert
from broker.steady import Moment, Span


@dataclass(frozen=True, slots=True)
class Report:
    """Something that a process found wrong. `until_us`: when it ends by itself, 0 where it does not.

    `at_us`, `base` and `skew_us` say when it was written, and on which clock (`broker.steady`).
    """

    source: str
    kind: str
    subject: str
    says: str
    step: str
    account: str = ""
    until_us: int = 0
    at_us: int = 0
    base: str = ""
    skew_us: int = 0

    def lasting(self, length_us: int) -> Span:
        """Return the span that began when it was written."""
        return Span(self.at_us + length_us, length_us, self.base, self.skew_us)

    @property
    def name(self) -> str:
        """What names it for as long as it is on record."""
        return f"report {self.source} {self.kind} {self.subject}"


def standing(connection: Connection) -> list[Report]:
    """Return every report, by source, kind and subject."""
    here = t.REPORTS.c
    query = select(t.REPORTS).order_by(here.kind, here.subject, here.source)
    return [
        Report(
            row.source, row.kind, row.subject, row.says, row.step, row.account, row.until_us, row.at_us,
            row.base, row.skew_us,
        )
        for row in connection.execute(query)
    ]  # fmt: skip


def say(connection: Connection, ones: Iterable[Report], now: Moment) -> None:
    """Write reports down, each over what its source said of the same before."""
    for one in ones:
        values = {
            "says": one.says, "step": one.step, "account": one.account, "until_us": one.until_us,
            "at_us": now.wall_us, "base": now.base, "skew_us": now.wall_us - now.boot_us,
        }  # fmt: skip
        row = upsert(connection, t.REPORTS).values(
            source=one.source, kind=one.kind, subject=one.subject, **values
        )
        connection.execute(
            row.on_conflict_do_update(index_elements=["source", "kind", "subject"], set_=values)
        )


def take_back(connection: Connection, source: str, kind: str, subject: str) -> None:
    """Take one report back: it is right again."""
    here = t.REPORTS.c
    connection.execute(
        t.REPORTS.delete().where(here.source == source, here.kind == kind, here.subject == subject)
    )


def only(connection: Connection, source: str, ones: Iterable[Report], now: Moment, *, but: str = "") -> None:
    """Replace what a source reports, but for one kind that ends by itself."""
    here, wanted = t.REPORTS.c, list(ones)
    kept = {(one.kind, one.subject) for one in wanted}
    for row in connection.execute(
        select(here.kind, here.subject).where(here.source == source, here.kind != but)
    ).all():
        if (row.kind, row.subject) not in kept:
            take_back(connection, source, row.kind, row.subject)
    say(connection, wanted, now)
