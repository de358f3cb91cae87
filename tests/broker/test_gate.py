"""Gates: laws that hold whatever is cut and thawed in which order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import gate
from broker.gate import Gate, Mode, Shut

CHAIN = ("everything", "venue:binance", "account:a", "consumer:c", "grant:g")
MODES = st.sampled_from([Mode.CLOSED, Mode.HALT])
MOVES = st.lists(
    st.tuples(st.sampled_from(CHAIN), st.sampled_from(["x", "y", "z"]), st.none() | MODES), max_size=30
)


def play(moves: list[tuple[str, str, Mode | None]]) -> dict[str, Gate]:
    gates: dict[str, Gate] = {}
    for scope, closer, mode in moves:
        known = gates.get(scope, Gate(scope))
        changed = gate.thaw(known, closer) if mode is None else gate.close(known, closer, mode)
        if changed is not None:
            assert changed.epoch == known.epoch + 1
            gates[scope] = changed
    return gates


@given(MOVES)
def test_the_strictest_closer_anywhere_in_the_chain_wins(moves: list[tuple[str, str, Mode | None]]) -> None:
    gates = play(moves)
    modes = [mode for one in gates.values() for mode in one.closers.values()]
    expected = Mode.CLOSED if Mode.CLOSED in modes else Mode.HALT if modes else Mode.OPEN
    assert gate.mode_of(gates, CHAIN) is expected
    verdict = gate.judge(gates, CHAIN, gate.epochs_of(gates, CHAIN))
    assert verdict == (expected if expected is not Mode.CLOSED else verdict)
    assert isinstance(verdict, Shut) is (expected is Mode.CLOSED)


@given(MOVES, MOVES)
def test_a_lease_is_void_once_anything_in_its_chain_changed(
    before: list[tuple[str, str, Mode | None]], after: list[tuple[str, str, Mode | None]]
) -> None:
    old = play(before)
    new = play(before + after)
    epochs = gate.epochs_of(old, CHAIN)
    changed = gate.epochs_of(new, CHAIN) != epochs
    verdict = gate.judge(new, CHAIN, epochs)
    assert isinstance(verdict, Shut) is (changed or gate.mode_of(new, CHAIN) is Mode.CLOSED)


def test_a_thaw_takes_its_own_closer_and_no_other() -> None:
    closed = gate.close(gate.close(Gate("everything"), "a", Mode.CLOSED), "b", Mode.HALT)
    opened = gate.thaw(closed, "a")
    assert opened is not None
    assert opened.mode is Mode.HALT
    assert gate.thaw(opened, "a") is None


def test_the_same_closer_may_become_stricter_and_never_weaker() -> None:
    halted = gate.close(Gate("everything"), "a", Mode.HALT)
    assert gate.close(halted, "a", Mode.CLOSED).mode is Mode.CLOSED
    assert gate.close(gate.close(halted, "a", Mode.CLOSED), "a", Mode.HALT).mode is Mode.CLOSED


def test_misuse_is_our_own_bug() -> None:
    with pytest.raises(ValueError, match="closer"):
        gate.close(Gate("everything"), "a", Mode.OPEN)
    with pytest.raises(ValueError, match="chain"):
        gate.mode_of({}, ())
    with pytest.raises(ValueError, match="epoch"):
        gate.judge({}, CHAIN, (0,))
