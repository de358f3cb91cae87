"""What gateways give back is taken back once the log can be written, whatever else was given back meanwhile."""

import asyncio
import logging
import threading
import time
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from broker.authority.lending import Lending
from broker.background import Background
from broker.budget import Slice
from broker.errors import StoreUnavailable
from broker.link import frames


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
    with pytest.raises(StoreUnavailable):
        await asking
    ledger.away = False
    await until_taken(lending)
    ask = lending.lend(link, frames.AskSlice(2, "lse", Decimal(1), ahead=False))
    assert ask is not None
    await ask
    assert [one.slice.id for one in said] == ["slc_late"], "no ask heard that there is none"
    ledger.left = False
    ask = lending.lend(link, frames.AskSlice(3, "lse", Decimal(1), ahead=False))
    assert ask is not None
    await ask
    assert said[-1].slice is None, "where nothing comes back it is said"
    lending.close(time.monotonic() + 60)
