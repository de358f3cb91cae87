"""One process' view of the gates over several histories: a union of closings, until the new history opens them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.gate import Gate, Mode
from broker.gate_document import NotedCut
from broker.gate_news import MOST_OPENED
from broker.gates import Gates
from broker.history import History, is_older, parse

OLD, NEW, NEWER = (str(History(1, number, "1", f"w{number}")) for number in range(3))
BOT = "consumer:bot"


def gate(history: str, epoch: int, *closers: str, scope: str = BOT, mode: Mode = Mode.CLOSED) -> Gate:
    return Gate(scope, epoch, dict.fromkeys(closers, mode), history)


def at(history: str, *gates: Gate) -> Gates:
    found = Gates()
    assert found.begin(history, gates)
    return found


def test_a_lower_epoch_of_a_newer_history_counts() -> None:
    gates = at(OLD, gate(OLD, 9))
    assert gates.begin(NEW, [gate(NEW, 1)])
    assert gates.take([gate(NEW, 2, "cut_1")]).risen == (gate(NEW, 2, "cut_1"),)
    assert gates.now[BOT].mode is Mode.CLOSED


def test_what_was_closed_stays_closed_until_the_record_has_taken_it_over_and_opens_it() -> None:
    gates = at(OLD, gate(OLD, 9, "cut_1"))
    gates.begin(NEW, [])
    assert gates.now[BOT].mode is Mode.CLOSED
    for epoch in (1, 2, 99):
        gates.take([gate(NEW, epoch)])
        assert gates.now[BOT].mode is Mode.CLOSED, "no epoch of the new history opens it"
    gates.take([gate(NEW, 100, "cut_1")])
    gates.take([gate(NEW, 101)])
    assert gates.now[BOT].mode is Mode.OPEN


def test_a_cut_that_a_person_thawed_in_the_new_history_is_open_there() -> None:
    gates = at(OLD, gate(OLD, 9, "cut_1", "cut_2"))
    gates.begin(NEW, [], ["cut_1"])
    assert set(gates.now[BOT].closers) == {"cut_2"}


def test_news_of_another_history_closes_and_opens_nothing() -> None:
    gates = at(OLD, gate(OLD, 3, "cut_1"), gate(OLD, 1, scope="account:main"))
    assert gates.take([gate(NEW, 7), gate(NEW, 7, "cut_9", scope="account:main")], ["cut_1"]).foreign
    assert gates.now[BOT].mode is Mode.CLOSED
    assert gates.now["account:main"].mode is Mode.CLOSED
    assert gates.now[BOT].epoch == 3
    gates.begin(NEW, [gate(NEW, 7, "cut_1"), gate(NEW, 8, "cut_9", scope="account:main")])
    gates.take([gate(NEW, 8), gate(NEW, 9, scope="account:main")])
    assert {one.mode for one in gates.now.values()} == {Mode.OPEN}


def test_a_closing_whose_commit_was_in_a_history_that_is_not_told_yet_ends_with_it() -> None:
    gates = at(OLD, gate(OLD, 9))
    gates.close(NotedCut("cut_1", Mode.CLOSED, (BOT, "consumer:slip"), "", "", 0))
    gates.take([gate(NEW, 1, "cut_1")], ["cut_1"])
    assert gates.now[BOT].mode is Mode.CLOSED
    gates.begin(NEW, [])  # read before it was committed there
    assert gates.now[BOT].mode is Mode.CLOSED
    assert "consumer:slip" not in gates.now
    gates.take([gate(NEW, 1, "cut_1")])
    gates.take([gate(NEW, 2)])
    assert gates.now[BOT].mode is Mode.OPEN
    assert gates.closing() == ()


def test_a_closing_that_is_on_no_record_outlives_a_change_of_history() -> None:
    gates = at(OLD)
    gates.close(NotedCut("cut_1", Mode.HALT, (BOT,), "", "", 0))
    gates.begin(NEW, [gate(NEW, 5)])
    assert gates.now[BOT].mode is Mode.HALT
    assert gates.closing() == ("cut_1",)
    gates.take((), ["cut_1"])
    assert gates.now[BOT].mode is Mode.OPEN


def test_a_cut_of_the_last_history_that_is_told_too_late_holds_until_it_is_on_record_and_thawed() -> None:
    """It was committed there, and told after another history had begun, which never heard of it."""
    gates = at(NEW)
    gates.close(NotedCut("cut_1", Mode.CLOSED, (BOT,), "", "", 0))
    assert gates.take([gate(OLD, 9, "cut_1")], ["cut_1"]).foreign
    assert gates.keeps
    assert gates.closers() == {"cut_1": {BOT: Mode.CLOSED}}
    gates.take([gate(NEW, 1)])
    assert gates.now[BOT].mode is Mode.CLOSED
    gates.take([gate(NEW, 2, "cut_1")])
    assert not gates.keeps
    assert gates.closing() == ()
    gates.take([gate(NEW, 3)])
    assert gates.now[BOT].mode is Mode.OPEN


def test_an_older_history_is_not_taken() -> None:
    gates = at(NEW, gate(NEW, 1, "cut_1"))
    assert not gates.begin(OLD, [gate(OLD, 99)])
    assert gates.history == NEW
    assert gates.now[BOT].mode is Mode.CLOSED


def test_of_two_histories_of_equal_height_neither_is_older() -> None:
    one, other = str(History(1, 4, "1", "aa")), str(History(1, 4, "2", "bb"))
    assert not is_older(one, other)
    assert not is_older(other, one)
    gates = at(one, gate(one, 9, "cut_1"))
    assert gates.begin(other, [gate(other, 1)])
    assert gates.now[BOT].mode is Mode.CLOSED


@pytest.mark.parametrize("text", ["", "1", "1.2.3", "a.b.c.d", "1.2.3.4.5", f"1.{10**20}.1.a"])
def test_what_is_no_history_is_refused_and_older_than_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)
    assert not is_older(text, NEW)


def test_a_history_is_read_as_it_was_written() -> None:
    for one in (History(3, 7, "12", "ab"), History(1)):
        assert parse(str(one)) == one
    assert is_older(str(History(1, 9)), str(History(2, 0))), "a restore is newer whatever was counted before"


SCOPES, CUTS = (BOT, "account:main"), ("cut_1", "cut_2")
NEWS = st.tuples(
    st.sampled_from(SCOPES), st.integers(1, 5), st.frozensets(st.sampled_from(CUTS)), st.integers(0, 2)
)


@given(st.lists(NEWS, max_size=8), st.lists(NEWS, max_size=8))
def test_no_order_of_news_opens_across_histories(
    first: list[tuple[str, int, frozenset[str], int]], then: list[tuple[str, int, frozenset[str], int]]
) -> None:
    """Whatever a new history tells, closed stays what was closed and is not named by it as closed, then opened."""
    histories = (OLD, NEW, NEWER)
    gates = at(OLD)
    for scope, epoch, closers, which in first:
        gates.take([gate(histories[which], epoch, *closers, scope=scope)])
    held = {scope: set(one.closers) & set(CUTS) for scope, one in gates.now.items()}
    gates.begin(NEWER, [])
    for scope, closers in held.items():
        assert closers <= set(gates.now.get(scope, Gate(scope)).closers)
    owned: dict[str, set[str]] = {}
    best: dict[str, int] = {}
    for scope, epoch, closers, _ in then:
        if epoch > best.get(scope, 0):
            best[scope] = epoch
            owned.setdefault(scope, set()).update(closers)
        gates.take([gate(NEWER, epoch, *closers, scope=scope)])
    for scope, name in itertools.product(SCOPES, CUTS):
        if name in held.get(scope, set()) - owned.get(scope, set()):
            assert name in gates.now[scope].closers


PARTS = (BOT, "account:main", "consumer:slip")


def taken_over_at_one() -> Gates:
    """A cut of three scopes; late news tells that a history which is not ours has it at one of them."""
    gates = at(NEW)
    gates.close(NotedCut("cut_1", Mode.CLOSED, PARTS, "", "", 0))
    gates.take([gate(OLD, 9, "cut_1")], ["cut_1"])
    return gates


def shut(gates: Gates) -> set[str]:
    return {scope for scope, one in gates.now.items() if one.mode is Mode.CLOSED}


def test_a_closing_that_another_history_took_over_ends_only_where_ours_has_that_cut() -> None:
    gates = taken_over_at_one()
    gates.take([gate(NEW, 1, "cut_1")])
    assert shut(gates) == set(PARTS)
    gates.take([gate(NEW, 2)])
    assert shut(gates) == set(PARTS[1:]), "its own record opened it at one scope, and knows it at no other"
    for count, scope in enumerate(PARTS[1:]):
        assert gates.keeps
        gates.take([gate(NEW, 1, "cut_1", scope=scope)])
        gates.take([gate(NEW, 2, scope=scope)])
        assert shut(gates) == set(PARTS[count + 2 :])
    assert gates.closing() == ()
    assert not gates.keeps


def test_what_another_history_took_over_is_put_on_record_whole_and_ends_when_it_is_thawed() -> None:
    """The record learns of every scope that is closed, also of those where only a closing holds."""
    gates = taken_over_at_one()
    assert gates.closers() == {"cut_1": dict.fromkeys(PARTS, Mode.CLOSED)}
    gates.take([gate(NEW, 1, "cut_1", scope="account:main")])
    assert gates.closers() == {"cut_1": dict.fromkeys(PARTS, Mode.CLOSED)}
    gates.take([gate(NEW, 2, scope="account:main")], ["cut_1"])
    assert shut(gates) == set()
    assert not gates.keeps


def test_a_halt_that_is_told_at_one_scope_stays_a_halt_at_the_others() -> None:
    gates = at(NEW)
    gates.close(NotedCut("cut_1", Mode.HALT, PARTS, "", "", 0))
    gates.take([gate(OLD, 9, "cut_1", mode=Mode.HALT)], ["cut_1"])
    gates.take([gate(NEW, 1, "cut_1", mode=Mode.HALT)])
    assert {one.mode for one in gates.now.values()} == {Mode.HALT}
    gates.take([gate(NEW, 2)])
    assert gates.now[BOT].mode is Mode.OPEN
    assert gates.now["account:main"].mode is Mode.HALT


def test_late_news_of_a_cut_that_the_record_has_by_itself_is_no_second_closing() -> None:
    """Nobody could end it: the cut is thawed by its name, and that was before the record opened it here."""
    gates = at(NEW, gate(NEW, 1, "cut_1"))
    gates.take([gate(OLD, 9, "cut_1")], ["cut_1"])
    assert not gates.keeps
    gates.take([gate(NEW, 2)])
    assert gates.now[BOT].mode is Mode.OPEN


def test_who_hears_all_of_it_hears_what_was_opened_whenever_it_asks() -> None:
    """It missed how the history began, and the thaw; another one begins before it hears anything."""
    broker, gateway = (
        at(OLD, gate(OLD, 9, "cut_1"), gate(OLD, 9, "cut_2", scope="account:main")) for _ in "ab"
    )
    broker.begin(NEW, [gate(NEW, 1, "cut_2", scope="account:main")], ["cut_1"])
    broker.take([gate(NEW, 2, scope="account:main")])
    broker.begin(NEWER, [])
    assert gateway.begin_or_go_on(broker.whole())
    assert shut(gateway) == set()


def test_what_is_closed_as_of_another_history_is_told_as_that_and_ends_with_it() -> None:
    broker, gateway = at(NEW), at(NEW)
    broker.take([gate(OLD, 9, "cut_1"), gate("no history", 1, scope="consumer:slip")])
    for _ in range(2):
        assert gateway.begin_or_go_on(broker.whole())
        assert shut(gateway) == {BOT, "consumer:slip"}
    broker.take((), ["cut_1"])
    broker.begin(NEWER, [])
    gateway.begin_or_go_on(broker.whole())
    assert shut(gateway) == set()


def test_a_closing_of_ones_own_ends_where_nobody_else_knows_of_it_or_holds_less() -> None:
    """A frame came twice, or after the one that ended it; or it was known wider than it is."""
    broker, gateway = at(NEW), at(NEW)
    gateway.close(NotedCut("cut_1", Mode.CLOSED, PARTS, "", "", 0))
    gateway.close(NotedCut("cut_2", Mode.CLOSED, PARTS, "", "", 0))
    gateway.shut("unsure", PARTS)
    broker.close(NotedCut("cut_1", Mode.CLOSED, (BOT,), "", "", 0))
    gateway.begin_or_go_on(broker.whole(), ["unsure"])
    assert set(gateway.now) == {BOT}
    assert gateway.now[BOT].closers == {"cut_1": Mode.CLOSED}


def test_what_only_one_knows_of_another_history_does_not_end_because_nobody_else_does() -> None:
    broker, gateway = at(NEW), at(OLD, gate(OLD, 9, "cut_1"))
    gateway.begin_or_go_on(broker.whole())
    gateway.begin_or_go_on(broker.whole())
    assert gateway.now[BOT].closers == {"cut_1": Mode.CLOSED}
    assert not gateway.begin_or_go_on(at(OLD).whole())


def test_only_the_latest_that_were_opened_are_told_and_never_what_stands_again() -> None:
    broker = at(NEW)
    broker.were_opened(["cut_of_yesterday", "cut_0"])
    for number in range(MOST_OPENED - 1):
        broker.take([gate(NEW, 2 * number + 1, f"cut_{number}")])
        broker.take([gate(NEW, 2 * number + 2)])
    assert len(broker.whole().opened) == MOST_OPENED
    broker.take([gate(NEW, 9_999, "cut_5")])
    assert "cut_5" not in broker.whole().opened
    broker.take([gate(NEW, 10_000)])
    assert broker.whole().opened[-1] == "cut_5"
    assert "cut_of_yesterday" in broker.whole().opened
    broker.take([gate(NEW, 10_001, "cut_late")])
    broker.take([gate(NEW, 10_002)])
    assert "cut_of_yesterday" not in broker.whole().opened
