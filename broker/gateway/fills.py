"""What answers told of orders' executions: for the call log, and of the latest ones for questions to the broker.

Pure, in memory, bounded.

Rules:
1. The broker may not have the last lines yet when an exit asks whose the asset is; so the question carries what this
   gateway knows of the account's orders, as far as the broker did not say that it has the line which tells it. What it
   has it knows best, and two hundred orders with each question held up everything that the broker does. What further
   orders come to beyond what it has of them is added up (`on_record`): nothing of them is missing, or counts twice.
2. What grants placed is what whose an asset is follows from, so it is told first, and forgotten last: neither what
   answers only show, such as reads of old orders, nor orders of another grant take its place (`unkept`). What the
   broker has goes first.
3. What a grant bought here counts where the broker is silent, also of orders that were forgotten since: those are added
   up. Of orders that were only shown counts what they bought since: who reads what it bought once, and not what it
   sold, would own it again.
4. A fee that is taken from what is bought is never its buyer's: a thousand purchases would leave it the right to sell
   one of another's. Whether it is taken there is the account's setting, so what one answer tells of it counts for those
   that tell nothing.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from decimal import ROUND_DOWN, Decimal
from itertools import chain, islice
from typing import NamedTuple

from broker.calllog import Fills, progress
from broker.gateway.on_record import OnRecord, Part, Sums
from broker.gateway.sent import Sent
from broker.gateway.unkept import Lane, Unkept
from broker.policy_facts import Stake
from clients.venue import SymbolInfo
from clients.wire import Answer, OrderState

MOST_KEPT, MOST_SPARE, MOST_TOLD = 20_000, 2_000, 200
"""How many are kept: of those that grants placed and the broker does not have there are 10,000 where new risk stops
(`spool.MOST_BEHIND`). How many of them may be such as the broker has, or as were only shown. How many a question
carries."""

_MOST_FOUND, _MOST_SUMS = 2_000, 20_000
ZERO = Decimal(0)
UNKNOWN = Decimal("Infinity")
_BUY = "BUY"
_HIGHEST_FEE, _PLACES = Decimal("0.01"), Decimal("1e-12")


_Key = tuple[str, str, str]
"""Account, symbol and the venue's id of an order."""

_Whose = tuple[str, str, str]
"""Account, grant and base asset."""


class Placed(NamedTuple):
    """What a request places: an answer may name no more of an order than its ids, as `ACK` does, those of a list too.

    `sells` is how much of the base asset it may sell at most: the size of a sale that is sized in quote.
    """

    orders: tuple[Sent, ...] = ()
    sells: Decimal = ZERO


class Beyond(NamedTuple):
    """What a question has no room to name.

    Attributes:
        parts: What orders come to beyond what the broker has of them as of a line.
        as_of: That line.
        unsure: Of orders of which that is not known, how much the grant sold beyond what it bought, and others bought.
        doubted: How much the grant sold in all of them: an answer that does not count `parts` may count what it bought.
    """

    parts: tuple[Part, ...] = ()
    as_of: int = 0
    unsure: tuple[Decimal, Decimal] = (ZERO, ZERO)
    doubted: Decimal = ZERO


class _Known(NamedTuple):
    """What is known of an order, and whether the grant placed it as far as is known here.

    `before` is what one that was only shown had executed when it was known first.
    """

    whose: str
    base: str
    side: str
    executed: Decimal
    left: Decimal
    placed: bool
    before: Decimal = ZERO


class _Sum:
    """What a grant's orders of an asset come to: what is left of it, what may still come, in which pairs it bought."""

    __slots__ = ("bought_in", "coming", "own")

    def __init__(self) -> None:
        self.own, self.coming = ZERO, ZERO
        self.bought_in: set[str] = set()

    def count(self, symbol: str, order: _Known, sign: int) -> None:
        """Add an order, or take it off again; of one that was only shown, what it bought since (rule 3)."""
        if not order.placed:
            if order.side == _BUY and order.executed > order.before:
                self.own += sign * (order.executed - order.before)
                self.bought_in.add(symbol)
        elif order.side == _BUY:
            self.own += sign * order.executed
            self.coming += sign * max(ZERO, order.left)
            self.bought_in.add(symbol)
        else:
            self.own -= sign * (order.executed + abs(order.left))


