"""Binance's own libraries and python-binance, unmodified: at the exchange itself and through the gateway."""

from pathlib import Path
from typing import Any

import pytest

from clients.venue import KeyType
from tests.foreign import places
from tests.foreign.conftest import Driver, Step
from tests.foreign.places import CONNECTOR, PYTHON_BINANCE, SDK_SPOT
from tests.gateway.world import World, running_world

pytestmark = pytest.mark.foreign

CLIENTS = [
    pytest.param(PYTHON_BINANCE, id="python-binance"),
    pytest.param(SDK_SPOT, id="binance-sdk-spot"),
    pytest.param(CONNECTOR, id="binance-connector"),
]
ROUND = {
    "account": [["BTC", 1], ["USDT", 10000]],
    "limit": "NEW",
    "query": "NEW",
    "open": [True],
    "cancel": "CANCELED",
    "market": "FILLED",
    "trades": [[True, 0.01]],
}
EXECUTED = [
    ("place", "BUY", "LIMIT", "0.01", None, "59000", None),
    ("cancel", "BUY", "LIMIT", "0.01", None, "59000", None),
    ("place", "BUY", "MARKET", "0.01", None, None, None),
]


def check(world: World, steps: list[Step]) -> None:
    """Both sides: what the client saw, and what the exchange executed."""
    assert {step.name: step.result for step in steps} == ROUND
    assert places.placed(world) == EXECUTED


async def run(driver: Driver, config: dict[str, Any]) -> list[Step]:
    return await driver.run(list(ROUND), **config)


@pytest.mark.parametrize("driver", CLIENTS)
async def test_directly_with_a_real_key(tmp_path: Path, driver: Driver) -> None:
    async with running_world(tmp_path) as world:
        check(world, await run(driver, places.at_paper(world)))


@pytest.mark.parametrize("driver", CLIENTS)
async def test_with_a_virtual_key(tmp_path: Path, driver: Driver) -> None:
    async with running_world(tmp_path) as world:
        config = places.at_gateway(world)
        check(world, await run(driver, config))
        assert places.only_real_keys(world, config)


@pytest.mark.parametrize("driver", CLIENTS)
async def test_with_an_ed25519_key_of_its_own(tmp_path: Path, driver: Driver) -> None:
    async with running_world(tmp_path) as world:
        config = places.at_gateway_with_own_key(world, KeyType.ED25519)
        check(world, await run(driver, config))
        assert places.only_real_keys(world, config)
