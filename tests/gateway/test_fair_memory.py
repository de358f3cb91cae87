"""What a gateway keeps of one bot is not pushed out by what another one does: it leaves by it."""

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.calllog import Ask, write_line
from broker.gateway import bygone, sales
from broker.gateway.owners import Owners
from broker.gateway.recall import Recall
from broker.gateway.sales import Stakes
from broker.gateway.sent import Sent, Waiting
from broker.gateway.settlement import Settlement
from broker.gateway.spool import Spool
from broker.gateway.whose import OWN, known_owner
from broker.policy_facts import Stake
from clients.venue import Action, Intent, OrderRef

NOTHING: Any = SimpleNamespace()


def sent(number: int, grant: str) -> Sent:
    return Sent(number, grant, "main", "BTCUSDT", f"{grant}{number}", "BUY", Decimal(1), Decimal(0), 1, 2)


def cancel(order_id: str | None, name: str | None = None) -> Intent:
    return Intent(Action.CANCEL, "order.cancel", "trade", target=OrderRef("BTCUSDT", order_id, name))


def test_an_order_is_known_as_its_bots_however_many_another_one_places() -> None:
    """The broker is silent: whose an order is that its gateway does not know cannot be asked, and it rests on."""
    owners = Owners(most=1_000)
    quiet = sent(1, "quiet")
    owners.waiting.add(quiet)
    owners.confirm(quiet, "7")
    for number in range(20_000):
        busy = sent(number, "busy")
        owners.waiting.add(busy)
        owners.confirm(busy, str(100 + number))
    held: Any = SimpleNamespace(account="main", sole=False, lease=SimpleNamespace(grant="quiet"))
    assert known_owner(held, cancel("7"), owners) == OWN
    assert known_owner(held, cancel("7", "quiet1"), owners) == OWN
    assert known_owner(held, cancel("20099"), owners) is None
    assert len(owners._of) <= 1_000
    assert len(owners._bearers) <= 1_000
    assert owners.find("main", "BTCUSDT", "#20099") == "busy", "the latest of who has most stay"


def test_a_request_whose_answer_was_lost_is_known_however_many_of_anothers_were_lost() -> None:
    waiting = Waiting(most=100)
    waiting.add(sent(1, "quiet"))
    for number in range(5_000):
        waiting.add(sent(number, "busy"))
    assert waiting.named(("main", "BTCUSDT", "quiet1"))
    assert waiting.named(("main", "BTCUSDT", "busy4999"))
    assert not waiting.named(("main", "BTCUSDT", "busy0"))
    known = [number for number in range(5_000) if waiting.named(("main", "BTCUSDT", f"busy{number}"))]
    assert len(known) < 100


def test_each_of_many_bots_has_its_share() -> None:
    owners = Owners(most=1_000)
    for number in range(3_000):
        owners.record("main", "BTCUSDT", f"#{number}", f"g{number % 10}")
        if number % 10:
            owners.record("main", "BTCUSDT", f"#g0-{number}", "g0")
    kept = [number for number in range(3_000) if owners.find("main", "BTCUSDT", f"#{number}")]
    for grant in range(1, 10):
        assert len([number for number in kept if number % 10 == grant]) > 50


def test_what_the_broker_said_of_a_pair_is_kept_whatever_was_asked_beside_orders_that_were_replaced() -> None:
    stakes, own = Stakes(), Stake(True, Decimal(5))
    stakes.learn("BTCUSDT", "BTC", own, 1)
    for number in range(sales.MOST_KEPT + 10):
        stakes.learn("BTCUSDT", "BTC", Stake(), number + 2, str(number))
    assert stakes.of("BTCUSDT") == own
    assert len(stakes._told) == sales.MOST_KEPT
    for number in range(sales.MOST_KEPT + 10):
        stakes.learn(f"A{number}USDT", f"A{number}", Stake(), 10_000 + number)
        stakes.learn("BTCUSDT", "BTC", own, 10_000 + number)
    assert stakes.of("BTCUSDT") == own, "what is asked again and again stays"


async def test_what_a_bot_sent_before_a_restart_is_known_however_many_answers_of_anothers_were_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bygone, "MOST_TOLD", 50)
    before = Spool(tmp_path)
    for number in range(300):
        grant = "quiet" if number == 3 else "busy"
        line = Ask(
            before.next(), 1, grant, "c", "main", "k", "POST", "order.new", "place", "BTCUSDT", "BUY", None, (), None,
            "allow", None, 0, (), "", False, ((f"{grant}{number}", "BUY", "1", "", True),), (1, 2),
        )  # fmt: skip
        before.write(write_line(line))
    before.close()
    owners, now = Owners(), SpoolClock()
    await Recall(tmp_path, "now", owners, NOTHING, Settlement(), now).run()  # type: ignore[arg-type]
    assert owners.askers("main", "BTCUSDT", "quiet3") == {"quiet"}
    assert owners.askers("main", "BTCUSDT", "busy299") == {"busy"}
    assert len(owners.waiting._all) == 50


class SpoolClock:
    def boot_us(self) -> int:
        return 1
