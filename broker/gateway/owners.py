"""Whose order is whose, as far as this gateway knows. Pure, in memory, bounded.

Rules:
1. An order is owned by the venue's id of it, `#` and an order id or `%` and an order list's, once an answer to the
   sender, or proof (`sent`), has given it. To have asked for a name owns nothing.
2. Names lead to orders: `bearer` is the last one that was confirmed under a name, `waiting` what was sent under it and
   has no id yet. An order list's client id is `@` and the id: orders and lists are named apart. The venue counts its
   ids up: what is told late of an older order does not take a name from a newer one, only an amendment does.
3. The broker's record decides; this is a cache of it and of what this gateway sent itself. So what is found out here
   alone is told (`on_found`, `on_owned`): only the record knows who stands for a grant once that is revoked.
4. An order that the venue shows is found together with what it showed: its id is not on record before what it may give.
   Where nobody can say yet how much of which assets that is (`is_known`), it stays one of which nobody has heard.
"""

from collections.abc import Callable, Sequence

from broker.gateway.fair import Fair
from broker.gateway.sent import TOLERANCE_US, Place, Sent, Waiting, may_be, which
from clients.venue import OrderRef
from clients.wire import OrderState

MOST_KEPT, MOST_CONFIRMED = 50_000, 5_000


class Owners:
    """Grants by the venue's ids; the names that lead there. Of who has most the least recently recorded fall out."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._of: Fair[Place, str] = Fair(most)
        self._bearers: Fair[Place, tuple[str, str]] = Fair(most)
        self._confirmed: Fair[Place, bool] = Fair(min(most, MOST_CONFIRMED))
        """By whether it is a request with a number of ours."""
        self.waiting = Waiting()
        self.recalled = True
        """Whether what earlier starts of this gateway did is among it; see `recall`."""
        self.waits_for_earlier: Callable[[], bool] = lambda: False
        """Whether that may still come: until then nobody knows what an exit would sell."""
        self.on_confirmed: Callable[[Sent], None] = lambda _: None
        self.on_found: Callable[[Sent, OrderState | None], None] = lambda _sent, _state: None
        """Told an order that has its id, and whose own answer is not to come, with what the venue showed of it."""
        self.is_known: Callable[[Sent, OrderState | None], bool] = lambda _sent, _state: True
        self.on_owned: Callable[[str, str, str, str], None] = lambda *_: None
        """Told account, symbol, id and grant where it is known whose an order is, and not which request it is of."""

    def record(self, account: str, symbol: str, known_as: str, grant: str) -> None:
        """Remember whose an order is; `known_as` is an `id_of`."""
        self._of.put((account, symbol, known_as), grant, grant)

    def find(self, account: str, symbol: str, known_as: str) -> str | None:
        """Return the grant that owns an order; None where that is not known here."""
        return self._of.get((account, symbol, known_as))

    def bear(
        self, account: str, symbol: str, name: str, known_as: str, grant: str, *, renamed: bool = False
    ) -> None:
        """An order of a grant goes by this name; if it was not `renamed` so, one that was made later keeps it."""
        known = self.bearer(account, symbol, name)
        if known is not None and not renamed and is_later(known[1], known_as):
            return
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

    def confirm(self, sent: Sent, order_id: str, state: OrderState | None = None) -> None:
        """The venue gave an order of ours its id; `state` is what it showed of it."""
        sent.order_id = order_id
        self.waiting.remove(sent)
        known_as = sent.known_as or ""
        self.record(sent.account, sent.symbol, known_as, sent.grant)
        self._confirmed.put((sent.account, sent.symbol, known_as), bool(sent.number), sent.grant)
        if sent.name:
            self.bear(sent.account, sent.symbol, sent.name, known_as, sent.grant)
        self.on_confirmed(sent)
        if not sent.flying:
            self.on_found(sent, state)

    def assign(
        self, found: Sequence[Sent], order_id: str, venue_us: int = 0, state: OrderState | None = None
    ) -> Sent | None:
        """An order is of one of these, for which one grant stands: put on record what is known of it.

        Args:
            found: What it may be; without a number where it was sent elsewhere.
            order_id: The venue's id of it.
            venue_us: The venue's time: a gateway elsewhere may say more of what the venue may take still.
            state: What the venue showed of it.

        Returns:
            The one that it is, if that is known.
        """
        first, elsewhere = found[0], [one for one in found if not one.number or one.gateway]
        account, symbol, known_as = first.account, first.symbol, f"#{order_id}"
        sent = first if len(found) == 1 else None if elsewhere else which(found)
        if sent is not None and sent.number and not self.is_known(sent, state):
            return None
        over = len(elsewhere) < len(found) or venue_us > first.until_us + TOLERANCE_US
        if (elsewhere or sent is None) and over and self.find(account, symbol, known_as) != first.grant:
            self.on_owned(account, symbol, known_as, first.grant)  # once
        if sent is not None and sent.gateway and not over:
            sent = None
        if sent is None:
            self.record(account, symbol, known_as, first.grant)
        else:
            self.confirm(sent, order_id, state)
        return sent

    def is_confirmed(self, account: str, symbol: str, known_as: str) -> bool:
        """Tell whether it is known which order of ours got this id lately: none of those that wait for theirs."""
        return (account, symbol, known_as) in self._confirmed

    def identify(self, account: str, state: OrderState, venue_us: int = 0) -> Sent | None:
        """Find out which order of ours the venue tells of, if it has no id yet and can be no other; record its id.

        Args:
            account: Where.
            state: What the venue tells.
            venue_us: The venue's time as it was asked, if that is known: what was sent elsewhere is not looked at
                before the venue can take no more of the kind.
        """
        if state.order_id is None:
            return None
        known_as = f"#{state.order_id}"
        known = self.find(account, state.symbol, known_as)
        found, shown = may_be(self.waiting.candidates(account, state), state)
        if known is not None:  # of those sent elsewhere it may be open still which it is of
            found = [one for one in found if one.gateway and one.grant == known]
            shown = shown and len(found) == 1 and not self._confirmed.get((account, state.symbol, known_as))
        if not shown or any(one.flying for one in found):
            return None  # its own answer will tell
        if any(one.gateway and venue_us <= one.until_us + TOLERANCE_US for one in found):
            return None
        senders = {one.grant for one in found}
        return self.assign(found, state.order_id, venue_us, state) if len(senders) == 1 else None


def is_later(known_as: str, other: str) -> bool:
    """Tell whether one of two orders, or lists, of a pair was made after the other, as far as their ids tell."""
    one, two = known_as[1:], other[1:]
    return one.isdigit() and two.isdigit() and int(one) > int(two)


def id_of(ref: OrderRef) -> str | None:
    """Return what an order or a list is owned by; None where only a name is given."""
    return None if ref.order_id is None else f"{'%' if ref.is_list else '#'}{ref.order_id}"


def name_of(ref: OrderRef) -> str:
    """Return the name that leads to an order or a list."""
    return f"{'@' if ref.is_list else ''}{ref.client_order_id or ''}"
