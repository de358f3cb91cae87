"""What answers told of orders' executions: for the call log, and of the latest ones for questions to the broker.

Pure, in memory, bounded.

Rules:
1. The broker may not have the last lines yet when an exit asks whose the asset is; so the question carries what this
   gateway knows of the account's orders.
2. A fee that is taken from what is bought is never its buyer's: a thousand purchases would leave it the right to sell
   one of another's. Whether it is taken there is the account's setting, so what one answer tells of it counts for those
   that tell nothing.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from decimal import ROUND_DOWN, Decimal
from itertools import islice
from typing import NamedTuple

from broker.calllog import Fills, progress
from broker.gateway.sent import Sent
from broker.policy_facts import Stake
from clients.venue import SymbolInfo
from clients.wire import Answer, OrderState

MOST_KEPT, MOST_TOLD = 2_000, 200
ZERO = Decimal(0)
_UNKNOWN = Decimal("Infinity")
_BUY = "BUY"
_HIGHEST_FEE, _PLACES = Decimal("0.01"), Decimal("1e-12")


class Placed(NamedTuple):
    """What a request places: an answer may name no more of an order than its ids, as `ACK` does, those of a list too.

    `sells` is how much of the base asset it may sell at most: the size of a sale that is sized in quote.
    """

    orders: tuple[Sent, ...] = ()
    sells: Decimal = ZERO


class RecentFills:
    """The latest orders that grants placed here, and what they executed."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._rates: dict[str, Decimal] = {}
        self._of: OrderedDict[tuple[str, str, str], tuple[str, str, str, Decimal, Decimal]] = OrderedDict()

    def take(
        self, account: str, grant: str, placed: Placed, answer: Answer, pairs: Mapping[str, SymbolInfo | None],
        owner_of: Callable[[str, str, str], str | None],
    ) -> Fills:  # fmt: skip
        """Take in an answer to a grant's request; return what it tells, for the call log."""
        found = []
        for symbol, order_id, base, side, gross, left, fees in _told(placed, answer, pairs):
            executed = self._received(account, base, side, gross, fees)
            found.append((account, symbol, order_id, base, side, str(executed), str(left)))
            key = (account, symbol, order_id)
            known = self._of.get(key)
            whose = owner_of(account, symbol, f"#{order_id}") if known is None else known[0]
            whose = whose or (grant if placed.orders else None)
            if whose is None:
                continue  # a read or a cancel: whose it is only the broker knows
            if known is None or progress(executed, left) >= progress(known[3], known[4]):
                self._of[key] = (whose, base, side, executed, left)
            self._of.move_to_end(key)
            if len(self._of) > self._most:
                self._of.popitem(last=False)
        return tuple(found)

    def learn(self, sent: Sent, state: OrderState) -> Fills:
        """Take in what settling found of an order of ours; return it where it is news, for the call log."""
        if not sent.base or state.order_id is None:
            return ()
        gross = state.executed_base or ZERO
        left = _left(state, state.quantity or sent.quantity, gross, waits=state.waits)
        executed = self._received(sent.account, sent.base, sent.side, gross, state.fees)
        key = (sent.account, sent.symbol, state.order_id)
        known = self._of.get(key)
        if known is not None and progress(executed, left) <= progress(known[3], known[4]):
            return ()
        self._of[key] = (sent.grant, sent.base, sent.side, executed, left)
        self._of.move_to_end(key)
        if len(self._of) > self._most:
            self._of.popitem(last=False)
        if known is None and not executed and not state.final:
            return ()
        return ((*key, sent.base, sent.side, str(executed), str(left)),)

    def _received(
        self, account: str, base: str, side: str, gross: Decimal, fees: tuple[tuple[str, Decimal], ...] | None
    ) -> Decimal:
        """Return what an order brought: of a buy the fee may be taken from what is bought (rule 2)."""
        if side != _BUY or not gross:
            return gross
        if fees is not None:
            rate = sum((fee for asset, fee in fees if asset == base), ZERO) / gross
            if len(self._rates) < self._most or account in self._rates:
                self._rates[account] = min(rate, _HIGHEST_FEE)
        kept = gross * (1 - self._rates.get(account, ZERO))
        return min(gross, kept.quantize(_PLACES, ROUND_DOWN)) if self._rates.get(account) else gross

    def seen_of(self, account: str, grant: str, symbol: str, base: str, replaces: str) -> Stake:
        """Return what a grant bought and sold by what is known here; what is others' nobody here can say.

        What it sold of older stock is taken off too, so it is never more than the grant bought here.
        """
        own, freed, coming, bought_here = ZERO, ZERO, ZERO, False
        for (where, pair, order_id), (whose, asset, side, executed, left) in self._of.items():
            if (where, whose, asset) != (account, grant, base):
                continue
            if side == _BUY:
                own += executed
                coming += max(ZERO, left)
                bought_here = bought_here or pair == symbol
            elif (pair, order_id) == (symbol, replaces):
                own, freed = own - executed, abs(left)
            else:
                own -= executed + abs(left)
        return Stake(bought_here, max(ZERO, own), _UNKNOWN, freed, max(ZERO, own + coming) - max(ZERO, own))

    def of(self, account: str, base: str) -> tuple[tuple[str, str, str, str, str, str], ...]:
        """Return what is known of an account's orders in a base asset, as a question to the broker carries it."""
        found = (
            (whose, symbol, order_id, side, str(executed), str(left))
            for (where, symbol, order_id), (whose, asset, side, executed, left) in reversed(self._of.items())
            if (where, asset) == (account, base)
        )
        return tuple(islice(found, MOST_TOLD))


def _told(
    placed: Placed, answer: Answer, pairs: Mapping[str, SymbolInfo | None]
) -> Iterator[tuple[str, str, str, str, Decimal, Decimal, tuple[tuple[str, Decimal], ...] | None]]:
    by_id = {one.order_id: one for one in placed.orders if one.order_id is not None and not one.is_list}
    for state in answer.orders:
        pair = pairs.get(state.symbol)
        if pair is None or state.order_id is None:
            continue
        sent = None if state.of_cancel else by_id.get(state.order_id)
        side = state.side or (None if sent is None else sent.side)
        quantity = state.quantity or (None if sent is None else sent.quantity or placed.sells or None)
        if side is None or (sent is None and quantity is None and not state.final):
            continue  # what is left of it is not told
        executed = state.executed_base or ZERO
        waits = state.waits or (sent is not None and sent.waits and state.executed_base is None)
        left = _left(state, quantity, executed, waits=waits)
        yield state.symbol, state.order_id, pair.base, side, executed, left, state.fees


def _left(state: OrderState, quantity: Decimal | None, executed: Decimal, *, waits: bool) -> Decimal:
    left = ZERO if state.final or quantity is None else max(ZERO, quantity - executed)
    return -left if waits else left
