"""Sub-accounts and their API keys, managed by the master's key.

Source: developers.binance.com sub-account pages and SDK 8.5.0, read 2026-11-22; fact sheet section 5A, rows 1-13.
"""

from clients.paper.errors import PaperError, mandatory
from clients.paper.exchange import PaperExchange, Route, Seen
from clients.paper.ledger import PaperKey
from clients.venue import KeyType

MOST_KEYS = 30
_FLAGS = {
    "canTrade": "enableSpotAndMarginTrading",
    "canMarginLoanRepay": "enableMargin",
    "canFuturesTrade": "enableFutures",
    "canUniversalTransfer": "permitsUniversalTransfer",
    "canVanillaOptions": "enableVanillaOptions",
}
_FIX = {"canFixApiTrading": "enableFixApiTrade", "canFixApiReading": "enableFixReadOnly"}
_RESTRICTED, _THIRD_PARTY = 2, 3
_LONGEST_ADDRESSES = 500
_MOST_ACCOUNTS = 200


def _email(exchange: PaperExchange, seen: Seen) -> str:
    """Return the sub-account a call names; only the master's key may."""
    if seen.account is None or not seen.account.master:
        raise PaperError(-1002, "You are not authorized to execute this request.")
    email = seen.params.need("email")
    found = exchange.accounts.get(email)
    if found is None or found.master:
        raise PaperError(-1099, "Not found, authenticated, or authorized")
    return email


def _key(exchange: PaperExchange, seen: Seen) -> PaperKey:
    email = _email(exchange, seen)
    key = exchange.keys.get(seen.params.need("subAccountApiKey"))
    if key is None or key.deleted or key.account != email:
        raise PaperError(-2008, "Invalid Api-Key ID.")
    return key


def _listed(exchange: PaperExchange, key: PaperKey, now_us: int) -> bool:
    """Tell whether the list shows a key: it may lag behind what was created and deleted."""
    lag_us = int(str(exchange.switches["listing_delay_ms"])) * 1000
    return now_us >= key.created_us + lag_us and not key.dead(now_us, lag_us)


def _shown_id(exchange: PaperExchange, key_id: str) -> str:
    return f"{key_id[:4]}****{key_id[-4:]}" if exchange.switches["list_masks_keys"] else key_id


def _addresses(seen: Seen) -> tuple[str, ...]:
    return tuple(part.strip() for part in seen.params.get("ipAddress", "").split(",") if part.strip())


def _truth(seen: Seen, name: str) -> bool:
    return seen.params.get(name, "false").lower() == "true"


def _check_mode(seen: Seen) -> int:
    """Return whether a new key is bound to addresses: 1 no, 2 to its own, 3 to a third party's."""
    seen.params.need("status")
    mode = seen.params.whole("status")
    if mode not in {1, _RESTRICTED, _THIRD_PARTY}:
        raise mandatory("status")
    if len(seen.params.get("ipAddress", "")) > _LONGEST_ADDRESSES:
        raise mandatory("ipAddress")
    if mode == _RESTRICTED and not _addresses(seen):
        raise mandatory("ipAddress")
    if mode == _THIRD_PARTY:
        seen.params.need("thirdPartyName")
    return mode


