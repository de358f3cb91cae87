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
   up (`bought`).
4. A fee that is taken from what is bought is never its buyer's (`costs`). Where it was not told, what others have is a
   bound: it may be less, and that is said (`fees_untold`, `doubtful`).
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import chain

from broker.calllog import Fills, Lists, is_further
from broker.gateway.bought import SELL, ZERO, Bought, Known
from broker.gateway.costs import Costs
from broker.gateway.costs import Fees as Told
from broker.gateway.lately import Lately, came_free
from broker.gateway.on_record import OnRecord
from broker.gateway.reported import Placed, Reported, reported, shown
from broker.gateway.sent import Sent
from broker.gateway.tally import Beyond, Counted, Tally
from broker.gateway.together import Together
from broker.gateway.unkept import Lane, Unkept
from broker.listed import NOT_SAID, Held, more_of
from broker.paid import pair_of
from broker.policy_facts import Stake
from clients.venue import SymbolInfo
from clients.wire import Answer, OrderState

MOST_KEPT, MOST_SPARE, MOST_TOLD = 20_000, 2_000, 200
"""How many are kept: of those that grants placed and the broker does not have there are 10,000 where new risk stops
(`spool.MOST_BEHIND`). How many of them may be such as the broker has, or as were only shown. How many a question
carries."""

_MOST_FOUND = 2_000
UNKNOWN = Decimal("Infinity")

_Key = tuple[str, str, str]
"""Account, symbol and the venue's id of an order."""


