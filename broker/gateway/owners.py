"""Whose order is whose, as far as this gateway knows. Pure, in memory, bounded.

Rules:
1. An order is owned by the venue's id of it, `#` and an order id or `%` and an order list's, once an answer to the
   sender, or proof (`sent`), has given it. To have asked for a name owns nothing.
2. Names lead to orders: `bearer` is the last one that was confirmed under a name, `waiting` what was sent under it and
   has no id yet. An order list's client id is `@` and the id: orders and lists are named apart.
3. The broker's record decides; this is a cache of it and of what this gateway sent itself.
"""

from collections.abc import Callable

from broker.gateway.fair import Fair
from broker.gateway.sent import Place, Sent, Waiting, only_fit
from clients.venue import OrderRef
from clients.wire import OrderState

MOST_KEPT, MOST_CONFIRMED = 50_000, 5_000


class Owners:
    """Grants by the venue's ids; the names that lead there. Of who has most the least recently recorded fall out."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._of: Fair[Place, str] = Fair(most)
        self._bearers: Fair[Place, tuple[str, str]] = Fair(most)
        self._confirmed: Fair[Place, None] = Fair(min(most, MOST_CONFIRMED))
        self.waiting = Waiting()
        self.recalled = True
        """Whether what earlier starts of this gateway did is among it; see `recall`."""
        self.on_confirmed: Callable[[Sent], None] = lambda _: None

    def record(self, account: str, symbol: str, known_as: str, grant: str) -> None:
        """Remember whose an order is; `known_as` is an `id_of`."""
        self._of.put((account, symbol, known_as), grant, grant)

    def find(self, account: str, symbol: str, known_as: str) -> str | None:
        """Return the grant that owns an order; None where that is not known here."""
        return self._of.get((account, symbol, known_as))

    def bear(self, account: str, symbol: str, name: str, known_as: str, grant: str) -> None:
        """An order of a grant goes by this name now."""
        self._bearers.put((account, symbol, name), (grant, known_as), grant)

    def bearer(self, account: str, symbol: str, name: str) -> tuple[str, str] | None:
        """Return grant and id of the order that was last confirmed under a name."""
        return self._bearers.get((account, symbol, name))

    def order_id(self, account: str, symbol: str, ref: OrderRef) -> str:
        """Return the venue's id of an order that is named; empty where it is not known here."""
        bearer = self.bearer(account, symbol, name_of(ref))
        return ref.order_id or ("" if bearer is None else bearer[1].lstrip("#%"))

    def askers(self, account: str, symbol: str, name: str) -> set[str]:
        """Return the grants that an order of this name may belong to, by what was sent and confirmed here."""
        found = {sent.grant for sent in self.waiting.named((account, symbol, name))}
        known = self.bearer(account, symbol, name)
        return found if known is None else found | {known[0]}

    def confirm(self, sent: Sent, order_id: str) -> None:
        """The venue gave an order of ours its id."""
        sent.order_id = order_id
        self.waiting.remove(sent)
        known_as = sent.known_as or ""
        self.record(sent.account, sent.symbol, known_as, sent.grant)
        self._confirmed.put((sent.account, sent.symbol, known_as), None, sent.grant)
        if sent.name:
            self.bear(sent.account, sent.symbol, sent.name, known_as, sent.grant)
        self.on_confirmed(sent)

    def is_confirmed(self, account: str, symbol: str, known_as: str) -> bool:
        """Tell whether it is known which order of ours got this id lately: none of those that wait for theirs."""
        return (account, symbol, known_as) in self._confirmed

    def identify(self, account: str, state: OrderState) -> Sent | None:
        """Find out which order of ours the venue tells of, if it has no id yet and can be no other; record its id."""
        if state.order_id is None or self.find(account, state.symbol, f"#{state.order_id}") is not None:
            return None
        sent = only_fit(self.waiting.candidates(account, state), state)
        if sent is None or sent.flying:
            return None  # its own answer will tell
        self.confirm(sent, state.order_id)
        return sent


def id_of(ref: OrderRef) -> str | None:
    """Return what an order or a list is owned by; None where only a name is given."""
    return None if ref.order_id is None else f"{'%' if ref.is_list else '#'}{ref.order_id}"


def name_of(ref: OrderRef) -> str:
    """Return the name that leads to an order or a list."""
    return f"{'@' if ref.is_list else ''}{ref.client_order_id or ''}"