def _create(exchange: PaperExchange, seen: Seen, flags: dict[str, str]) -> dict[str, object]:
    email, name = _email(exchange, seen), seen.params.need("apiName")
    mode, addresses = _check_mode(seen), _addresses(seen)
    living = [key for key in exchange.keys.values() if key.account == email and not key.deleted]
    if len(living) >= MOST_KEYS:
        code = int(str(exchange.switches["most_keys_code"]))
        raise PaperError(code, "The number of API keys has reached the limit.")
    public_key = seen.params.get("publicKey")
    if public_key is not None and "BEGIN" not in public_key and not exchange.switches["bare_public_key"]:
        raise mandatory("publicKey")
    kind = KeyType.HMAC
    if public_key is not None:
        kind = KeyType.RSA if "MIIB" in public_key else KeyType.ED25519
    if kind is KeyType.RSA and flags is _FLAGS:  # the older call takes Ed25519 alone
        raise mandatory("publicKey")
    if any(_truth(seen, flag) for flag in _FIX) and kind is not KeyType.ED25519:
        raise PaperError(-9000, "Unsupported operation")
    wanted = {there: _truth(seen, here) for here, there in flags.items()}
    open_trade = mode != _RESTRICTED and kind is KeyType.HMAC and wanted["enableSpotAndMarginTrading"]
    if open_trade and exchange.switches["open_trade_key"] == "refuse":
        raise PaperError(-9000, "A key that trades needs trusted IPs.")
    key = exchange.make_key(
        email, kind, wanted, ips=addresses if mode == _RESTRICTED else (), label=name, public_key=public_key
    )
    exchange.record(seen, "key-create", None, {"key_id": key.key_id, "label": name})
    shown: dict[str, object] = {"apiName": name, "apiKey": key.key_id}
    if key.secret is not None:
        shown["secretKey"] = key.secret.reveal()
    elif (how := exchange.switches["public_secret"]) != "absent":
        shown["secretKey"] = "" if how == "empty" else None
    shown |= {here: key.may(there) for here, there in flags.items()}
    return shown | {"status": mode, "ipList": list(key.ips)}


def create(exchange: PaperExchange, seen: Seen) -> object:
    """Create a key of a sub-account."""
    return _create(exchange, seen, _FLAGS)


def create_v2(exchange: PaperExchange, seen: Seen) -> object:
    """Create a key; a public key must be in the body."""
    if b"publicKey=" in seen.call.query:
        raise PaperError(-1104, "Not all sent parameters were read; 'publicKey' belongs into the body.")
    return _create(exchange, seen, _FLAGS | _FIX)


