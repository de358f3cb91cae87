"""What the gateway knows of a venue: time, pairs, prices, weight. What an account can sell is in `account_view`.

Rules:
1. Facts are asked of the venue itself, by the egress and the connections of the bots' own calls.
2. A price is used for 5 s (`policy.FRESH_US`); symbols in use are asked again before that, in one call. One that the
   venue refuses to price keeps no other without a price: the rest is asked without it, and it is left out for a minute.
   Which are kept is said in `quotes`.
3. A pair the venue does not know is remembered for a minute, one it knows for good, over a restart too: its assets
   never change. It does not know it where it says so by its own code; any other failure is no answer.
4. Every call asks the meter first, by what it is for (`limits.Need`): during a ban nothing goes but what an exit needs.
   It is asked on behalf of a virtual key, whose share of that, and of the lines, it uses: nobody's exit lacks a fact
   because another's bot asked for many. Who shares a question that another one may not ask any more, or that waits
   for lines which that one uses himself, asks it himself.
5. Everything here may fail; then the fact stays missing, and `NotKnown` tells why.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from urllib.parse import quote

from broker.gateway import depth
from broker.gateway.clock import SteadyClock, SystemClock, VenueClock
from broker.gateway.depth import Depth, Takings
from broker.gateway.limits import TURNED_AWAY, Need, Pause, WeightMeter
from broker.gateway.quotes import Prices, Quotes
from broker.gateway.upstream import Pool
from broker.gateway.venue_line import Broken, Reply
from broker.policy import Quote
from broker.policy_book import Take, left
from broker.policy_facts import Levels, Page
from clients.venue import Credential, SymbolInfo
from clients.venues.binance import codes, market, pauses
from clients.venues.binance.market import Call
from clients.venues.binance.wire import WIRE
from clients.wire import Sealed, Stamp

WARM_US, WARM_AT_ONCE = 2_500_000, 400
USED_US = 600_000_000
_ABSENT_US = 60_000_000
_WINDOW_US = 2_000_000
LARGEST_FACT = 96 * 1024
"""Of an answer to a question of our own: it is read between two requests. An account with all of a venue's assets has
40 KiB of balances."""

TOO_LARGE = "too_large"
_PLAIN = ((b"Accept", b"application/json"), (b"User-Agent", b"portcullis"), (b"Accept-Encoding", b"identity"))
_OF_A_NAME = frozenset({market.NO_SUCH_SYMBOL, market.ILLEGAL_CHARACTERS})
_OK, _REFUSED, _SERVER_ERROR = 200, 400, 500
GENERAL = "ip"
_PRICE_WEIGHT, _PAIR_WEIGHT = 4, 20


Sent = tuple[Takings, Takings]
"""What was sent against the bids, and against the asks, of a venue."""

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

    def __init__(self, pool: Pool, clock: SystemClock, sent: Sent | None = None) -> None:
        self.pool = pool
        self.clock, self._steady = VenueClock(), SteadyClock(clock)
        self.meter = WeightMeter()
        self.heard: Heard = lambda _key_id, _status, _code: None
        self.paused: Callable[[], None] = lambda: None
        self._system = clock
        self.on_pair: Callable[[SymbolInfo], None] = lambda _: None
        self.pairs: dict[str, SymbolInfo | None] = {}
        self._pairs_from: dict[str, int] = {}
        self._prices = Prices()
        self._unpriced: dict[str, int] = {}
        bids, asks = sent or sent_to_one(clock)
        self.bids, self.asks = Depth(clock, bids), Depth(clock, asks)
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
        if found is None and self.pairs.get(symbol) is not None:
            return  # it was asked before the venue had it, or told late
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
        self._prices.learn(found, symbols, sent)
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

    async def fetch_book(
        self, symbol: str, need: Need = Need.READ, whose: str = "", *, deep: bool = False
    ) -> None:
        """Ask for the first bids of a pair as they are now, or for many of them."""
        look = partial(self._look, symbol, self.bids, market.parse_bids, need, whose, deep=deep)
        await self.once(f"{'deep' if deep else 'book'}:{symbol}:{need}", look, need, whose)

    async def fetch_asks(
        self, symbol: str, takes: tuple[Take, ...] = (), need: Need = Need.READ, whose: str = ""
    ) -> None:
        """Ask for the asks of a pair as they are now; for more of them where nothing of a page is left behind a buy."""
        look = partial(self._look, symbol, self.asks, market.parse_asks, need, whose)
        await self.once(f"asks:{symbol}:{need}", partial(look, deep=False), need, whose)
        seen = self.asks.of(symbol, self._system.boot_us())
        if seen is not None and seen.is_full and not left(seen.levels, takes):
            await self.once(f"asks-deep:{symbol}:{need}", partial(look, deep=True), need, whose)

    async def _look(
        self, symbol: str, side: Depth, parse: Callable[[bytes], Levels], need: Need, whose: str, *, deep: bool
    ) -> None:  # fmt: skip
        most, weight = (depth.DEEP_LEVELS, depth.DEEP_WEIGHT) if deep else (depth.LEVELS, depth.WEIGHT)
        asked_us = self._system.boot_us()
        levels = parse(await self._public(market.depth(symbol, most), weight, need, whose))
        is_full = len(levels) >= most
        seen_to = levels[-1][0] if is_full and not deep else None
        side.learn(symbol, Page(levels, is_full, seen_to=seen_to), asked_us)

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
                    await self.warm(wanted)
                silent = self.pool.silence.now(asyncio.get_running_loop().time())
                due = self.clock.due(self.now_us(), self._steady.set_by_us())
                if silent or (self._used and due):
                    await self.fetch_time()
            except (NotKnown, OSError, ValueError):
                pass
            await asyncio.sleep(WARM_US / 1_000_000)

    async def warm(self, symbols: tuple[str, ...]) -> None:
        """Ask for prices that nobody waits for, so many at once as an answer has room for."""
        for first in range(0, len(symbols), WARM_AT_ONCE):
            await self.fetch_prices(symbols[first : first + WARM_AT_ONCE])

    def _forget(self, now_us: int) -> None:
        """Let go of symbols nobody uses, and of pairs that were asked for too long ago."""
        for symbol in [name for name, at in self._used.items() if now_us - at > USED_US]:
            del self._used[symbol]
        for symbol, at in list(self._pairs_from.items()):
            if self.pairs[symbol] is None and now_us - at > _ABSENT_US:
                del self.pairs[symbol], self._pairs_from[symbol]
        for symbol in [name for name, at in self._unpriced.items() if now_us - at > _ABSENT_US]:
            del self._unpriced[symbol]
        self._prices.forget(self._used)
        for side in (self.bids, self.asks):
            side.forget(now_us)

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

    def running(self) -> list[tuple[str, asyncio.Future[None]]]:
        """Return the questions that are under way, by name."""
        return [(name, running) for name, (running, _) in self._running.items() if not running.done()]

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
        self, credential: Credential, call: Call, weight: int, need: Need = Need.READ, whose: str = "",
        largest: int = LARGEST_FACT,
    ) -> bytes:  # fmt: skip
        """Ask something with an account's key; an answer that is larger than `largest` is not read.

        Raises:
            NotKnown: The venue did not answer it, or may not be asked now.
            OSError: The venue cannot be reached.
        """

        def sealed() -> Sealed:
            stamp = Stamp(self.venue_us(), _WINDOW_US)
            return WIRE.own_request(credential, call.method, call.path, call.params, stamp)

        return await self._asked(sealed, weight, need, call.path, whose, credential.key_id, largest)

    async def _asked(
        self, sealed: Callable[[], Sealed], weight: int, need: Need, path: str, whose: str, key_id: str | None = None,
        largest: int = LARGEST_FACT,
    ) -> bytes:  # fmt: skip
        """Send one call of our own, if the meter lets it pass: the only place that does."""
        if need is Need.READ and not self.pool.silence.knock(asyncio.get_running_loop().time()):
            raise NotKnown(TURNED_AWAY)
        sent_us = self.now_us()
        permit = self.meter.admit(need, GENERAL, weight, sent_us, f"{path}:{key_id or ''}", whose)
        if isinstance(permit, Pause):
            raise NotKnown("venue_pause", pause=permit, held_back=need is Need.EXIT)
        reply = await self.pool.ask(sealed(), permit, need, whose)
        if isinstance(reply, Broken):
            raise NotKnown(reply.reason)
        now_us = self.now_us()
        self.heed(reply, now_us - sent_us)
        if len(reply.body) > largest:
            raise NotKnown(TOO_LARGE)
        if key_id is not None:
            code = None if reply.status == _OK else market.error_code(reply.body)
            self.heard(key_id, reply.status, code)
        if reply.status == _OK and not codes.turned_away(reply.status, reply.headers, reply.body):
            return reply.body
        if codes.turned_away(reply.status, reply.headers, reply.body):
            raise NotKnown(TURNED_AWAY)
        if pauses.pause_s(reply.status, reply.headers, reply.body, now_us) is not None:
            raise NotKnown("venue_pause", pause=self.meter.pause(Need.READ, GENERAL, 0, now_us))
        if reply.status >= _SERVER_ERROR:
            raise NotKnown("venue_error")
        raise NotKnown("refused", market.error_code(reply.body))

    def heed(self, reply: Reply, took_us: int, pool: str = GENERAL) -> None:
        """Take in what any answer says of weight and pauses; it was asked so long ago, against that pool."""
        now = self.now_us()
        used = pauses.number(reply.headers.get(b"x-mbx-used-weight-1m"))
        if used is not None:
            self.meter.told(used, now - took_us, now)
        if reply.status >= _REFUSED:
            pause = pauses.pause_s(reply.status, reply.headers, reply.body, now + self.clock.offset_us)
            if pause is not None:
                before_us = self.meter.left_us(now)
                self.meter.refused(reply.status, pause, now, pool)
                if not before_us and self.meter.left_us(now):
                    self.paused()


def sent_to_one(clock: SystemClock) -> Sent:
    """Return what is sent to a venue from here: nothing yet."""
    return Takings(clock, lambda: depth.BIDS_US), Takings(clock, lambda: depth.ASKS_US)


def _escaped(value: str) -> str:
    return quote(value, safe="")
