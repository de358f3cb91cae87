"""Calls are kept for ninety days: what counts stays, the audit trail knows that the rest went, and nothing comes back."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from broker.audit import chain
from broker.audit.chain import Entry
from broker.audit.verify import GIVEN_UP_ACTION
from broker.calllog import Answered, Ask
from broker.db import audit as audit_store
from broker.db import calls, clocks, slices
from broker.db import log_tables as t
from broker.db.database import Database
from broker.db.tables import AUDIT
from broker.db.turns import Urgency, urgency
from broker.service.audit import read_verified
from broker.service.call_seal import WRITER, CallSeal
from broker.service.retention import AT_ONCE, EVERY_US, KEPT_US, PAST_US, Retention
from broker.steady import Counted, Moment
from tests.broker.test_retention import DAY_US, answer, ask, put
from tests.places import database_at

pytestmark = pytest.mark.usefixtures("kind")
BEGAN_US = 1_700_000_000_000_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = database_at(tmp_path)
    found.upgrade()
    yield found
    found.close()


class Home:
    """A broker's log store by an instant that tests move."""

    def __init__(self, database: Database) -> None:
        self.database, self.now, self.clock = database, BEGAN_US, self
        self.seal = CallSeal(self)  # type: ignore[arg-type]
        self.retention = Retention(self, self.seal)  # type: ignore[arg-type]

    def now_us(self) -> int:
        return self.now

    def asked(self, *seqs: int, answered: bool = True, **more: Any) -> None:
        """Take calls in that are asked at this instant, each of an order of its own; and what came back."""
        for seq in seqs:
            one = replace_(ask(seq, [f"n{seq}"]), at_us=self.now, **more)
            told = answer(seq, [(f"#{seq}", f"n{seq}")], [(str(seq), "BUY", "1", "0")], self.now)
            put(self.database, one, *([told] if answered else []))

    def sealed(self) -> None:
        for one in (self.seal, CallSeal(self)):  # type: ignore[arg-type]
            one.seal(at_once=True)

    def days(self, count: float) -> None:
        self.now += round(count * DAY_US)

    def tidied(self, times: int = 30) -> None:
        """Let the looks of two hours pass: one gives up, a later one takes away."""
        for _ in range(3):
            for _ in range(times):
                self.retention.tidy()
            self.now += EVERY_US

    def left(self) -> list[int]:
        with self.database.log.read() as connection:
            return sorted(connection.execute(select(t.CALLS.c.seq)).scalars())

    def verdict(self) -> list[str]:
        return [bad.kind for bad in read_verified(self.database).bad]


def replace_(one: Ask, **more: Any) -> Ask:
    from msgspec import structs  # noqa: PLC0415

    return structs.replace(one, **more)


@pytest.fixture
def home(database: Database) -> Home:
    return Home(database)


def test_calls_go_after_ninety_days_and_the_trail_is_as_it_was_written_all_the_while(home: Home) -> None:
    home.asked(1, 2)
    home.sealed()
    home.days(60)
    home.asked(3)
    home.sealed()
    home.days(29)
    home.tidied()
    assert home.left() == [1, 2, 3], "a day too early"
    home.days(2)
    home.retention.tidy()
    assert home.left() == [1, 2, 3], "it is on record first: who verifies now has read one of the two before"
    assert home.verdict() == []
    home.tidied()
    assert home.left() == [3]
    report = read_verified(home.database)
    assert (report.bad, report.given_up) == ([], 1)
    home.days(60)
    home.tidied()
    assert (home.left(), home.verdict()) == ([], [])


def test_what_was_never_sealed_stays(home: Home) -> None:
    """No record says what it was: it is not taken away before one does."""
    home.asked(1)
    home.days(200)
    home.sealed()
    home.tidied()
    assert home.left() == [1]
    home.sealed()
    home.tidied()
    assert home.left() == [1], "sealed now: its ninety days begin, whatever its gateway's clock said"
    home.days(91)
    home.tidied()
    assert home.left() == []


