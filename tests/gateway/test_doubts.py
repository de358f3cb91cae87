"""What is in doubt as a gateway ends is found out by the next start, though the broker has every line of it."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.calllog import Answered, Ask, write_line
from broker.gateway import recall as recalling
from broker.gateway import settlement as settling
from broker.gateway.account_view import AccountView
from broker.gateway.doubts import MOST, Doubts, left
from broker.gateway.fills import RecentFills
from broker.gateway.owners import Owners
from broker.gateway.parts import Parts
from broker.gateway.process import Gateway
from broker.gateway.recall import Recall
from broker.gateway.sent import Sent
from broker.gateway.settlement import Settlement
from broker.gateway.spool import Spool
from tests.gateway.test_fair_memory import SpoolClock
from tests.gateway.test_kept_lines import edge
from tests.gateway.test_namesakes import lose
from tests.gateway.test_recall import at
from tests.gateway.world import bots, running_world

pytestmark = pytest.mark.sockets

SIZE, BOUGHT = Decimal("0.004"), Decimal("0.00999")
NEVER_MADE: dict[str, Any] = {"do": "error", "status": 500}
NOTHING_TOLD: dict[str, Any] = {"do": "accept-not-apply"}


async def kept(gateway: Gateway) -> None:
    """Wait until the broker has every line."""
    async with asyncio.timeout(60):
        while gateway.spool.waiting:  # noqa: ASYNC110 - the log tells nobody
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("starts", [1, 2])
@pytest.mark.parametrize("fault", [NEVER_MADE, NOTHING_TOLD, {"do": "lose-reply"}], ids=lambda one: one["do"])
async def test_a_sale_in_doubt_is_settled_by_a_later_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], starts: int
) -> None:
    """It counts as made by the record until then, and for ever if nobody asks."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="0")
        bot, _ = await bots(world, "bot", "other")
        assert (await bot.order(quantity="0.01")).status == 200
        gateway, port, end = await edge(world, tmp_path)
        bot = at(port, bot)
        await bot.ready()
        await world.paper.admin(
            "POST", "faults", fault | {"match": {"path": "/api/v3/order", "method": "POST"}}
        )
        assert "orderId" not in ((await bot.order("SELL", str(SIZE))).body or {})
        await kept(gateway)
        for _ in range(starts):
            await end()
            gateway, port, end = await edge(world, tmp_path)
            await gateway.recall.done.wait()
        before, later = AccountView.venue_us, 0
        monkeypatch.setattr(AccountView, "venue_us", lambda view: before(view) + later)
        await at(port, bot).ready()
        for _ in range(2):
            later += 3 * settling.SETTLING_US
            for held in gateway.settler._settlement._held.values():
                held.asked_us = -(10**15)
            await gateway.settler.settle()
        await kept(gateway)
        grant = world.service.grants.list(consumer="bot").items[0].id
        sold = SIZE if fault["do"] == "lose-reply" else 0
        assert world.service.calls.stake("main", grant, "BTCUSDT", "BTC", boot="another").own == BOUGHT - sold
        await end()
        assert not list((tmp_path / "edge").glob("doubts-*")), "nothing is in doubt any more"


async def test_a_purchase_whose_answer_was_lost_is_its_buyers_after_a_restart(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="0")
        bot, _ = await bots(world, "bot", "other")
        gateway, port, end = await edge(world, tmp_path)
        bot = at(port, bot)
        await bot.ready()
        await lose(world)
        assert (await bot.order(quantity="0.01")).reason == "unknown_outcome"
        await kept(gateway)
        await end()
        gateway, port, end = await edge(world, tmp_path)
        await gateway.recall.done.wait()
        await at(port, bot).ready()
        for held in gateway.settler._settlement._held.values():
            held.asked_us = -(10**15)
        await gateway.settler.settle()
        await kept(gateway)
        grants = {name: world.service.grants.list(consumer=name).items[0].id for name in ("bot", "other")}
        stake = world.service.calls.stake("main", grants["other"], "BTCUSDT", "BTC")
        assert (stake.own, stake.others) == (Decimal(0), Decimal("0.01"))
        await end()


def waiting(*orders: Sent) -> Owners:
    owners = Owners()
    for one in orders:
        owners.waiting.add(one)
    return owners


def order(number: int, name: str, *, asked: int = 1, boot: str = "") -> Sent:
    size, price = Decimal("0.1"), Decimal(0)
    return Sent(
        number, "grant", "main", "BTCUSDT", name, "SELL", size, price, 5, 9, asked=asked, boot=boot
    )  # fmt: skip


