"""Request weights and order counts of the paper exchange. No I/O; time is passed in.

Rules:
1. `/api` counts weight per address and minute (6,000); `/sapi` per address, path and minute (12,000).
2. Over the limit is 429 with Retry-After to the end of the minute; `BAN_AFTER` more calls in that minute are 418
   with a longer one.
3. Orders count per account: 100 in 10 s, 200,000 a day, shown in headers; over it is -1015.

Source: Binance spot REST docs, "LIMITS", state of 2026-07-21.
"""

from dataclasses import dataclass, field

from clients.paper.errors import PaperError

MINUTE_US = 60_000_000
API_WEIGHT = 6000
SAPI_WEIGHT = 12_000
BAN_AFTER = 20
BAN_US = 120_000_000
ORDERS_10S = 100
ORDERS_DAY = 200_000


@dataclass(slots=True)
class Peer:
    """What one address used in this minute."""

    minute: int = -1
    used: dict[str, int] = field(default_factory=dict)
    over: int = 0
    banned_until_us: int = 0


class Limits:
    """Counters of all addresses and accounts. `api_weight` and `orders_10s` may be set by tests."""

    def __init__(self) -> None:
        self.api_weight = API_WEIGHT
        self.orders_10s = ORDERS_10S
        self._peers: dict[str, Peer] = {}
        self._orders: dict[str, tuple[int, int, int, int]] = {}

    def count(self, peer: str, path: str, weight: int, now_us: int, headers: dict[str, str]) -> None:
        """Count one call, or refuse it."""
        entry = self._peers.setdefault(peer, Peer())
        minute = now_us // MINUTE_US
        if entry.minute != minute:
            entry.minute, entry.over = minute, 0
            entry.used.clear()
        if now_us < entry.banned_until_us:
            until = entry.banned_until_us // 1000
            raise PaperError(-1003, f"Way too much request weight used; IP banned until {until}.", 418)
        sapi = path.startswith("/sapi/")
        pool, limit = (path, SAPI_WEIGHT) if sapi else ("api", self.api_weight)
        entry.used[pool] = entry.used.get(pool, 0) + weight
        name = "X-SAPI-USED-IP-WEIGHT-1M" if sapi else "X-MBX-USED-WEIGHT-1M"
        headers[name] = str(entry.used[pool])
        if entry.used[pool] > limit:
            entry.over += 1
            if entry.over > BAN_AFTER:
                entry.banned_until_us = now_us + BAN_US
            text = f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE."
            raise PaperError(-1003, text, 429)

    def retry_after(self, peer: str, now_us: int) -> int:
        """Return for how many seconds an address is to wait."""
        entry = self._peers.get(peer, Peer())
        if now_us < entry.banned_until_us:
            return (entry.banned_until_us - now_us) // 1_000_000 + 1
        return (MINUTE_US - now_us % MINUTE_US) // 1_000_000 + 1

    def count_orders(self, account: str, count: int, now_us: int) -> None:
        """Count new orders of an account, or refuse them."""
        span, day = now_us // 10_000_000, now_us // 86_400_000_000
        old = self._orders.get(account, (span, 0, day, 0))
        short = (old[1] if old[0] == span else 0) + count
        long = (old[3] if old[2] == day else 0) + count
        if short > self.orders_10s or long > ORDERS_DAY:
            limit = self.orders_10s if short > self.orders_10s else ORDERS_DAY
            raise PaperError(
                -1015, f"Too many new orders; current limit is {limit} orders per 10 SECOND.", 429
            )
        self._orders[account] = (span, short, day, long)

    def order_headers(self, account: str) -> dict[str, str]:
        """Return the order count headers of an account."""
        found = self._orders.get(account)
        if found is None:
            return {}
        return {"X-MBX-ORDER-COUNT-10S": str(found[1]), "X-MBX-ORDER-COUNT-1D": str(found[3])}