class RecentFills:
    """The latest orders that grants placed here, and what they executed."""

    def __init__(self, most: int = MOST_KEPT, most_spare: int = MOST_SPARE) -> None:
        self._most, self._most_spare = most, most_spare
        self.costs, self.lately = Costs(), Lately()
        self._of: dict[_Key, Known] = {}
        self._found: OrderedDict[_Key, None] = OrderedDict()
        self._together = Together(self._of)
        self._bought = Bought()
        self._tally = Tally(self._unkept_as)
        self._unkept = Unkept(self._changed)
        self._record = OnRecord(self._changed)

    def take(
        self, account: str, grant: str, placed: Placed, answer: Answer, pairs: Mapping[str, SymbolInfo | None],
        owner_of: Callable[[str, str, str], str | None],
    ) -> Fills:  # fmt: skip
        """Take in an answer to a grant's request; return what it tells, for the call log."""
        found = []
        for symbol, order_id, base, side, gross, left, fees, of_cancel, is_new, listed, ended in reported(
            placed, answer, pairs
        ):
            key = (account, symbol, order_id)
            known = self._of.get(key)
            pair = (account, pair_of(symbol), order_id)
            here = (bool(placed.orders) and not of_cancel) or pair in self._found
            executed = self._received(key, base, side, (gross, left), fees, here=here)
            found.append((*key, base, side, str(executed), str(left)))
            whose = owner_of(account, pair[1], f"#{order_id}") if known is None else known.whose
            whose = whose or (grant if placed.orders else None)
            if known is None and (of_cancel or is_new) and side == SELL:
                self.lately.add(account, base, ended)
            if whose is None:
                continue  # a read or a cancel: whose it is only the broker knows
            if known is None and is_new:
                self._record.placed(key)
            self.keep(key, whose, base, side, executed, left, placed=here, listed=listed)
            self._costs(key, gross, executed, fees)
        return tuple(found)

    def lists_of(self, fills: Fills) -> Lists:
        """Return of which lists orders are that answers told of, for the call log: of none if it is not named."""
        found = []
        for account, symbol, order_id, *_ in fills:
            known = self._of.get((account, symbol, order_id))
            listed = NOT_SAID if known is None else known.listed
            if listed:
                found.append((symbol, order_id, listed))
        return tuple(found)

    def left_of(self, key: _Key) -> Decimal | None:
        """Return what of an order may still execute, as far as it was told; None where nothing is known of it."""
        known = self._of.get(key)
        return None if known is None else abs(known.left)

    def known(self, key: _Key) -> Known | None:
        """Return what was told of an order, the same object until more is."""
        return self._of.get(key)

    def found(self, account: str, symbol: str, order_id: str) -> None:
        """An order is one that a request from here placed: what answers show of it counts as placed."""
        self._found[account, symbol, order_id] = None
        if len(self._found) > _MOST_FOUND:
            self._found.popitem(last=False)

    def keep(
        self, key: _Key, whose: str, base: str, side: str, executed: Decimal, left: Decimal,
        *, placed: bool = True, earlier: bool = False, listed: str = "",
    ) -> None:  # fmt: skip
        """Keep what an order of a grant executed; of what was told before the further one counts.

        `placed`: it is known here that the grant did. `earlier`: an earlier start of this gateway wrote it down.
        `listed`: of which list it is (`broker.listed`).
        """
        known, listed = self._of.get(key), self._together.read(key, listed)
        if known is None:
            state = Known(whose, base, side, executed, left, placed, executed, listed)
        else:
            listed, placed = more_of(known.listed, listed), placed or known.placed
            state = Known(whose, base, side, executed, left, placed, known.before, listed)
            if is_further(known.side, (known.executed, known.left), (executed, left)):
                state = known._replace(placed=placed, listed=listed)
        if state == known:
            return
        if not earlier:
            self.lately.add(key[0], state.base, came_free(known, state))
        beside = {key, *self._together.whole(key, "" if known is None else known.listed)}
        beside.update(self._together.whole(key, state.listed))
        self._count(beside, -1)
        if known is not None and known.listed != state.listed:
            self._together.drop(key, known.listed)
        self._of[key] = state
        self._together.put(key, state.listed)
        self._count(beside, 1)
        lane = Lane(key[0], state.base, state.whose, state.placed)
        if known is not None and state == known._replace(placed=state.placed):
            self._unkept.move(key, lane)
        else:
            self._unkept.add(key, lane, earlier=earlier)
        if earlier:  # nobody knows whether fees were told
            self.costs.note(key, state.base, state.side, executed, whose=state.whose)
        self._make_room()
        self._tally.spare()

    def _received(
        self, key: _Key, base: str, side: str, now: tuple[Decimal, Decimal], fees: Told, *, here: bool
    ) -> Decimal:
        """Return what an order brought: a guess takes no place of what was told before, or elsewhere."""
        (gross, left), known = now, self._of.get(key)
        if fees is None and known is not None and known.left == left and known.executed <= gross:
            guessed = self.costs.received(key, base, side, gross, None)
            return max(guessed, known.executed)
        if fees is None and not here and not (known is not None and known.placed):
            return gross
        return self.costs.received(key, base, side, gross, fees)

    def _costs(self, key: _Key, gross: Decimal, executed: Decimal, fees: Told) -> None:
        known = self._of.get(key)
        if known is not None:
            net = None if fees is None else executed
            self.costs.note(key, known.base, known.side, gross, net, known.whose)

    def fees_untold(self, account: str, base: str, grant: str = "") -> tuple[tuple[_Key, Known], ...]:
        """Return what purchases of an asset, but for a grant's, nobody told the fees of."""
        found = ((key, self._of[key]) for key in self.costs.untold(account, base))
        return tuple(one for one in found if one[1].whose != grant)

    def doubtful(self, account: str, base: str, grant: str) -> Decimal:
        """Return how much less than is known others may have bought: fees of theirs that nobody told."""
        return self.costs.bound(account, base, grant)

    def _count(self, keys: Iterable[_Key], sign: int) -> None:
        for key in keys:
            order = self._of.get(key)
            if order is not None:
                # what others hold is in no sum, and finding it out costs a walk of their list
                sells = order.placed and order.side == SELL
                offered = self._together.share(key, order).offered if sells else ZERO
                self._bought.count(key[0], key[1], order, offered, sign)

    def _changed(self, key: _Key) -> None:
        """What is known, or on record, of an order changes: of those beside it what counts may be more or less."""
        order = self._of.get(key)
        for one in (key,) if order is None else self._together.whole(key, order.listed):
            self._tally.changed(one)

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
            known = self._of[key]
            beside = self._together.whole(key, known.listed)
            self._count(beside, -1)
            del self._of[key]
            self._together.drop(key, known.listed)
            self.costs.drop(key, known.base)
            if not known.left:  # else it may come again, with all that it executed
                self._bought.count(key[0], key[1], known, ZERO, 1)
            self._count(beside, 1)

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
        self._tally.spare()

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
        if state.order_id is None:
            return ()
        return tuple(fill for one in shown(sent, state) for fill in self._learn(sent, one))

    def _learn(self, sent: Sent, one: Reported) -> Fills:
        key, base, side, left = (sent.account, one.symbol, one.order_id), one.base, one.side, one.left
        placed = sent.sent_us > 0  # else it is of before, and the record may not say of which list it is
        executed = self._received(key, base, side, (one.gross, left), one.fees, here=placed)
        self._costs(key, one.gross, executed, one.fees)
        known, listed = self._of.get(key), self._together.read(key, one.listed)  # it may be of none
        more = known is not None and more_of(known.listed, listed) != known.listed
        if (
            known is not None
            and not is_further(known.side, (executed, left), (known.executed, known.left))
            and not more
        ):
            return ()
        self.keep(key, sent.grant, base, side, executed, left, placed=placed, listed=listed)
        self._costs(key, one.gross, executed, one.fees)
        if known is not None:
            executed, left = self._of[key].executed, self._of[key].left
        return ((*key, base, side, str(executed), str(left)),)

    def told_of(self, sent: Sent, state: OrderState) -> Fills:
        """Return what is known of an order of ours that the venue shows, as it moves each of its assets."""
        rows = ((sent.account, one.symbol, one.order_id) for one in shown(sent, state))
        known = ((key, self._of[key]) for key in rows if key in self._of)
        return tuple((*key, one.base, one.side, str(one.executed), str(one.left)) for key, one in known)

    def seen_of(self, account: str, grant: str, symbol: str, base: str, replaces: str) -> Stake:
        """Return what a grant bought and sold by what is known here; what is others' nobody here can say.

        What it sold of older stock is taken off too, so it is never more than the grant bought here.
        """
        found = self._bought.of(account, base, grant)
        if found is None:
            return Stake(others=UNKNOWN)
        own, freed = found.own, ZERO
        key = (account, symbol, replaces)
        order = self._of.get(key)
        if order is not None and order.placed and (order.whose, order.base) == (grant, base):
            held = self._together.held(key, order, SELL)
            own, freed = own + held.offered, held.bound
        bought_here = symbol in found.bought_in
        return Stake(bought_here, max(ZERO, own), UNKNOWN, freed)

    def others(self, account: str, grant: str, base: str) -> tuple[tuple[str, Decimal], ...]:
        """See `Bought.others`."""
        return self._bought.others(account, base, grant)

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

    def lists_in(
        self, account: str, recent: Iterable[tuple[str, str, str, str, str, str]]
    ) -> tuple[tuple[str, str, str], ...]:
        """Return of which lists the orders are that a question carries."""
        found = (
            (symbol, order_id, self._of[account, symbol, order_id].listed)
            for _, symbol, order_id, *_ in recent
        )
        return tuple(one for one in found if one[2])

    def offers(self, key: _Key) -> Decimal:
        """Return what ends with an order: what it offers, and those of its list."""
        order = self._of.get(key)
        return ZERO if order is None else self._together.held(key, order, SELL).offered

    def binds(self, key: _Key) -> tuple[Decimal, Decimal] | None:
        """Return what ends with an order: what it binds for sales, with those of its list, and what these sold."""
        order = self._of.get(key)
        if order is None:
            return None
        beside = (self._of[one] for one in self._together.beside(key, order))
        sold = sum((one.executed for one in beside if one.side == SELL), ZERO)
        return self._together.held(key, order, SELL).bound, sold

    def _named(self, account: str, base: str, grant: str, replaces: _Key | None) -> Iterator[_Key]:
        """Yield what a question names: first the order that is replaced, for what it frees is asked.

        Of what orders of a list hold together it names all of these, or none.
        """
        first = (replaces,) if replaces is not None and self._is_open(replaces) else ()
        latest = self._unkept.latest(account, base, grant, MOST_TOLD)
        return self._together.complete(chain(first, latest), MOST_TOLD)

    def _is_open(self, key: _Key) -> bool:
        """Tell whether the broker may not know something of an order, or of those beside it: they count together."""
        order = self._of.get(key)
        return order is not None and any(map(self._unkept.has, self._together.beside(key, order)))

    def untold(self, account: str, base: str, grant: str, replaces: _Key | None = None) -> Beyond:
        """Return what a grant's question has no room for."""
        if self._tally.count(account, base) <= MOST_TOLD:
            return Beyond(as_of=self.as_of)
        named = self._named(account, base, grant, replaces)
        return self._tally.beyond(account, base, grant, named, self.as_of)

    def _unkept_as(self, key: _Key) -> Counted | None:
        order = self._of.get(key)
        if order is None or not self._is_open(key):
            return None
        lane = Lane(key[0], order.base, order.whose, order.placed)
        beside = self._together.beside(key, order)
        on_record = {one: had for one in beside if (had := self._record.of(one)) is not None}
        had = on_record.get(key) if len(on_record) == len(beside) else None
        if not self._together.stands(key, order):
            return Counted(lane, order, had, Held())
        held = Held() if had is None else self._together.had(key, order, on_record)
        return Counted(lane, order, had, self._together.held(key, order), held)

    def resting(self, account: str, base: str, grant: str = "") -> tuple[tuple[str, str, str, str], ...]:
        """Return of these which may still execute, as the broker names those on record: no record names them yet."""
        return tuple(
            (whose, symbol, order_id, side)
            for whose, symbol, order_id, side, _, left in self.of(account, base, grant)
            if Decimal(left)
        )
