"""What gateways give back is taken back once the log can be written, whatever else was given back meanwhile."""

import asyncio
import logging
import threading
import time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.authority.lending import Lending
from broker.background import Background
from broker.budget import Slice
from broker.errors import StoreUnavailable
from broker.link import frames
from tests.rotation.alerting import home_with_a_key


class Ledger:
    """Takes slices back, but for some that cannot be written."""

    def __init__(self) -> None:
        self.away = False
        self.taken: list[tuple[str, str]] = []
        self.bad: set[str] = set()

    def close_slices(self, gateway: str, parts: Any) -> None:
        if self.away:
            raise StoreUnavailable("log_slow", "the log is locked")
        if any(name in self.bad for name, _ in parts):
            raise ArithmeticError("that is no amount")
        self.taken += [(gateway, name) for name, _ in parts]


async def until_taken(lending: Lending) -> None:
    async with asyncio.timeout(60):
        while lending.owed:
            lending.take_back()
            await asyncio.sleep(0.01)


def lending_of(ledger: Ledger) -> Lending:
    service: Any = SimpleNamespace(calls=ledger)
    return Lending(service, Background(logging.getLogger("test")))


async def test_what_one_gateway_gives_back_pushes_out_nothing_of_anothers() -> None:
    """It was the oldest that fell out, and counted as spent for a day."""
    ledger = Ledger()
    lending = lending_of(ledger)
    ledger.away = True
    lending.owe("quiet", (("slc_quiet", Decimal(1)),))
    for number in range(10_500):
        lending.owe("busy", ((f"slc_{number}", Decimal(1)),))
    lending.owe("busy", ())
    lending.take_back()
    await asyncio.sleep(0)
    ledger.away = False
    await until_taken(lending)
    assert ("quiet", "slc_quiet") in ledger.taken
    assert len(ledger.taken) == 10_001
    lending.close(time.monotonic() + 60)


async def test_what_can_never_be_written_stands_before_nothing_else() -> None:
    ledger = Ledger()
    ledger.bad = {"slc_1"}
    lending = lending_of(ledger)
    lending.owe("odd", tuple((f"slc_{number}", Decimal(1)) for number in range(3)))
    lending.owe("good", (("slc_good", Decimal(1)),))
    await until_taken(lending)
    assert sorted(ledger.taken) == [("good", "slc_good"), ("odd", "slc_0"), ("odd", "slc_2")]
    lending.close(time.monotonic() + 60)


class Budget(Ledger):
    """One slice, which a slow log lends when nobody waits for it any more."""

    def __init__(self, slow: threading.Event) -> None:
        super().__init__()
        self.slow, self.left = slow, True

    def lend(self, grant: str, *_: Any, **__: Any) -> Slice | None:
        if not self.left:
            return None
        self.left = False
        self.slow.wait(60)
        return Slice("slc_late", Decimal(1), 1, grant=grant)

    def is_owed(self, grant: str, slices: Any) -> bool:
        return grant == "grt" and "slc_late" in slices

    def close_slices(self, gateway: str, parts: Any) -> None:
        super().close_slices(gateway, parts)
        self.left = True


@pytest.mark.parametrize("away", [False, True], ids=["it comes back meanwhile", "the log is away"])
async def test_nothing_is_said_to_be_left_while_a_slice_is_being_taken_back(away: bool) -> None:
    """The next ask heard that the day was used up, and its bot that this was more than is left of it."""
    log_goes_on = threading.Event()
    ledger = Budget(log_goes_on)
    lending = lending_of(ledger)
    said: list[Any] = []
    held = SimpleNamespace(grant="grt")
    link: Any = SimpleNamespace(
        gateway="local",
        boot="b00t",
        over=False,
        leases={"lse": held},
        channel=SimpleNamespace(send=said.append),
    )
    opening: Any = SimpleNamespace(rules=SimpleNamespace(limits=(1,)), grant=SimpleNamespace(id="grt"))
    assert await lending.first(link, opening, ahead=False) is None
    ledger.away = away
    ask = lending.lend(link, frames.AskSlice(1, "lse", Decimal(1), ahead=False))
    assert ask is not None
    asking = asyncio.ensure_future(ask)
    await asyncio.sleep(0)
    log_goes_on.set()
    if away:
        with pytest.raises(StoreUnavailable):
            await asking
        ledger.away = False
        await until_taken(lending)
        ask = lending.lend(link, frames.AskSlice(2, "lse", Decimal(1), ahead=False))
        assert ask is not None
        await ask
    else:
        await asking  # in a moment it is back: whoever asked gets it, and no 503
    assert [one.slice.id for one in said] == ["slc_late"], "no ask heard that there is none"
    ledger.left = False
    ask = lending.lend(link, frames.AskSlice(3, "lse", Decimal(1), ahead=False))
    assert ask is not None
    await ask
    assert said[-1].slice is None, "where nothing comes back it is said"
    lending.close(time.monotonic() + 60)


async def test_who_owes_nothing_hears_that_nothing_is_left_whatever_others_owe() -> None:
    """One gateway that could not give back kept every grant's answer away, everywhere."""
    ledger = Budget(threading.Event())
    ledger.left, ledger.away = False, True
    lending = lending_of(ledger)
    lending.owe("elsewhere", (("slc_late", Decimal(1)),))
    said: list[Any] = []
    link: Any = SimpleNamespace(
        gateway="local", boot="b00t", over=False, channel=SimpleNamespace(send=said.append),
        leases={"mine": SimpleNamespace(grant="mine"), "theirs": SimpleNamespace(grant="grt")},
    )  # fmt: skip
    ask = lending.lend(link, frames.AskSlice(1, "mine", Decimal(1), ahead=False))
    assert ask is not None
    await ask
    assert [one.slice for one in said] == [None]
    ask = lending.lend(link, frames.AskSlice(2, "theirs", Decimal(1), ahead=False))
    assert ask is not None
    with pytest.raises(StoreUnavailable):
        await ask
    lending.close(time.monotonic() + 60)


def test_what_is_owed_is_told_by_the_limits_it_was_lent_under(tmp_path: Path) -> None:
    """A slice of another grant counts where a limit of the account, or of the consumer, is one for both."""
    alone = 'allow = ["trade"]\nsymbols = ["BTCUSDT"]\n[order]\nmax_notional = "100"\n[day]\nmax_notional = "1000"\n'
    with home_with_a_key(tmp_path) as service:
        for name in ("one", "other"):
            service.grants.create_consumer(name)
        one, other = (
            service.grants.create(consumer=name, account="main", policy=alone).grant.id
            for name in ("one", "other")
        )
        loan = service.calls.lend(one, "local", "b00t")
        assert loan is not None
        ids = ("slc_gone", loan.id)
        assert service.calls.is_owed(one, ids)
        assert not service.calls.is_owed(one, ("slc_gone",))
        assert not service.calls.is_owed(other, ids)
        service.calls.close_slices("local", ((loan.id, loan.amount),))
        assert service.calls.is_owed(one, ids), "one that came back just now leaves more"
