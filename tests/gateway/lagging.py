"""An exchange whose reads lag behind its order engine: they go on answering what was so before, until told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from clients.paper.exchange import Answer, PaperExchange

ACCOUNT = "/api/v3/account"
ORDERS = {"/api/v3/order", "/api/v3/allOrders", "/api/v3/openOrders"}


@contextmanager
def _answering(change: Callable[[str, Any], Any]) -> Iterator[None]:
    """Change what reads are answered, by path."""
    real = PaperExchange.answer

    def late(self: PaperExchange, call: Any, routes: Any) -> Answer:
        found = real(self, call, routes)
        if call.method != "GET" or found.status != 200:
            return found
        return Answer(200, change(call.path, deepcopy(found.body)), found.headers)

    PaperExchange.answer = late  # type: ignore[method-assign]
    try:
        yield
    finally:
        PaperExchange.answer = real  # type: ignore[method-assign]


@contextmanager
def account_as(body: Any) -> Iterator[None]:
    """Go on showing the account as it was."""
    with _answering(lambda path, now: body if path == ACCOUNT else now):
        yield


@contextmanager
def orders_as(*before: Any) -> Iterator[None]:
    """Go on showing orders as they were."""
    known = {order["orderId"]: order for order in before}

    def stale(row: Any) -> Any:
        order = known.get(row.get("orderId")) if isinstance(row, dict) else None
        if order is None:
            return row
        told = {name: order[name] for name in ("status", "executedQty", "cummulativeQuoteQty")}
        return row | told

    def change(path: str, now: Any) -> Any:
        if path not in ORDERS:
            return now
        return [stale(row) for row in now] if isinstance(now, list) else stale(now)

    with _answering(change):
        yield
