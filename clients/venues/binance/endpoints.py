"""Every endpoint of Binance spot and `/sapi` that we know by name, as data.

Rules:
1. A path is matched exactly. What is not in the table is unknown, and a
   GET is not harmless for being a GET.
2. `grammars` names every parameter that may pass. Writes without grammars are recognised only to be refused
   by their right name: what they would do is never sized, `Intent.certain` is False.
3. `weight` is the documented request weight, `pool` what it is counted against: `ip` (all of `/api`, 6,000 a
   minute), or one pool per `/sapi` endpoint, `sapi-ip` (12,000) or `sapi-uid` (180,000); an intent names it
   as in `sapi-uid:wallet.withdraw.history`. `weights.py` refines the few
   that depend on parameters, by `scale`.
4. Names are ours and stable: they stand in policies, logs and metrics.

Sources: Binance spot REST docs, rest-api.md, state of 2026-07-21; developers.binance.com pages on wallet,
sub-account, margin trading, convert, algo, fiat and Binance Link; official Python SDKs (`binance-sdk-wallet`
13.8.0, `binance-sdk-sub-account` 8.5.0, `binance-sdk-margin-trading` 8.9.0); read 2026-11-22. Weights of
`/sapi` endpoints that we never let through are not all kept.
"""

from collections.abc import Mapping

from clients.venues.binance.endpoint import Endpoint
from clients.venues.binance.endpoints_market import ACCOUNT, MARKET
from clients.venues.binance.endpoints_other import OTHER_WRITES
from clients.venues.binance.endpoints_reads import MORE_READS
from clients.venues.binance.endpoints_refused import KEY_ADMIN, MASTER_READ, STREAM, TRANSFER, WITHDRAW
from clients.venues.binance.endpoints_trade import TRADE
from clients.venues.binance.endpoints_wallet import WALLET_READ

__all__ = ["ENDPOINTS", "Endpoint", "find"]

_ALL = (
    *MARKET,
    *ACCOUNT,
    *TRADE,
    *WALLET_READ,
    *MORE_READS,
    *WITHDRAW,
    *TRANSFER,
    *KEY_ADMIN,
    *MASTER_READ,
    *OTHER_WRITES,
    *STREAM,
)

ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {(row.method, row.path): row for row in _ALL}

if len(ENDPOINTS) != len(_ALL):
    raise RuntimeError("an endpoint is listed twice")


def find(method: str, path: str) -> Endpoint | None:
    """Return the endpoint of a path; None where we know none."""
    return ENDPOINTS.get((method, path))
