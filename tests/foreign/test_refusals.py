"""What ccxt raises for each no of the gateway. What is final must not look as if trying again could help.

`OperationFailed` is the base of everything ccxt and the frameworks on it try again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from broker.gate import Mode
from broker.service import Change
from clients.paper.faults import Fault
from tests.foreign import places
from tests.foreign.conftest import Meanwhile, Step
from tests.foreign.places import CCXT
from tests.gateway.world import POLICY, running_world

pytestmark = pytest.mark.foreign

MODES = pytest.mark.parametrize("mode", ["sync", "async"])
RETRYABLE = "OperationFailed"
BOUGHT = ["market", "buy", "closed", 0.01, 0.01]
ORDERS = {"match": {"method": "POST", "path": "/api/v3/order"}}


async def run(
    config: dict[str, Any], steps: Sequence[str], *meanwhile: Meanwhile, mode: str = "sync", **more: Any
) -> list[Step]:
    """Take steps after the markets are loaded."""
    first, *rest = await CCXT.run(["load", *steps], *meanwhile, mode=mode, **config, **more)
    assert first.raised is None, first
    return rest


def results(steps: list[Step]) -> list[Any]:
    return [step.result for step in steps]


def final(steps: list[Step]) -> bool:
    """Tell whether each was refused for good."""
    return all(step.raised is not None and RETRYABLE not in step.kinds for step in steps)


@MODES
async def test_a_cut_is_an_authentication_error_for_a_bot_at_work(tmp_path: Path, mode: str) -> None:
    """`-2015` would be taken for a ban once a private call has succeeded: so one has."""
    async with running_world(tmp_path) as world:
        config = places.at_gateway(world)

        async def cut() -> None:
            await world.cut("consumer:bot")

        refused = ["market", "limit", "balance", "cancel", "cancel_all", "trades", "load"]
        steps = ["limit", "balance", "wait", *refused, "ticker"]
        limit, balance, *after, ticker = await run(config, steps, cut, mode=mode)
        assert limit.result == ["limit", "buy", "open", 0.01, 0]
        assert balance.raised is None
        assert results(after) == ["AuthenticationError"] * len(refused)
        assert final(after)
        assert ticker.result == "BTC/USDT"  # ccxt asks for public data without a key
        assert [entry["action"] for entry in world.executed()] == ["place"]


@MODES
async def test_a_revoked_grant_is_an_authentication_error(tmp_path: Path, mode: str) -> None:
    async with running_world(tmp_path) as world:
        config = places.at_gateway(world)
        (grant,) = world.service.grants.list().items
        changes: list[Change] = []
        world.service.grants._desk.listeners.append(changes.append)

        async def revoke() -> None:
            world.service.grants.revoke(grant.id, "test")
            assert (await world.authority.changes.acknowledged(changes[-1], 5))[1] == ()

        bought, *after = await run(config, ["market", "wait", "market", "balance"], revoke, mode=mode)
        assert bought.result == BOUGHT
        assert results(after) == ["AuthenticationError"] * 2
        assert final(after)
        assert len(world.executed()) == 1


async def test_a_halt_refuses_what_opens_and_passes_the_rest(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        config = places.at_gateway(world)

        async def halt() -> None:
            await world.cut("consumer:bot", mode=Mode.HALT)

        steps = await run(config, ["limit", "wait", "market", "open", "cancel", "balance"], halt)
        assert results(steps)[1:] == ["AuthenticationError", [["buy", 0.01, 59000]], "canceled", [10000, 1]]
        assert final(steps[1:2])
        assert [entry["action"] for entry in world.executed()] == ["place", "cancel"]


@MODES
async def test_what_the_policy_does_not_allow_is_final(tmp_path: Path, mode: str) -> None:
    async with running_world(tmp_path) as world:
        config = places.at_gateway(world)
        expected = {
            "withdraw": "PermissionDenied",
            "transfer": "PermissionDenied",
            "too_large": "InvalidOrder",
            "too_dear": "InvalidOrder",
            "other_symbol": "BadSymbol",
            "cancel_unknown": "OrderNotFound",
            "fetch_unknown": "OrderNotFound",
            "wrong_secret": "AuthenticationError",
            "unknown_key": "AuthenticationError",
        }
        steps = {step.name: step for step in await run(config, list(expected), mode=mode)}
        assert {name: step.result for name, step in steps.items()} == expected
        assert final(list(steps.values()))
        assert '"code":-2010' in steps["too_large"].said["text"]
        assert world.executed() == []


async def test_the_exchanges_own_no_reaches_the_bot_as_it_is(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        config = places.at_gateway(world)
        world.paper.exchange.accounts["main@paper.test"].balance("USDT").free -= 9900
        (poor,) = await run(config, ["market"])
        assert poor.result == "InsufficientFunds"


async def test_a_stale_time_is_an_invalid_nonce(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        config = places.at_gateway(world)
        steps = await run(config, ["two_minutes_late", "two_minutes_early", "market"])
        assert results(steps) == ["InvalidNonce", "InvalidNonce", BOUGHT]
        assert len(world.executed()) == 1


async def test_the_order_rate_of_the_policy(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        policy = POLICY.replace("[order]", "[order]\nrate = { orders = 1, seconds = 600 }")
        config = places.at_gateway(world, policy=policy)
        steps = await run(config, ["market", "market", "balance"])
        assert results(steps)[:2] == [BOUGHT, "RateLimitExceeded"]
        assert steps[2].raised is None
        assert len(world.executed()) == 1


@MODES
async def test_the_exchanges_429_backs_off_and_is_not_asked_again(tmp_path: Path, mode: str) -> None:
    async with running_world(tmp_path) as world:
        config = places.at_gateway(world)
        asked: list[int] = []
        full_up = Fault(
            "error", path="/api/v3/account", status=429, code=-1003, retry_after="300", times=1_000
        )

        async def full() -> None:  # for longer than this minute has left
            world.paper.server.faults.append(full_up)

        async def count() -> None:
            asked.append(1_000 - full_up.times)

        steps = await run(
            config, ["balance", "wait", "balance", "wait", "balance", "wait"], full, count, count, mode=mode
        )
        assert results(steps)[1:] == ["DDoSProtection"] * 2
        assert asked == [1, 1]


async def test_a_pause_that_the_exchange_asked_for_stops_reads_and_new_risk(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        config = places.at_gateway(world)

        async def full() -> None:
            for view in world.gateway.mounts.views.values():
                view.meter.refused(429, 600, world.gateway.clock.wall_us())

        steps = await run(config, ["balance", "market", "wait", "balance", "market"], full)
        assert results(steps)[1:] == [BOUGHT, "DDoSProtection", "DDoSProtection"]


UNKNOWN = [
    ({"do": "lose-reply"}, "RequestTimeout"),
    ({"do": "truncate"}, "RequestTimeout"),
    ({"do": "garbage"}, "RequestTimeout"),
    ({"do": "error-after", "status": 503, "code": -1000}, "OperationFailed"),
    ({"do": "error-after", "status": 500, "code": -1007}, "RequestTimeout"),
]


@MODES
async def test_an_unknown_outcome_does_not_say_that_the_order_failed(tmp_path: Path, mode: str) -> None:
    """And the order can be found afterwards."""
    async with running_world(tmp_path) as world:
        config = places.at_gateway(world)
        faults = iter(UNKNOWN)

        async def play() -> None:
            fault, _ = next(faults)
            await world.paper.admin("POST", "faults", fault | ORDERS)

        took = await run(config, ["wait", "limit", "open"] * len(UNKNOWN), *[play] * len(UNKNOWN), mode=mode)
        lost, found = took[::2], took[1::2]
        assert results(lost) == [natural for _, natural in UNKNOWN]
        assert all(RETRYABLE in step.kinds and "ExchangeError" not in step.kinds for step in lost)
        assert [len(step.saw) for step in found] == [1, 2, 3, 4, 5]
        assert [entry["action"] for entry in world.executed()] == ["place"] * len(UNKNOWN)


async def test_a_ban_stops_reads_and_new_orders_but_no_cancel(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        config = places.at_gateway(world)

        async def ban() -> None:
            fault = {"do": "error", "status": 418, "code": -1003, "match": {"path": "/api/v3/account"}}
            await world.paper.admin("POST", "faults", fault)

        steps = await run(config, ["limit", "wait", "balance", "balance", "market", "cancel"], ban)
        assert results(steps)[1:] == ["DDoSProtection"] * 3 + ["canceled"]
        assert [entry["action"] for entry in world.executed()] == ["place", "cancel"]
