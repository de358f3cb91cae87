"""One request on its way through the gateway, and what came of it."""

import asyncio
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from broker.budget import Parts
from broker.gateway.account_view import AccountView
from broker.gateway.acting import Word
from broker.gateway.book import Held
from broker.gateway.form import Inbound, Reply
from broker.gateway.limits import Need, Pause
from broker.gateway.replay import Entry
from broker.gateway.sales import Sale
from broker.gateway.sent import Sent
from broker.gateway.venue_line import Line
from broker.gateway.venue_view import VenueView
from broker.policy import Allow, Stake
from clients.venue import Action, Addressee, Reading, Request, Side, SymbolInfo, Variant
from clients.wire import Wire

if TYPE_CHECKING:
    from broker.gateway.late import Unwritten

Missing = tuple[str, ...]
"""Names of facts that a judgement lacks."""

_EXITS = frozenset({Action.CANCEL, Action.AMEND})
_MAY_EXIT = _EXITS | {Action.PLACE}


class Failure(NamedTuple):
    """Why a fact could not be had: a short stable reason, and how long the venue makes everybody wait, if it does."""

    reason: str
    pause: Pause | None = None


class WhoseAsked(NamedTuple):
    """A question whose an asset is; `named`: which one. `before`: what was known, where it is asked once more."""

    named: Hashable
    came_us: int
    before: Stake | None
    task: asyncio.Task[Any]


@dataclass(slots=True, eq=False)
class Job:
    """A request, filled in step by step. `asked` names the facts that were already waited for.

    `failed` says of those that did not come why not. A fact that came, and says no, is in neither. `again` names what
    came, grew too old before it was judged by, and was asked for once more.
    `frees` is how much base asset an order holds that is on no record, `target_id` the venue's id of the order or list
    that the request names, where that led to it: it and `owner` are
    of one order, and stand or fall together. `cancels` is how a cancel by a name is remembered.
    `answered`: refused, or on its way. `landed`: what came of it was taken in.
    `whose` is grant, consumer and account of a key that was refused a lease: for the call log only. `owner` is whose
    the order is that the request names, once that was found out: `own`, `other` or `nobody`. `sent` are the orders
    that it places, a list first; `none_placed`: the venue has none of them. `staked`: the broker said whose the base
    asset is, beside the order it `replaces`; `whose_asked`: which question that is, `told` that an answer to
    one came, `told_us` when that was asked, `worst` what it tells at worst, where holdings came later, `words` the
    answers that it may act on (`acting`). `seq` is its line in the call log, 0 where it has none,
    `unwritten` that line where it left while none could be written. `amends` is the number of an amendment. `buy` is
    what takes from the asks of its pair, `gives` what takes from the bids, `pays` what a purchase pays. `shared_ns` is
    when the venue was asked, where that was for another's sake and the answer is shared (`alike`).
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
    again: set[str] = field(default_factory=set)
    wanted: Decimal = Decimal(0)
    owner: str | None = None
    target_id: str | None = None
    frees: Decimal = Decimal(0)
    cancels: Entry | None = None
    staked: bool = False
    replaces: str = ""
    told: bool = False
    told_us: int = 0
    worst: Stake | None = None
    whose_asked: WhoseAsked | None = None
    words: list[Word] = field(default_factory=list)
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
    shared_ns: int = 0
    sale: Sale | None = None
    pays: Sale | None = None
    buy: Sale | None = None
    gives: Sale | None = None
    real_key_id: str = ""
    flight: int = 0

    def forget_order(self) -> None:
        """Which order the request names, and whose it is, is not known any more: both are found out anew."""
        self.owner, self.target_id, self.frees = None, None, Decimal(0)
        self._forget("owner")

    def forget_grant(self) -> None:
        """Forget all that was found out on behalf of a grant on its account."""
        self.forget_order()
        self.staked, self.replaces, self.replay, self.cancels = False, "", None, None
        self.told, self.worst, self.whose_asked = False, None, None
        self._forget("stake", "holdings", "budget")

    def _forget(self, *names: str) -> None:
        self.asked.difference_update(names)
        self.again.difference_update(names)
        for name in names:
            self.failed.pop(name, None)

    @property
    def sole(self) -> bool:
        """Whether nobody else's is on its account, as far as is known."""
        return self.held is None or self.held.sole

    @property
    def held_as_of(self) -> tuple[int, int]:
        """When the holdings were asked for that it is judged by, by the wall clock and the venue's."""
        return (0, 0) if self.account is None else self.account.held_as_of

    @property
    def symbol(self) -> str:
        """The pair that it is for, or the first one; empty where it names none."""
        return (
            "" if self.reading is None or not self.reading.intent.symbols else self.reading.intent.symbols[0]
        )

    @property
    def pairs(self) -> Mapping[str, SymbolInfo | None]:
        """What is known of pairs."""
        return {} if self.view is None else self.view.pairs

    @property
    def pair(self) -> SymbolInfo | None:
        """What is known of its pair."""
        return self.pairs.get(self.symbol)

    @property
    def asker(self) -> str:
        """On behalf of which key facts are asked for; empty where no lease is there yet."""
        return "" if self.held is None else self.held.key_id

    @property
    def need(self) -> Need:
        """What the venue is asked for on behalf of this request; what only sells or cancels may be an exit.

        Nobody's form is read who has no lease: until then it is one if what it is addressed to may be.
        """
        if self.reading is None:
            return Need.EXIT if self.addressee.action in _MAY_EXIT else Need.READ
        intent = self.reading.intent
        if intent.action is Action.READ:
            return Need.READ
        if intent.action in _EXITS:
            return Need.EXIT
        sells = bool(intent.orders) and all(
            order.side is Side.SELL for group in intent.orders for order in group
        )
        return Need.EXIT if sells else Need.RISK
