"""Spans that guard a key: over only when they surely are, whichever clock of whichever host steps."""

from dataclasses import dataclass, replace
from itertools import product

import pytest

from broker import steady
from broker.steady import Moment, Span, Watch

S = 1_000_000
HOUR = 3600 * S
LONG = 17 * S


@dataclass
class Host:
    """A host's clocks, which can be set."""

    base: str = "here"
    boot_us: int = 50 * HOUR
    wall_us: int = 500_000 * HOUR

    def watch(self) -> Watch:
        return Watch(None, lambda _: Moment(self.base, self.boot_us, self.wall_us))  # type: ignore[arg-type]

    def later(self, us: int) -> None:
        self.boot_us, self.wall_us = self.boot_us + us, self.wall_us + us


STEPS = [(wall, boot) for wall, boot in product((-HOUR, 0, HOUR), (-HOUR, 0, HOUR)) if 0 in {wall, boot}]


@pytest.mark.parametrize(("wall", "boot"), STEPS)
def test_on_its_own_base_a_step_of_a_clock_ends_nothing_early_and_it_ends_at_last(
    wall: int, boot: int
) -> None:
    host = Host()
    watch = host.watch()
    one = watch.begin(LONG)
    host.wall_us, host.boot_us = host.wall_us + wall, host.boot_us + boot
    host.later(LONG - 1)
    assert not watch.is_over("a", one)
    host.later(1)
    assert watch.is_over("a", one) or boot < 0, "only what can be is waited for"
    host.later(LONG)
    assert watch.is_over("a", one)


def test_a_wall_clock_that_is_set_by_months_or_years_is_the_same() -> None:
    for step in (-200 * 24 * HOUR, 200 * 24 * HOUR):
        host = Host()
        watch = host.watch()
        one = watch.begin(LONG)
        host.wall_us += step
        host.later(LONG - 1)
        assert not watch.is_over("a", one)
        host.later(1)
        assert watch.is_over("a", one)


@pytest.mark.parametrize("apart", [-HOUR, 0, HOUR])
def test_a_span_of_another_host_is_over_once_it_was_watched_for_its_length(apart: int) -> None:
    """Two hosts share a record; neither's wall clock says anything to the other."""
    theirs, host = Host("there"), Host(wall_us=500_000 * HOUR + apart, boot_us=3 * S)
    one, watch = theirs.watch().begin(LONG), host.watch()
    assert not watch.is_over("a", one)
    host.later(LONG - 1)
    assert not watch.is_over("a", one)
    host.later(1)
    assert watch.is_over("a", one)


@pytest.mark.parametrize(("wall", "boot"), STEPS)
def test_who_watches_is_not_misled_by_a_step_of_its_own_clocks(wall: int, boot: int) -> None:
    host = Host()
    one, watch = Host("there").watch().begin(LONG), host.watch()
    watch.left_us("a", one)
    host.wall_us, host.boot_us = host.wall_us + wall, host.boot_us + boot
    host.later(LONG - 1)
    assert not watch.is_over("a", one)
    for _ in range(2):
        host.later(LONG)
        watch.left_us("a", one)
    assert watch.is_over("a", one)


def test_a_span_that_is_prolonged_is_watched_anew() -> None:
    host, there = Host(), Host("there")
    watch, theirs = host.watch(), there.watch()
    one = theirs.begin(LONG)
    watch.left_us("a", one)
    host.later(LONG - 1)
    there.later(LONG - 1)
    again = theirs.begin(LONG)
    assert not watch.is_over("a", again)
    host.later(LONG - 1)
    assert not watch.is_over("a", again)


def test_after_a_reboot_and_after_a_restart_of_who_looks_it_is_counted_from_the_beginning() -> None:
    host = Host()
    one = host.watch().begin(LONG)
    host.base, host.boot_us = "rebooted", 5 * S
    host.wall_us += HOUR
    for _ in range(2):
        fresh = host.watch()
        assert not fresh.is_over("a", one)
        host.later(LONG)
        assert fresh.is_over("a", one)


def test_what_an_older_program_wrote_is_counted_from_when_it_is_seen() -> None:
    host = Host()
    watch, old = host.watch(), Span(host.wall_us + LONG, 0)
    assert not watch.is_over("a", old)
    host.wall_us += HOUR
    host.later(LONG - 1)
    assert not watch.is_over("a", old)
    host.later(1)
    assert watch.is_over("a", old)
    assert watch.is_over("b", Span(host.wall_us, 0))


@pytest.mark.parametrize("step", [-HOUR, HOUR])
@pytest.mark.parametrize("reboots", [True, False])
def test_what_lasts_for_hours_ends_later_rather_than_sooner(step: int, *, reboots: bool) -> None:
    host = Host()
    one = steady.span(host.watch().now(), 8 * HOUR)
    host.wall_us += step
    if reboots:
        host.base, host.boot_us = "rebooted", 0
    host.later(8 * HOUR - 1)
    assert steady.long_left_us(one, host.watch().now()) > 0
    host.later(steady.UNSURE_US + HOUR + 1)
    assert steady.long_left_us(one, host.watch().now()) <= 0


def test_time_that_surely_passed_is_what_both_clocks_say() -> None:
    began = Moment("here", 10 * HOUR, 100 * HOUR)
    later = replace(began, boot_us=began.boot_us + S, wall_us=began.wall_us + S)
    assert began.elapsed_us(later) == S
    assert began.elapsed_us(replace(later, wall_us=later.wall_us + HOUR)) == S
    assert began.elapsed_us(replace(later, wall_us=later.wall_us - HOUR)) == S
    assert began.elapsed_us(replace(later, boot_us=later.boot_us + HOUR)) == S
    assert began.elapsed_us(replace(later, boot_us=later.boot_us - HOUR)) == S
    assert began.elapsed_us(replace(later, base="there")) == 0


def test_processes_of_one_host_name_the_same_base() -> None:
    assert steady.base() == steady.base()
    assert 0 < len(steady.base()) <= 64


def test_ten_thousand_spans_of_a_boot_that_is_gone_come_to_their_end() -> None:
    """Those that had no room were watched anew at each look, so none was ever over, and no key could be retired."""
    host = Host()
    watch = host.watch()
    gone = [Span(host.wall_us + LONG, LONG, "another boot") for _ in range(10_000)]
    assert not any(watch.is_over(f"hold {number}", one) for number, one in enumerate(gone))
    host.later(LONG + S)
    assert all(watch.is_over(f"hold {number}", one) for number, one in enumerate(gone))
