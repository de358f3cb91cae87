"""Who is refused again and again fills no log: not by a key id that anybody may know, and not by a key of his own."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.calllog import Ask, parse
from broker.gateway.ledger import PROVEN_A_SECOND, STRANGERS_A_SECOND, Ledger
from broker.gateway.spool import Spool
from tests.gateway.test_late_lines import ask
from tests.gateway.world import Bot, bots, running_world

SECOND_US = 1_000_000


def held(grant: str) -> Any:
    return SimpleNamespace(
        lease=SimpleNamespace(grant=grant), consumer="c", account="a", key_id=f"id of {grant}"
    )


def job(grant: str = "", *, vouched: str = "", leased: bool = True) -> Any:
    whose = (grant, "c", "a") if grant and not leased else None
    known = held(grant) if grant and leased else None
    return SimpleNamespace(held=known, whose=whose, inbound=SimpleNamespace(vouched=vouched))


FLOODS = {
    "nobody in particular": (job(), STRANGERS_A_SECOND),
    "who only names a key": (job("g"), STRANGERS_A_SECOND),
    "who holds another key": (job("g", vouched="id of own"), STRANGERS_A_SECOND),
    "who names a key without a lease": (job("g", leased=False), STRANGERS_A_SECOND),
    "who holds it": (job("g", vouched="id of g"), PROVEN_A_SECOND),
}


@pytest.mark.parametrize(("asked", "most"), FLOODS.values(), ids=FLOODS)
def test_of_a_second_so_many_refusals_are_written_and_no_others_are_lost_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Any, most: int
) -> None:
    now_us, spool = [7 * SECOND_US], Spool(tmp_path)
    clock: Any = SimpleNamespace(wall_us=lambda: 1, boot_us=lambda: now_us[0])
    ledger = Ledger(spool, clock, lambda: None)

    def line(_self: Ledger, of: Any, *_: Any) -> Ask:
        proven = of.held is not None and of.inbound.vouched == of.held.key_id
        grant = of.held.lease.grant if of.held is not None else of.whose[0] if of.whose else ""
        return ask(f"{grant} {proven}")

    monkeypatch.setattr(Ledger, "_ask", line)
    others = [job("h"), job("h", vouched="id of h"), job("h", leased=False)]
    if asked is not FLOODS["who holds it"][0]:
        others.append(job("g", vouched="id of g"))
    for second in range(2):
        now_us[0] += second * SECOND_US
        for _ in range(3 * most):
            ledger.refused(asked, "odd", 400)
        for other in others:
            ledger.refused(other, "odd", 400)
    assert ledger.refusals == 2 * (3 * most + len(others)), "all are counted"
    lines = [parse(text) for _, text in spool.batch(0, 10_000)]
    assert len(lines) == 2 * (most + len(others))
    told = Counter(one.client_order_ids[0] for one in lines if isinstance(one, Ask))
    assert told["h True"] == 2
    assert told["h False"] == 4
    spool.close()


@pytest.mark.sockets
async def test_a_key_id_alone_fills_no_spool(tmp_path: Path) -> None:
    """Each was written, so whoever knew it had everybody's orders refused: the log was too far behind."""
    async with running_world(tmp_path) as world:
        world.account()
        (bot,) = await bots(world)
        ledger: Any = world.gateway.ledger
        ledger._clock = SimpleNamespace(wall_us=ledger._clock.wall_us, boot_us=lambda: 7 * SECOND_US)
        thief = Bot(bot.port, bot.key_id, "x" * 64)
        before = world.gateway.spool.seq
        for _ in range(2 * STRANGERS_A_SECOND):
            assert (await thief.order()).reason == "bad_signature"
        assert world.gateway.spool.seq == before + STRANGERS_A_SECOND
        assert (await bot.order(quantity="5")).reason == "order_notional"
        assert world.gateway.spool.seq == before + STRANGERS_A_SECOND + 1


@pytest.mark.sockets
async def test_a_refusal_after_a_cut_is_the_bots_own_though_its_lease_is_gone(tmp_path: Path) -> None:
    """It was nobody's, where the lease had been taken back before the broker refused another one."""
    async with running_world(tmp_path) as world:
        world.account()
        (bot,) = await bots(world)
        await world.cut("consumer:bot")
        world.gateway.book.drop_all()
        assert (await bot.order()).reason == "cut"
        (cut,) = [line for _, line in world.gateway.spool.batch(0, 100) if '"r":"cut"' in line]
        assert '"c":"bot"' in cut
        assert '"a":"main"' in cut