def listing(exchange: PaperExchange, seen: Seen) -> object:
    """List the keys of a sub-account."""
    email, one = _email(exchange, seen), seen.params.get("subAccountApiKey")
    page, size = seen.params.whole("page", 1) or 1, min(seen.params.whole("size", 30) or 30, 100)
    found = [
        key
        for key in exchange.keys.values()
        if key.account == email and _listed(exchange, key, seen.now_us) and one in {None, key.key_id}
    ]
    rows = [
        {"email": email, "apiName": key.label, "apikey": _shown_id(exchange, key.key_id),
         **{here: key.may(there) for here, there in _FLAGS.items()}, "timestamp": key.created_us // 1000}
        for key in found[(page - 1) * size : page * size]
    ]  # fmt: skip
    return {"total": len(found), str(exchange.switches["list_array"]): rows}


def permission(exchange: PaperExchange, seen: Seen) -> object:
    """Change what a key may do."""
    key = _key(exchange, seen)
    for here, there in _FLAGS.items():
        if here in seen.params:
            key.flags[there] = _truth(seen, here)
        elif not exchange.switches["modify_keeps_omitted"]:
            key.flags[there] = False
    exchange.record(seen, "key-permission", None, {"key_id": key.key_id})
    flags = {here: key.may(there) for here, there in _FLAGS.items()}
    return {"apiName": key.label, "apikey": key.key_id, **flags, "timestamp": seen.now_us // 1000}


def delete(exchange: PaperExchange, seen: Seen) -> object:
    """Delete a key, for good."""
    known = exchange.keys.get(seen.params.need("subAccountApiKey"))
    if known is not None and known.deleted and exchange.switches["repeated_delete"] == "empty":
        return {}
    key = _key(exchange, seen)
    key.deleted, key.deleted_us = True, seen.now_us
    exchange.record(seen, "key-delete", None, {"key_id": key.key_id})
    return {}


def addresses(exchange: PaperExchange, seen: Seen) -> object:
    """Answer a key's IP list; `ipRestrict` is text."""
    key = _key(exchange, seen)
    return {"ipRestrict": "true" if key.ips else "false", "ipList": list(key.ips),
            "updateTime": seen.now_us // 1000, "apiKey": key.key_id}  # fmt: skip


def set_addresses(exchange: PaperExchange, seen: Seen) -> object:
    """Set or add to a key's IP list (`ip_restriction_post_adds` says which; unconfirmed at the venue)."""
    key, mode = _key(exchange, seen), seen.params.need("status")
    if mode not in {"1", str(_RESTRICTED)}:
        raise mandatory("status")
    if mode != "1" and not (key.ips or _addresses(seen)):  # bound to nothing it would be open
        raise mandatory("ipAddress")
    if mode == "1":
        key.ips = ()
    else:
        kept = key.ips if exchange.switches["ip_restriction_post_adds"] else ()
        key.ips = tuple(dict.fromkeys((*kept, *_addresses(seen))))
    exchange.record(seen, "key-addresses", None, {"key_id": key.key_id, "ips": list(key.ips)})
    shown: dict[str, object] = {"status": mode, "updateTime": seen.now_us // 1000, "apiKey": key.key_id}
    return shown | ({"ipList": list(key.ips)} if mode != "1" else {})


def drop_addresses(exchange: PaperExchange, seen: Seen) -> object:
    """Take addresses off a key's IP list."""
    key, gone = _key(exchange, seen), set(_addresses(seen))
    key.ips = tuple(address for address in key.ips if address not in gone)
    exchange.record(seen, "key-addresses", None, {"key_id": key.key_id, "ips": list(key.ips)})
    return {"ipRestrict": "true" if key.ips else "false", "ipList": list(key.ips),
            "updateTime": seen.now_us // 1000, "apiKey": key.key_id}  # fmt: skip


def accounts(exchange: PaperExchange, seen: Seen) -> object:
    """List sub-accounts."""
    if seen.account is None or not seen.account.master:
        raise PaperError(-1002, "You are not authorized to execute this request.")
    wanted, frozen = seen.params.get("email"), seen.params.flag("isFreeze")
    page, limit = seen.params.whole("page", 1) or 1, seen.params.whole("limit", _MOST_ACCOUNTS) or 1
    if limit > _MOST_ACCOUNTS:
        raise mandatory("limit")
    found = [one for one in exchange.accounts.values() if not one.master and wanted in {None, one.email}]
    return {
        "subAccounts": [
            {"email": one.email, "isFreeze": False, "createTime": 0, "isManagedSubAccount": False,
             "isAssetManagementSubAccount": False}
            for one in ([] if frozen else found[(page - 1) * limit : page * limit])
        ]
    }  # fmt: skip


def open_virtual(exchange: PaperExchange, seen: Seen) -> object:
    """Open a sub-account."""
    if seen.account is None or not seen.account.master:
        raise PaperError(-1002, "You are not authorized to execute this request.")
    email = f"{seen.params.need('subAccountString')}_virtual@paper.noemail.com"
    if email in exchange.accounts:
        raise PaperError(-9000, "The sub-account exists.")
    exchange.open_account(email)
    exchange.record(seen, "account-create", None, {"email": email})
    return {"email": email}


_S, _T, _UID = "signed", "enableSpotAndMarginTrading", 3000
_KEYS = "/sapi/v1/sub-account/subAccountApi"
_KEYS_V2 = "/sapi/v2/sub-account/subAccountApi"
ROUTES: dict[tuple[str, str], Route] = {
    ("POST", _KEYS): Route(create, _S, _UID, _T, write=True, uid=True),
    ("POST", _KEYS_V2): Route(create_v2, _S, _UID, _T, write=True, uid=True),
    ("GET", _KEYS): Route(listing, _S, _UID, uid=True),
    ("DELETE", _KEYS): Route(delete, _S, _UID, _T, write=True, uid=True),
    ("POST", "/sapi/v1/sub-account/subAccountApiPermission"): Route(
        permission, _S, _UID, _T, write=True, uid=True
    ),
    ("GET", _KEYS + "/ipRestriction"): Route(addresses, _S, _UID, _T, uid=True),
    ("POST", _KEYS_V2 + "/ipRestriction"): Route(set_addresses, _S, _UID, _T, write=True, uid=True),
    ("DELETE", _KEYS + "/ipRestriction/ipList"): Route(drop_addresses, _S, _UID, _T, write=True, uid=True),
    ("GET", "/sapi/v1/sub-account/list"): Route(accounts, _S),
    ("POST", "/sapi/v1/sub-account/virtualSubAccount"): Route(open_virtual, _S, 1, _T, write=True),
}
