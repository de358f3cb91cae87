"""What the gateway knows of a venue: time, pairs, prices, weight. What an account can sell is in `account_view`.

Rules:
1. Facts are asked of the venue itself, by the egress and the connections of the bots' own calls.
2. A price is used for 5 s (`policy.FRESH_US`); symbols in use are asked again before that, in one call.
3. A pair the venue does not know is remembered for a minute, one it knows for good, over a restart too: its assets
   never change. It does not know it where it says so by its own code; any other failure is no answer.
4. Every call asks the meter first, by what it is for (`limits.Need`): during a ban nothing goes but what an exit needs.
5. Everything here may fail; then the fact stays missing, and `NotKnown` tells why.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from decimal import Decimal
from urllib.parse import quote

from broker.gateway.clock import SystemClock, VenueClock
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
    answer, because the venue asks everybody behind our address to wait (`pause`).
    """

    def __init__(self, reason: str, code: int | None = None, pause: Pause | None = None) -> None:
        super().__init__(reason if code is None else f"{reason} ({code})")
        self.reason, self.code, self.pause = reason, code, pause


class VenueView:
    """One venue behind one egress."""

    def __init__(self, pool: Pool, clock: SystemClock) -> None:
        self.pool = pool
        self.clock = VenueClock()
        self.meter = WeightMeter()
        self.heard: Heard = lambda _key_id, _status, _code: None
        self.paused: Callable[[], None] = lambda: None
        self._system = clock
        self.on_pair: Callable[[SymbolInfo], None] = lambda _: None
        self.pairs: dict[str, SymbolInfo | None] = {}
        self._pairs_from: dict[str, int] = {}
        self._prices: dict[str, tuple[Decimal, int]] = {}
        self._books: dict[str, tuple[market.Levels, int]] = {}
        self._selling: dict[str, deque[Sale]] = {}
        self._used: dict[str, int] = {}
        self._running: dict[str, asyncio.Future[None]] = {}

    # --- what is known now ----------------------------------------------------------------

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

    async def fetch_time(self, need: Need = Need.READ) -> None:
        """Measure the venue's clock."""
        await self.once(f"time:{need}", self._time(need))

    async def _time(self, need: Need) -> None:
        sent = self._system.wall_us()
        body = await self._public(market.venue_time(), 1, need)
        self.clock.measured(sent, self._system.wall_us(), market.parse_venue_time(body))

    async def fetch_pair(self, symbol: str, need: Need = Need.READ) -> None:
        """Ask whether a pair exists, and of what."""
        await self.once(f"pair:{symbol}:{need}", self._pair(symbol, need))

    async def _pair(self, symbol: str, need: Need) -> None:
        found: SymbolInfo | None = None
        try:
            listed = market.parse_symbols(await self._public(market.symbols([symbol]), _PAIR_WEIGHT, need))
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

    async def fetch_prices(self, symbols: tuple[str, ...], need: Need = Need.READ) -> None:
        """Ask for the prices of some symbols, in one call."""
        await self.once(f"price:{need}:" + ",".join(sorted(symbols)), self._price(symbols, need))

    async def _price(self, symbols: tuple[str, ...], need: Need) -> None:
        sent = self._system.boot_us()
        call = market.price(symbols[0]) if len(symbols) == 1 else market.prices(symbols)
        found = market.parse_prices(await self._public(call, _PRICE_WEIGHT, need))
        for symbol, price in found.items():
            self._prices[symbol] = (price, sent)
        if not all(symbol in found for symbol in symbols):
            raise NotKnown("odd_answer")

    async def fetch_book(self, symbol: str, need: Need = Need.READ) -> None:
        """Ask for the bids of a pair as they are now."""
        await self.once(f"book:{symbol}:{need}", self._book(symbol, need))

    async def _book(self, symbol: str, need: Need) -> None:
        asked_us = self._system.boot_us()
        body = await self._public(market.depth(symbol, BOOK_LEVELS), _BOOK_WEIGHT, need)
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
            wanted = tuple(name for name in self._used if self.pairs.get(name) is not None)
            try:
                if wanted:
                    await self.fetch_prices(wanted)
                silent = self.pool.silence.now(asyncio.get_running_loop().time())
                if silent or (self._used and self.clock.due(self._system.wall_us())):
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
        for symbol in [name for name, (_, at) in self._books.items() if now_us - at > BOOK_US]:
            del self._books[symbol]
        for symbol, sales in list(self._selling.items()):
            if not any(one.after(now_us - BOOK_US) for one in sales):
                del self._selling[symbol]

    async def once(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Share one question among all that ask it at the same time."""
        running = self._running.get(name)
        if running is None:
            running = asyncio.ensure_future(work)
            self._running[name] = running
            running.add_done_callback(lambda _: self._running.pop(name, None))
        else:
            work.close()
        await asyncio.shield(running)

    async def _public(self, call: Call, weight: int, need: Need) -> bytes:
        def sealed() -> Sealed:
            query = "&".join(f"{name}={_escaped(value)}" for name, value in call.params)
            target = f"{call.path}?{query}" if query else call.path
            return Sealed(call.method, target.encode(), b"", _PLAIN)

        return await self._asked(sealed, weight, need)

    async def signed(self, credential: Credential, call: Call, weight: int, need: Need = Need.READ) -> bytes:
        """Ask something with an account's key.

        Raises:
            NotKnown: The venue did not answer it, or may not be asked now.
            OSError: The venue cannot be reached.
        """

        def sealed() -> Sealed:
            stamp = Stamp(self._system.wall_us() + self.clock.offset_us, _WINDOW_US)
            return WIRE.own_request(credential, call.method, call.path, call.params, stamp)

        return await self._asked(sealed, weight, need, credential.key_id)

    async def _asked(
        self, sealed: Callable[[], Sealed], weight: int, need: Need, key_id: str | None = None
    ) -> bytes:
        """Send one call of our own, if the meter lets it pass: the only place that does."""
        sent_us = self._system.wall_us()
        permit = self.meter.admit(need, GENERAL, weight, sent_us)
        if isinstance(permit, Pause):
            raise NotKnown("venue_pause", pause=permit)
        reply = await self.pool.ask(sealed(), permit, need)
        if isinstance(reply, Broken):
            raise NotKnown(reply.reason)
        now_us = self._system.wall_us()
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
        now = self._system.wall_us()
        used = reply.headers.get(b"x-mbx-used-weight-1m")
        if used is not None and used.isdigit():
            self.meter.told(int(used), now - took_us, now)
        if reply.status >= _REFUSED:
            pause = pauses.pause_s(reply.status, reply.headers, reply.body, now + self.clock.offset_us)
            if pause is not None:
                before_us = self.meter.until_us(now)
                self.meter.refused(reply.status, pause, now, pool)
                if not before_us and self.meter.until_us(now):
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
