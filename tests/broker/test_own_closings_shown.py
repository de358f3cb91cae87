"""What the program closed by itself is seen whatever came since, and what was said of one incident is not said of the next."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.db import meta
from broker.errors import Withheld
from broker.gate import Mode
from broker.service import Service
from broker.service.host_guard import STORE_BACK
from broker.service.reconcile_facts import Surveyed
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from portcullis.foundation import found, opened

_SAFE = KeyFacts(True, True, False, False, True, "42")
_CUTS = 203


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    home = found(tmp_path / "home", Environment.PAPER, "solo").home
    with opened(home) as service:
        service.mirror.merge()
        service.accounts.create("main", venue="binance", upstream="http://127.0.0.1:9")
        credential = Credential("A", Secret("planted-a"), KeyType.HMAC)
        service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=_SAFE)
        yield service


def _closed(service: Service) -> str:
    with service.desk.database.write() as connection:
        return service.continuity.begin(connection, "failover")


def _compared(service: Service, **said: Any) -> bool:
    said = {"confirmed": (), "old_host_off": False} | said
    return service.reconciliation.look(lambda *_: _SAFE, lambda *_: Surveyed(), **said).well


def test_everything_closed_is_seen_beneath_any_number_of_cuts(service: Service) -> None:
    """The oldest of more than two hundred were in no view: that everything is closed was one of them."""
    own = _closed(service)
    everything, _ = service.cuts.close(targets=("everything",), mode=Mode.HALT, reason="mine", actor="me")
    service.grants.create_consumer("bot")
    for _ in range(_CUTS):
        service.cuts.close(targets=("consumer:bot",), mode=Mode.CLOSED, reason="x", actor="x")
    shown = [one for one in service.conditions.look() if one.kind == "cut"]
    assert [one.subject for one in shown[:2]] == [own, everything.id]
    (others,) = [one for one in shown if one.subject == "others"]
    assert others.says == f"{_CUTS + 2 - (len(shown) - 1)} more cuts are in force"


def test_no_step_is_refused_until_the_comparison_that_comes_first(service: Service) -> None:
    """`status` and `ready` told of a rotation, which nobody could start before `reconcile`."""

    def told() -> set[str]:
        shown = {one.step for one in service.conditions.everything() if one.kind == "no-standby"}
        ready = {red.step for one in service.ready.look() for red in one.red if red.kind == "no-standby"}
        assert shown == ready
        return shown

    service.accounts.create_egress("out", addresses=("127.0.0.7",))
    service.accounts.create("other", venue="binance", egress="out", upstream="http://127.0.0.1:9")
    credential = Credential("B", Secret("planted-b"), KeyType.HMAC)
    service.keys.import_key("other", slot=Slot.TRADE, credential=credential, facts=_SAFE)
    start = "portcullis rotation start --account other --slot standby --wait"
    service.desk.guard.hear()
    assert start in told()
    cut = _closed(service)
    assert f"portcullis reconcile, then {start}" in told()
    assert start not in told()
    with pytest.raises(Withheld):
        service.rotations.start("other", Slot.STANDBY)
    _compared(service)
    assert start in told(), "it is not refused from now on, cut or not"
    assert any(one.subject == cut for one in service.conditions.everything())
    service.rotations.start("other", Slot.STANDBY)


def test_what_was_said_of_a_failover_is_not_said_of_a_store_that_went_back(service: Service) -> None:
    """Nobody had looked since, and the comparison was well by what somebody had seen months before."""
    cut = _closed(service)
    assert not _compared(service)
    assert _compared(service, confirmed=("main",))
    service.cuts.thaw(cut, reason="compared", actor="me")
    with service.desk.database.write() as connection:
        meta.put(connection, STORE_BACK, "store_later")
    assert not _compared(service)
    assert _compared(service, confirmed=("main",))


def test_what_was_said_counts_until_all_is_said(service: Service) -> None:
    _closed(service)
    with service.desk.database.write() as connection:
        meta.put(connection, STORE_BACK, "store_now")
    assert _compared(service, confirmed=("main",))
    assert _compared(service)
