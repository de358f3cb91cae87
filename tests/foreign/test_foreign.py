"""Unmodified bot libraries, directly at the paper exchange with a real key and through the gateway with a virtual one."""

from pathlib import Path
from typing import Any

import pytest

from broker.gate import Mode
from clients.venue import KeyType
from tests.foreign.conftest import Drive
from tests.gateway.world import POLICY, World, key_pair, running_world

pytestmark = pytest.mark.foreign

MONEY = {"USDT": "10000", "BTC": "1"}
CCXT = {
    "markets": 5, "usdt": 10000.0, "limit": "open", "edited": ["open", 58000.0], "open": 1,
    "cancelled": "canceled", "market": "closed", "cost": "closed", "trailing": "BTC/USDT", "all": 2, "left": 0,
    "trades": 2,
}  # fmt: skip
NATIVE = {"limit": "NEW", "query": "NEW", "open": 1, "cancel": "CANCELED", "market": "FILLED", "trades": 1}
DRIVERS = [
    ("main", "drive_python_binance.py"),
    ("main", "drive_sdk_spot.py"),
    ("connector", "drive_connector.py"),
]


def direct(world: World) -> dict[str, Any]:
    """Return how to reach the paper exchange itself, with a real key."""
    key = world.paper.key(world.paper.account("direct@paper.test", **MONEY))
    assert key.secret is not None
    return {"base": world.paper.base_url, "key": key.key_id, "secret": key.secret.reveal()}


def through(world: World, key_type: KeyType = KeyType.HMAC, policy: str = POLICY) -> dict[str, Any]:
    """Return how to reach the gateway, with a virtual key."""
    world.account(key_type=key_type, **MONEY)
    bot = world.bot(policy=policy)
    return {"base": f"http://127.0.0.1:{world.port}/binance", "key": bot.key_id, "secret": bot.secret}


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_ccxt_directly(tmp_path: Path, drive: Drive, mode: str) -> None:
    async with running_world(tmp_path) as world:
        seen = await drive("main", "drive_ccxt.py", mode=mode, **direct(world))
        assert seen.pop("stop") in {"stop_loss_limit", "limit"}
        assert seen == CCXT


@pytest.mark.parametrize("key_type", list(KeyType))
@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_ccxt_through_the_gateway_whatever_signs_upstream(
    tmp_path: Path, drive: Drive, mode: str, key_type: KeyType
) -> None:
    async with running_world(tmp_path) as world:
        config = through(world, key_type)
        seen = await drive("main", "drive_ccxt.py", mode=mode, **config)
        assert seen.pop("stop") in {"stop_loss_limit", "limit"}
        assert seen == CCXT
        assert {entry["key_id"] for entry in world.executed()}.isdisjoint({config["key"]})
        actions = [entry["action"] for entry in world.executed()]
        assert actions == [
            "place",
            "cancel",
            "place",
            "cancel",
            "place",
            "place",
            "place",
            "place",
            "cancel",
            "cancel",
        ]


@pytest.mark.parametrize(("environment", "script"), DRIVERS)
async def test_native_clients_directly_and_through_the_gateway(
    tmp_path: Path, drive: Drive, environment: str, script: str
) -> None:
    async with running_world(tmp_path) as world:
        for config in (direct(world), through(world)):
            seen = await drive(environment, script, **config)
            assert {name: seen[name] for name in NATIVE} == NATIVE
            assert float(seen["usdt"]) == 10000


async def test_a_bot_with_a_key_of_its_own_signs_ed25519(tmp_path: Path, drive: Drive) -> None:
    async with running_world(tmp_path) as world:
        world.account(**MONEY)
        pem, public = key_pair(KeyType.ED25519)
        issued = world.issue(public_key=public)
        assert issued.secret is None
        base = f"http://127.0.0.1:{world.port}/binance"
        seen = await drive(
            "main",
            "drive_python_binance.py",
            base=base,
            key=issued.grant.key_id,
            secret=None,
            private_key=pem,
        )
        assert {name: seen[name] for name in NATIVE} == NATIVE


async def test_each_refusal_raises_its_natural_exception(tmp_path: Path, drive: Drive) -> None:
    async with running_world(tmp_path) as world:
        config = through(world)
        steps = ["large", "symbol", "withdraw", "transfer", "cancel"]
        seen = await drive("main", "drive_ccxt.py", mode="sync", steps=steps, **config)
        assert seen == {
            "large": "InvalidOrder", "symbol": "BadSymbol", "withdraw": "PermissionDenied",
            "transfer": "PermissionDenied", "cancel": "OrderNotFound",
        }  # fmt: skip
        assert world.executed() == []


async def test_a_cut_or_a_halt_is_final_for_a_bot(tmp_path: Path, drive: Drive) -> None:
    """Never a class that makes a bot try again: those derive from OperationFailed."""
    async with running_world(tmp_path) as world:
        config = through(world)
        await world.cut("consumer:bot", mode=Mode.HALT)
        seen = await drive("main", "drive_ccxt.py", mode="sync", steps=["order", "account"], **config)
        assert seen == {"order": "AuthenticationError", "account": "passed"}
        await world.cut("consumer:bot")
        seen = await drive("main", "drive_ccxt.py", mode="sync", steps=["account"], **config)
        assert seen == {"account": "AuthenticationError"}
        assert world.executed() == []


async def test_limits_of_rate_and_weight_raise_what_backs_off(tmp_path: Path, drive: Drive) -> None:
    async with running_world(tmp_path) as world:
        policy = POLICY.replace("[order]", "[order]\nrate = { orders = 1, seconds = 60 }")
        config = through(world, policy=policy)
        seen = await drive("main", "drive_ccxt.py", mode="sync", steps=["order", "order"], **config)
        assert seen == {"order": "RateLimitExceeded"}
        for view in world.gateway.mounts.views.values():
            view.meter.refused(429, 60, world.gateway.clock.wall_us())
        seen = await drive("main", "drive_ccxt.py", mode="sync", steps=["account"], **config)
        assert seen == {"account": "DDoSProtection"}


async def test_an_unknown_outcome_is_no_refusal(tmp_path: Path, drive: Drive) -> None:
    async with running_world(tmp_path) as world:
        config = through(world)
        await world.paper.admin(
            "POST", "faults", {"do": "lose-reply", "match": {"method": "POST", "path": "/api/v3/order"}}
        )
        seen = await drive("main", "drive_ccxt.py", mode="sync", steps=["order"], **config)
        assert seen["order"] in {"ExchangeNotAvailable", "RequestTimeout"}
        assert len(world.executed()) == 1
