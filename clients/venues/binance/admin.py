"""Keys of Binance sub-accounts: made, listed and deleted with the master account's key; and what a key says of itself.

Rules:
1. Created by the V2 call, everything in the body, `status=2`: bound to addresses from birth.
2. A key is refused by name where `/sapi` and `/api` both say `-2008`: one host may notice later than the other. That is
   evidence and no proof: the venue documents no such meaning, and living keys got it too, all of one address at once
   (ccxt issues 10620 and 11045). `-2015` is said of a wrong address or in a ban; beside a `-2008` of the other host the
   key is refused, and not by name. What proves a death is said in `rotation.retire`.
3. A list is read to its end; one that does not add up, or that moves while it is read, is no list. A key is not in a
   list that counts no key, or that shows as many as it counts and not that one; anything else proves nothing.

Sources: developers.binance.com, legacy sub-account pages "Create Sub-account API Key V2", "Delete Sub-account API Key",
SDK 8.5.0 for the list, read 2026-11-22; fact sheet sections 4.3 and 5A. Not confirmed there, and so read both ways: the
array's name, `secretKey` of a key made with a public key, the answer to a repeated delete.
"""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from clients.errors import VENUE_PAUSE, VenueError, VenueRefused
from clients.keys import (
    Capabilities,
    Heard,
    KeyAdmin,
    KeyOrder,
    KeyProbe,
    MadeKey,
    Permissions,
    Restrictions,
    Standing,
    VenueKey,
)
from clients.secret import Secret
from clients.venue import Credential
from clients.venues.binance import market
from clients.venues.binance.account import BinanceAccount
from clients.venues.binance.asker import WINDOW_US, Asker, Http, built, clock_of, odd
from clients.venues.binance.market import Call

KEY_REFUSALS = ("-2008", "-2014", "-2015")
"""Codes by which the venue refuses a key, or the address it is used from; fact sheet section 4.3."""

PAGE = 100
_MOST_PAGES = 10
_ACCOUNTS, _MOST_ACCOUNT_PAGES = 200, 50
_ONLY_TRUSTED = "2"
_KEYS = "/sapi/v1/sub-account/subAccountApi"
_KEYS_V2 = "/sapi/v2/sub-account/subAccountApi"
_CREATE, _LIST, _DELETE = "subaccount.key.create", "subaccount.key.list", "subaccount.key.delete"
_GONE = "-2008"

_FLAGS = {
    "trade": "canTrade",
    "margin": "canMarginLoanRepay",
    "futures": "canFuturesTrade",
    "transfer": "canUniversalTransfer",
    "options": "canVanillaOptions",
}
_EXTRA = {
    "margin": "enableMargin",
    "futures": "enableFutures",
    "transfer": "permitsUniversalTransfer",
    "options": "enableVanillaOptions",
}

CAPABILITIES = Capabilities(
    create=True, delete=True, list=True, label=True, public_key=True, addresses=True,
    window_s=WINDOW_US / 1_000_000, settling_s=10.0, calls_per_minute=60, most_keys=30, label_longest=64,
    unbound_lasts_days=30,
)  # fmt: skip
"""Window: what we sign with. Settling: our caution, the venue documents none. Calls: UID weight 3000 of 180,000.

A key without addresses loses its trading right after 30 days (notice of 2021-07-09, fact sheet section 6)."""


