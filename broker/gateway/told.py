"""What frames tell, as the values that a gateway works with. Pure."""

from broker.gate import Gate, Mode
from broker.gate_document import NotedCut
from broker.link import frames
from clients.egress import Egress, Way


def egress_of(part: frames.EgressPart) -> Egress:
    """Build an egress from what the broker said of it."""
    return Egress(
        part.name,
        part.addresses,
        Way(part.way),
        part.source,
        part.proxy_host,
        part.proxy_port,
        part.proxy_user,
        part.proxy_password,
    )


def gate_of(state: frames.GateState, history: str) -> Gate:
    """Read a gate."""
    return Gate(state.scope, state.epoch, {name: mode_of(mode) for name, mode in state.closers}, history)


def closing_of(part: frames.ClosingPart) -> NotedCut:
    """Read a closing: who made it, why and when is not told."""
    return NotedCut(part.cut, mode_of(part.mode), part.scopes, "", "", 0)


def mode_of(text: str) -> Mode:
    """Read the mode of a closer; one that we do not know closes."""
    return Mode(text) if text in {Mode.HALT.value, Mode.CLOSED.value} else Mode.CLOSED


NEWS = (
    frames.GateChanged,
    frames.CloseNow,
    frames.AllGates,
    frames.PolicyChanged,
    frames.Cutover,
    frames.Wipe,
)
"""After these a lease may be missing, or be there to be had."""
