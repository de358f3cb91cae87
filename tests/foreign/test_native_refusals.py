"""What the native libraries raise for a no of the gateway, and for an order whose outcome is unknown."""

from pathlib import Path
from typing import Any

import pytest

from tests.foreign import places
from tests.foreign.conftest import Driver, Step
from tests.foreign.places import CONNECTOR, PYTHON_BINANCE, SDK_SPOT
from tests.gateway.world import running_world

pytestmark = pytest.mark.foreign

FIELDS = {
    "BinanceAPIException": ("status_code", "code"),
    "ClientError": ("status_code", "error_code"),
    "ServerError": ("status_code",),
}
CASES = [
    pytest.param(
        PYTHON_BINANCE,
        {
            "too_large": ("BinanceAPIException", 400, -2010),
            "withdraw": ("BinanceAPIException", 403, -1002),
            "cut": ("BinanceAPIException", 401, -2014),
            "lost": ("BinanceAPIException", 504, 0),
        },
        id="python-binance",
    ),
    pytest.param(
        SDK_SPOT,
        {
            "too_large": ("BadRequestError",),
            "cut": ("UnauthorizedError",),
            "lost": ("ServerError", 504),
        },
        id="binance-sdk-spot",
    ),
    pytest.param(
        CONNECTOR,
        {
            "too_large": ("ClientError", 400, -2010),
            "withdraw": ("ClientError", 403, -1002),
            "cut": ("ClientError", 401, -2014),
            "lost": ("ServerError", 504),
        },
        id="binance-connector",
    ),
]


def outcome(step: Step) -> tuple[Any, ...]:
    """Return the class it raised and the numbers that this class carries."""
    raised = step.raised or ""
    return (raised, *(step.said.get(name) for name in FIELDS.get(raised, ())))


@pytest.mark.parametrize(("driver", "expected"), CASES)
async def test_each_refusal_in_the_librarys_own_classes(
    tmp_path: Path, driver: Driver, expected: dict[str, tuple[Any, ...]]
) -> None:
    async with running_world(tmp_path) as world:
        config = places.at_gateway(world)
        asked: list[Any] = []

        async def lose() -> None:
            fault = {"do": "lose-reply", "match": {"method": "POST", "path": "/api/v3/order"}}
            await world.paper.admin("POST", "faults", fault)

        async def cut() -> None:
            await world.cut("consumer:bot")
            asked.append(world.asked())

        refused = [name for name in expected if name not in {"cut", "lost"}]
        steps = await driver.run(
            [*refused, "wait", "limit", "trades", "wait", "market", "account"], lose, cut, **config
        )
        *policy, lost, trades, order, read = steps
        assert {step.name: outcome(step) for step in policy} == {name: expected[name] for name in refused}
        assert outcome(lost) == expected["lost"]
        assert trades.result == []
        assert outcome(order) == outcome(read) == expected["cut"]
        assert asked == [world.asked()]
        assert places.placed(world) == [("place", "BUY", "LIMIT", "0.01", None, "59000", None)]