def test_a_request_in_doubt_stays_until_its_order_is_known(home: Home) -> None:
    """Its sender may cancel it by its name, and what it sells counts as sold."""
    home.asked(1, answered=False)
    home.asked(2)
    home.sealed()
    home.days(1)
    home.sealed()  # the first has no answer: sealed once it is ten minutes old
    home.days(100)
    home.sealed()
    home.tidied()
    assert home.left() == [1]
    assert home.verdict() == []
    put(home.database, answer(1, [("#1", "n1")], [], home.now))
    home.tidied()
    assert home.left() == []


def test_a_reservation_of_a_slice_that_is_on_record_stays(home: Home) -> None:
    """Whoever closes the slice adds up what its calls reserved: what was spent would come back."""
    with home.database.log.write() as connection:
        loan = slices.Slice("slc_1", Decimal(10), home.now + 100 * DAY_US, grant="one")
        slices.lend(connection, loan, "local", "boot")
    home.asked(1, reserved=(("slc_1", Decimal(4)),))
    home.asked(2, reserved=(("slc_of_before", Decimal(4)),))
    home.sealed()
    home.days(91)
    home.tidied()
    assert home.left() == [1]
    with home.database.log.write() as connection:
        slices.close_boot(connection, "local", "boot", home.now)
        assert connection.execute(select(t.SLICES.c.returned)).scalar() == "6"


def test_lines_that_went_change_nothing_when_they_are_sent_again(home: Home) -> None:
    """A spool of long ago whose acknowledgement was lost: a refused order of it stood as one in doubt, for ever."""
    home.asked(1)
    refused = replace_(ask(2, ["n2"]), at_us=home.now)
    no = Answered(100_002, 2, home.now, 400, "-2010", 1, "refused", (), (), "main", "one")
    put(home.database, refused, no)
    home.sealed()
    home.days(91)
    home.tidied()
    assert home.left() == []
    put(home.database, refused)
    home.asked(1)
    assert home.left() == []
    with home.database.log.read() as connection:
        assert connection.execute(select(func.count()).select_from(t.SENT_ORDERS)).scalar() == 0
        assert calls.last_of(connection, "local", "boot") == 2, "a gateway is not asked for them again"
    home.asked(3)
    assert home.left() == [3], "what comes after them is taken in"


def test_a_clock_that_is_set_forward_takes_nothing_away(home: Home) -> None:
    """By a year, and an hour of calls was the whole log."""
    home.asked(1)
    home.sealed()
    with home.database.log.write() as connection:
        clocks.put(connection, clocks.MONEY, Counted(home.now, Moment("host", 0, home.now)))
    home.days(365)
    home.tidied()
    assert home.left() == [1]
    with home.database.log.write() as connection:
        clocks.put(connection, clocks.MONEY, Counted(home.now, Moment("host", 0, home.now)))
    home.tidied()
    assert home.left() == []


def test_what_a_gateway_whose_clock_is_wrong_asks_today_is_not_old(home: Home) -> None:
    home.days(400)
    home.asked(1)
    with home.database.log.write() as connection:
        connection.execute(t.CALLS.update().values(at_us=BEGAN_US))
    home.sealed()
    home.tidied()
    assert home.left() == [1]