class RecentFills:
    """The latest orders that grants placed here, and what they executed."""

    def __init__(self, most: int = MOST_KEPT, most_spare: int = MOST_SPARE) -> None:
        self._most, self._most_spare = most, most_spare
        self._rates: dict[str, Decimal] = {}
        self._of: dict[_Key, _Known] = {}
        self._found: OrderedDict[_Key, None] = OrderedDict()
        self._sums: OrderedDict[_Whose, _Sum] = OrderedDict()
        self._unkept = Unkept()
        self._record = OnRecord()

    def take(
        self, account: str, grant: str, placed: Placed, answer: Answer, pairs: Mapping[str, SymbolInfo | None],
        owner_of: Callable[[str, str, str], str | None],
    ) -> Fills:  # fmt: skip
        """Take in an answer to a grant's request; return what it tells, for the call log."""
        found = []
        for symbol, order_id, base, side, gross, left, fees, of_cancel, is_new in _told(
            placed, answer, pairs
        ):
            executed = self._received(account, base, side, gross, fees)
            found.append((account, symbol, order_id, base, side, str(executed), str(left)))
            key = (account, symbol, order_id)
            known = self._of.get(key)
            whose = owner_of(account, symbol, f"#{order_id}") if known is None else known.whose
            whose = whose or (grant if placed.orders else None)
            if whose is None:
                continue  # a read or a cancel: whose it is only the broker knows
            here = (bool(placed.orders) and not of_cancel) or key in self._found
            if known is None and is_new:
                self._record.placed(key)
            self.keep(key, whose, base, side, executed, left, placed=here)
        return tuple(found)

    def found(self, account: str, symbol: str, order_id: str) -> None:
        """An order is one that a request from here placed: what answers show of it counts as placed."""
        self._found[account, symbol, order_id] = None
        if len(self._found) > _MOST_FOUND:
            self._found.popitem(last=False)

    def keep(
        self, key: _Key, whose: str, base: str, side: str, executed: Decimal, left: Decimal,
        *, placed: bool = True, earlier: bool = False,
    ) -> None:  # fmt: skip
        """Keep what an order of a grant executed; of what was told before the further one counts.

        `placed`: it is known here that the grant did. `earlier`: an earlier start of this gateway wrote it down.
        """
        known = self._of.get(key)
        before = executed if known is None else known.before
        state = _Known(
            whose, base, side, executed, left, placed or (known is not None and known.placed), before
        )
        if known is not None and progress(executed, left) < progress(known.executed, known.left):
            state = known._replace(placed=state.placed)
        if state == known:
            return
        self._count(key, known, -1)
        self._of[key] = state
        self._count(key, state, 1)
        lane = Lane(key[0], state.base, state.whose, state.placed)
        if known is not None and state == known._replace(placed=state.placed):
            self._unkept.move(key, lane)
        else:
            self._unkept.add(key, lane, earlier=earlier)
        self._make_room()

    def _count(self, key: _Key, order: _Known | None, sign: int) -> None:
        if order is None or not (order.placed or order.executed > order.before):
            return
        whose = (key[0], order.whose, order.base)
        known = self._sums.get(whose)
        if known is None:
            known = self._sums[whose] = _Sum()
            if len(self._sums) > _MOST_SUMS:
                self._sums.popitem(last=False)
        known.count(key[1], order, sign)

    def _make_room(self) -> None:
        """Forget what can be spared (rule 2); what closed orders come to stays."""
        while len(self._of) - self._unkept.placed > self._most_spare or len(self._of) > self._most:
            key = self._unkept.spare(lambda key: self._of[key].placed and bool(self._of[key].left))
            if key is None:
                key = self._unkept.most_placed()
            if key is None:
                return
            self._unkept.forget(key)
            self._record.unsure(key)
            known = self._of.pop(key)
            if known.left:  # it may come again, with all that it executed
                self._count(key, known, -1)

    def written(self, fills: Fills, line: int) -> None:
        """What an answer told is in this line of the call log; 0 where it could not be written."""
        for account, symbol, order_id, _, _, executed, left in fills:
            key = (account, symbol, order_id)
            known = self._of.get(key)
            if known is None:
                continue
            if not line:
                self._unkept.lose(key, for_now=True)
                self._record.unsure(key)
            elif (str(known.executed), str(known.left)) == (executed, left):
                self._unkept.written(key, line)
                self._record.written(key, line, known.executed, known.left)

    def written_late(self, fills: Fills, line: int) -> None:
        """What an answer told is in this line, which could not be written when it came; 0: it never will be."""
        for account, symbol, order_id, _, _, executed, left in fills:
            key = (account, symbol, order_id)
            known = self._of.get(key)
            if known is not None and not line:
                self._unkept.lose(key)
            if known is None or (str(known.executed), str(known.left)) != (executed, left):
                continue  # more is known by now: in which line that is, and whether whose it is came before, is not
            if line and self._unkept.regain(key, line):
                self._record.written(key, line, known.executed, known.left)

    def kept(self, line: int, unreadable: tuple[int, ...] = ()) -> None:
        """The broker has every line up to this one, but for those that it cannot read."""
        self._unkept.kept(line, unreadable)
        self._record.kept(line, unreadable, lambda key: key in self._of and not self._unkept.is_lost(key))

    def forgotten(self, first: int, first_again: int) -> None:
        """The broker lost lines of this start; see `Unkept.forgotten`."""
        self._unkept.forgotten(first, first_again)
        self._record.forgotten(first, first_again)

    def earlier_forgotten(self) -> None:
        """The broker lost lines of an earlier start; see `Unkept.earlier_forgotten`."""
        self._unkept.earlier_forgotten()

    def earlier_again(self) -> None:
        """Lines of earlier starts go to the broker once more; see `Unkept.earlier_again`."""
        self._unkept.earlier_again()

    def earlier_kept(self) -> None:
        """The broker has every line of earlier starts."""
        self._unkept.earlier_kept()

    def learn(self, sent: Sent, state: OrderState) -> Fills:
        """Take in what settling found of an order of ours; return it where it is news, for the call log."""
        if not sent.base or state.order_id is None:
            return ()
        gross = state.executed_base or ZERO
        left = _left(state, state.quantity or sent.quantity, gross, waits=state.waits)
        executed = self._received(sent.account, sent.base, sent.side, gross, state.fees)
        key = (sent.account, sent.symbol, state.order_id)
        known = self._of.get(key)
        if known is not None and progress(executed, left) <= progress(known.executed, known.left):
            return ()
        self.keep(key, sent.grant, sent.base, sent.side, executed, left, placed=sent.sent_us > 0)
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
            if len(self._rates) < MOST_SPARE or account in self._rates:
                self._rates[account] = min(rate, _HIGHEST_FEE)
        kept = gross * (1 - self._rates.get(account, ZERO))
        return min(gross, kept.quantize(_PLACES, ROUND_DOWN)) if self._rates.get(account) else gross

    def seen_of(self, account: str, grant: str, symbol: str, base: str, replaces: str) -> Stake:
        """Return what a grant bought and sold by what is known here; what is others' nobody here can say.

        What it sold of older stock is taken off too, so it is never more than the grant bought here.
        """
        found = self._sums.get((account, grant, base))
        if found is None:
            return Stake(others=UNKNOWN)
        own, coming, freed = found.own, found.coming, ZERO
        order = self._of.get((account, symbol, replaces))
        if (
            order is not None
            and order.placed
            and order.side != _BUY
            and (order.whose, order.base) == (grant, base)
        ):
            freed = abs(order.left)
            own += freed
        bought_here = symbol in found.bought_in
        return Stake(bought_here, max(ZERO, own), UNKNOWN, freed, max(ZERO, own + coming) - max(ZERO, own))

    @property
    def as_of(self) -> int:
        """The last line that the broker keeps."""
        return self._record.upto

    def of(
        self, account: str, base: str, grant: str = "", replaces: _Key | None = None
    ) -> tuple[tuple[str, str, str, str, str, str], ...]:
        """Return what the broker may not know yet of orders in an account's asset, as a grant's question carries it."""
        found = []
        for key in self._named(account, base, grant, replaces):
            order = self._of[key]
            found.append((order.whose, *key[1:], order.side, str(order.executed), str(order.left)))
        return tuple(found)

    def _named(self, account: str, base: str, grant: str, replaces: _Key | None) -> Iterator[_Key]:
        """Yield what a question names: first the order that is replaced, for what it frees is asked."""
        latest = self._unkept.latest(account, base, grant, MOST_TOLD)
        if replaces is None or not self._unkept.has(replaces):
            return latest
        return islice(chain((replaces,), (key for key in latest if key != replaces)), MOST_TOLD)

    def untold(self, account: str, base: str, grant: str, replaces: _Key | None = None) -> Beyond:
        """Return what a grant's question has no room for."""
        lanes = self._unkept.lanes_of(account, base)
        if sum(len(keys) for _, keys in lanes) <= MOST_TOLD:
            return Beyond(as_of=self.as_of)
        named, parts = set(self._named(account, base, grant, replaces)), Sums()
        unsure, doubted = dict[str, _Sum](), ZERO
        for lane, keys in lanes:
            for key in keys:
                if key in named:
                    continue
                order, had = self._of[key], self._record.of(key)
                if had is not None:
                    parts.add((lane.grant, key[1], order.side), order.executed, order.left, had)
                if not lane.placed:
                    continue
                if had is None:
                    unsure.setdefault(lane.grant, _Sum()).count(key[1], order, 1)
                if lane.grant == grant and order.side != _BUY:
                    doubted += order.executed + abs(order.left)
        return Beyond(parts.parts(), self.as_of, _against(grant, unsure), doubted)

    def resting(self, account: str, base: str, grant: str = "") -> tuple[tuple[str, str, str, str], ...]:
        """Return of these which may still execute, as the broker names those on record: no record names them yet."""
        return tuple(
            (whose, symbol, order_id, side)
            for whose, symbol, order_id, side, _, left in self.of(account, base, grant)
            if Decimal(left)
        )


def _against(grant: str, sums: Mapping[str, _Sum]) -> tuple[Decimal, Decimal]:
    """Return how much a grant sold beyond what it bought, and how much the others bought beyond what they sold."""
    others = (max(ZERO, one.own) for whose, one in sums.items() if whose != grant)
    return max(ZERO, -sums[grant].own) if grant in sums else ZERO, sum(others, ZERO)


def _told(
    placed: Placed, answer: Answer, pairs: Mapping[str, SymbolInfo | None]
) -> Iterator[
    tuple[str, str, str, str, Decimal, Decimal, tuple[tuple[str, Decimal], ...] | None, bool, bool]
]:
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
        is_new, of_cancel = sent is not None, state.of_cancel
        yield state.symbol, state.order_id, pair.base, side, executed, left, state.fees, of_cancel, is_new


def _left(state: OrderState, quantity: Decimal | None, executed: Decimal, *, waits: bool) -> Decimal:
    left = ZERO if state.final or quantity is None else max(ZERO, quantity - executed)
    return -left if waits else left
