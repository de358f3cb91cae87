"""Asking a venue what a key may do, by the account's own egress. See `broker.api.ports.KeyInspector`.

Rules:
1. Three reads: the venue's clock, the key's restrictions, the account. Nothing is written anywhere.
   A key that one host does not know is asked of the other too: one that is still served there is not unknown.
2. Hosts are compiled in; an account of a paper home names its own, on loopback.
"""

import time

from broker.errors import Malformed, Problem
from broker.gateway.mounts import upstream_of
from broker.model import Account
from clients.egress import Egress
from clients.errors import VenueError, VenueRefused
from clients.http import open_client
from clients.pauses import Pauses
from clients.venue import Credential, KeyFacts
from clients.venues.binance.account import BinanceAccount
from clients.venues.binance.asker import clock_of


class VenueInspector:
    """Asks the venues that this process speaks. `pauses`: what they asked this process to wait for."""

    def __init__(self, pauses: Pauses | None = None) -> None:
        self._pauses = pauses or Pauses()

    def inspect(self, account: Account, egress: Egress, credential: Credential) -> KeyFacts:
        """Ask what a key may do.

        Raises:
            VenueError: The venue declined, or could not be asked.
            Malformed: The key's secret cannot sign.
        """
        base = upstream_of(account.venue, account.environment, account.upstream or "")
        with open_client(account.venue, base, egress=egress, pauses=self._pauses) as http:
            asked = BinanceAccount(http, credential, clock_of(http, lambda: time.time_ns() // 1000))
            try:
                try:
                    return asked.key_facts()
                except VenueRefused as fault:
                    if fault.reason == "unknown_key" and _is_served(asked):
                        raise VenueRefused(
                            fault.venue,
                            fault.endpoint,
                            "served_elsewhere",
                            status=fault.status,
                            code=fault.code,
                        ) from None
                    raise
            except ValueError:
                message = (
                    "does not sign as this key type; give an HMAC secret, or a PKCS#8 private key in PEM form"
                )
                raise Malformed("bad_secret", (Problem("secret", message),)) from None


def _is_served(asked: BinanceAccount) -> bool:
    """Tell whether the host that trades serves a key that the other one does not know, or may do so."""
    try:
        asked.balances()
    except VenueRefused:
        return False
    except VenueError:
        return True
    return True
