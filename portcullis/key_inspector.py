"""Asking a venue what a key may do, by the account's own egress. See `broker.api.ports.KeyInspector`.

Rules:
1. Three reads: the venue's clock, the key's restrictions, the account. Nothing is written anywhere.
2. Hosts are compiled in; an account of a paper home names its own, on loopback.
"""

import time

from broker.errors import Malformed, Problem
from broker.gateway.mounts import upstream_of
from broker.model import Account
from clients.egress import Egress
from clients.errors import VenueUnavailable
from clients.http import open_client
from clients.venue import Credential, KeyFacts
from clients.venues.binance import market
from clients.venues.binance.account import BinanceAccount, Http


class VenueInspector:
    """Asks the venues that this process speaks."""

    def inspect(self, account: Account, egress: Egress, credential: Credential) -> KeyFacts:
        """Ask what a key may do.

        Raises:
            VenueError: The venue declined, or could not be asked.
            Malformed: The key's secret cannot sign.
        """
        base = upstream_of(account.venue, account.environment, account.upstream or "")
        with open_client(account.venue, base, egress=egress) as http:
            offset_us = _offset_us(http, account.venue)
            asked = BinanceAccount(http, credential, lambda: time.time_ns() // 1000 + offset_us)
            try:
                return asked.key_facts()
            except ValueError:
                message = (
                    "does not sign as this key type; give an HMAC secret, or a PKCS#8 private key in PEM form"
                )
                raise Malformed("bad_secret", (Problem("secret", message),)) from None


def _offset_us(http: Http, venue: str) -> int:
    """Return how far the venue's clock is ahead of ours."""
    call = market.venue_time()
    sent_us = time.time_ns() // 1000
    more = {"endpoint": "market.time", "write": False}
    response = http.request(call.method, call.path, headers=[], extensions=more)
    received_us = time.time_ns() // 1000
    try:
        return market.parse_venue_time(response.content) - (sent_us + received_us) // 2
    except ValueError:
        raise VenueUnavailable(venue, "market.time", "odd_answer", status=response.status_code) from None
