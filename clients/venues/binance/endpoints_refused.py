"""Endpoints that are recognised so that they can be refused by name: money leaving, keys, bearers of streams."""

from clients.venue import Action
from clients.venues.binance.endpoint import (
    S1,
    V3,
    bearer,
    named,
)

_SUB = "/sapi/v1/sub-account/"
_BROKER = "/sapi/v1/broker/"

WITHDRAW = (
    named("POST", S1 + "capital/withdraw/apply", "wallet.withdraw.apply", Action.WITHDRAW, "withdraw", 900),
    named("POST", "/wapi/v3/withdraw.html", "wallet.withdraw.apply_old", Action.WITHDRAW, "withdraw"),
    named(
        "POST",
        S1 + "localentity/withdraw/apply",
        "localentity.withdraw.apply",
        Action.WITHDRAW,
        "withdraw",
        600,
    ),
    named(
        *("POST", S1 + "localentity/broker/withdraw/apply", "localentity.broker.withdraw.apply"),
        *(Action.WITHDRAW, "withdraw"),
    ),
    named("POST", "/sapi/v2/fiat/withdraw", "fiat.withdraw", Action.WITHDRAW, "withdraw"),
    named("POST", S1 + "fiat/withdraw", "fiat.withdraw", Action.WITHDRAW, "withdraw"),
)

TRANSFER = (
    named("POST", S1 + "asset/transfer", "wallet.transfer", Action.TRANSFER, "transfer", 300),
    named("POST", S1 + "futures/transfer", "wallet.transfer.futures", Action.TRANSFER, "transfer"),
    named("POST", S1 + "margin/transfer", "margin.transfer", Action.TRANSFER, "transfer"),
    named("POST", S1 + "margin/isolated/transfer", "margin.isolated.transfer", Action.TRANSFER, "transfer"),
    named("POST", _SUB + "universalTransfer", "subaccount.transfer", Action.TRANSFER, "transfer", 360),
    named(
        "POST", _SUB + "transfer/subToMaster", "subaccount.transfer.to_master", Action.TRANSFER, "transfer"
    ),
    named("POST", _SUB + "transfer/subToSub", "subaccount.transfer.to_sub", Action.TRANSFER, "transfer"),
    named("POST", _SUB + "sub/transfer", "subaccount.transfer.spot", Action.TRANSFER, "transfer"),
    named("POST", _SUB + "futures/transfer", "subaccount.transfer.futures", Action.TRANSFER, "transfer"),
    named("POST", _SUB + "margin/transfer", "subaccount.transfer.margin", Action.TRANSFER, "transfer"),
    named(
        "POST",
        _SUB + "futures/internalTransfer",
        "subaccount.transfer.futures_internal",
        Action.TRANSFER,
        "transfer",
    ),
    named("POST", _SUB + "futures/move-position", "subaccount.move_position", Action.TRANSFER, "transfer"),
    named("POST", _BROKER + "transfer", "broker.transfer", Action.TRANSFER, "transfer"),
    named("POST", _BROKER + "transfer/futures", "broker.transfer.futures", Action.TRANSFER, "transfer"),
    named("POST", _BROKER + "universalTransfer", "broker.transfer.universal", Action.TRANSFER, "transfer"),
    named("POST", S1 + "giftcard/createCode", "giftcard.create", Action.TRANSFER, "transfer"),
    named("POST", S1 + "giftcard/buyCode", "giftcard.buy", Action.TRANSFER, "transfer"),
    named("POST", S1 + "managed-subaccount/deposit", "managed.deposit", Action.TRANSFER, "transfer"),
    named("POST", S1 + "managed-subaccount/withdraw", "managed.withdraw", Action.TRANSFER, "transfer"),
    named("POST", S1 + "bnb-transfer", "wallet.transfer.bnb", Action.TRANSFER, "transfer"),
)

