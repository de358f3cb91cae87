"""An anchor that hangs holds up nobody: no start, no upkeep, no other anchor."""

import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.audit.anchors import WebhookAnchor
from broker.audit.keeping import Keeping
from broker.audit.ports import AnchorFailed
from broker.service.audit import Signer
from broker.service.service import found_home, open_service
from broker.stores.embedded import key as keys
from broker.stores.embedded.store import EmbeddedStore
from clients.secret import Secret
from clients.venue import Environment
from portcullis.upkeep import Upkeep
from tests.gateway.world import WallClock
from tests.places import database_at
from tests.strangers import KINDS, ends, stranger

PATIENCE_S = 60


class Hanging:
    """An anchor that takes nothing before it is let."""

    name = "hanging"

    def __init__(self) -> None:
        self.asked, self.free, self.lines = threading.Event(), threading.Event(), list[str]()

    def keep(self, line: str) -> None:
        self.asked.set()
        self.free.wait(PATIENCE_S)
        self.lines.append(line)


class Failing:
    """An anchor that fails in a way nobody foresaw, then works."""

    name = "failing"

    def __init__(self) -> None:
        self.fails = True

    def keep(self, line: str) -> None:
        if self.fails:
            raise ZeroDivisionError(line)


def test_a_hanging_anchor_keeps_no_other_from_its_lines() -> None:
    """Each has a way of its own; what came meanwhile is covered by the newest."""
    hanging, other = Hanging(), Hanging()
    other.free.set()
    keeping = Keeping((hanging, other))
    keeping.bring(1, "1")
    assert hanging.asked.wait(PATIENCE_S)
    keeping.bring(2, "2")
    keeping.bring(3, "3")
    assert not keeping.wait(0.05)
    hanging.free.set()
    assert keeping.wait(PATIENCE_S)
    assert hanging.lines == ["1", "3"]
    assert other.lines[-1] == "3"


def test_an_anchor_that_fails_unforeseen_is_said_and_goes_on() -> None:
    """Its words are not said: they may quote; the next checkpoint goes."""
    failing = Failing()
    keeping = Keeping((failing,))
    keeping.bring(1, "planted")
    assert keeping.wait(PATIENCE_S)
    assert keeping.failed() == {"failing": "failed unforeseen (ZeroDivisionError)"}
    assert keeping.taken() == {}
    failing.fails = False
    keeping.bring(2, "two")
    assert keeping.wait(PATIENCE_S)
    assert (keeping.failed(), keeping.taken()) == ({}, {"failing": [2]})


@pytest.mark.sockets
@pytest.mark.parametrize("kind", KINDS)
def test_a_webhook_anchor_ends_whatever_it_answers(kind: str) -> None:
    """It fails within seconds, as the protocol says."""
    with stranger(kind) as here:
        fault = ends(lambda: WebhookAnchor(here.url, Secret("x")).keep("{}"))
        assert isinstance(fault, AnchorFailed), fault


def test_upkeep_and_its_first_round_do_not_wait_for_an_anchor(tmp_path: Path) -> None:
    """The login to the store is kept, and the mirror is merged, while an anchor takes nothing at all."""
    database = database_at(tmp_path)
    database.upgrade()
    found_home(database, Environment.PAPER, "solo")
    store = EmbeddedStore(tmp_path / "secrets.db", keys.fresh())
    service = open_service(database, store, WallClock())
    hanging = Hanging()
    service.audit.sign_with(Signer("broker", Ed25519PrivateKey.generate(), (hanging,)))
    service.grants.create_consumer("bot")
    done = list[str]()
    maintain, merge = store.maintain, service.mirror.merge
    store.maintain = lambda: (done.append("login"), maintain())[1]  # type: ignore[method-assign]
    service.mirror.merge = lambda: (done.append("generation"), merge())[1]  # type: ignore[method-assign]
    try:
        upkeep = Upkeep(service)
        for _ in range(2):
            ends(upkeep.once)
        assert done == ["login", "generation"] * 2
        assert hanging.lines == []
        hanging.free.set()
    finally:
        hanging.free.set()
        service.close()
        store.close()
        database.close()
