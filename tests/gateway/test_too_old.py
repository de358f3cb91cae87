"""A fact that came, and grew too old before it was judged by, is asked for once more; then it is unknown, and no policy's no."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.gateway.fetch import Fetcher
from broker.gateway.job import Job
from tests.gateway.world import World, bots, running_world

pytestmark = pytest.mark.usefixtures("very_patient")

OLD_US = 60_000_000


def grow_old(world: World, monkeypatch: pytest.MonkeyPatch, name: str, times: int) -> list[str]:
    """So often what came is old at once, as if the loop had stood still; return what was asked for."""
    asked, fetch_all = list[str](), Fetcher.fetch_all
    (view,) = world.gateway.mounts.views.values()

    async def aged(self: Fetcher, job: Job, names: Any) -> None:
        await fetch_all(self, job, names)
        asked.extend(one for one in names if one == name)
        if name in names and len(asked) <= times:
            AGES[name.partition(":")[0]](job, view)

    monkeypatch.setattr(Fetcher, "fetch_all", aged)
    return asked


def _holdings(job: Job, _: Any) -> None:
    assert job.account is not None
    job.account._asked_us -= OLD_US


def _price(_: Job, view: Any) -> None:
    view._prices.update({symbol: (price, at_us - OLD_US) for symbol, (price, at_us) in view._prices.items()})


def _pair(_: Job, view: Any) -> None:
    view.pairs.clear()


AGES: dict[str, Callable[[Job, Any], None]] = {"holdings": _holdings, "price": _price, "pair": _pair}


ORDERS = {
    "holdings": ("SELL", "0.5", "holdings_unknown"),
    "price:BTCUSDT": ("BUY", "0.01", "no_reference_price"),
    "pair:BTCUSDT": ("BUY", "0.01", "pair_unknown"),
}


def forget(world: World) -> None:
    """As before the first order: nothing is known of any pair."""
    (view,) = world.gateway.mounts.views.values()
    view.pairs.clear()
    view._prices.clear()
    view._used.clear()


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("times", [1, 9])
async def test_it_is_asked_for_once_more_and_then_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, times: int
) -> None:
    side, quantity, reason = ORDERS[name]
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        bot, _ = await bots(world, "one", "two")
        forget(world)
        asked = grow_old(world, monkeypatch, name, times)
        answer = await bot.order(side, quantity)
        assert (answer.status, answer.reason) == ((200, None) if times == 1 else (503, reason)), answer
        assert asked == [name] * 2


async def test_what_grew_old_while_another_fact_hung_is_asked_for_once_more_before_an_exit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the time for facts went into what hangs: what leaves has time of its own."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        bot, _ = await bots(world, "one", "two")
        assert (await bot.order()).status == 200, "the pair is known"
        fetch_all, asked = Fetcher.fetch_all, list[str]()

        async def hung(self: Fetcher, job: Job, names: Any) -> None:
            await fetch_all(self, job, names)
            asked.extend(names)
            if asked.count("holdings") == 1 and "holdings" in names:
                _holdings(job, None)
                raise TimeoutError

        monkeypatch.setattr(Fetcher, "fetch_all", hung)
        answer = await bot.order("SELL", "0.5")
        assert (answer.status, answer.reason) == (200, None), answer
        assert asked.count("holdings") == 2