KEY_ADMIN = (
    named("POST", _SUB + "subAccountApi", "subaccount.key.create", Action.KEY_ADMIN, "key-admin", 3000),
    named(
        "POST",
        "/sapi/v2/sub-account/subAccountApi",
        "subaccount.key.create",
        Action.KEY_ADMIN,
        "key-admin",
        3000,
    ),
    named("GET", _SUB + "subAccountApi", "subaccount.key.list", Action.KEY_ADMIN, "key-admin", 3000),
    named("DELETE", _SUB + "subAccountApi", "subaccount.key.delete", Action.KEY_ADMIN, "key-admin", 3000),
    named(
        "POST",
        _SUB + "subAccountApiPermission",
        "subaccount.key.permission",
        Action.KEY_ADMIN,
        "key-admin",
        3000,
    ),
    *(
        named(
            method,
            f"/sapi/v{version}/sub-account/subAccountApi/{tail}",
            name,
            Action.KEY_ADMIN,
            "key-admin",
            3000,
        )
        for method, version, tail, name in (
            ("GET", 1, "ipRestriction", "subaccount.key.ip_list"),
            ("POST", 1, "ipRestriction", "subaccount.key.ip_set"),
            ("POST", 2, "ipRestriction", "subaccount.key.ip_set"),
            ("POST", 1, "ipRestriction/ipList", "subaccount.key.ip_set"),
            ("DELETE", 1, "ipRestriction/ipList", "subaccount.key.ip_delete"),
        )
    ),
    named(
        *("GET", _SUB + "apiRestrictions/ipRestriction/thirdPartyList", "subaccount.key.third_parties"),
        *(Action.KEY_ADMIN, "key-admin"),
    ),
    *(
        named(
            method,
            S1 + "account/apiRestrictions/" + tail,
            "wallet.key.ip_restriction",
            Action.KEY_ADMIN,
            "key-admin",
        )
        for method, tail in (
            ("POST", "ipRestriction"),
            ("GET", "ipRestriction"),
            ("POST", "ipRestriction/ipList"),
            ("DELETE", "ipRestriction/ipList"),
        )
    ),
    named("POST", _BROKER + "subAccountApi", "broker.key.create", Action.KEY_ADMIN, "key-admin", 3000),
    named("DELETE", _BROKER + "subAccountApi", "broker.key.delete", Action.KEY_ADMIN, "key-admin", 3000),
    named("GET", _BROKER + "subAccountApi", "broker.key.list", Action.KEY_ADMIN, "key-admin", 3000),
    *(
        named(
            "POST",
            _BROKER + "subAccountApi/permission" + tail,
            "broker.key.permission",
            Action.KEY_ADMIN,
            "key-admin",
        )
        for tail in ("", "/universalTransfer", "/vanillaOptions")
    ),
    *(
        named(
            method, f"/sapi/v{version}/broker/subAccountApi/{tail}", name, Action.KEY_ADMIN, "key-admin", 3000
        )
        for method, version, tail, name in (
            ("POST", 2, "ipRestriction", "broker.key.ip_set"),
            ("POST", 1, "ipRestriction", "broker.key.ip_set"),
            ("GET", 1, "ipRestriction", "broker.key.ip_list"),
            ("DELETE", 1, "ipRestriction/ipList", "broker.key.ip_delete"),
        )
    ),
    named("POST", S1 + "margin/apiKey", "margin.key.create", Action.KEY_ADMIN, "key-admin"),
    named("GET", S1 + "margin/apiKey", "margin.key.get", Action.KEY_ADMIN, "key-admin"),
    named("DELETE", S1 + "margin/apiKey", "margin.key.delete", Action.KEY_ADMIN, "key-admin"),
    named("PUT", S1 + "margin/apiKey/ip", "margin.key.ip_set", Action.KEY_ADMIN, "key-admin"),
    named("GET", S1 + "margin/api-key-list", "margin.key.list", Action.KEY_ADMIN, "key-admin"),
    named("POST", S1 + "margin/exit-special-key-mode", "margin.key.exit_mode", Action.KEY_ADMIN, "key-admin"),
    named("POST", _SUB + "virtualSubAccount", "subaccount.create", Action.KEY_ADMIN, "key-admin"),
    named("POST", _BROKER + "subAccount", "broker.subaccount.create", Action.KEY_ADMIN, "key-admin"),
    named("DELETE", _BROKER + "subAccount", "broker.subaccount.delete", Action.KEY_ADMIN, "key-admin"),
    named("POST", _SUB + "futures/enable", "subaccount.enable_futures", Action.KEY_ADMIN, "key-admin"),
    named("POST", _SUB + "eoptions/enable", "subaccount.enable_options", Action.KEY_ADMIN, "key-admin"),
    named("POST", _SUB + "margin/enable", "subaccount.enable_margin", Action.KEY_ADMIN, "key-admin"),
    named("POST", _SUB + "blvt/enable", "subaccount.enable_blvt", Action.KEY_ADMIN, "key-admin"),
)

# Reads that show other accounts: an operator's business, not a bot's.
MASTER_READ = tuple(
    named("GET", path, name, Action.READ, "subaccount-read", weight)
    for path, name, weight in (
        (_SUB + "list", "subaccount.list", 1),
        (_SUB + "status", "subaccount.status", 10),
        (_SUB + "universalTransfer", "subaccount.transfer.history", 1),
        (_SUB + "sub/transfer/history", "subaccount.transfer.spot_history", 1),
        (_SUB + "futures/internalTransfer", "subaccount.transfer.futures_history", 1),
        ("/sapi/v3/sub-account/assets", "subaccount.assets", 60),
        ("/sapi/v4/sub-account/assets", "subaccount.assets", 60),
        (S1 + "capital/deposit/subHisrec", "subaccount.deposit.history", 1),
        (_BROKER + "subAccount", "broker.subaccount.list", 1),
    )
)

STREAM = (
    *(
        bearer(method, path, f"{name}.{verb}")
        for path, name in (
            ("/api/v1/userDataStream", "spot.stream"),
            (V3 + "userDataStream", "spot.stream"),
            (S1 + "userDataStream", "margin.stream"),
            (S1 + "userDataStream/isolated", "margin.isolated.stream"),
            (S1 + "margin/listen-key", "margin.risk_stream"),
            ("/sapi/v2/margin/listen-key", "margin.risk_stream"),
            ("/fapi/v1/listenKey", "futures.stream"),
            ("/dapi/v1/listenKey", "futures.stream"),
        )
        for method, verb in (("POST", "open"), ("PUT", "extend"), ("DELETE", "close"))
    ),
    bearer("POST", S1 + "userListenToken", "margin.stream.token"),
)
