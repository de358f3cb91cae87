"""Request weights and unfilled orders of the paper exchange. No I/O; time is passed in.

Rules:
1. `/api` counts weight per address and minute (6,000), `/fapi` likewise (2,400). `/sapi` counts every path by
   itself: per address (12,000) or per account (180,000), as the path has it.
2. Over the limit is 429 with Retry-After to the end of the minute. `BAN_AFTER` more calls in that minute are 418
   for two minutes, and twice as long each further time, up to three days. `/sapi` never answers 418.
3. A call that places or cancels weighs nothing if it succeeds; its weight is given back.
4. Unfilled orders count per account in fixed windows of 10 s and of a day; an order that executes is taken off.
   Over the limit is -1015 with 429.

Sources: Binance spot REST docs "LIMITS" and "Spot Unfilled Order Count Rules", state of 2026-07-21; fact sheet
section 10.
"""

from dataclasses import dataclass, field

from clients.paper.errors import PaperError

SECOND_US = 1_000_000
SPAN_US, MINUTE_US, DAY_US = 10 * SECOND_US, 60 * SECOND_US, 86_400 * SECOND_US
API_WEIGHT = 6000
FAPI_WEIGHT = 2400
SAPI_WEIGHT = 12_000
UID_WEIGHT = 180_000
BAN_AFTER = 20
SHORTEST_BAN_US, LONGEST_BAN_US = 120 * SECOND_US, 3 * DAY_US
ORDERS_10S = 50
ORDERS_DAY = 160_000


@dataclass(slots=True)
class Peer:
    """What one address used in this minute."""

    minute: int = -1
    used: dict[str, int] = field(default_factory=dict)
    over: int = 0
    banned_until_us: int = 0
    next_ban_us: int = SHORTEST_BAN_US


class Limits:
    """Counters of all addresses and accounts. The public numbers may be set by tests."""

    def __init__(self) -> None:
        self.api_weight = API_WEIGHT
        self.orders_10s = ORDERS_10S
        self.orders_day = ORDERS_DAY
        self._peers: dict[str, Peer] = {}
        self._orders: dict[str, list[int]] = {}

    # --- weights --------------------------------------------------------------------------

    def count(self, peer: str, path: str, weight: int, now_us: int, headers: dict[str, str]) -> None:
        """Count one call against its address, or refuse it."""
        entry = self._peer(peer, now_us)
        if now_us < entry.banned_until_us and not path.startswith("/sapi/"):
            raise self._banned(entry, now_us)
        if path.startswith("/sapi/"):
            used = self._add(entry, path, weight)
            headers["X-SAPI-USED-IP-WEIGHT-1M"] = str(used)
            if used > SAPI_WEIGHT:
                raise _too_many(SAPI_WEIGHT, now_us)
            return
        fapi = path.startswith("/fapi/")
        pool, limit = ("fapi", FAPI_WEIGHT) if fapi else ("api", self.api_weight)
        used = self._add(entry, pool, weight)
        _show(headers, used)
        if used > limit:
            entry.over += 1
            if entry.over > BAN_AFTER:
                self.ban(peer, now_us, entry.next_ban_us)
                entry.next_ban_us = min(entry.next_ban_us * 2, LONGEST_BAN_US)
            raise _too_many(limit, now_us)

    def count_account(
        self, account: str, path: str, weight: int, now_us: int, headers: dict[str, str]
    ) -> None:
        """Count one call of a path that is limited by account, or refuse it."""
        used = self._add(self._peer(f"uid {account}", now_us), path, weight)
        headers["X-SAPI-USED-UID-WEIGHT-1M"] = str(used)
        if used > UID_WEIGHT:
            raise _too_many(UID_WEIGHT, now_us)

    def give_back(self, peer: str, weight: int, now_us: int, headers: dict[str, str]) -> None:
        """Take a call's weight off again: it placed or cancelled, and succeeded."""
        _show(headers, self._add(self._peer(peer, now_us), "api", -weight))

    def ban(self, peer: str, now_us: int, for_us: int) -> PaperError:
        """Ban an address; return the refusal it gets from now on."""
        entry = self._peer(peer, now_us)
        entry.banned_until_us = now_us + for_us
        return self._banned(entry, now_us)

    @staticmethod
    def _banned(entry: Peer, now_us: int) -> PaperError:
        text = (
            f"Way too much request weight used; IP banned until {entry.banned_until_us // 1000}. "
            "Please use WebSocket Streams for live updates to avoid bans."
        )
        return PaperError(-1003, text, 418, (entry.banned_until_us - now_us) // SECOND_US + 1)

    def _peer(self, name: str, now_us: int) -> Peer:
        entry = self._peers.setdefault(name, Peer())
        minute = now_us // MINUTE_US
        if entry.minute != minute:
            entry.minute, entry.over = minute, 0
            entry.used.clear()
        return entry

    @staticmethod
    def _add(entry: Peer, pool: str, weight: int) -> int:
        entry.used[pool] = max(entry.used.get(pool, 0) + weight, 0)
        return entry.used[pool]

    # --- unfilled orders ------------------------------------------------------------------

    def check_orders(self, account: str, count: int, now_us: int) -> None:
        """Refuse new orders of an account that has too many unfilled ones."""
        _, short, _, long = self._windows(account, now_us)
        if short + count > self.orders_10s:
            raise _too_many_orders(self.orders_10s, "10 SECOND", SPAN_US, now_us)
        if long + count > self.orders_day:
            raise _too_many_orders(self.orders_day, "1 DAY", DAY_US, now_us)

    def count_orders(self, account: str, count: int, now_us: int) -> None:
        """Count new orders of an account, or refuse them."""
        self.check_orders(account, count, now_us)
        windows = self._windows(account, now_us)
        windows[1] += count
        windows[3] += count

    def uncount_order(self, account: str, now_us: int) -> None:
        """Take one order off: it executed."""
        windows = self._windows(account, now_us)
        windows[1], windows[3] = max(windows[1] - 1, 0), max(windows[3] - 1, 0)

    def counted_orders(self, account: str, now_us: int) -> tuple[int, int]:
        """Return the unfilled orders of the last 10 s and of the day."""
        windows = self._windows(account, now_us)
        return windows[1], windows[3]

    def order_headers(self, account: str, now_us: int) -> dict[str, str]:
        """Return the order count headers of an account."""
        short, long = self.counted_orders(account, now_us)
        return {"X-MBX-ORDER-COUNT-10S": str(short), "X-MBX-ORDER-COUNT-1D": str(long)}

    def _windows(self, account: str, now_us: int) -> list[int]:
        windows = self._orders.setdefault(account, [0, 0, 0, 0])
        span, day = now_us // SPAN_US, now_us // DAY_US
        if windows[0] != span:
            windows[0], windows[1] = span, 0
        if windows[2] != day:
            windows[2], windows[3] = day, 0
        return windows


def _show(headers: dict[str, str], used: int) -> None:
    headers["X-MBX-USED-WEIGHT"] = headers["X-MBX-USED-WEIGHT-1M"] = str(used)


def _rest(span_us: int, now_us: int) -> int:
    return (span_us - now_us % span_us) // SECOND_US + 1


def _too_many(limit: int, now_us: int) -> PaperError:
    text = (
        f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API."
    )
    return PaperError(-1003, text, 429, _rest(MINUTE_US, now_us))


def _too_many_orders(limit: int, span: str, span_us: int, now_us: int) -> PaperError:
    text = f"Too many new orders; current limit is {limit} orders per {span}."
    return PaperError(-1015, text, 429, _rest(span_us, now_us))
