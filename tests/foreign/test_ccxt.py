"""ccxt, unmodified, takes the whole round of a spot bot: at the exchange itself and through the gateway."""

from pathlib import Path
from typing import Any

import pytest

from clients.venue import KeyType
from tests.foreign import places
from tests.foreign.conftest import Step
from tests.foreign.places import CCXT
from tests.gateway.world import World, running_world

pytestmark = pytest.mark.foreign

ROUND = {
    "load": ["BNB/USDT", "BTC/USDT", "ETH/BTC", "ETH/USDT", "SOL/USDT"],
    "balance": [10000, 1],
    "limit": ["limit", "buy", "open", 0.01, 0],
    "edit": [True, "open", 0.012, 58000],
    "fetch": ["open", "buy", 0.012, 58000, None],
    "open": [["buy", 0.012, 58000]],
    "cancel": "canceled",
    "market": ["market", "buy", "closed", 0.01, 0.01],
    "cost": ["closed", "buy", True],
    "stop": ["limit", "sell", "open", 0.001, 0],
    "trailing": ["market", "sell", "open", 0.001, 0],
    "cancel_all": [["canceled", 0.001], ["canceled", 0.001]],
    "trades": [["buy", 0.01], ["buy", 0.0015]],
}
EXECUTED = [
    ("place", "BUY", "LIMIT", "0.01", None, "59000", None),
    ("cancel", "BUY", "LIMIT", "0.01", None, "59000", None),
    ("place", "BUY", "LIMIT", "0.012", None, "58000", None),
    ("cancel", "BUY", "LIMIT", "0.012", None, "58000", None),
    ("place", "BUY", "MARKET", "0.01", None, None, None),
    ("place", "BUY", "MARKET", None, "90", None, None),
    ("place", "SELL", "STOP_LOSS_LIMIT", "0.001", None, "50000", "50500"),
    ("place", "SELL", "STOP_LOSS", "0.001", None, None, None),
    ("cancel", "SELL", "STOP_LOSS_LIMIT", "0.001", None, "50000", "50500"),
    ("cancel", "SELL", "STOP_LOSS", "0.001", None, None, None),
]
SIGNED_AT_START = {
    "/sapi/v1/capital/config/getall",
    "/sapi/v1/margin/allPairs",
    "/sapi/v1/margin/isolated/allPairs",
}


def check(world: World, steps: list[Step]) -> None:
    """Both sides: what the client saw, and what the exchange executed."""
    assert {step.name: step.result for step in steps} == ROUND
    assert places.placed(world) == EXECUTED
    assert world.executed()[7]["params"]["trailingDelta"] == "500"
    signed = {row["path"] for row in world.paper.exchange.requests if row["key_id"] and row["status"] == 200}
    assert signed >= SIGNED_AT_START


async def run(config: dict[str, Any], mode: str) -> list[Step]:
    return await CCXT.run(list(ROUND), mode=mode, **config)


@pytest.mark.parametrize(
    ("mode", "key_type"), [("async", KeyType.HMAC), *(("sync", key_type) for key_type in KeyType)]
)
async def test_directly_with_a_real_key(tmp_path: Path, mode: str, key_type: KeyType) -> None:
    async with running_world(tmp_path) as world:
        check(world, await run(places.at_paper(world, key_type), mode))


@pytest.mark.parametrize("key_type", list(KeyType))
@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_with_a_virtual_key_whatever_signs_upstream(
    tmp_path: Path, mode: str, key_type: KeyType
) -> None:
    async with running_world(tmp_path) as world:
        config = places.at_gateway(world, key_type)
        check(world, await run(config, mode))
        assert places.only_real_keys(world, config)


@pytest.mark.parametrize("key_type", [KeyType.ED25519, KeyType.RSA])
async def test_with_a_key_of_its_own(tmp_path: Path, key_type: KeyType) -> None:
    async with running_world(tmp_path) as world:
        config = places.at_gateway_with_own_key(world, key_type)
        check(world, await run(config, "sync"))
        assert places.only_real_keys(world, config)