class BinanceAdmin(Asker):
    """The master account, seen with its manager key."""

    capabilities = CAPABILITIES

    def create(self, order: KeyOrder, *, stamp: Callable[[], int]) -> MadeKey:
        """Make a key; see `KeyAdmin`."""
        body = [
            ("email", order.subaccount), ("apiName", order.label), ("status", _ONLY_TRUSTED),
            ("ipAddress", ",".join(order.addresses)),
            *((flag, "true" if getattr(order.permissions, name) else "false") for name, flag in _FLAGS.items()),
        ]  # fmt: skip
        if order.public_key is not None:
            body.append(("publicKey", order.public_key))
        answer = self._send(Call("POST", _KEYS_V2), _CREATE, body=body, stamp=stamp)
        try:
            made = json.loads(answer)
            key_id, secret = made["apiKey"], made.get("secretKey")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise odd(_CREATE, write=True) from None
        theirs = isinstance(secret, str) and bool(secret)
        if not isinstance(key_id, str) or not key_id or (order.public_key is None and not theirs):
            raise odd(_CREATE, write=True)
        return MadeKey(key_id, Secret(secret) if order.public_key is None else None)

    def list(self, subaccount: str) -> tuple[VenueKey, ...]:
        """Return every key of a sub-account."""
        found: list[VenueKey] = []
        totals: set[int] = set()
        for page in range(1, _MOST_PAGES + 1):
            total, rows = self._page((("email", subaccount), ("page", str(page)), ("size", str(PAGE))))
            totals.add(total)
            found += rows
            if len(found) >= total or not rows:
                break
        if totals != {len(found)} or len({key.key_id for key in found}) != len(found):
            raise odd(_LIST)
        return tuple(found)

    def find(self, subaccount: str, key_id: str) -> VenueKey | None:
        """Return one key of a sub-account, or None."""
        total, rows = self._page((("email", subaccount), ("subAccountApiKey", key_id)))
        found = next((key for key in rows if key.key_id == key_id), None)
        if found is not None or (total == 0 and not rows):
            return found
        if not rows:
            raise odd(_LIST)  # it counts a key and shows none
        return next((key for key in self.list(subaccount) if key.key_id == key_id), None)

    def addresses(self, subaccount: str, key_id: str) -> tuple[str, ...] | None:
        """Return the addresses a key is bound to; None: to none. `ipRestrict` is text."""
        params = (("email", subaccount), ("subAccountApiKey", key_id))
        found = self._object(Call("GET", f"{_KEYS}/ipRestriction", params), "subaccount.key.ip_list")
        if str(found.get("ipRestrict")).lower() != "true":
            return None
        return built(found.get("ipList"), "subaccount.key.ip_list", str)

    def delete(self, subaccount: str, key_id: str, *, stamp: Callable[[], int]) -> None:
        """Delete a key; see `KeyAdmin`."""
        params = (("email", subaccount), ("subAccountApiKey", key_id))
        self._send(Call("DELETE", _KEYS, params), _DELETE, stamp=stamp)

    def subaccounts(self) -> tuple[str, ...]:
        """Return the e-mail addresses of the sub-accounts, to the end of the list."""
        found: dict[str, None] = {}
        for page in range(1, _MOST_ACCOUNT_PAGES + 1):
            params = (("page", str(page)), ("limit", str(_ACCOUNTS)))
            answer = self._object(Call("GET", "/sapi/v1/sub-account/list", params), "subaccount.list")
            rows = built(answer.get("subAccounts"), "subaccount.list", lambda row: str(row["email"]))
            if len(rows) < _ACCOUNTS or found.keys() >= set(rows):
                return tuple(found | dict.fromkeys(rows))
            found |= dict.fromkeys(rows)
        raise odd("subaccount.list")

    def _page(self, params: tuple[tuple[str, str], ...]) -> tuple[int, tuple[VenueKey, ...]]:
        found = self._object(Call("GET", _KEYS, params), _LIST)
        rows, total = found.get("rows", found.get("list")), found.get("total")
        if not isinstance(total, int) or isinstance(total, bool) or total < 0:
            raise odd(_LIST)
        return total, built(rows, _LIST, _venue_key)


