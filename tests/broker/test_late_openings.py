"""News that something was opened, and comes late, opens nothing that was closed since."""

import pytest

from broker.gate import Gate, Mode
from broker.gate_document import NotedCut
from broker.gate_news import Whole
from broker.gates import Gates
from tests.broker.test_gates_of_histories import BOT, NEW, NEWER, OLD, at, gate

ACCOUNT = "account:main"


def is_shut(gates: Gates, scope: str = BOT) -> bool:
    return scope in gates.now and gates.now[scope].mode is not Mode.OPEN


def closing(name: str = "cut_1", scope: str = BOT) -> NotedCut:
    return NotedCut(name, Mode.CLOSED, (scope,), "", "", 0)


def opened_once(history: str = NEW) -> Gates:
    """A cut stood, and was thawed."""
    gates = at(history, gate(history, 1, "cut_1"))
    gates.take([gate(history, 2)])
    assert not is_shut(gates)
    return gates


@pytest.mark.parametrize("whole", [False, True], ids=["one gate", "all of it"])
def test_a_gate_of_before_a_cut_opens_nothing(*, whole: bool) -> None:
    gates = at(NEW, gate(NEW, 8), gate(NEW, 3, scope=ACCOUNT))
    gates.take([gate(NEW, 9, "cut_1"), gate(NEW, 4, "cut_1", scope=ACCOUNT)])
    late = (gate(NEW, 8), gate(NEW, 3, scope=ACCOUNT))
    if whole:
        assert gates.begin_or_go_on(Whole(NEW, late))
    else:
        gates.take(late)
    assert is_shut(gates)
    assert is_shut(gates, ACCOUNT)


@pytest.mark.parametrize("stands", ["not on record yet", "in another history"])
@pytest.mark.parametrize("here", [NEW, OLD], ids=["the same history", "an older one here"])
def test_all_of_it_names_no_cut_as_opened_that_stands_in_it(stands: str, here: str) -> None:
    """It was thawed, and closed again: what says so is told together, whatever the order of it."""
    gates = at(here, gate(here, 1))
    early, kept = ((closing(),), ()) if stands == "not on record yet" else ((), (closing(),))
    assert gates.begin_or_go_on(Whole(NEW, (gate(NEW, 2),), early, kept, ("cut_1",)))
    assert is_shut(gates)


def test_what_is_told_of_a_newer_history_stays_closed_though_a_person_opened_it_in_this_one() -> None:
    gates = opened_once()
    assert gates.take([gate(NEWER, 1, "cut_1")]).foreign
    assert "cut_1" not in gates.whole().opened
    assert gates.begin(NEWER, [gate(NEWER, 1, scope=ACCOUNT)])  # read before the cut was committed there
    assert is_shut(gates)


def test_what_an_older_history_had_closed_is_open_where_a_person_opened_it_since() -> None:
    gates = opened_once()
    gates.take([gate(OLD, 9, "cut_1"), gate(OLD, 9, "cut_1", scope=ACCOUNT)])
    assert not is_shut(gates)
    assert not is_shut(gates, ACCOUNT)


@pytest.mark.parametrize("again", ["on record", "not on record yet", "taken over"])
def test_a_cut_that_was_opened_and_stands_again_holds_all_that_it_holds_anywhere(again: str) -> None:
    """That it was opened once is forgotten: what another history has closed by it is closed here, too."""
    gates = opened_once()
    if again != "on record":
        gates.close(closing())
    if again != "not on record yet":
        gates.take([gate(NEW, 3, "cut_1")], ["cut_1"] if again == "taken over" else ())
    assert is_shut(gates)
    assert "cut_1" not in gates.whole().opened
    gates.take([gate(OLD, 9, "cut_1", scope=ACCOUNT)])
    assert is_shut(gates, ACCOUNT)
    assert is_shut(gates)


def test_a_cut_that_is_put_on_record_is_not_taken_for_one_that_was_opened() -> None:
    """Its closing is over, because the record has it: that is no thaw."""
    gates = at(NEW, gate(NEW, 1))
    gates.close(closing())
    gates.take([gate(NEW, 2, "cut_1")], ["cut_1"])
    gates.take([gate(OLD, 9, "cut_1", scope=ACCOUNT)])
    assert is_shut(gates)
    assert is_shut(gates, ACCOUNT)


def test_who_missed_a_thaw_hears_of_it_and_not_of_one_that_was_closed_again() -> None:
    broker = opened_once()
    gateway = at(NEW, gate(NEW, 1, "cut_1"), Gate(ACCOUNT, 1, {"cut_1": Mode.CLOSED}, NEW))
    assert "cut_1" in broker.whole().opened
    broker.close(closing(scope=ACCOUNT))
    assert gateway.begin_or_go_on(broker.whole())
    assert not is_shut(gateway)
    assert is_shut(gateway, ACCOUNT)
