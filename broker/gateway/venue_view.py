"""What the gateway knows of a venue: time, pairs, prices, weight. What an account can sell is in `account_view`.

Rules:
1. Facts are asked of the venue itself, by the egress and the connections of the bots' own calls.
2. A price is used for 5 s (`policy.FRESH_US`); symbols in use are asked again before that, in one call. One that the
   venue refuses to price keeps no other without a price: the rest is asked without it, and it is left out for a minute.
3. A pair the venue does not know is remembered for a minute, one it knows for good, over a restart too: its assets
   never change. It does not know it where it says so by its own code; any other failure is no answer.
4. Every call asks the meter first, by what it is for (`limits.Need`): during a ban nothing goes but what an exit needs.
   It is asked on behalf of a virtual key, whose share of that, and of the lines, it uses: nobody's exit lacks a fact
   because another's bot asked for many. Who shares a question that another one may not ask any more, or that waits
   for lines which that one uses himself, asks it himself.
5. Everything here may fail; then the fact stays missing, and `NotKnown` tells why.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from decimal import Decimal
from urllib.parse import quote

from broker.gateway.clock import SteadyClock, SystemClock, VenueClock
from broker.gateway.limits import Need, Pause, WeightMeter
from broker.gateway.sales import MOST_KEPT, Sale
from broker.gateway.upstream import Pool
from broker.gateway.venue_line import Broken, Reply
from broker.policy import Quote
from clients.venue import Credential, SymbolInfo
from clients.venues.binance import market, pauses
from clients.venues.binance.market import Call
from clients.venues.binance.wire import WIRE
from clients.wire import Sealed, Stamp

BOOK_US = 5_000_000
BOOK_LEVELS = 1000
WARM_US = 2_500_000
USED_US = 600_000_000
_ABSENT_US = 60_000_000
_WINDOW_US = 2_000_000
LARGEST_FACT = 96 * 1024
"""Of an answer to a question of our own: it is read between two requests. An account with all of a venue's assets has
40 KiB of balances."""

_PLAIN = ((b"Accept", b"application/json"), (b"User-Agent", b"portcullis"), (b"Accept-Encoding", b"identity"))
_OF_A_NAME = frozenset({market.NO_SUCH_SYMBOL, market.ILLEGAL_CHARACTERS})
_ZERO = Decimal(0)
_OK, _REFUSED, _SERVER_ERROR = 200, 400, 500
GENERAL = "ip"
_PRICE_WEIGHT, _PAIR_WEIGHT, _BOOK_WEIGHT = 4, 20, 50


Heard = Callable[[str, int, int | None], object]
"""Told of each answer to a call of ours that was signed: the key's id, HTTP status, the venue's code."""


class NotKnown(Exception):
    """The venue did not give the fact; `reason` is short and stable.

    `code` is the venue's own, where its answer carried one and is no 5xx. What a code proves depends on the question:
    only who asked can tell whether it means that something does not exist. `venue_pause`: it was not asked, or did not
    answer, because the venue asks everybody behind our address to wait (`pause`). `held_back`: it was not asked because
    whoever asked for it has asked for enough in this pause; that says nothing of what others may.
    """

    def __init__(
        self, reason: str, code: int | None = None, pause: Pause | None = None, *, held_back: bool = False
    ) -> None:
        super().__init__(reason if code is None else f"{reason} ({code})")
        self.reason, self.code, self.pause, self.held_back = reason, code, pause, held_back


class VenueView:
    """One venue behind one egress."""

    def __init__(self, pool: Pool, clock: SystemClock) -> None:
        self.pool = pool
        self.clock, self._steady = VenueClock(), SteadyClock(clock)
        self.meter = WeightMeter()
        self.heard: Heard = lambda _key_id, _status, _code: None
        self.paused: Callable[[], None] = lambda: None
        self._system = clock
        self.on_pair: Callable[[SymbolInfo], None] = lambda _: None
        self.pairs: dict[str, SymbolInfo | None] = {}
        self._pairs_from: dict[str, int] = {}
        self._prices: dict[str, tuple[Decimal, int]] = {}
        self._unpriced: dict[str, int] = {}
        self._books: dict[str, tuple[market.Levels, int]] = {}
        self._selling: dict[str, deque[Sale]] = {}
        self._used: dict[str, int] = {}
        self._running: dict[str, tuple[asyncio.Future[None], str]] = {}

    # --- what is known now ----------------------------------------------------------------

    def now_us(self) -> int:
        """Return now by the clock that the venue's minutes and pauses are counted by: nobody sets it."""
        return self._steady.now_us()

    def is_timed(self) -> bool:
        """Tell whether the venue's time is known: it was measured, and no clock of ours was set since."""
        return self.clock.stands(self._steady.set_by_us())

    def venue_us(self) -> int:
        """Return the venue's time, as far as it was measured."""
        return self._steady.now_us() + self.clock.offset_us

    def venue_us_at(self, boot_us: int) -> int:
        """Return the venue's time at an instant of our boot clock."""
        return self._steady.at_us(boot_us) + self.clock.offset_us

    def off_us(self) -> int:
        """Return how far the venue's clock is ahead of this host's wall clock, as far as it was measured."""
        return self.clock.offset_us - self._steady.set_by_us() if self.clock.known else 0

    def quotes(self, now_us: int) -> Mapping[str, Quote]:
        """Return the last known prices with their ages."""
        return Quotes(self._prices, now_us)

    def bids(self, symbol: str) -> market.Levels | None:
        """Return the bids of a book as it was asked for last; None where that is long ago."""
        found = self._books.get(symbol)
        return None if found is None else found[0]

    def sells(self, symbol: str, sale: Sale) -> None:
        """A sale is being sent that takes from the book of a pair."""
        self._selling.setdefault(symbol, deque(maxlen=MOST_KEPT)).append(sale)

    def under_way(self, symbol: str) -> Decimal:
        """Return what was sold since a book was asked for: it may not show it yet."""
        found = self._books.get(symbol)
        if found is None:
            return _ZERO
        return sum((one.amount for one in self._selling.get(symbol, ()) if one.after(found[1])), _ZERO)

    def uses(self, symbol: str, now_us: int) -> None:
        """A bot orders this symbol: keep its price warm."""
        self._used[symbol] = now_us

    # --- asking ---------------------------------------------------------------------------

    async def fetch_time(self, need: Need = Need.READ, whose: str = "") -> None:
        """Measure the venue's clock."""
        await self.once(f"time:{need}", lambda: self._time(need, whose), need, whose)

    async def _time(self, need: Need, whose: str) -> None:
        sent = self.now_us()
        body = await self._public(market.venue_time(), 1, need, whose)
        self.clock.measured(sent, self.now_us(), market.parse_venue_time(body))

    async def fetch_pair(self, symbol: str, need: Need = Need.READ, whose: str = "") -> None:
        """Ask whether a pair exists, and of what."""
        await self.once(f"pair:{symbol}:{need}", lambda: self._pair(symbol, need, whose), need, whose)

    async def _pair(self, symbol: str, need: Need, whose: str) -> None:
        found: SymbolInfo | None = None
        try:
            body = await self._public(market.symbols([symbol]), _PAIR_WEIGHT, need, whose)
            listed = market.parse_symbols(body)
        except NotKnown as fault:
            if fault.code != market.NO_SUCH_SYMBOL:  # any other no says nothing of the pair
                raise
        else:
            found = next((pair for pair in listed if pair.symbol == symbol), None)
            if found is None:
                raise NotKnown("odd_answer")
            self.on_pair(found)
        self.pairs[symbol] = found
        self._pairs_from[symbol] = self._system.boot_us()

    async def fetch_prices(self, symbols: tuple[str, ...], need: Need = Need.READ, whose: str = "") -> None:
        """Ask for the prices of some symbols, in one call; where that is refused, for those that can be had.

        Raises:
            NotKnown: One of them cannot be had.
        """
        name = f"price:{need}:" + ",".join(sorted(symbols))
        await self.once(name, lambda: self._price(symbols, need, whose), need, whose)

    async def _price(self, symbols: tuple[str, ...], need: Need, whose: str) -> None:
        sent = self._system.boot_us()
        call = market.price(symbols[0]) if len(symbols) == 1 else market.prices(symbols)
        try:
            body = await self._public(call, _PRICE_WEIGHT, need, whose)
        except NotKnown as fault:
            if fault.code not in _OF_A_NAME:  # it is no name that is refused: each more call would be, too
                raise
            if len(symbols) == 1:
                self._unpriced[symbols[0]] = sent
                raise
            await self._apart(symbols, need, whose)
            return
        found = market.parse_prices(body)
        for symbol, price in found.items():
            self._prices[symbol] = (price, sent)
        if not all(symbol in found for symbol in symbols):
            raise NotKnown("odd_answer")

    async def _apart(self, symbols: tuple[str, ...], need: Need, whose: str) -> None:
        """Ask for each half of what was refused together, so that the rest of them has its prices."""
        refused: NotKnown | None = None
        for half in (symbols[: len(symbols) // 2], symbols[len(symbols) // 2 :]):
            try:
                await self._price(half, need, whose)
            except NotKnown as fault:
                if fault.reason == "venue_pause":
                    raise
                refused = fault
        if refused is not None:
            raise refused

    async def fetch_book(self, symbol: str, need: Need = Need.READ, whose: str = "") -> None:
        """Ask for the bids of a pair as they are now."""
        await self.once(f"book:{symbol}:{need}", lambda: self._book(symbol, need, whose), need, whose)

    async def _book(self, symbol: str, need: Need, whose: str) -> None:
        asked_us = self._system.boot_us()
        body = await self._public(market.depth(symbol, BOOK_LEVELS), _BOOK_WEIGHT, need, whose)
        self._books[symbol] = (market.parse_bids(body), asked_us)
        left = deque((one for one in self._selling.pop(symbol, ()) if one.after(asked_us)), MOST_KEPT)
        if left:
            self._selling[symbol] = left

    async def keep_warm(self) -> None:
        """Ask again for the prices of symbols in use, before they are too old; and whether a silent venue is back.

        Runs until cancelled.
        """
        while True:
            now = self._system.boot_us()
            self._forget(now)
            wanted = tuple(
                name for name in self._used if self.pairs.get(name) is not None and name not in self._unpriced
            )
            try:
                if wanted:
                    await self.fetch_prices(wanted)
                silent = self.pool.silence.now(asyncio.get_running_loop().time())
                due = self.clock.due(self.now_us(), self._steady.set_by_us())
                if silent or (self._used and due):
                    await self.fetch_time()
            except (NotKnown, OSError, ValueError):
                pass
            await asyncio.sleep(WARM_US / 1_000_000)

    def _forget(self, now_us: int) -> None:
        """Let go of symbols nobody uses, and of pairs that were asked for too long ago."""
        for symbol in [name for name, at in self._used.items() if now_us - at > USED_US]:
            del self._used[symbol]
        for symbol, at in list(self._pairs_from.items()):
            if self.pairs[symbol] is None and now_us - at > _ABSENT_US:
                del self.pairs[symbol], self._pairs_from[symbol]
        for symbol in [name for name, at in self._unpriced.items() if now_us - at > _ABSENT_US]:
            del self._unpriced[symbol]
        for symbol in [name for name, (_, at) in self._books.items() if now_us - at > BOOK_US]:
            del self._books[symbol]
        for symbol, sales in list(self._selling.items()):
            if not any(one.after(now_us - BOOK_US) for one in sales):
                del self._selling[symbol]

    async def once(
        self, name: str, work: Callable[[], Coroutine[None, None, None]], need: Need, whose: str
    ) -> None:
        """Share one question among all that ask it at the same time; what another one may not ask, ask oneself.

        One that is over is asked anew: its answer is of before somebody came, and who waits for it does not wait.
        """
        while True:
            running, asker = self._shared(name, need, whose) or self._begin(name, work, whose)
            try:
                await asyncio.shield(running)
            except NotKnown as fault:
                if asker == whose or not fault.held_back:
                    raise
            else:
                return

    def _shared(self, name: str, need: Need, whose: str) -> tuple[asyncio.Future[None], str] | None:
        """Return a question that is under way, unless it waits for its asker's lines, which are not ours."""
        known = self._running.get(name)
        if known is None or known[0].done():
            return None
        return None if known[1] != whose and self.pool.held_up(need, known[1]) else known

    def _begin(
        self, name: str, work: Callable[[], Coroutine[None, None, None]], whose: str
    ) -> tuple[asyncio.Future[None], str]:
        running = asyncio.ensure_future(work())
        self._running[name] = running, whose
        running.add_done_callback(lambda _: self._over(name, running))
        return running, whose

    def _over(self, name: str, running: asyncio.Future[None]) -> None:
        if self._running.get(name, (None,))[0] is running:
            del self._running[name]

    async def _public(self, call: Call, weight: int, need: Need, whose: str) -> bytes:
        def sealed() -> Sealed:
            query = "&".join(f"{name}={_escaped(value)}" for name, value in call.params)
            target = f"{call.path}?{query}" if query else call.path
            return Sealed(call.method, target.encode(), b"", _PLAIN)

        return await self._asked(sealed, weight, need, call.path, whose)

    async def signed(
        self, credential: Credential, call: Call, weight: int, need: Need = Need.READ, whose: str = ""
    ) -> bytes:
        """Ask something with an account's key.

        Raises:
            NotKnown: The venue did not answer it, or may not be asked now.
            OSError: The venue cannot be reached.
        """

        def sealed() -> Sealed:
            stamp = Stamp(self.venue_us(), _WINDOW_US)
            return WIRE.own_request(credential, call.method, call.path, call.params, stamp)

        return await self._asked(sealed, weight, need, call.path, whose, credential.key_id)

    async def _asked(
        self, sealed: Callable[[], Sealed], weight: int, need: Need, path: str, whose: str, key_id: str | None = None
    ) -> bytes:  # fmt: skip
        """Send one call of our own, if the meter lets it pass: the only place that does."""
        sent_us = self.now_us()
        permit = self.meter.admit(need, GENERAL, weight, sent_us, f"{path}:{key_id or ''}", whose)
        if isinstance(permit, Pause):
            raise NotKnown("venue_pause", pause=permit, held_back=need is Need.EXIT)
        reply = await self.pool.ask(sealed(), permit, need, whose)
        if isinstance(reply, Broken):
            raise NotKnown(reply.reason)
        now_us = self.now_us()
        self.heed(reply, now_us - sent_us)
        if len(reply.body) > LARGEST_FACT:
            raise NotKnown("too_large")
        if key_id is not None:
            code = None if reply.status == _OK else market.error_code(reply.body)
            self.heard(key_id, reply.status, code)
        if reply.status == _OK:
            return reply.body
        if pauses.pause_s(reply.status, reply.headers, reply.body, now_us) is not None:
            raise NotKnown("venue_pause", pause=self.meter.pause(Need.READ, GENERAL, 0, now_us))
        if reply.status >= _SERVER_ERROR:
            raise NotKnown("venue_error")
        raise NotKnown("refused", market.error_code(reply.body))

    def heed(self, reply: Reply, took_us: int, pool: str = GENERAL) -> None:
        """Take in what any answer says of weight and pauses; it was asked so long ago, against that pool."""
        now = self.now_us()
        used = reply.headers.get(b"x-mbx-used-weight-1m")
        if used is not None and used.isdigit():
            self.meter.told(int(used), now - took_us, now)
        if reply.status >= _REFUSED:
            pause = pauses.pause_s(reply.status, reply.headers, reply.body, now + self.clock.offset_us)
            if pause is not None:
                before_us = self.meter.left_us(now)
                self.meter.refused(reply.status, pause, now, pool)
                if not before_us and self.meter.left_us(now):
                    self.paused()


class Quotes(Mapping[str, Quote]):
    """Prices as quotes, made when one is asked for."""

    def __init__(self, prices: Mapping[str, tuple[Decimal, int]], now_us: int) -> None:
        self._prices, self._now_us = prices, now_us

    def __getitem__(self, symbol: str) -> Quote:
        price, at_us = self._prices[symbol]
        return Quote(price, self._now_us - at_us)

    def __iter__(self) -> Iterator[str]:
        return iter(self._prices)

    def __len__(self) -> int:
        return len(self._prices)


def _escaped(value: str) -> str:
    return quote(value, safe="")
