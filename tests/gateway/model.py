"""A model of trading through a gateway: what may happen, and what must hold whatever happens.

Two bots trade on one account (or one has it alone) through one gateway. They reuse names, name each other's orders,
place lists, amend and replace. Replies are lost, the gateway ends or is killed, the log refuses lines, the account is
halted, prices move. `drawn` makes such a history of a number, before anything runs.

What must hold after each step (`Model.broken`):
1. Nobody cancels or amends another's order.
2. An exit of what one holds is never refused by us.
3. One can cancel an own open order.
4. No budget is lent twice: what is bought or open counts at the broker.
5. The cap holds.
6. Under a halt nobody sells what is another's: more than it bought, only as long as the others' is there.
7. No answer is an internal error of ours.
At the end each bot leaves: it cancels all it has open, and sells all it holds.

Whose an order is, is told by the last place of its quantity: names, ids and keys are what the product goes by.
2 and 3 are asked of who acts alone and undisturbed: otherwise the order may be over before the request arrives.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any

from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.gateway.settlement import SETTLING_US
from clients.paper.faults import Fault
from clients.paper.orders import Order
from tests.gateway.mortal import Mortal
from tests.gateway.world import POLICY, Answer, Bot, World

CAP = Decimal(5000)
RULES = POLICY.replace('"10000"', f'"{CAP}"').replace('"1000"', '"400"')
BOTS = ("a", "b")
NAMES = ("x", "y", "z")
PAIR = {"symbol": "BTCUSDT"}
LIMIT = {"type": "LIMIT", "timeInForce": "GTC"}
OCO = {"aboveType": "LIMIT_MAKER", "abovePrice": "70000", "belowType": "STOP_LOSS", "belowStopPrice": "50000"}
OTO = {
    "workingType": "LIMIT", "workingSide": "BUY", "workingTimeInForce": "GTC",
    "pendingType": "LIMIT_MAKER", "pendingSide": "SELL", "pendingPrice": "70000",
}  # fmt: skip
PRICES = ("57500", "58500", "60000", "61500", "63000")
ACTS = (
    "limit", "limit", "buy", "buy", "sell", "sell", "too much", "oco", "oto", "cancel", "cancel", "by name", "by both",
    "cancel list", "replace", "replace", "amend", "read", "exit", "exit", "exit", "newest", "newest",
)  # fmt: skip
FAULTS = ("lose-reply", "error-after", "close", "delay", "truncate", "error")
PATHS = ("/api/v3/order", "/api/v3/order", "/api/v3/orderList", "/api/v3/account")
PRICE_SHARE, COLLAR = Decimal("0.85"), Decimal("1.12")
"""Budget is counted at the price of the moment of asking: PRICES are up to a tenth apart, the collar is 5 percent."""

FEE, DUST, ZERO = Decimal("0.001"), Decimal("0.0000001"), Decimal(0)
TRIES_AFTER_S = (0.1, 0.3, 1.0, 3.0)
OUTAGES = {
    "budget_unknown",
    "owner_unknown",
    "holdings_unknown",
    "book_unknown",
    "no_reference_price",
    "link_behind",
}
"""What may be tried again: on a busy machine somebody had no time. A no, or what stays so, may not be."""


@dataclass(frozen=True, slots=True)
class Deed:
    """What a bot does. Shares in [0, 1) choose among what there is when it happens."""

    bot: int
    act: str
    name: str | None
    which: float
    way: float
    size: float
    price: float


@dataclass(frozen=True, slots=True)
class Step:
    """What happens in one step, in this order; `end` is `stop`, `kill` or `kill amid`, with the deeds under way."""

    log: bool
    price: str | None
    halt: bool
    end: str | None
    settle: bool
    fault: dict[str, Any] | None
    deeds: tuple[Deed, ...]


def drawn(seed: int, steps: int) -> tuple[bool, list[Step]]:
    """Draw a history: whether a bot has the account alone (every fourth), and the steps; a longer one begins alike."""
    draw = random.Random(seed)  # noqa: S311 - a history of a test
    return seed % 4 == 0, [_step(draw) for _ in range(steps)]


def _step(draw: random.Random) -> Step:
    def now_and_then(share: float) -> bool:
        return draw.random() < share

    fault = {
        "do": draw.choice(FAULTS), "path": draw.choice(PATHS), "method": draw.choice(("POST", "POST", "DELETE", "GET")),
        "ms": 60, "status": draw.choice((500, 400, 503)), "code": draw.choice((-1000, -1001, -1006, -1007)),
    }  # fmt: skip
    count = draw.choice((1, 1, 1, 2, 3))
    price, end = draw.choice(PRICES), draw.choice(("stop", "kill", "kill", "kill amid"))
    return Step(
        now_and_then(0.05),
        price if now_and_then(0.06) else None,
        now_and_then(0.03),
        end if now_and_then(0.08) else None,
        now_and_then(0.1),
        fault if now_and_then(0.25) else None,
        tuple(_deed(draw) for _ in range(count)),
    )


def _deed(draw: random.Random) -> Deed:
    name = draw.choice((*NAMES, None, None))
    return Deed(
        draw.randrange(len(BOTS)), draw.choice(ACTS), name,
        draw.random(), draw.random(), draw.random(), draw.random(),
    )  # fmt: skip


def _one(options: Any, share: float) -> Any:
    return options[int(share * len(options))]


def owner_of(order: Order) -> int:
    """Return whose an order is, by its mark."""
    return int(str(order.quantity.quantize(Decimal("0.00001")))[-1]) - 1


def marked(bot: int, low: int, high: int, share: float) -> str:
    """Return a quantity of so many ten-thousandths, with the mark of its owner."""
    return f"0.{low + int(share * (high - low)):04d}{bot + 1}"


class Model:
    """A history as it is played."""

    def __init__(self, world: World, gateway: Mortal, *, alone: bool) -> None:
        self.world, self.gateway, self.alone = world, gateway, alone
        self.later_us = 0
        """How much later than it is the venue's time is taken to be: see `_settle`."""
        self.events: deque[str] = deque(maxlen=12)
        self.done: Counter[str] = Counter()
        self._engine = world.paper.exchange.engine
        self._cut: str | None = None
        self._log_refuses, self._ingest = False, world.service.calls.ingest
        world.service.calls.ingest = self._take_in  # type: ignore[method-assign, assignment]
        self._bots = list[Bot]()

    def _take_in(self, *lines: Any) -> tuple[int, ...]:
        if self._log_refuses:
            raise StoreUnavailable("database", "locked on purpose")
        return self._ingest(*lines)

    async def begin(self) -> None:
        """Make the account and its bots, and start the gateway."""
        self.world.account(USDT="100000", BTC="0.02")
        self._bots = [self.world.bot(name, policy=RULES) for name in (BOTS[:1] if self.alone else BOTS)]
        self._grants = {BOTS.index(one.consumer): one.id for one in self.world.service.grants.list().items}
        await self._started()

    async def _started(self) -> None:
        await self.gateway.start()
        for bot in self._bots:
            bot.port = self.gateway.port
            await bot.ready()

    # --- steps ----------------------------------------------------------------------------

    async def play(self, step: Step) -> list[str]:
        """Let a step happen; return what breaks a rule."""
        await self._around(step)
        if step.fault is not None:
            self.world.paper.server.faults.append(Fault(**step.fault))
            self.events.append(f"fault {step.fault}")
        before = {number: (one.status, one.quantity) for number, one in self._engine.orders.items()}
        undisturbed = len(step.deeds) == 1 and step.fault is None and step.end != "kill amid"
        deeds = [asyncio.ensure_future(self._do(deed, undisturbed=undisturbed)) for deed in step.deeds]
        if step.end == "kill amid":
            ledger = self.gateway.gateway.ledger
            while not ledger.in_flight and not all(one.done() for one in deeds):  # noqa: ASYNC110 - tells nobody
                await asyncio.sleep(0)
            await self.gateway.kill()
        refused = [fault for faults in await asyncio.gather(*deeds) for fault in faults]
        self.world.paper.server.faults.clear()
        if step.end == "kill amid":
            self.events.append("killed with these under way")
            await self._started()
        actors = {self._actor(deed) for deed in step.deeds}
        return [*refused, *self.broken(before, actors)]

    async def _around(self, step: Step) -> None:
        """Let happen what no bot does."""
        if step.log:
            self._log_refuses = not self._log_refuses
            self.events.append(f"the log {'refuses' if self._log_refuses else 'takes'} lines")
        if step.price is not None:
            await self.world.paper.admin("POST", "price", PAIR | {"price": step.price})
            self.events.append(f"price {step.price}")
        if step.halt:
            await self._halt()
        if step.end in {"stop", "kill"}:
            await (self.gateway.end() if step.end == "stop" else self.gateway.kill())
            await self._started()
            self.events.append(f"gateway: {step.end}, start")
        if step.settle:
            await self._settle()

    async def _halt(self) -> None:
        """Halt the account, or take the halt back; it is in force when this returns."""
        cuts, why = self.world.service.cuts, {"reason": "test", "actor": "test"}
        if self._cut is None:
            cut, change = cuts.close(targets=("account:main",), mode=Mode.HALT, **why)
            self._cut = cut.id
        else:
            _, change = cuts.thaw(self._cut, **why)
            self._cut = None
        assert (await self.world.authority.changes.acknowledged(change, 60))[1] == ()
        self.events.append("thaw" if self._cut is None else "halt")

    async def _settle(self) -> None:
        """Let the gateway ask what became of orders, as if it had waited for that long."""
        self.later_us += 3 * SETTLING_US
        settler = self.gateway.gateway.settler
        for held in settler._settlement._held.values():
            held.asked_us = -(10**15)
        await settler.settle()
        self.events.append("settle")

    # --- deeds ----------------------------------------------------------------------------

    def _actor(self, deed: Deed) -> int:
        return 0 if self.alone else deed.bot

    async def _do(self, deed: Deed, *, undisturbed: bool) -> list[str]:
        """Do it; return what breaks a rule about answers."""
        who = self._actor(deed)
        request = self._request(deed, who)
        if request is None:
            return []
        method, path, params, due = request
        due = due and undisturbed
        answer = await self._asked(who, method, path, params, again=due)
        said = "nothing" if answer is None else f"{answer.status} {answer.reason} {str(answer.body)[:120]}"
        self.events.append(f"{BOTS[who]} {deed.act}: {method} {path} {params} -> {said}")
        if answer is None:
            return []
        self.done[f"{deed.act} {answer.status} {answer.reason}"] += 1
        broken = []
        if answer.reason == "internal_error":
            broken.append(f"{BOTS[who]} was told of an internal error")
        if due and answer.status != 200:
            broken.append(f"{BOTS[who]} may {deed.act} and was told {said}")
        return broken

    async def _asked(
        self, who: int, method: str, path: str, params: dict[str, Any], *, again: bool
    ) -> Answer | None:
        """Ask once, or again after an outage; return None where the connection ended without an answer."""
        for pause_s in (*(TRIES_AFTER_S if again else ()), None):
            try:
                answer = await self._bots[who].call(method, path, **(PAIR | params))
            except (OSError, EOFError):
                return None
            if pause_s is None or answer.reason not in OUTAGES:
                return answer
            await asyncio.sleep(pause_s)
        raise AssertionError("unreachable")

    def _request(self, deed: Deed, who: int) -> tuple[str, str, dict[str, Any], bool] | None:
        """Return method, path and parameters of a deed, and whether a yes is due; None where it has no object."""
        if deed.act in {"limit", "buy", "sell", "too much", "oco", "oto"}:
            return self._placing(deed, who)
        if deed.act == "exit":
            return self._exit(who, deed.size if deed.way < 0.5 else 1.0, resting=deed.price < 0.3)
        if deed.act == "cancel list":
            return self._cancel_list(deed)
        if deed.act == "newest":
            open_ones = self._open_of(who)
            return None if not open_ones else self._cancel(open_ones[-1], by_name=deed.way < 0.5)
        known = list(self._engine.orders.values())[-25:]
        if deed.size < 0.7:  # what is open is worth more to an attacker
            known = [one for one in known if one.open] or known
        return self._on(_one(known, deed.which), deed, who) if known else None

    @staticmethod
    def _placing(deed: Deed, who: int) -> tuple[str, str, dict[str, Any], bool]:
        quantity = marked(who, 20, 60, deed.size)
        named = {} if deed.name is None else {"newClientOrderId": deed.name}
        if deed.act == "limit":
            side, price = "SELL" if deed.way < 0.15 else "BUY", _one(("59000", "58000", "61000"), deed.price)
            return (
                "POST",
                "/api/v3/order",
                {"side": side, "quantity": quantity, "price": price} | LIMIT | named,
                False,
            )
        if deed.act == "oco":
            named = {} if deed.name is None else {"listClientOrderId": deed.name}
            return (
                "POST",
                "/api/v3/orderList/oco",
                {"side": "SELL", "quantity": quantity} | OCO | named,
                False,
            )
        if deed.act == "oto":
            named = {} if deed.name is None else {"workingClientOrderId": deed.name}
            more = {"workingQuantity": quantity, "workingPrice": _one(("59000", "62000"), deed.price)}
            pending = {"pendingQuantity": marked(who, 18, 20, deed.size)}
            return "POST", "/api/v3/orderList/oto", OTO | more | pending | named, False
        if deed.act == "too much":
            quantity = marked(who, 90, 99, deed.size)
        short = {"newOrderRespType": "ACK"} if deed.way < 0.4 else {}
        market = {"side": "BUY" if deed.act == "buy" else "SELL", "type": "MARKET", "quantity": quantity}
        return "POST", "/api/v3/order", market | short | named, False

    def _exit(self, who: int, share: float, *, resting: bool) -> tuple[str, str, dict[str, Any], bool] | None:
        """Sell a share of what one holds."""
        most = min(self._spare(who), self._free()) * Decimal(str(share))
        step, mark = Decimal("0.0001"), Decimal("0.00001") * (who + 1)
        quantity = most.quantize(step, ROUND_DOWN) - step + mark
        if quantity * 60000 < 15:
            return None  # less than the exchange takes
        kind = LIMIT | {"price": "60000"} if resting else {"type": "MARKET"}
        return "POST", "/api/v3/order", {"side": "SELL", "quantity": quantity} | kind, True

    @staticmethod
    def _cancel(order: Order, *, by_name: bool) -> tuple[str, str, dict[str, Any], bool]:
        ids = {"origClientOrderId": order.client_order_id} if by_name else {"orderId": order.order_id}
        return "DELETE", "/api/v3/order", ids, True

    def _cancel_list(self, deed: Deed) -> tuple[str, str, dict[str, Any], bool] | None:
        lists = list(self._engine.lists.values())[-5:]
        if not lists:
            return None
        ids = {"orderListId": _one(lists, deed.which).list_id} if deed.way < 0.5 else {}
        return "DELETE", "/api/v3/orderList", ids or {"listClientOrderId": _one(NAMES, deed.price)}, False

    def _on(self, order: Order, deed: Deed, who: int) -> tuple[str, str, dict[str, Any], bool]:
        """Do something to an order, whoever it belongs to."""
        by_id: dict[str, Any] = {"orderId": order.order_id}
        by_name = {"origClientOrderId": _one((order.client_order_id, *NAMES), deed.way)}
        if deed.act == "cancel":
            return "DELETE", "/api/v3/order", by_id, order in self._open_of(who)
        if deed.act in {"by name", "by both"}:
            return "DELETE", "/api/v3/order", (by_id if deed.act == "by both" else {}) | by_name, False
        if deed.act == "read":
            return "GET", "/api/v3/order", by_id, False
        if deed.act == "amend":
            least = Decimal(marked(owner_of(order), 10, 11, 0))
            less = max(least, order.quantity - Decimal("0.001")).quantize(Decimal("0.00001"))
            return "PUT", "/api/v3/order/amend/keepPriority", by_id | {"newQty": less}, False
        old = (
            {"cancelOrderId": order.order_id}
            if deed.way < 0.5
            else {"cancelOrigClientOrderId": _one(NAMES, deed.which)}
        )
        new = {
            "side": _one(("BUY", "SELL"), deed.price), "quantity": marked(who, 20, 60, deed.size),
            "price": _one(("59000", "70000", "61000"), deed.size),
            "cancelReplaceMode": _one(("STOP_ON_FAILURE", "ALLOW_FAILURE"), deed.price * 2 % 1),
        }  # fmt: skip
        named = {} if deed.name is None else {"newClientOrderId": deed.name}
        return "POST", "/api/v3/order/cancelReplace", LIMIT | old | new | named, False

    # --- what must hold -------------------------------------------------------------------

    def broken(self, before: dict[int, tuple[str, Decimal]], actors: set[int]) -> list[str]:
        """Return which rules about orders, budgets and stock are broken."""
        return [*self._touched(before, actors), *self._overspent(), *self._taken(before)]

    def _touched(self, before: dict[int, tuple[str, Decimal]], actors: set[int]) -> Iterator[str]:
        """Rule 1."""
        for order in self._engine.orders.values():
            status, quantity = before.get(order.order_id, ("NEW", order.quantity))
            changed = (order.status == "CANCELED" != status) or quantity != order.quantity
            if changed and owner_of(order) not in actors:
                yield f"order {order.order_id} of {BOTS[owner_of(order)]} was cancelled or amended by another"

    def _overspent(self) -> Iterator[str]:
        """Rules 4 and 5."""
        for who, grant in self._grants.items():
            buys = [one for one in self._of(who) if one.side == "BUY"]
            spent = sum((one.executed_quote + self._open_left(one) * one.price for one in buys), ZERO)
            used = self.world.service.calls.used(grant)
            if used < spent * PRICE_SHARE - Decimal("0.01"):
                yield f"{BOTS[who]} has bought for {spent}, and {used} of its limit is counted: budget was lent twice"
            if spent > CAP * COLLAR:
                yield f"{BOTS[who]} has bought for {spent}, and its limit is {CAP}"

    def _taken(self, before: dict[int, tuple[str, Decimal]]) -> Iterator[str]:
        """Rule 6."""
        for who in () if self._cut is None or self.alone else range(len(BOTS)):
            sales = {
                one.order_id if one.list_id == -1 else -one.list_id: max(one.executed, self._open_left(one))
                for one in self._of(who)
                if one.side == "SELL" and one.order_id not in before
            }
            sold, own = sum(sales.values(), ZERO), max(ZERO, self._spare(who, before))
            others = sum((max(ZERO, self._spare(one)) for one in range(len(BOTS)) if one != who), ZERO)
            if sold > own + DUST and self._free() < others - DUST:
                left = f"of {others} of others {self._free()} is left"
                yield f"{BOTS[who]} sold {sold} under a halt and held {own}; {left}"

    def _free(self) -> Decimal:
        return self.world.paper.exchange.accounts["main@paper.test"].balances["BTC"].free

    def _of(self, who: int) -> list[Order]:
        return [one for one in self._engine.orders.values() if owner_of(one) == who]

    def _open_of(self, who: int) -> list[Order]:
        return [one for one in self._of(who) if one.status in {"NEW", "PARTIALLY_FILLED"}]

    @staticmethod
    def _open_left(order: Order) -> Decimal:
        return order.left if order.open and order.status != "PENDING_NEW" else ZERO

    def _spare(self, who: int, among: Any = None) -> Decimal:
        """Return what one bought, has not sold, and does not offer for sale; among some orders, or all."""
        held = ZERO
        for one in self._of(who):
            if among is None or one.order_id in among:
                sold = one.executed + (self._open_left(one) if one.side == "SELL" else ZERO)
                held += one.executed * (1 - FEE) if one.side == "BUY" else -sold
        return held

    # --- the end --------------------------------------------------------------------------

    async def leave(self) -> list[str]:
        """Let each bot cancel what it has open and sell what it holds, then end the gateway."""
        self._log_refuses = False
        before = {number: (one.status, one.quantity) for number, one in self._engine.orders.items()}
        broken = list[str]()
        for who in range(len(self._bots)):
            for order in self._open_of(who):
                if order.open and not broken:  # it may have been a list's, and gone with another
                    broken += await self._left(who, self._cancel(order, by_name=False))
            sale = self._exit(who, 1.0, resting=False)
            if sale is not None and not broken:
                broken += await self._left(who, sale)
        await self.gateway.end()
        return [*broken, *self.broken(before, set(range(len(self._bots))))]

    async def _left(self, who: int, request: tuple[str, str, dict[str, Any], bool]) -> list[str]:
        method, path, params, _ = request
        answer = await self._asked(who, method, path, params, again=True)
        self.events.append(f"{BOTS[who]} leaves: {method} {path} {params} -> {answer}")
        return (
            [] if answer is not None and answer.status == 200 else [f"{BOTS[who]} could not leave: {answer}"]
        )
