"""What a gateway is told again that may have missed a frame: all that is said once only.

Rules:
1. Every gate, with what stands above it and what was opened since: a gateway that has missed that is right again.
2. It says which keys it holds. One that it should not have is wiped again; one that it lacks is sent again with the
   next lease on it: nobody else would find out, and no lease could be served for good.
3. Where it has lost a frame of another kind, or cannot tell, it hears anew what it serves, which of its lines are
   wanted again, and how far the record has come. Policies and key versions come with its leases, which it gives back.
"""

import logging
from dataclasses import replace

from broker.authority.ahead import Ahead
from broker.authority.changes import Changes
from broker.authority.intake import Intake
from broker.authority.link import Link
from broker.link import frames
from broker.link.codec import BadFrame

_ASKS = frozenset(
    kind.__name__ for kind in (frames.OpenLease, frames.AskSlice, frames.OwnerQuery, frames.StakeQuery)
)
_LOG = logging.getLogger("portcullis.authority")


class Anew:
    """Answers gateways that ask anew."""

    def __init__(self, changes: Changes, ahead: Ahead, intake: Intake) -> None:
        self._changes, self._ahead, self._intake = changes, ahead, intake

    def tell(self, link: Link, frame: frames.AskGates) -> None:
        """Tell all of it."""
        link.channel.send(self._changes.states())
        link.keys.difference_update(frame.lacks)
        strays = tuple(sorted(set(frame.holds) - link.keys))
        if strays:
            link.tell(frames.Wipe(strays))
        if frame.anew:
            link.marked, link.marked_us = "", -(2**62)
            self._ahead.forget(link)
            self._intake.recount(link)


def unread(link: Link, fault: BadFrame) -> None:
    """Something that a gateway said cannot be read; who waits for an answer to it need not wait longer."""
    _LOG.error("a frame of gateway %s cannot be read: it %s", link.gateway, fault)
    if fault.name in _ASKS:
        link.tell(frames.AskFailed(fault.ask))


def with_gates(welcome: frames.Welcome, now: frames.AllGates) -> frames.Welcome:
    """Put all that is known of gates into a welcome."""
    return replace(
        welcome, gates=now.gates, closings=now.closings, history=now.history, over=now.over, kept=now.kept
    )