def test_what_earlier_boots_left_is_kept_until_it_is_part_of_ours(tmp_path: Path) -> None:
    first, second, third = "1" * 16, "2" * 16, "3" * 16
    Doubts(tmp_path, first, waiting(order(1, "a"), order(1, "b"), order(2, "c", asked=2))).write()
    found = list(left(tmp_path, second))
    assert [(one.boot, one.seq, [name for name, *_ in one.sent]) for one in found] == [
        (first, 1, ["a", "b"]), (first, 2, ["c"]),
    ]  # fmt: skip
    unread = Owners()
    unread.recalled = False
    Doubts(tmp_path, second, unread).write()
    assert list(left(tmp_path, second)) == found, "not before they were read"
    Doubts(tmp_path, second, waiting(order(9, "c", asked=2, boot=first), order(1, "d"))).write()
    assert [(one.boot, one.seq) for one in left(tmp_path, third)] == [(first, 2), (second, 1)]
    Doubts(tmp_path, third, Owners()).write()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", [b"", b"[", b'["boot"]\n', b"\xff\xfe\n", b"[" * 5000 + b"\n"])
def test_a_file_that_is_none_tells_nothing(tmp_path: Path, text: bytes) -> None:
    Doubts(tmp_path, "1" * 16, waiting(order(1, "a"))).write()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(text)
    assert list(left(tmp_path, "2" * 16)) == []
    path.write_bytes(text + b"\n" + whole)
    assert len(list(left(tmp_path, "2" * 16))) == 1


def test_a_disk_that_is_full_ends_nothing(tmp_path: Path) -> None:
    kept = Doubts(tmp_path / "none", "1" * 16, waiting(order(1, "a")))
    kept.write()
    (tmp_path / "none").mkdir()
    kept.write()
    assert len(list(left(tmp_path / "none", "2" * 16))) == 1


def test_nobodys_requests_push_out_anothers(tmp_path: Path) -> None:
    many = [order(number, str(number), asked=number) for number in range(2, MOST + 500)]
    quiet = Sent(1, "quiet", "main", "BTCUSDT", "q", "SELL", Decimal(1), Decimal(0), 1, 2, asked=1)
    Doubts(tmp_path, "1" * 16, waiting(quiet, *many)).write()
    found = list(left(tmp_path, "2" * 16))
    assert len(found) == MOST
    assert found[0].grant == "quiet"


def test_what_is_on_its_way_is_in_doubt_at_the_end_only(tmp_path: Path) -> None:
    flying = order(1, "a")
    flying.flying = True
    kept = Doubts(tmp_path, "1" * 16, waiting(flying))
    kept.write()
    assert list(left(tmp_path, "2" * 16)) == []
    kept.write(ends=True)
    assert [one.seq for one in left(tmp_path, "2" * 16)] == [1]


@pytest.mark.parametrize(("outcome", "known"), [("unknown", ["a"]), ("refused", []), ("done", ["a"])])
async def test_what_the_spool_and_the_file_tell_is_one_request_and_the_spools_answer_counts(
    tmp_path: Path, outcome: str, known: list[str]
) -> None:
    """As a gateway that was killed leaves both. Two of one name could not be told apart at the exchange."""
    before = Spool(tmp_path)
    ask = placed(before, "a")
    Doubts(tmp_path, before.boot, waiting(order(1, "a", asked=ask.seq))).write()
    before.write(write_line(Answered(before.next(), ask.seq, 2, 200, None, 1, outcome, (), ())))
    before.close()
    owners, recent, settlement = Owners(), RecentFills(), Settlement()
    await Recall(tmp_path, "now", owners, recent, settlement, SpoolClock()).run()  # type: ignore[arg-type]
    assert [one.name for one in owners.waiting.latest(10)] == known
    assert len(settlement) == len(known)


def placed(spool: Spool, name: str) -> Ask:
    """Write down that an order is about to leave."""
    line = Ask(
        spool.next(), 1, "grant", "c", "main", "k", "POST", "order.new", "place", "BTCUSDT", "SELL", None, (name,), None,
        "allow", None, 0, (), "", False, ((name, "SELL", "0.1", "", True),), (5, 9),
    )  # fmt: skip
    spool.write(write_line(line))
    return line


def absent(settlement: Settlement) -> list[str]:
    """Return what counts as absent once the exchange has said twice that it knows no such name."""
    return [
        held.orders[0].name
        for held in list(settlement._held.values())
        for at_us in (10**9, 2 * 10**9)
        if settlement.absent(held, held.orders[0], at_us) is not None
    ]


def recall(path: Path, boot: str = "now") -> Recall:
    return Recall(path, boot, Owners(), RecentFills(), Settlement(), SpoolClock())  # type: ignore[arg-type]


def named(found: Recall) -> list[str]:
    return sorted(one.name for one in found._owners.waiting.latest(10))


async def test_what_the_spool_alone_tells_was_amended_is_not_absent_either(tmp_path: Path) -> None:
    """A gateway that was killed had not written down yet that it is in doubt."""
    before = Spool(tmp_path)
    for name in ("a", "b", "c"):
        placed(before, name)
    for target, decision, symbol in (
        ("a", "allow", "BTCUSDT"),
        ("b", "deny", "BTCUSDT"),
        ("c", "allow", "ETHUSDT"),
    ):
        before.write(
            write_line(
                Ask(
                    before.next(), 2, "grant", "c", "main", "k", "PUT", "order.amend", "amend", symbol, None, None,
                    (), target, decision, None, 0, (), "", False,
                )
            )
        )  # fmt: skip
    before.close()
    found = recall(tmp_path)
    await found.run()
    assert named(found) == ["a", "b", "c"]
    assert sorted(absent(found._settlement)) == ["b", "c"]


async def test_what_is_in_doubt_of_a_boot_that_cannot_be_read_is_found_out_once_that_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line of the request is gone from that boot's files: the broker has it."""
    first, boot = Spool(tmp_path), "2" * 16
    first.write(write_line(Answered(first.next(), 99, 2, 200, None, 1, "done", (), ())))
    first.close()
    Doubts(tmp_path, boot, waiting(order(1, "a", asked=7, boot=first.boot))).write()
    read, tries = Parts.read, []

    def failing(parts: Parts, after: int, most: int) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise OSError(5, "Input/output error")
        return read(parts, after, most)

    monkeypatch.setattr(Parts, "read", failing)
    monkeypatch.setattr(recalling, "AGAIN_S", 0.0)
    found = recall(tmp_path)
    await found.run()
    assert len(tries) > 1
    assert named(found) == ["a"]


async def test_a_file_that_cannot_be_read_stays_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To remove a file nobody has to be able to read it."""
    for boot, name in (("1" * 16, "a"), ("2" * 16, "b")):
        Doubts(tmp_path, boot, waiting(order(1, name))).write()
        for path in tmp_path.glob("kept-*"):
            path.rename(tmp_path / path.name.removeprefix("kept-"))
        if name == "a":
            (path,) = tmp_path.iterdir()
            path.rename(tmp_path / f"kept-{path.name}")
    assert len(list(tmp_path.iterdir())) == 2
    opened = Path.open

    def failing(path: Path, *rest: Any) -> Any:
        if path.name.startswith("doubts-1"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest)

    found = recall(tmp_path, "3" * 16)
    with monkeypatch.context() as here:
        here.setattr(Path, "open", failing)
        await found.run()
    Doubts(tmp_path, "3" * 16, found._owners, found.read).write()
    assert named(found) == ["b"]
    found = recall(tmp_path, "4" * 16)
    await found.run()
    assert named(found) == ["a", "b"]


async def test_what_is_in_doubt_is_kept_while_what_earlier_boots_left_cannot_be_read(tmp_path: Path) -> None:
    first, second, third = "1" * 16, "2" * 16, "3" * 16
    theirs = waiting(order(1, "a"), order(1, "b"))
    theirs.waiting.amended("main", "BTCUSDT", "b")
    Doubts(tmp_path, first, theirs).write()
    ours = waiting(order(9, "b", boot=first), order(2, "c", asked=2))
    ours.recalled = False
    Doubts(tmp_path, second, ours).write(ends=True)
    assert len(list(tmp_path.iterdir())) == 2, "not all of it was taken in"
    found = recall(tmp_path, third)
    await found.run()
    assert named(found) == ["b", "c"]
    assert absent(found._settlement) == ["c"]


def test_a_list_whose_orders_are_known_is_in_doubt_no_more(tmp_path: Path) -> None:
    """Nothing can be asked about it: it took the place of what can, at each start anew."""
    Doubts(tmp_path, "1" * 16, waiting(order(1, "@list"))).write()
    assert not list(tmp_path.iterdir())
    Doubts(tmp_path, "1" * 16, waiting(order(1, "@list"), order(1, "leg"))).write()
    (found,) = left(tmp_path, "2" * 16)
    assert [name for name, *_ in found.sent] == ["@list", "leg"]


async def test_what_an_amendment_may_have_renamed_is_not_absent_after_a_restart_either(
    tmp_path: Path,
) -> None:
    """The exchange does not know its old name, and it may rest under another."""
    owners = waiting(order(1, "a"), order(2, "b", asked=2))
    owners.waiting.amended("main", "BTCUSDT", "a")
    Doubts(tmp_path, "1" * 16, owners).write(ends=True)
    owners, settlement = Owners(), Settlement()
    await Recall(tmp_path, "now", owners, RecentFills(), settlement, SpoolClock()).run()  # type: ignore[arg-type]
    assert absent(settlement) == ["b"]
