"""One request on its way through the gateway, and what came of it."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from broker.budget import Parts
from broker.gateway.account_view import AccountView
from broker.gateway.book import Held
from broker.gateway.form import Inbound, Reply
from broker.gateway.limits import Need, Pause
from broker.gateway.replay import Entry
from broker.gateway.sales import Sale
from broker.gateway.sent import Sent
from broker.gateway.venue_line import Line
from broker.gateway.venue_view import VenueView
from broker.policy import Allow
from clients.venue import Action, Addressee, Reading, Request, Side, Variant
from clients.wire import Wire

if TYPE_CHECKING:
    from broker.gateway.late import Unwritten

Missing = tuple[str, ...]
"""Names of facts that a judgement lacks."""

_EXITS = frozenset({Action.CANCEL, Action.AMEND})


class Failure(NamedTuple):
    """Why a fact could not be had: a short stable reason, and how long the venue makes everybody wait, if it does."""

    reason: str
    pause: Pause | None = None


@dataclass(slots=True, eq=False)
class Job:
    """A request, filled in step by step. `asked` names the facts that were already waited for.

    `failed` says of those that did not come why not. A fact that came, and says no, is in neither.
    `answered`: refused, or on its way. `landed`: what came of it was taken in.
    `whose` is grant, consumer and account of a key that was refused a lease: for the call log only. `owner` is whose
    the order is that the request names, once that was found out: `own`, `other` or `nobody`. `sent` are the orders
    that it places, a list first; `none_placed`: the venue has none of them. `staked`: the broker said whose the base
    asset is, beside the order it `replaces`. `seq` is its line in the call log, 0 where it has none, `unwritten` that
    line where it left while none could be written. `amends` is the number of an amendment.
    """

    inbound: Inbound
    reply: Reply
    started_ns: int
    wire: Wire
    request: Request
    addressee: Addressee
    reading: Reading | None = None
    whose: tuple[str, str, str] | None = None
    held: Held | None = None
    view: VenueView | None = None
    account: AccountView | None = None
    variant: Variant | None = None
    replay: Entry | None = None
    asked: set[str] = field(default_factory=set)
    failed: dict[str, "Failure"] = field(default_factory=dict)
    wanted: Decimal = Decimal(0)
    owner: str | None = None
    staked: bool = False
    replaces: str = ""
    line: Line | None = None
    answered: bool = False
    landed: bool = False
    waits_as: str = ""
    # what was sent
    verdict: Allow | None = None
    reserved: Parts = ()
    client_order_ids: tuple[str, ...] = ()
    sent: tuple[Sent, ...] = ()
    none_placed: bool = False
    seq: int = 0
    unwritten: "Unwritten | None" = None
    amends: int = 0
    sent_ns: int = 0
    sale: Sale | None = None
    real_key_id: str = ""
    flight: int = 0

    @property
    def asker(self) -> str:
        """On behalf of which key facts are asked for; empty where no lease is there yet."""
        return "" if self.held is None else self.held.key_id

    @property
    def need(self) -> Need:
        """What the venue is asked for on behalf of this request; what only sells or cancels may be an exit."""
        intent = None if self.reading is None else self.reading.intent
        if intent is None or intent.action is Action.READ:
            return Need.READ
        if intent.action in _EXITS:
            return Need.EXIT
        sells = bool(intent.orders) and all(
            order.side is Side.SELL for group in intent.orders for order in group
        )
        return Need.EXIT if sells else Need.RISK
