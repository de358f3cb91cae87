"""What was told of an asset may be acted on for a moment only, also where it is known just at its worst: then it is asked anew."""

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.errors import LinkDown
from broker.gateway import guard
from broker.gateway.fetch import Fetcher
from broker.gateway.guard import lapsed, stake_of
from broker.gateway.job import Failure, Job
from broker.policy_facts import Stake
from clients.paper.faults import Fault
from tests.gateway.test_followed import ORDERS, halt, limit, shared
from tests.gateway.world import World

LONG_AGO_US = -(10**12)
pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]


def stands_still(
    world: World, monkeypatch: pytest.MonkeyPatch, times: int, *, silent: bool = False
) -> list[str]:
    """So often what was told is too old at once, as if the process had been stopped; return what was asked for."""
    asked, fetch_all, ask = list[str](), Fetcher.fetch_all, world.gateway.link.ask_stake

    async def stopped(self: Fetcher, job: Job, names: Any) -> None:
        await fetch_all(self, job, names)
        asked.extend(one for one in names if one == "stake")
        if "stake" in names and len(asked) <= times and job.whose_asked is not None:
            job.whose_asked = job.whose_asked._replace(came_us=LONG_AGO_US)
            job.told_us = LONG_AGO_US

    async def answers(query: Any) -> Stake:
        if silent and asked:
            raise LinkDown("no_answer", "nobody answers any more")
        return await ask(query)

    monkeypatch.setattr(Fetcher, "fetch_all", stopped)
    monkeypatch.setattr(world.gateway.link, "ask_stake", answers)
    return asked


@pytest.mark.parametrize("known", ["all", "at worst"])
@pytest.mark.parametrize("whose", ["its own", "nobody's"])
@pytest.mark.parametrize(("times", "silent"), [(1, False), (9, False), (1, True)])
async def test_it_is_asked_for_once_more_and_then_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: str, whose: str, times: int, *, silent: bool
) -> None:
    """Old code acted on what it knew at worst however old it was: another gateway may have sold it by now."""
    async with shared(tmp_path, "0" if whose == "its own" else "1") as (world, one, two):
        if whose == "its own":
            assert (await one.order("BUY", "0.5")).status == 200
        assert (await two.order("BUY", "0.2", **limit(world, "0.99"))).status == 200
        await halt(world)
        if known == "at worst":
            for path in sorted(ORDERS):
                world.paper.server.faults.append(Fault("error", "GET", path, times=100_000, status=500))
        asked = stands_still(world, monkeypatch, times, silent=silent)
        got = await one.order("SELL", "0.3")
        if times == 1 and not silent:
            assert got.status == 200, got
        else:
            assert (got.status, got.reason) == (503, "holdings_unknown"), got
        assert len(asked) == 2, asked


TOLD = Stake(own=Decimal(3), others=Decimal(1))


def told(**more: Any) -> Any:
    """A request whose question was answered at zero."""
    values: dict[str, Any] = {
        "worst": None, "staked": True, "failed": {}, "asked": {"stake"}, "told": True, "told_us": 0, "sole": False,
        "replaces": "", "held": None, "account": None, "reading": None, "view": None,
        "whose_asked": SimpleNamespace(came_us=0),
    }  # fmt: skip
    return SimpleNamespace(**(values | more))


HELD: Any = SimpleNamespace(
    sole=False, standing=SimpleNamespace(stakes=SimpleNamespace(of=lambda *_: TOLD)), lease=None
)
KINDS: dict[str, dict[str, Any]] = {
    "all is known": {},
    "at worst": {"failed": {"stake": Failure("orders_unknown")}},
    "at worst, holdings came later": {"failed": {"stake": Failure("too_old")}, "worst": TOLD},
    "old while a connection was waited for": {"failed": {"stake": Failure("too_old")}},
}


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("more", KINDS.values(), ids=KINDS)
def test_it_is_a_fact_for_as_long_as_the_broker_takes_it_that_somebody_acts_on_it(
    more: dict[str, Any], *, final: bool
) -> None:
    job = told(**more)
    acts_us = guard.ACTS_US
    assert stake_of(HELD, job, "BTCUSDT", acts_us, final=final) == TOLD
    assert lapsed(job, acts_us) == ()
    assert stake_of(HELD, job, "BTCUSDT", acts_us + 1, final=final) is None
    assert lapsed(job, acts_us + 1) == ("stake",)


def test_who_is_alone_asks_nobody_anew() -> None:
    held: Any = SimpleNamespace(sole=True, standing=HELD.standing)
    job = told(sole=True)
    assert stake_of(held, job, "BTCUSDT", 10**12, final=False) == TOLD
    assert lapsed(job, 10**12) == ()
