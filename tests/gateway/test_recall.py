"""A gateway that was started anew knows what it did before, whether or not the broker could write it down yet."""

import asyncio
import errno
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gate import Mode
from broker.gateway import recall as recalling
from broker.gateway import settlement as settling
from broker.gateway import upload
from broker.gateway.account_view import AccountView
from broker.gateway.process import Gateway
from broker.gateway.recall import Recall
from tests.gateway.test_kept_lines import edge, failing
from tests.gateway.world import POLICY, Bot, World, running_world

pytestmark = pytest.mark.sockets

RESTING = {"type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001", "price": "59000"}
OCO = {
    "symbol": "BTCUSDT", "side": "SELL", "quantity": "0.001", "aboveType": "LIMIT_MAKER", "abovePrice": "70000",
    "belowType": "STOP_LOSS", "belowStopPrice": "50000",
}  # fmt: skip
OTO = {
    "symbol": "BTCUSDT", "workingType": "LIMIT", "workingSide": "BUY", "workingTimeInForce": "GTC",
    "workingQuantity": "0.01", "workingPrice": "59000", "pendingType": "LIMIT_MAKER", "pendingSide": "SELL",
    "pendingQuantity": "0.005", "pendingPrice": "70000",
}  # fmt: skip
OWNER = POLICY.replace("allow =", "account_owner = true\nallow =")


def at(port: int, bot: Bot) -> Bot:
    return Bot(port, bot.key_id, bot.secret, bot.last_ms)


async def cancel(bot: Bot, **names: Any) -> Any:
    return await bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", **names)


async def before_and_after(world: World, path: Path, *bots: Bot) -> Any:
    """Start a gateway whose lines the broker cannot write down; return what starts it anew, which returns the bots."""
    _, port, end = await edge(world, path)
    failing(world, lambda _: True)

    async def anew() -> tuple[Any, ...]:
        await end()
        _, port, ends = await edge(world, path)
        return ends, *(at(port, bot) for bot in bots)

    return anew, *(at(port, bot) for bot in bots)


