"""What the venue does not tell of an order contradicts nothing: it is no reason to say that the order is not one's own."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from broker.gateway.owners import Owners
from broker.gateway.sent import Sent, fits, may_be
from broker.gateway.venue_view import NotKnown
from broker.gateway.whose import NOBODY, OTHER, OWN, Whose, _Asked
from broker.gateway.words import Patience
from broker.link.frames import OwnerAnswer, OwnerQuery
from clients.paper.faults import Fault
from clients.venue import OrderRef
from clients.venues.binance.market import ListState
from clients.wire import OrderState
from tests.gateway.test_alternatives import at
from tests.gateway.test_followed import BIG, halt
from tests.gateway.world import World, bots, running_world

NAME = "BTCUSDT"
TOLD = OrderState(
    NAME, "5", "x", final=False, side="BUY", quantity=Decimal(1), price=Decimal(9), created_us=2_000
)  # fmt: skip
UNTOLD: dict[str, dict[str, None]] = {
    "its size": {"quantity": None}, "its side": {"side": None}, "its time": {"created_us": None},
    "its price": {"price": None},
    "any of it": {"quantity": None, "side": None, "created_us": None, "price": None},
}  # fmt: skip


def sent(grant: str = "g", **more: Any) -> Sent:
    given = {"side": "BUY", "quantity": Decimal(1), "price": Decimal(9), "sent_us": 1_000, "until_us": 9_000}
    return Sent(1, grant, "main", NAME, "x", **given | more, asked=1)


def whose(owners: Owners, *, account_owner: bool = False) -> tuple[Whose, _Asked]:
    async def ask_owner(query: OwnerQuery) -> OwnerAnswer:
        return OwnerAnswer(query.ask)

    living = {number: SimpleNamespace(lease=SimpleNamespace(grant=number)) for number in ("g", "h")}
    book: Any = SimpleNamespace(by_lease=living)
    link: Any = SimpleNamespace(ask_owner=ask_owner, boot="b")
    clock: Any = SimpleNamespace(boot_us=lambda: 1)
    lease = SimpleNamespace(grant="g")
    held: Any = SimpleNamespace(account="main", sole=False, lease=lease, account_owner=account_owner)
    job: Any = SimpleNamespace(account=None, frees=Decimal(0), target_id=None)
    return Whose(book, link, owners, clock), _Asked(job, held, Patience.of(60))


@pytest.mark.parametrize("untold", UNTOLD)
async def test_an_own_order_of_which_not_all_is_told_is_in_doubt(untold: str) -> None:
    """It is neither said to be gone nor taken for a certain one; and once it is told it is the bot's own."""
    owners, one = Owners(), sent()
    owners.waiting.add(one)
    asks, asked = whose(owners)
    half = structs.replace(TOLD, **UNTOLD[untold])
    with pytest.raises(NotKnown):
        await asks._of_state(asked, half)
    assert owners.identify("main", half) is None
    assert await asks._of_state(asked, TOLD) == OWN
    assert one.order_id == "5"


@pytest.mark.parametrize("untold", UNTOLD)
@pytest.mark.parametrize(("account_owner", "word"), [(False, OTHER), (True, None)])
async def test_what_may_be_anothers_is_not_the_askers(
    untold: str, account_owner: bool, word: str | None
) -> None:
    """But who speaks for the account may cancel what is nobody's: whether it is, is in doubt."""
    owners, one = Owners(), sent("h")
    owners.waiting.add(one)
    asks, asked = whose(owners, account_owner=account_owner)
    half = structs.replace(TOLD, **UNTOLD[untold])
    if word is None:
        with pytest.raises(NotKnown):
            await asks._of_state(asked, half)
    else:
        assert await asks._of_state(asked, half) == word
    assert one.order_id is None, "nothing was shown of it"


CONTRADICTING: dict[str, dict[str, Any]] = {
    "another side": {"side": "SELL"}, "more": {"quantity": Decimal(2)}, "less": {"quantity": Decimal("0.5")},
    "another price": {"price": Decimal(8)}, "before it was sent": {"created_us": -1_000_000},
}  # fmt: skip


@pytest.mark.parametrize("told", CONTRADICTING)
async def test_what_is_told_contradicts_whatever_else_is_not(told: str) -> None:
    owners = Owners()
    owners.waiting.add(sent())
    asks, asked = whose(owners)
    for untold in ({}, *UNTOLD.values()):
        other = structs.replace(TOLD, **untold | CONTRADICTING[told])
        assert await asks._of_state(asked, other) == NOBODY, untold


