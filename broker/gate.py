"""Gates: who may be served at all. Pure, and the one judge on every path that touches a key.

Rules:
1. Every scope has a gate: an epoch, and closers by id, each with a mode. No closer: open.
2. A cut adds its closer, a thaw removes its own closer and no other; each raises the epoch.
3. The effective mode of a chain is the strictest of its gates.
4. A lease is void once any gate of its chain has a higher epoch than the lease was issued under.
5. `halt` lets pass reads, cancels, amends that only shrink, and exits. `closed` lets pass nothing.
6. A scope without a gate has epoch 0 and is open; a chain that names no scope is refused.
7. An epoch belongs to a history of the record (`broker.history`): it is compared within one, never across.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType


class Mode(StrEnum):
    """What a gate lets pass."""

    OPEN = "open"
    HALT = "halt"
    CLOSED = "closed"


_STRICTNESS = {Mode.OPEN: 0, Mode.HALT: 1, Mode.CLOSED: 2}
_NO_CLOSERS: Mapping[str, Mode] = MappingProxyType({})


def strictest(modes: Iterable[Mode]) -> Mode:
    """Return the strictest of some modes; open where there is none."""
    return max(modes, key=_STRICTNESS.__getitem__, default=Mode.OPEN)


@dataclass(frozen=True, slots=True)
class Gate:
    """State of one scope, as of one history of the record."""

    scope: str
    epoch: int = 0
    closers: Mapping[str, Mode] = field(default_factory=lambda: _NO_CLOSERS)
    history: str = ""

    @property
    def mode(self) -> Mode:
        """What this gate alone lets pass."""
        return strictest(self.closers.values())


def close(gate: Gate, closer: str, mode: Mode) -> Gate:
    """Add a closer, or make an own one stricter; raise the epoch.

    Raises:
        ValueError: `mode` is open: a closer that closes nothing (caller's bug).
    """
    if mode is Mode.OPEN:
        raise ValueError("a closer is closed or halt")
    kept = strictest((mode, gate.closers.get(closer, Mode.OPEN)))
    return replace(gate, epoch=gate.epoch + 1, closers=MappingProxyType({**gate.closers, closer: kept}))


def thaw(gate: Gate, closer: str) -> Gate | None:
    """Remove one closer and raise the epoch; None where it does not hold this gate."""
    if closer not in gate.closers:
        return None
    rest = {name: mode for name, mode in gate.closers.items() if name != closer}
    return replace(gate, epoch=gate.epoch + 1, closers=MappingProxyType(rest))


def touch(gate: Gate) -> Gate:
    """Raise the epoch only: a policy narrowed, a key was reissued."""
    return replace(gate, epoch=gate.epoch + 1)


def mode_of(gates: Mapping[str, Gate], chain: tuple[str, ...]) -> Mode:
    """Return the effective mode of a chain of scopes.

    Raises:
        ValueError: The chain is empty (caller's bug: nothing is open by being nameless).
    """
    if not chain:
        raise ValueError("a chain names at least one scope")
    worst = Mode.OPEN
    for scope in chain:
        gate = gates.get(scope)
        if gate is not None and gate.closers:
            mode = gate.mode
            if mode is Mode.CLOSED:
                return mode
            worst = strictest((worst, mode))
    return worst


def epochs_of(gates: Mapping[str, Gate], chain: tuple[str, ...]) -> tuple[int, ...]:
    """Return the epochs of a chain, in its order."""
    return tuple(0 if (gate := gates.get(scope)) is None else gate.epoch for scope in chain)


@dataclass(frozen=True, slots=True)
class Shut:
    """A no of the gates. `reason` is `cut`, `halted` or `lease_void`; `scope` is the first that said it."""

    reason: str
    scope: str


def judge(gates: Mapping[str, Gate], chain: tuple[str, ...], epochs: tuple[int, ...]) -> Mode | Shut:
    """Judge one use of a lease: may it be served, and how far.

    Args:
        gates: Every gate known; a scope that is absent is open at epoch 0.
        chain: The scopes of the lease, from `model.chain`.
        epochs: Those the lease was issued under, in the order of the chain.

    Returns:
        OPEN or HALT where it may be served; `Shut` otherwise.

    Raises:
        ValueError: Chain and epochs do not fit each other (caller's bug).
    """
    if not chain or len(chain) != len(epochs):
        raise ValueError("a lease has one epoch for each scope of its chain")
    halted = False
    void = ""
    for scope, epoch in zip(chain, epochs, strict=True):
        gate = gates.get(scope)
        if gate is None:
            continue
        if gate.closers:
            if gate.mode is Mode.CLOSED:
                return Shut("cut", scope)
            halted = True
        if gate.epoch > epoch:
            void = void or scope
    if void:
        return Shut("lease_void", void)
    return Mode.HALT if halted else Mode.OPEN
