"""What an order moves of the asset that its pair is quoted in: it is kept as another order's. Pure.

Gateways and brokers share it.

Rules:
1. Who buys in a pair gives what it is quoted in, and who sells gets it. So whose that is follows from such orders too:
   each is kept as it moves the base asset of its pair, and as it moves the quote asset: on the other side, in amounts
   of that, and as of a pair of its own name with `PAID` behind it. Nothing was bought in a pair of this name.
2. What a policy counts in is money: it is no stock that anybody's exit sells, but for what was bought as a base. Orders
   are not kept as they move that.
"""

PAID = ">"


def paid_in(symbol: str) -> str:
    """Return under which name orders of a pair are kept as they move its quote asset."""
    return symbol + PAID


def pair_of(symbol: str) -> str:
    """Return the pair that an order is of, whichever asset it is kept for."""
    return symbol.removesuffix(PAID)


def rows_of(symbol: str) -> tuple[str, str]:
    """Return the names under which an order of a pair may be kept."""
    return pair_of(symbol), paid_in(pair_of(symbol))


def is_paid(symbol: str) -> bool:
    """Tell whether an order is kept as it moves the quote asset of its pair."""
    return symbol.endswith(PAID)