def test_rows_go_a_few_at_a_time_and_least_urgently(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """No write of it is large, none waits long, and each gives way to what is urgent."""
    many = 2 * AT_ONCE + 7
    for seq in range(1, many + 1):
        put(home.database, replace_(ask(seq, []), at_us=home.now, decision="deny"))
    home.sealed()
    home.days(91)
    real, seen = home.database.log.write, list[tuple[Any, Any]]()

    def write(pressing: Any = None, **more: Any) -> Any:
        seen.append((pressing or urgency.get(), more.get("patience_s")))
        return real(pressing, **more)

    monkeypatch.setattr(home.database.log, "write", write)
    home.retention.tidy()
    home.now += EVERY_US
    before = many
    for _ in range(6):
        home.retention.tidy()
        assert before - len(home.left()) <= 5 * AT_ONCE
        before = len(home.left())
    assert home.left() == []
    assert {pressing for pressing, _ in seen} == {Urgency.UPKEEP}
    assert all(patience is not None and patience <= 1 for _, patience in seen)


# --- what the trail says of it ----------------------------------------------------------------


def given_up_by_hand(home: Home, **details: object) -> None:
    entry = Entry(home.now, WRITER, GIVEN_UP_ACTION, WRITER, chain.details_text(details))  # type: ignore[arg-type]
    with home.database.write() as connection:
        audit_store.append(connection, WRITER, entry)


def test_calls_that_are_gone_and_were_not_given_up_are_found(home: Home) -> None:
    """Also those beside ones that were: only what is in a run that was given up may be gone."""
    home.asked(1)
    home.sealed()
    home.days(60)
    home.asked(2)
    home.sealed()
    home.days(40)
    home.tidied()
    assert (home.left(), home.verdict()) == ([2], [])
    with home.database.log.write() as connection:
        connection.execute(t.CALLS.delete())
    assert home.verdict() == ["calls"]


@pytest.mark.parametrize(
    "details",
    [
        {"through": 1, "days": 90}, {"through": 1, "days": 0}, {"through": 1, "days": 1}, {"through": 1},
        {"through": "x"}, {"through": 1e999, "days": 1}, {"through": 1, "days": 1e999},
    ],
)  # fmt: skip
def test_nothing_is_given_up_before_its_time(home: Home, details: dict[str, object]) -> None:
    """Whoever takes calls away may write a record that gives them up, and in it how long they were to be kept."""
    home.asked(1)
    home.sealed()
    with home.database.log.write() as connection:
        connection.execute(t.CALLS.delete())
    home.days(60)
    given_up_by_hand(home, **details)
    assert home.verdict() == ["calls"]


@pytest.mark.parametrize("what", ["a first run of a boot", "what is given up"])
def test_who_seals_reads_nothing_of_a_long_chain_while_a_cut_would_wait_for_it(
    home: Home, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The last record about what has none yet was looked for in the whole chain, in a transaction that writes."""
    for seq in range(1, 6):
        home.asked(seq)
        home.sealed()
    found: list[int] = []
    last_of, turns = audit_store.last_of, home.database.turns

    def noted(connection: Any, writer: str, *more: Any, **limits: Any) -> Any:
        if turns._holder is not None:
            found.append(audit_store.head(connection, writer) - limits.get("after", 0))
        return last_of(connection, writer, *more, **limits)

    monkeypatch.setattr(audit_store, "last_of", noted)
    if what == "what is given up":
        home.days(91)
        home.tidied()
    else:
        with home.database.log.write() as connection:
            calls.add_lines(
                connection, "local", "another", [replace_(ask(1, ["x"]), at_us=home.now), answer(1, [], [])]
            )
        home.sealed()
    assert found
    assert max(found) == 0, "no record was added since"


def test_it_is_on_record_once_a_day_at_most(home: Home) -> None:
    for _ in range(3):
        home.asked(home.now % 1000 + 1)
        home.sealed()
        home.days(1)
    home.days(91)
    for _ in range(60):
        home.tidied(2)
    with home.database.read() as connection:
        found = list(
            connection.execute(
                select(AUDIT.c.details, AUDIT.c.at_us).where(AUDIT.c.action == GIVEN_UP_ACTION)
            )
        )
    assert 1 <= len(found) <= 3
    assert all(json.loads(row.details)["days"] == 90 for row in found)
    assert home.verdict() == []


# --- whose an order was -----------------------------------------------------------------------


def test_whose_a_closed_order_was_is_kept_for_seven_years(home: Home) -> None:
    home.asked(1)
    home.days(91)
    home.tidied()

    def past() -> list[tuple[str, str, str, str]]:
        c = t.FILLS_PAST.c
        with home.database.log.read() as connection:
            assert connection.execute(select(func.count()).select_from(t.FILLS)).scalar() == 0
            return [tuple(row) for row in connection.execute(select(c.order_id, c.grant, c.side, c.executed))]

    assert past() == [("1", "one", "BUY", "1")]
    home.now = BEGAN_US + PAST_US - 2 * DAY_US
    home.tidied()
    assert past() == [("1", "one", "BUY", "1")]
    home.days(4)
    home.tidied()
    assert past() == []
    assert PAST_US >= 7 * 365 * DAY_US > KEPT_US
