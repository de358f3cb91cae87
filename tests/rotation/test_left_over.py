"""What a life that ended left behind is cleared away: all of it but what somebody may still need."""

from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.db import asks, intents
from broker.db import rotations as rotation_store
from broker.db import tables as t
from broker.errors import Conflict, NotFound, StoreUnavailable
from broker.model import KeyRef, Stage
from broker.service import Service
from broker.service.rotations import Wish
from clients.secret import Secret
from clients.venue import Slot
from rotation.burial import Burial
from rotation.schedule import Rotator
from tests.rotation.alerting import home_with_a_key


@pytest.mark.parametrize("took_s", [0, 5], ids=["it is ill", "its store is away"])
def test_one_key_that_cannot_be_cleared_away_keeps_no_other(
    monkeypatch: pytest.MonkeyPatch, took_s: int
) -> None:
    """But where a store is away each of them would wait for it, and upkeep behind them."""
    now_us = [0]
    refs = [KeyRef("main", Slot.TRADE, number) for number in (1, 2, 3)]
    keys = [SimpleNamespace(ref=ref, stage=Stage.PENDING, venue_key_id="") for ref in refs]
    desk = SimpleNamespace(
        guard=SimpleNamespace(allows=lambda _: None), database=SimpleNamespace(read=nullcontext),
        clock=SimpleNamespace(boot_us=lambda: now_us[0]),
        secrets=SimpleNamespace(mirror=SimpleNamespace(read=lambda _: None)),
    )  # fmt: skip
    service = SimpleNamespace(keys=SimpleNamespace(list=lambda: keys))
    given_up = SimpleNamespace(held="", state="abandoned")
    monkeypatch.setattr(rotation_store, "making", lambda *_: given_up)
    reach: Any = SimpleNamespace(desk=desk, service=service)
    work, asked = Burial(reach), list[KeyRef]()

    def clear(ref: KeyRef) -> None:
        asked.append(ref)
        now_us[0] += took_s * 1_000_000
        if ref == refs[0]:
            raise StoreUnavailable("vault_deleted", "deleted by hand")

    monkeypatch.setattr(work, "clear", clear)
    with pytest.raises(StoreUnavailable):
        work.clear_up()
    assert asked == (refs[:1] if took_s else refs)


def test_one_secret_that_cannot_be_destroyed_keeps_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with home_with_a_key(tmp_path) as service:
        paths = [f"virtual/{number}/k" for number in range(3)]
        for path in paths:
            service.desk.secrets.write(path, {"secret": Secret("planted")}, {})
            with service.desk.database.write() as connection:
                intents.add(connection, path, 1)
        real = service.desk.secrets.destroy

        def destroy(path: str) -> None:
            if path == paths[0]:
                raise StoreUnavailable("vault_deleted", "deleted by hand")
            real(path)

        monkeypatch.setattr(service.desk.secrets, "destroy", destroy)
        with pytest.raises(StoreUnavailable):
            service.secrets.tidy()
        assert [is_there(service, path) for path in paths] == [True, False, False]


def test_a_store_that_is_away_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with home_with_a_key(tmp_path) as service:
        for number in range(3):
            with service.desk.database.write() as connection:
                intents.add(connection, f"virtual/{number}/k", 1)
        clock, tried, waited_us = service.desk.clock, list[str](), [0]
        boot_us = clock.boot_us
        monkeypatch.setattr(type(clock), "boot_us", lambda _: boot_us() + waited_us[0])

        def destroy(path: str) -> None:
            tried.append(path)
            waited_us[0] += 8_000_000
            raise StoreUnavailable("vault_away", "no answer")

        monkeypatch.setattr(service.desk.secrets, "destroy", destroy)
        with pytest.raises(StoreUnavailable):
            service.secrets.tidy()
        assert len(tried) == 1


def is_there(service: Service, path: str) -> bool:
    try:
        service.desk.secrets.read(path)
    except NotFound:
        return False
    return True


def clear_inbox(service: Service) -> None:
    """Do what the rotator does at its start and hourly."""
    rotator: Any = SimpleNamespace(
        _asks=SimpleNamespace(clear=lambda _: None), _ticks=SimpleNamespace(are_over=None), _service=service
    )
    Rotator.clear_inbox(rotator)


def bring(service: Service) -> str:
    """Bring a secret; return where it lies, whatever came of the ask."""
    before = set(service.desk.secrets.paths("inbox/"))
    with suppress(StoreUnavailable):
        service.rotations.ask("rot_1", Wish.ANSWER, {"key_id": "K"}, Secret("planted-of-a-person"))
    (path,) = set(service.desk.secrets.paths("inbox/")) - before
    return path


def test_what_lies_in_the_inbox_and_no_ask_is_on_record_of_is_destroyed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ask could not be written; what waits for a rotator stays, however old it is."""

    def away(*_: Any) -> None:
        raise StoreUnavailable("database", "away on purpose")

    with home_with_a_key(tmp_path) as service:
        monkeypatch.setattr(service.rotations, "get", lambda _: None)
        waits = bring(service)
        with monkeypatch.context() as patch:
            patch.setattr(asks, "add", away)
            lost = bring(service)
        clear_inbox(service)
        assert is_there(service, lost), "it may be somebody's work in progress"
        with service.desk.database.write() as connection:
            connection.execute(t.SECRET_INTENTS.update().values(created_us=1))
            connection.execute(t.ROTATION_ASKS.update().values(created_us=1))
        service.secrets.tidy()
        assert is_there(service, lost), "a broker has no right to destroy there"
        clear_inbox(service)
        assert (is_there(service, lost), is_there(service, waits)) == (False, True)


def test_nothing_is_asked_whose_secret_was_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with home_with_a_key(tmp_path) as service:
        monkeypatch.setattr(service.rotations, "get", lambda _: None)
        real = service.desk.secrets.write

        def slow(path: str, *rest: Any) -> None:
            real(path, *rest)
            with service.desk.database.write() as connection:
                connection.execute(t.SECRET_INTENTS.update().values(created_us=1))
            clear_inbox(service)

        monkeypatch.setattr(service.desk.secrets, "write", slow)
        with pytest.raises(Conflict):
            service.rotations.ask("rot_1", Wish.ANSWER, {"key_id": "K"}, Secret("planted-of-a-person"))
        assert service.rotations.asked("rot_1") == ()
