"""Why a fact could not be had, as the request that waits for it is told. Pure."""

from broker.errors import LinkDown
from broker.gateway.job import Failure
from broker.gateway.upstream import Crowded
from broker.gateway.venue_view import NotKnown
from clients.venues.binance import market


def failure_of(fault: Exception, name: str) -> Failure | None:
    """Say why a fact did not come; None where the venue said that there is no such order, asked whose it is.

    What we had no time or no connection for was not the venue's fault: who sets a limit says so himself.
    """
    if isinstance(fault, NotKnown):
        absent = name == "owner" and fault.code == market.NO_SUCH_ORDER
        return None if absent else Failure(fault.reason, fault.pause)
    if isinstance(fault, LinkDown):
        return Failure("broker_silent")
    if isinstance(fault, Crowded):
        return Failure("busy")
    return Failure("venue_unreachable" if isinstance(fault, OSError) else "odd_answer")