def test_one_that_may_be_another_is_not_taken_for_the_only_one() -> None:
    """The example: one of two namesakes was sized in quote, so that its size is not told is all the same for it."""
    by_quote, exact = sent(quantity=None), sent("h")
    half = structs.replace(TOLD, quantity=None)
    assert fits(by_quote, half)
    assert may_be([by_quote], half) == ([by_quote], True)
    assert may_be([by_quote, exact], half) == ([by_quote, exact], False)


def test_what_the_venue_sizes_has_no_size_before() -> None:
    assert fits(sent(exact=False), structs.replace(TOLD, quantity=None))


LISTS: dict[str, tuple[tuple[str | None, ...], str | None]] = {
    "one of its orders is nobody's": (("g", ""), OWN),
    "one of its orders is in doubt": (("g", None), OWN),
    "another's and nobody's": (("h", ""), OTHER),
    "its own and another's": (("g", "h"), OTHER),
    "nobody's": (("", ""), NOBODY),
    "nobody's and in doubt": (("", None), None),
}


@pytest.mark.parametrize("kind", LISTS)
async def test_a_list_is_whose_any_of_its_orders_is(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request placed all of them."""
    grants, word = LISTS[kind]
    asks, asked = whose(Owners())

    async def listed(*_: Any) -> ListState:
        return ListState("7", "l", tuple(OrderRef(NAME, str(number)) for number in range(len(grants))))

    async def recorded(_: Any, symbol: str, known_as: str) -> str | None:
        assert symbol == NAME
        return grants[int(known_as[1:])] or None if known_as.startswith("#") else None

    async def order(_: Any, __: Any, ref: OrderRef) -> OrderState:
        if grants[int(ref.order_id or 0)] is None:
            raise NotKnown("no_time")
        return TOLD

    async def of_state(*_: Any) -> str:
        return NOBODY

    for name, stand_in in (
        ("_list", listed),
        ("_recorded", recorded),
        ("_order", order),
        ("_of_state", of_state),
    ):
        monkeypatch.setattr(asks, name, stand_in)
    target = OrderRef(NAME, "7", is_list=True)
    if word is None:
        with pytest.raises(NotKnown):
            await asks._of_list(asked, target)
    else:
        assert await asks._of_list(asked, target) == word


def opo(world: World) -> dict[str, str]:
    return {
        "symbol": NAME, "workingType": "LIMIT", "workingSide": "BUY", "workingTimeInForce": "GTC",
        "workingPrice": at(world, "0.97"), "workingQuantity": "0.3", "pendingSide": "SELL",
    }  # fmt: skip


def one_pending(world: World) -> tuple[str, dict[str, str]]:
    more = {"pendingType": "LIMIT", "pendingPrice": at(world, "1.04"), "pendingTimeInForce": "GTC"}
    return "opo", opo(world) | more


def two_pending(world: World) -> tuple[str, dict[str, str]]:
    more = {
        "pendingAboveType": "LIMIT_MAKER", "pendingAbovePrice": at(world, "1.04"),
        "pendingBelowType": "STOP_LOSS", "pendingBelowStopPrice": at(world, "0.9"),
    }  # fmt: skip
    return "opoco", opo(world) | more


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("form", [one_pending, two_pending])
@pytest.mark.parametrize("named", ["list id", "list name", "order id", "order name"])
async def test_a_list_whose_answer_was_lost_is_cancelled_while_its_purchase_rests(
    tmp_path: Path, form: Callable[[World], tuple[str, dict[str, str]]], named: str
) -> None:
    """What sells what it buys has no size before: it was nobody's, and all of the list with it."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, _ = await bots(world, "one", "two", policy=BIG)
        kind, values = form(world)
        path = f"/api/v3/orderList/{kind}"
        world.paper.server.faults.append(Fault("lose-reply", "POST", path, times=1))
        assert (await one.call("POST", path, **values, listClientOrderId="mine")).status == 504
        waits = next(order for order in world.paper.exchange.engine.orders.values() if order.side == "SELL")
        await halt(world)
        what, which = {
            "list id": ("orderList", {"orderListId": waits.list_id}),
            "list name": ("orderList", {"listClientOrderId": "mine"}),
            "order id": ("order", {"orderId": waits.order_id}),
            "order name": ("order", {"origClientOrderId": waits.client_order_id}),
        }[named]
        gone = await one.call("DELETE", f"/api/v3/{what}", symbol=NAME, **which)
        assert gone.status == 200, gone