class BinanceProbe:
    """Asks about keys by one client: the account's own way out."""

    def __init__(self, http: Http, here: Callable[[], int]) -> None:
        self._http, self._here = http, here
        self._clock = here

    def now_us(self) -> int:
        """Return the venue's time, by its clock as it was read for the last `standing`."""
        return self._clock()

    def restrictions(self, credential: Credential) -> Restrictions:
        """Read back what a key may do."""
        facts = BinanceAccount(self._http, credential, clock_of(self._http, self._here)).key_facts()
        permissions = Permissions(
            trade=facts.can_trade, **{name: flag in facts.extra for name, flag in _EXTRA.items()}
        )
        more = [flag for flag in facts.extra if flag not in _EXTRA.values()]
        if facts.can_transfer and not permissions.transfer and "enableInternalTransfer" not in more:
            more.append("a transfer permission that is not plainly off")
        return Restrictions(
            permissions, facts.can_withdraw, facts.ip_restricted, facts.account_uid, tuple(more)
        )

    def standing(self, credential: Credential) -> Heard:
        """Tell how a key stands: NAMED where both `/sapi` and `/api` say that they do not know it (rule 2)."""
        asker = self._asker(credential)
        if isinstance(asker, Heard):
            return asker
        wallet = asker.wallet()
        if wallet.standing not in {Standing.NAMED, Standing.REFUSED}:
            return wallet
        trading = asker.trading()
        seen = f"{wallet.seen}, {trading.seen}"
        if trading.standing not in {Standing.NAMED, Standing.REFUSED}:
            return Heard(trading.standing, trading.said, seen)
        if wallet.standing is trading.standing:
            return Heard(wallet.standing, wallet.said, seen)
        return Heard(Standing.REFUSED, "named_on_one_host", seen)

    def served(self, credential: Credential) -> Heard:
        """Tell whether both `/sapi` and `/api` serve a key; else what the first that does not said."""
        asker = self._asker(credential)
        if isinstance(asker, Heard):
            return asker
        wallet = asker.wallet()
        if wallet.standing is not Standing.ALIVE:
            return wallet
        trading = asker.trading()
        return Heard(trading.standing, trading.said, f"{wallet.seen}, {trading.seen}")

    def _asker(self, credential: Credential) -> "_Bare | Heard":
        try:
            self._clock = clock_of(self._http, self._here)
            return _Bare(self._http, credential, self._clock)
        except VenueError as fault:
            if fault.reason == VENUE_PAUSE:
                raise
            return Heard(Standing.UNDECIDED, fault.reason)


class _Bare(Asker):
    def wallet(self) -> Heard:
        """Ask `/sapi`."""
        return self.heard("/sapi", Call("GET", "/sapi/v1/account/apiRestrictions"), "wallet.key_restrictions")

    def trading(self) -> Heard:
        """Ask `/api`."""
        return self.heard("/api", market.holdings(), "spot.account")

    def heard(self, host: str, call: Call, endpoint: str) -> Heard:
        """Ask one host; a signature it refuses says nothing of the key."""
        try:
            self._send(call, endpoint)
        except VenueRefused as fault:
            seen = f"{host} {fault.code or fault.status}"
            if fault.code == _GONE:
                return Heard(Standing.NAMED, fault.reason, seen)
            refused = fault.reason in {"key_refused", "not_permitted"}
            return Heard(Standing.REFUSED if refused else Standing.UNDECIDED, fault.reason, seen)
        except VenueError as fault:
            if fault.reason == VENUE_PAUSE:
                raise  # nothing was asked, so it costs no try
            return Heard(Standing.UNDECIDED, fault.reason, f"{host} {fault.code or fault.reason}")
        return Heard(Standing.ALIVE, "served", f"{host} served it")


def _venue_key(row: Mapping[str, Any]) -> VenueKey:
    permissions = Permissions(**{name: row.get(flag) is not False for name, flag in _FLAGS.items()})
    at = row.get("timestamp")
    key_id = row["apikey"]
    if not isinstance(key_id, str) or "*" in key_id:
        raise ValueError("the list shows key ids in part, so it proves nothing")
    return VenueKey(key_id, str(row.get("apiName", "")), permissions, at if isinstance(at, int) else None)


if TYPE_CHECKING:

    def _conforms(admin: BinanceAdmin, probe: BinanceProbe) -> tuple[KeyAdmin, KeyProbe]:
        return admin, probe
