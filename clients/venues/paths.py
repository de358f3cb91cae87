"""Paths that may be read, of any venue. Pure.

Rules:
1. Nobody can name a path as a read that a venue's table knows as anything else, under whatever method: a write, a
   bearer, key administration.
2. A path whose last part is the name of an act (`apply`, `redeem`) is no read either, known to a table or not.
3. A path has one spelling: parts of letters, digits, `_`, `-` and inner dots, without `..`, `//`, a query, or a slash
   at the end.
"""

import re
from collections.abc import Mapping

from clients.venue import Action
from clients.venues.binance import endpoints

LONGEST = 120
_SPELLING = re.compile(r"(?:/[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)+")
_ACTS = frozenset(
    {
        "accept", "acceptquote", "adjust", "apply", "borrow", "buy", "buycode", "cancel", "close", "confirm", "convert",
        "create", "createcode", "delete", "deposit", "disable", "enable", "execute", "getquote", "neworder", "open",
        "placeorder", "purchase", "redeem", "redeemcode", "repay", "sell", "settle", "stake", "submit", "subscribe",
        "transfer", "unstake", "withdraw",
    }
)  # fmt: skip


def _known() -> Mapping[str, frozenset[Action]]:
    found: dict[str, set[Action]] = {}
    for (_, path), row in endpoints.ENDPOINTS.items():
        found.setdefault(path, set()).add(row.action)
    return {path: frozenset(actions) for path, actions in found.items()}


_ACTIONS = _known()
_READ = frozenset({Action.READ})


def is_read(path: str) -> bool:
    """Tell whether a policy may name a path as a read of its own."""
    if len(path) > LONGEST or not _SPELLING.fullmatch(path):
        return False
    known = _ACTIONS.get(path)
    if known is not None:
        return known == _READ
    return path.rpartition("/")[2].partition(".")[0].casefold() not in _ACTS
