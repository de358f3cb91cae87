"""A cut is put on record as quickly beside a long audit trail as beside a short one; what is not read is in doubt."""

from typing import Any

import pytest
from sqlalchemy import event, insert

from broker.db import coverage
from broker.db import tables as t
from broker.service import Service
from tests.broker.test_service import HOUR_US, SetClock
from tests.broker.test_set_back import clock, service, taken

__all__ = ["clock", "service"]
S = 1_000_000
IN_USE = "key-version:main/trade/"


def filled(service: Service, records: int, *, at_us: int, of: str = "gateway.greet") -> None:
    """Write so many records of something else."""
    audit = t.AUDIT.c
    with service.desk.database.write() as connection:
        last = connection.execute(t.AUDIT.select().order_by(audit.seq.desc()).limit(1)).one()
        rows = [
            {**last._mapping, "seq": last.seq + number, "at_us": at_us, "action": of, "subject": f"{IN_USE}9"}
            for number in range(1, records + 1)
        ]
        connection.execute(insert(t.AUDIT), rows)


def in_use_at(service: Service, at_us: int) -> int | None:
    with service.desk.database.read() as connection:
        return coverage.in_use_at(connection, (f"{IN_USE}1",), at_us)["main", "trade"]


@pytest.mark.parametrize("part", ["before", "after"])
def test_what_was_in_use_is_in_doubt_where_the_trail_is_too_long_to_be_read(
    service: Service, clock: SetClock, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(coverage, "MOST_READ", 200)

    def fill(now_us: int) -> None:
        filled(service, 150, at_us=now_us)

    if part == "before":
        fill(clock.now_us())
    assert taken(service, "A") == 1
    clock.passed_us = 2 * HOUR_US
    then = clock.now_us()
    clock.passed_us += 60 * S
    assert taken(service, "B") == 2
    if part == "after":
        fill(clock.now_us())
    assert in_use_at(service, then) == 1
    if part == "before":  # behind the record that counts: as many as are read, and one more
        monkeypatch.setattr(coverage, "MOST_READ", 150)
    else:
        fill(clock.now_us())
    assert in_use_at(service, then) is None


def test_no_read_of_the_trail_for_a_cut_is_of_all_of_it(service: Service, clock: SetClock) -> None:
    """By the plans that the database makes: an index for each, and a limit where the index is of everything."""
    taken(service, "A")
    taken(service, "B")
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "FROM audit" in statement:
            asked.append((statement, parameters))

    with service.desk.database.read() as connection:
        event.listen(connection, "before_cursor_execute", note)
        scopes = (f"{IN_USE}1",)
        coverage.in_use_at(connection, scopes, clock.now_us())
        coverage.in_use_at(connection, scopes, clock.now_us() + 2 * coverage.LONGEST_US)
        coverage.changed_since(connection, scopes, 0)
        event.remove(connection, "before_cursor_execute", note)
        assert len(asked) >= 4
        if connection.dialect.name != "sqlite":
            return
        for statement, parameters in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            steps = [row[-1] for row in plan]
            assert all(step.startswith("SEARCH audit USING") or "B-TREE" in step for step in steps), steps
            assert "ix_audit_taken_into_use" in steps[0] or "LIMIT" in statement, (steps, statement)
