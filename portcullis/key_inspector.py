"""Asking a venue what a key may do, by the account's own egress. See `broker.api.ports.KeyInspector`.

Rules:
1. Three reads: the venue's clock, the key's restrictions, the account. Nothing is written anywhere.
   A key that one host does not know is asked of the other too: it is unknown where both name it so (`-2008`). One
   that is served there, or refused there without that name, is not. That is a sign of its death and no proof
   (ADR 0022): who calls a key dead asks for more.
2. Hosts are compiled in; an account of a paper home names its own, on loopback.
"""

from typing import Protocol

from broker.errors import Malformed, Problem
from broker.gateway.mounts import upstream_of
from broker.model import Account
from clients.egress import Egress
from clients.errors import VenueError, VenueRefused
from clients.http import open_client
from clients.pauses import Pauses, steady_us
from clients.venue import Credential, KeyFacts
from clients.venues.binance.account import BinanceAccount
from clients.venues.binance.asker import clock_of


class Trading(Protocol):
    """As much of an account as tells whether the host that trades serves its key."""

    def balances(self) -> object:
        """Return what is held."""
        ...


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
            asked = BinanceAccount(http, credential, clock_of(http, steady_us))
            try:
                try:
                    return asked.key_facts()
                except VenueRefused as fault:
                    if fault.reason != "unknown_key":
                        raise
                    reason = elsewhere(asked)
                    raise VenueRefused(
                        fault.venue, fault.endpoint, reason, status=fault.status, code=fault.code
                    ) from None
            except ValueError:
                message = (
                    "does not sign as this key type; give an HMAC secret, or a PKCS#8 private key in PEM form"
                )
                raise Malformed("bad_secret", (Problem("secret", message),)) from None


def elsewhere(asked: Trading) -> str:
    """Return how the host that trades stands to a key that the other one does not know.

    Returns:
        `unknown_key`: it does not know it either. `served_elsewhere`: it serves it, or may do so. `key_refused`: it
        refuses it without saying that it does not know it, as it does with a living key from a wrong address.
    """
    try:
        asked.balances()
    except VenueRefused as fault:
        return "unknown_key" if fault.reason == "unknown_key" else "key_refused"
    except VenueError:
        return "served_elsewhere"
    return "served_elsewhere"
