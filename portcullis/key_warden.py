"""Asking a venue with manager keys. See `broker.api.ports.KeyWarden`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from broker.errors import Malformed, Problem
from broker.gateway.mounts import upstream_of
from broker.model import KeyVersion, Manager, Stage
from clients.egress import Egress
from clients.http import open_client
from clients.keys import VenueKey
from clients.pauses import Pauses, steady_us
from clients.venue import Credential, KeyFacts
from clients.venues.binance.account import BinanceAccount
from clients.venues.binance.admin import BinanceAdmin
from clients.venues.binance.asker import Http, clock_of
from rotation.sweep import Found, Oddity, compare

_WORDS = {
    Oddity.UNKNOWN: "the exchange lists a key that is not on record: {key} (label {label!r}). "
    "Delete it there, or import it",
    Oddity.ORPHAN: "the exchange lists a key of a broken-off rotation: {key} ({label}). Delete it there",
    Oddity.UNDEAD: "{ref} is dead on record, and the exchange lists it: {key} lives. Delete it there, and find out why",
    Oddity.MISSING: "{ref} ({key}) is on record, and the exchange does not list it",
}
_WHOSE = (
    "the exchange lists a key that is not on record: {key} ({label}), and none of this account's that live. Delete "
    "nothing there before you have looked whose it is: this may be another sub-account's list (portcullis account list "
    "says whose is asked for). One of this account, made since the backup, is deleted there, or imported"
)
"""Of a list that nothing shows to be this account's. A label does not, whoever can make keys can give it; nor does a
key that is dead on record: the account may have had it under another sub-account."""


class VenueWarden:
    """Asks the venues that this process speaks. `pauses`: what they asked this process to wait for."""

    def __init__(self, pauses: Pauses | None = None) -> None:
        self._pauses = pauses or Pauses()

    def facts(self, manager: Manager, egress: Egress, credential: Credential) -> KeyFacts:
        """Ask what a manager key may do, and make sure that it sees sub-accounts."""
        with self._asking(manager, egress) as http:
            clock = clock_of(http, steady_us)
            try:
                facts = BinanceAccount(http, credential, clock).key_facts()
            except ValueError:
                message = (
                    "does not sign as this key type; give an HMAC secret, or a PKCS#8 private key in PEM form"
                )
                raise Malformed("bad_secret", (Problem("secret", message),)) from None
            BinanceAdmin(http, credential, clock).subaccounts()
            return facts

    def listed(
        self, manager: Manager, egress: Egress, credential: Credential, subaccount: str
    ) -> tuple[VenueKey, ...] | None:
        """Return the keys of a sub-account; None where there is no such sub-account."""
        with self._asking(manager, egress) as http:
            admin = BinanceAdmin(http, credential, clock_of(http, steady_us))
            return admin.list(subaccount) if subaccount in admin.subaccounts() else None

    @contextmanager
    def _asking(self, manager: Manager, egress: Egress) -> Iterator[Http]:
        base = upstream_of(manager.venue, manager.environment, manager.upstream or "")
        with open_client(manager.venue, base, egress=egress, pauses=self._pauses) as http:
            yield http

    def odd(self, keys: Sequence[KeyVersion], listed: Sequence[VenueKey]) -> dict[str, str]:
        """Say in words what a venue lists otherwise than the record has it, each with the label of its key."""
        there = {key.key_id for key in listed}
        shown = [key for key in keys if key.stage is not Stage.TOMBSTONE and key.venue_key_id in there]
        return {_word(one, sure=bool(shown)): one.label for one in compare(keys, listed)}


def _word(one: Found, *, sure: bool) -> str:
    key, label = f"{one.key_id[:8]}...{one.key_id[-4:]}", one.label
    if one.ref is None and not sure:
        return _WHOSE.format(key=key, label=label or "no label")
    return _WORDS[one.what].format(key=key, label=label, ref=one.ref)
