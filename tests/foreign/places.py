"""Where a bot can be pointed: at the paper exchange with a real key, at the gateway with a virtual one."""

from typing import Any

from clients.venue import KeyType
from tests.foreign.conftest import Driver
from tests.gateway.world import POLICY, World, key_pair

MONEY = {"USDT": "10000", "BTC": "1"}

CCXT = Driver("main", "drive_ccxt.py")
PYTHON_BINANCE = Driver("main", "drive_python_binance.py")
SDK_SPOT = Driver("main", "drive_sdk_spot.py")
CONNECTOR = Driver("connector", "drive_connector.py")


def at_paper(world: World, key_type: KeyType = KeyType.HMAC) -> dict[str, Any]:
    """Return the paper exchange itself and a real key of the bot's own."""
    email = world.paper.account("direct@paper.test", **MONEY)
    if key_type is KeyType.HMAC:
        key = world.paper.key(email)
        assert key.secret is not None
        return {"base": world.paper.base_url, "key": key.key_id, "secret": key.secret.reveal()}
    pem, public = key_pair(key_type)
    key = world.paper.key(email, key_type, public_key=public)
    return {"base": world.paper.base_url, "key": key.key_id, "private_key": pem}


def at_gateway(world: World, key_type: KeyType = KeyType.HMAC, policy: str = POLICY) -> dict[str, Any]:
    """Return the gateway and a virtual HMAC key, in front of a real key of some type."""
    world.account(key_type=key_type, **MONEY)
    issued = world.issue(policy=policy)
    assert issued.secret is not None
    return {"base": gateway(world), "key": issued.grant.key_id, "secret": issued.secret.reveal()}


def at_gateway_with_own_key(world: World, key_type: KeyType) -> dict[str, Any]:
    """Return the gateway and a key whose private half only the bot has."""
    world.account(**MONEY)
    pem, public = key_pair(key_type)
    issued = world.issue(public_key=public)
    assert issued.secret is None
    return {"base": gateway(world), "key": issued.grant.key_id, "private_key": pem}


def gateway(world: World) -> str:
    """Return the base URL of the gateway's mount."""
    return f"http://127.0.0.1:{world.port}/binance"


def placed(world: World) -> list[tuple[Any, ...]]:
    """Return what the paper exchange executed: action, side, type, quantity, quote quantity, price, trigger."""
    names = ("side", "type", "quantity", "quote_quantity", "price", "trigger")
    return [
        (entry["action"], *(_short(entry["order"][name]) for name in names)) for entry in world.executed()
    ]


def _short(value: str | None) -> str | None:
    return value.rstrip("0").rstrip(".") if value is not None and "." in value else value


def only_real_keys(world: World, config: dict[str, Any]) -> bool:
    """Tell whether the exchange never saw the bot's key, and executed for one real key only."""
    asked = {row["key_id"] for row in world.paper.exchange.requests}
    return config["key"] not in asked and len({entry["key_id"] for entry in world.executed()}) == 1
