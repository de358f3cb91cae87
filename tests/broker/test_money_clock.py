"""A day's limit is not lent a second time by whoever sets a clock, restarts, reboots or moves to another host."""

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from broker import steady
from broker.calllog import Ask
from broker.db import log_tables as t
from broker.db.database import Database
from broker.service import Service
from broker.service.service import found_home, open_service
from broker.steady import UNSURE_US
from broker.stores.embedded import key as keys
from broker.stores.embedded.store import EmbeddedStore
from clients.venue import Environment
from tests.broker.test_service import HOUR_US, POLICY, UPSTREAM, SetClock
from tests.places import database_at

DAY_US = 24 * HOUR_US


@dataclass(slots=True)
class Lender:
    """A broker that lends to its limit, and is started anew on the same record."""

    database: Database
    store: EmbeddedStore
    monkeypatch: pytest.MonkeyPatch
    clock: SetClock = field(default_factory=SetClock)
    services: list[Service] = field(default_factory=list)

    def start(self) -> Service:
        """Start a process of its own."""
        self.services.append(open_service(self.database, self.store, self.clock))
        return self.services[-1]

    def reboot(self, host: str = "rebooted") -> None:
        """The host is started anew; its boot clock begins at nothing."""
        self.monkeypatch.setattr(steady, "base", lambda: host)
        boot_us = self.clock.boot_us()
        self.monkeypatch.setattr(
            SetClock, "boot_us", lambda clock, was=SetClock.boot_us: was(clock) - boot_us + 1
        )

    def spend(self) -> str:
        """Lend and spend all of a grant's day; return the grant."""
        service = self.start()
        service.accounts.create("main", venue="binance", upstream=UPSTREAM)
        service.grants.create_consumer("bot")
        grant = service.grants.create(consumer="bot", account="main", policy=POLICY).grant.id
        while (loan := service.calls.lend(grant, "local", "boot")) is not None:
            service.calls.close_slices("local", ((loan.id, Decimal(0)),))
        assert service.calls.used(grant) == 10_000
        return grant


@pytest.fixture
def lender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lender:
    database = database_at(tmp_path)
    database.upgrade()
    found_home(database, Environment.PAPER, "solo")
    return Lender(database, EmbeddedStore(tmp_path / "secrets.db", keys.fresh()), monkeypatch)


@pytest.mark.parametrize("reboots", [False, True])
@pytest.mark.parametrize("passed", [0, 1, 23])
@pytest.mark.parametrize("step", [1, -1])
def test_a_broker_that_is_started_anew_goes_on_with_the_clock_of_money(
    lender: Lender, step: int, passed: int, *, reboots: bool
) -> None:
    """The clock is set while it is off, or before it ends: it believed the wall clock after a restart."""
    grant = lender.spend()
    lender.clock.passed_us += passed * HOUR_US
    lender.clock.ahead_us += step * HOUR_US
    if reboots:
        lender.reboot()
    anew = lender.start()
    assert anew.calls.lend(grant, "local", "boot") is None
    assert anew.calls.used(grant) == 10_000
    lender.clock.passed_us += DAY_US - passed * HOUR_US + UNSURE_US + 2 * HOUR_US
    assert anew.calls.lend(grant, "local", "boot") is not None, "it costs a delay"


def test_set_back_and_put_right_between_two_starts_nothing_is_older_than_it_is(lender: Lender) -> None:
    """What was spent while the clock was an hour behind was an hour older as soon as it was put right."""
    lender.clock.ahead_us = -HOUR_US
    grant = lender.spend()
    lender.clock.ahead_us = 0
    lender.clock.passed_us += DAY_US - HOUR_US + 1
    anew = lender.start()
    assert anew.calls.lend(grant, "local", "boot") is None


def test_a_host_that_starts_a_year_behind_lends_once_over_a_reboot(lender: Lender) -> None:
    """Without a battery the clock begins in the past each time, and is put right a moment later."""
    lender.clock.ahead_us = -365 * DAY_US
    grant = lender.spend()
    lender.clock.ahead_us = 0
    lender.services[-1].calls.keep_time()
    lender.reboot()
    assert lender.start().calls.lend(grant, "local", "boot") is None


def test_brokers_of_two_hosts_have_one_clock_of_money(lender: Lender) -> None:
    """The other host's wall clock is an hour ahead: it lent again what the first one had."""
    grant = lender.spend()
    lender.clock.passed_us += 23 * HOUR_US
    first = lender.services[-1]
    first.calls.keep_time()
    lender.reboot("another host")
    lender.clock.ahead_us = HOUR_US
    second = lender.start()
    assert second.calls.lend(grant, "other", "boot") is None
    lender.clock.passed_us += HOUR_US + 1
    assert second.calls.lend(grant, "other", "boot") is not None


@pytest.mark.parametrize("behind", [HOUR_US, -HOUR_US, 2 * DAY_US])
def test_what_a_slice_that_is_not_on_record_paid_for_counts_whatever_its_gateways_clock_says(
    lender: Lender, behind: int
) -> None:
    """A gateway's clock an hour behind took an hour off its day; what is surely old counts no more."""
    grant = lender.spend()
    with lender.database.log.write() as connection:
        connection.execute(t.SLICES.delete())
    calls = lender.services[-1].calls
    ask = Ask(
        1, lender.clock.now_us() - behind, grant, "bot", "main", "main/trade/1", "POST", "/api/v3/order", "place",
        "BTCUSDT", "BUY", "900", (), None, "allow", None, 0, (("slc_gone", Decimal(900)),), "x", False,
    )  # fmt: skip
    calls.ingest("gone", "b00t", (msgspec.json.encode(ask).decode(),))
    lender.clock.passed_us += DAY_US - 60_000_000
    assert calls.used(grant) == (900 if behind <= HOUR_US else 0)
    lender.clock.passed_us += 120_000_000
    assert calls.used(grant) == 0