@pytest.mark.parametrize("how", ["id", "name", "list", "leg", "unknown outcome"])
async def test_own_orders_of_before_are_cancelled_though_the_log_took_none_of_it(
    tmp_path: Path, how: str
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        anew, bot, other = await before_and_after(
            world, tmp_path, world.bot("bot"), world.bot("other", policy=OWNER)
        )
        await bot.ready()
        await other.ready()
        path, names = "/api/v3/order", dict[str, Any]()
        if how in {"list", "leg"}:
            placed = await bot.call("POST", "/api/v3/orderList/oco", **OCO)
            assert placed.status == 200, placed
            names = {"orderListId": placed.body["orderListId"]}
            if how == "leg":
                names = {"orderId": placed.body["orders"][0]["orderId"]}
            path = "/api/v3/orderList" if how == "list" else path
        elif how == "unknown outcome":
            lost = {"do": "lose-reply", "match": {"path": "/api/v3/order", "method": "POST"}}
            await world.paper.admin("POST", "faults", lost)
            assert (await bot.order(**RESTING)).status == 504
            names = {"orderId": max(world.paper.exchange.engine.orders)}
        else:
            placed = await bot.order(newClientOrderId="mine", **RESTING)
            assert placed.status == 200, placed
            names = {"orderId": placed.body["orderId"]} if how == "id" else {"origClientOrderId": "mine"}
        end, bot, other = await anew()
        await bot.ready()
        await other.ready()
        theirs = await other.call("DELETE", path, symbol="BTCUSDT", **names)
        assert theirs.reason == "not_own_order", "not even who speaks for the account cancels another's"
        gone = await bot.call("DELETE", path, symbol="BTCUSDT", **names)
        assert (gone.status, gone.reason) == (200, None), gone
        await end()


async def test_what_others_bought_before_is_theirs_though_the_log_took_none_of_it(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="0")
        anew, bot, other = await before_and_after(world, tmp_path, world.bot("bot"), world.bot("other"))
        await bot.ready()
        await other.ready()
        assert (await bot.order(quantity="0.002")).status == 200
        assert (await other.order(quantity="0.01")).status == 200
        end, bot, other = await anew()
        await bot.ready()
        _, change = world.service.cuts.close(
            targets=("account:main",), mode=Mode.HALT, reason="test", actor="test"
        )
        await world.authority.changes.acknowledged(change, 5)
        sold = await bot.order("SELL", quantity="0.009")
        assert sold.reason == "halted", sold
        assert (await bot.order("SELL", quantity="0.0019")).status == 200
        assert (await at(other.port, other).order("SELL", quantity="0.0099")).status == 200
        await end()


@pytest.mark.parametrize("how", ["order", "list"])
async def test_what_rested_before_and_was_filled_since_is_its_buyers_though_the_log_took_none_of_it(
    tmp_path: Path, how: str
) -> None:
    """No record names such an order, and nobody follows it: the venue is asked before another's exit is judged."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="0")
        anew, bot, other = await before_and_after(world, tmp_path, world.bot("bot"), world.bot("other"))
        await bot.ready()
        await other.ready()
        assert (await bot.order(quantity="0.002")).status == 200
        if how == "order":
            rests = await other.order(**RESTING | {"quantity": "0.01"})
        else:
            rests = await other.call("POST", "/api/v3/orderList/oto", **OTO)
        assert rests.status == 200, rests
        end, bot, other = await anew()
        await bot.ready()
        await world.paper.admin("POST", "price", {"symbol": "BTCUSDT", "price": "58500"})
        _, change = world.service.cuts.close(
            targets=("account:main",), mode=Mode.HALT, reason="test", actor="test"
        )
        assert (await world.authority.changes.acknowledged(change, 60))[1] == ()
        sold = await bot.order("SELL", quantity="0.004")
        assert sold.reason == "halted", sold
        assert (await bot.order("SELL", quantity="0.0019")).status == 200
        assert (await at(other.port, other).order("SELL", quantity="0.0049")).status == 200
        await end()


async def test_until_it_has_read_that_a_gateway_says_of_no_order_that_it_is_not_the_bots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.gateway.process.FIRST_SECONDS", 0.2)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        world.bot("other")
        anew, bot = await before_and_after(world, tmp_path, world.bot("bot"))
        await bot.ready()
        placed = await bot.order(newClientOrderId="mine", **RESTING)
        may, real = asyncio.Event(), Recall.run

        async def run(self: Recall) -> None:
            await may.wait()
            await real(self)

        monkeypatch.setattr(Recall, "run", run)
        end, bot = await anew()
        await bot.ready()
        number = placed.body["orderId"]
        for names in ({"orderId": number}, {"origClientOrderId": "mine"}):
            asked = await cancel(bot, **names)
            assert (asked.status, asked.reason) == (503, "owner_unknown"), asked
        may.set()
        last = list[Any]()

        async def again() -> bool:
            last.append(await cancel(bot, orderId=number))
            return bool(last[-1].status == 200)

        async with asyncio.timeout(60):
            while not await again():
                assert last[-1].status == 503, last[-1]
                await asyncio.sleep(0.05)
        await end()


async def test_nor_of_one_whose_owner_was_asked_for_before_it_had_read_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It read while the broker was asked: what it learned then was not looked at."""
    monkeypatch.setattr("broker.gateway.process.FIRST_SECONDS", 0.2)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        world.bot("other")
        bot, (_, port, end) = world.bot("bot"), await edge(world, tmp_path)
        failing(world, lambda _: True)
        bot = at(port, bot)
        await bot.ready()
        placed = await bot.order(**RESTING)
        assert placed.status == 200, placed
        await end()
        may, real = asyncio.Event(), Recall.run

        async def run(self: Recall) -> None:
            await may.wait()
            await real(self)

        monkeypatch.setattr(Recall, "run", run)
        gateway, port, end = await edge(world, tmp_path)
        bot, ask = at(port, bot), gateway.link.ask_owner
        await bot.ready()

        async def ask_owner(query: Any) -> Any:
            answer = await ask(query)
            if query.client_order_id:  # the last that is asked
                may.set()
                await gateway.recall.done.wait()
            return answer

        monkeypatch.setattr(gateway.link, "ask_owner", ask_owner)
        asked = await cancel(bot, orderId=placed.body["orderId"])
        assert asked.reason in {None, "owner_unknown"}, asked
        await end()


class Later:
    """A gateway's settler, with time that passes at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed_us, before = 0, AccountView.venue_us
        monkeypatch.setattr(AccountView, "venue_us", lambda view: before(view) + self.passed_us)

    async def settle(self, gateway: Gateway) -> None:
        for _ in range(3):
            self.passed_us += 3 * settling.SETTLING_US
            for held in gateway.settler._settlement._held.values():
                held.asked_us = -(10**15)
            await gateway.settler.settle()
        async with asyncio.timeout(60):
            while gateway.spool.waiting:  # noqa: ASYNC110 - the log tells nobody
                await asyncio.sleep(0.02)


SALES: dict[str, tuple[str, dict[str, str], str]] = {
    "never made": ("close", {"type": "MARKET"}, "0.0099"),
    "made": ("lose-reply", {"type": "MARKET"}, "0.0009"),
    "rests, and was cancelled": (
        "lose-reply", {"type": "LIMIT", "timeInForce": "GTC", "price": "70000"}, "0.0099",
    ),
}  # fmt: skip


@pytest.mark.parametrize("dies", [False, True], ids=["settled", "killed before"])
@pytest.mark.parametrize("sale", SALES)
async def test_a_sale_whose_answer_was_lost_is_for_the_record_what_became_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sale: str, dies: bool
) -> None:
    """One that was never made counted as made for ever; so did one that was cancelled."""
    fault, form, left = SALES[sale]
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="0")
        later, bot = Later(monkeypatch), world.bot("bot")
        world.bot("other")
        gateway, port, end = await edge(world, tmp_path, crash=dies)
        bot = at(port, bot)
        await bot.ready()
        assert (await bot.order(quantity="0.01")).status == 200
        lost = {"do": fault, "match": {"path": "/api/v3/order", "method": "POST"}}
        await world.paper.admin("POST", "faults", lost)
        form = form | {"quantity": "0.009"}
        assert (await bot.order("SELL", **form)).status == 504
        if dies:
            await end()
            gateway, port, end = await edge(world, tmp_path)
            bot = at(port, bot)
            await bot.ready()
        if sale == "rests, and was cancelled":
            number = max(world.paper.exchange.engine.orders)
            assert (await cancel(bot, orderId=number)).status == 200
        await later.settle(gateway)
        await end()
        grant = next(one for one in world.service.grants.list().items if one.consumer == "bot")
        stake = world.service.calls.stake("main", grant.id, "BTCUSDT", "BTC", boot="another")
        assert Decimal(left) <= stake.own < Decimal(left) + Decimal("0.0001"), stake


@pytest.mark.parametrize("how", ["no longer ours", "one file"])
async def test_a_boot_whose_files_cannot_be_read_keeps_no_other_from_being_taken_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """As files of another user are, or of a disk that fails: what is behind them is sent, and they are when they can be."""
    monkeypatch.setattr(recalling, "AGAIN_S", 0.01)
    monkeypatch.setattr(upload, "LOOK_AGAIN_SECONDS", 0.01)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        anew, bot = await before_and_after(world, tmp_path, world.bot("bot"))
        world.bot("other")
        await bot.ready()
        placed = await bot.order(newClientOrderId="mine", **RESTING)
        assert placed.status == 200, placed
        (path,) = (tmp_path / "edge").glob("calls-*")
        bad = path.with_name(f"calls-{'0' * 16}-00000000.jsonl")
        bad.write_bytes(b"")
        real_open, real_read = os.open, Path.open

        def refused(at: Any) -> None:
            if Path(at) == bad and bad.exists():
                raise PermissionError(errno.EACCES, "Permission denied")

        def opened(at: Any, *more: Any, **named: Any) -> int:
            if how == "no longer ours":
                refused(at)
            return real_open(at, *more, **named)

        def read(at: Path, *more: Any, **named: Any) -> Any:
            refused(at)
            return real_read(at, *more, **named)

        monkeypatch.setattr(os, "open", opened)
        monkeypatch.setattr(Path, "open", read)
        end, bot = await anew()
        world.service.calls.ingest = type(world.service.calls).ingest.__get__(world.service.calls)  # type: ignore[method-assign]
        await bot.ready()
        gone = await cancel(bot, origClientOrderId="mine")
        assert gone.status == 200, gone
        async with asyncio.timeout(60):
            while path.exists():  # noqa: ASYNC110 - the spool tells nobody
                await asyncio.sleep(0.01)
        bad.unlink()
        await end()
