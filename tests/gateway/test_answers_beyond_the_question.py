"""What an exchange tells beyond what it was asked fills no memory, and holds nobody up."""

import json
from decimal import Decimal
from types import SimpleNamespace

import pytest

from broker.gateway import quotes, venue_view
from broker.gateway.fills import RecentFills
from broker.gateway.reported import Placed
from broker.gateway.together import Together
from broker.gateway.venue_view import NotKnown, VenueView
from broker.listed import Held
from broker.policy_facts import FRESH_US
from clients.venue import SymbolInfo
from clients.venues.binance import answers
from clients.wire import Answer

PAIRS: dict[str, SymbolInfo | None] = {"BTCUSDT": SymbolInfo("BTCUSDT", "BTC", "USDT")}


def view(told: dict[str, str]) -> tuple[VenueView, SimpleNamespace]:
    """Return one of a venue that answers each question for prices with all of these."""
    clock = SimpleNamespace(boot_us=lambda: clock.now, wall_us=lambda: clock.now, now=FRESH_US)
    seen = VenueView(SimpleNamespace(), clock)  # type: ignore[arg-type]

    async def public(*_: object) -> bytes:
        return json.dumps([{"symbol": symbol, "price": price} for symbol, price in told.items()]).encode()

    seen._public = public  # type: ignore[method-assign]
    return seen, clock


@pytest.mark.parametrize("asked", [("BTCUSDT",), ("BTCUSDT", "ETHUSDT")])
async def test_of_prices_only_those_are_kept_that_were_asked_for(asked: tuple[str, ...]) -> None:
    told = {"BTCUSDT": "60000", "ETHUSDT": "2000"} | {f"X{number}": "1" for number in range(500)}
    seen, _ = view(told)
    await seen.fetch_prices(asked)
    assert set(seen.quotes(FRESH_US)) == set(asked)
    with pytest.raises(NotKnown):
        await seen.fetch_prices(("SOLUSDT",))
    assert set(seen.quotes(FRESH_US)) == set(asked)


async def test_the_last_known_price_stays_until_more_are_known_than_a_venue_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quotes, "MOST_PRICES", 3)
    seen, clock = view(dict.fromkeys("ABCDE", "1"))
    for name in "ABC":
        clock.now += 1
        await seen.fetch_prices((name,))
    seen._forget(clock.now + 10 * venue_view.USED_US)
    assert set(seen.quotes(clock.now)) == set("ABC"), "it sets the collar after a quiet hour"
    seen.uses("A", clock.now)
    for name in "DE":
        clock.now += 1
        await seen.fetch_prices((name,))
    seen._forget(clock.now)
    assert set(seen.quotes(clock.now)) == set("ADE"), "what is in use, and what was asked for last"


def test_orders_that_are_only_shown_cost_no_walk_of_their_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand rows in lists of eight took a fifth of a second, in which nobody was served."""
    walks = 0

    def share(*_: object) -> Held:
        nonlocal walks
        walks += 1
        return Held()

    rows = [
        {
            "symbol": "BTCUSDT", "orderId": number, "orderListId": number // 8, "side": "SELL", "origQty": "1",
            "executedQty": "0", "status": "NEW",
        }
        for number in range(400)
    ]  # fmt: skip
    states = tuple(state for row in rows for state in answers._order(row, of_cancel=False))
    recent = RecentFills()
    with monkeypatch.context() as patch:
        patch.setattr(Together, "share", share)
        told = recent.take(
            "main", "one", Placed(money="USDT"), Answer(False, False, orders=states), PAIRS, lambda *_: "one"
        )
    assert (len(told), walks) == (400, 0)
    assert recent.left_of(("main", "BTCUSDT", "7")) == Decimal(1)


@pytest.mark.parametrize(("rows", "read"), [(answers.MOST_ORDERS, True), (answers.MOST_ORDERS + 1, False)])
def test_no_more_orders_are_read_than_an_answer_has_room_for(rows: int, read: bool) -> None:
    """As they are told each has 400 bytes and more, and 128 KiB of an answer are read."""
    assert answers.LARGEST_READ / answers.MOST_ORDERS < 300
    assert (answers._parse(json.dumps([{}] * rows).encode()) is not None) is read
