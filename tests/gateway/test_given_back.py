"""What was given back is told by nobody: a refusal's line, a purse behind a cut. And two oddities on the way to a no."""

import errno
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from broker.calllog import parse
from broker.gate import Mode
from broker.gateway.crowd import Crowd
from broker.gateway.job import Job
from broker.gateway.limits import Need
from broker.gateway.room import Limits
from broker.gateway.venue_line import Reply
from broker.link import frames
from clients.venue import Action, Reading, Request
from clients.venues.binance import WIRE, answers
from tests.gateway.world import bots, running_world

pytestmark = pytest.mark.sockets


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "no room"), ValueError("no key")])
async def test_a_refusal_tells_of_nothing_that_was_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """The order's own line failed for a moment; the refusal's did not, and had the reservation that was given back."""
    async with running_world(tmp_path) as world:
        world.account()
        (bot,) = await bots(world)
        assert (await bot.order("BUY", "0.01")).status == 200
        spool = world.gateway.spool
        write, refused = spool.write, list[Any]()

        def once(line: str) -> None:
            entry = cast("Any", parse(line))
            if not refused and getattr(entry, "decision", "") == "allow":
                raise fault
            if getattr(entry, "decision", "") == "deny":
                refused.append(entry)
            write(line)

        monkeypatch.setattr(spool, "write", once)
        got = await bot.order("BUY", "0.01")
        assert got.status == 503
        (line,) = refused
        assert (line.reserved, line.sent, line.client_order_ids) == ((), (), ())


async def test_a_slice_that_comes_behind_a_cut_goes_back_at_once(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        (bot,) = await bots(world)
        assert (await bot.order("BUY", "0.01")).status == 200
        book = world.gateway.book
        (standing,) = book.standing.values()
        await world.cut("account:main", mode=Mode.CLOSED)
        book.voided()
        await world.gateway.link._returns.idle()
        part = frames.SlicePart("late", Decimal(100), standing.rules)
        book.take_slice(standing, part, world.gateway.clock.boot_us())
        assert standing.purse.empty
        assert ("late", Decimal(100)) in book.voided()


@pytest.mark.parametrize(
    ("method", "path", "need"),
    [
        ("DELETE", "/api/v3/order", Need.EXIT),
        ("DELETE", "/api/v3/openOrders", Need.EXIT),
        ("POST", "/api/v3/order", Need.EXIT),
        ("PUT", "/api/v3/order/amend/keepPriority", Need.EXIT),
        ("GET", "/api/v3/order", Need.READ),
    ],
)
def test_what_may_be_an_exit_finds_room_before_its_form_is_read(method: str, path: str, need: Need) -> None:
    """Nobody's form is read who has no lease, and who waits for one was told that too many wait already."""
    request = Request(method, path, b"", b"", "key")
    inbound = cast("Any", SimpleNamespace(vouched="key"))
    job = Job(inbound, lambda *_: None, 0, WIRE, request, WIRE.find(request))
    assert job.need is need
    crowd = Crowd(cast("Limits", SimpleNamespace(waiting_of_a_key=0, new_keys=0, waiting_strangers=0)))
    assert crowd.is_full(job) is (need is not Need.EXIT)


@pytest.mark.parametrize("digits", [13, 400, 5000])
async def test_a_number_of_thousands_of_digits_is_none(tmp_path: Path, digits: int) -> None:
    """It raised where an order's answer is taken in: what became of the order was not known any more."""
    headers = {b"x-mbx-used-weight-1m": b"9" * digits, b"retry-after": b"9" * digits}
    intent = SimpleNamespace(action=Action.READ, target=None)
    answer = answers.understand(cast("Reading", SimpleNamespace(intent=intent)), 200, headers, b"[]")
    assert (answer.used_weight, answer.retry_after_s) == (None, None)
    async with running_world(tmp_path) as world:
        world.account()
        (bot,) = await bots(world)
        (view,) = world.gateway.mounts.views.values()
        view.heed(Reply(200, headers, b"{}"), 0)
        assert (await bot.order("BUY", "0.01")).status == 200
