"""Whose order is whose, as far as this gateway knows. Pure, in memory, bounded.

The broker's `orders` table decides; this is a cache of it and of what this gateway sent itself. An entry says
the grant, or that the broker knows of none.
"""

from collections import OrderedDict

MOST_KEPT = 50_000
NOBODY = ""


class Owners:
    """Grants by account and order id or client order id. The least recently used fall out."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._of: OrderedDict[tuple[str, str, str], str] = OrderedDict()

    def record(self, account: str, symbol: str, name: str, grant: str) -> None:
        """Remember one order; `name` is `#` and the venue's id, or the client order id as it is."""
        key = (account, symbol, name)
        self._of[key] = grant
        self._of.move_to_end(key)
        if len(self._of) > self._most:
            self._of.popitem(last=False)

    def find(self, account: str, symbol: str, name: str) -> str | None:
        """Return the grant, `NOBODY`, or None where it was not asked yet."""
        return self._of.get((account, symbol, name))


def order_name(order_id: str | None, client_order_id: str | None, *, is_list: bool = False) -> str:
    """Return the name of an order, or of an order list, which counts its ids apart."""
    if order_id is not None:
        return f"{'%' if is_list else '#'}{order_id}"
    return client_order_id or ""
