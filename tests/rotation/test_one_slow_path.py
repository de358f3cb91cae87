"""Paths of the secret store that fail starve no other, and are no store that is away while it answers."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.db import intents
from broker.db import rotations as rotation_store
from broker.errors import NotFound, StoreUnavailable
from broker.model import KeyRef, Stage
from broker.service import Service
from broker.service.rounds import SOME_PATHS
from clients.secret import Secret
from clients.venue import Slot
from portcullis.upkeep import Upkeep
from rotation.burial import Burial
from tests.rotation.alerting import home_with_a_key

PATHS = [f"virtual/{number}/k" for number in range(5)]
SLOW_US = 8_000_000


@dataclass
class Ill:
    """A store that takes long to fail at some paths, by a clock of its own."""

    service: Service
    real: Callable[[str], None]
    mirrored: Callable[[str], str | None]
    slow: set[str] = field(default_factory=set)
    quick: set[str] = field(default_factory=set)
    away: bool = False
    waited_us: int = 0
    tried: list[str] = field(default_factory=list)

    def destroy(self, path: str) -> None:
        self.tried.append(path)
        if path in self.slow:
            self.waited_us += SLOW_US
        if path in self.slow | self.quick:
            raise StoreUnavailable("vault_failed", "failed on purpose")
        self.real(path)

    def look(self, name: str) -> str | None:
        if self.away:
            raise StoreUnavailable("vault_unreachable", "cannot be reached")
        return self.mirrored(name)

    def left(self) -> set[str]:
        return {path for path in PATHS if self._is_there(path)}

    def _is_there(self, path: str) -> bool:
        try:
            self.service.desk.secrets.read(path)
        except NotFound:
            return False
        return True


@pytest.fixture
def ill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ill]:
    with home_with_a_key(tmp_path) as service:
        service.mirror.merge()
        for path in PATHS:
            service.desk.secrets.write(path, {"secret": Secret("planted")}, {})
            with service.desk.database.write() as connection:
                intents.add(connection, path, 1)
        one = Ill(service, service.desk.secrets.destroy, service.desk.secrets.mirror.read)
        boot_us = service.desk.clock.boot_us
        monkeypatch.setattr(type(service.desk.clock), "boot_us", lambda _: boot_us() + one.waited_us)
        monkeypatch.setattr(service.desk.secrets, "destroy", one.destroy)
        monkeypatch.setattr(service.desk.secrets.mirror, "read", one.look)
        yield one


def told(upkeep: Upkeep) -> dict[str, str]:
    return {
        one.subject: one.what for one in upkeep.hazards() if one.subject in {"secret store", "secret left"}
    }


@pytest.mark.parametrize("at", [0, 2, 4])
def test_what_nobody_was_given_is_destroyed_beside_one_path_that_hangs(ill: Ill, at: int) -> None:
    ill.slow = {PATHS[at]}
    upkeep = Upkeep(ill.service)
    for _ in range(3):
        upkeep._keep_store()
        said = told(upkeep)
        assert list(said) == ["secret left"], "the store is there"
        assert PATHS[at] in said["secret left"]
    assert ill.left() == ill.slow
    assert ill.tried.count(PATHS[at]) == 3, "it is tried in each round, and waited for once in each"
    ill.slow = set()
    upkeep._keep_store()
    assert told(upkeep) == {}
    assert ill.left() == set()


def test_several_paths_that_hang_starve_no_other(ill: Ill) -> None:
    ill.slow = {PATHS[0], PATHS[1], PATHS[3]}
    for _ in range(4):
        with suppress(StoreUnavailable):
            ill.service.secrets.tidy()
    assert ill.left() == ill.slow
    assert ill.slow <= set(ill.tried)


@pytest.mark.parametrize("slow", [True, False], ids=["slowly", "at once"])
def test_several_that_fail_are_told_by_their_names_while_the_store_answers(ill: Ill, *, slow: bool) -> None:
    """They were told as a store that is away, with the bots that wait for it: it had answered that very moment."""
    (ill.slow if slow else ill.quick).update(PATHS[1:4])
    upkeep = Upkeep(ill.service)
    for _ in range(4):
        upkeep._keep_store()
        assert list(told(upkeep)) == ["secret left"]
    assert [path in told(upkeep)["secret left"] for path in PATHS] == [False, True, True, True, False]
    assert ill.left() == set(PATHS[1:4])


def test_all_that_fail_are_told_by_their_names_and_not_without_end(ill: Ill) -> None:
    ill.quick = set(PATHS) | {f"virtual/{number}/x" for number in range(90)}
    for path in ill.quick - set(PATHS):
        with ill.service.desk.database.write() as connection:
            intents.add(connection, path, 1)
    upkeep = Upkeep(ill.service)
    upkeep._keep_store()
    (said,) = told(upkeep).items()
    assert said[0] == "secret left"
    assert "and 90 more cannot be cleared away" in said[1]
    assert len(said[1]) < 500


def test_a_store_that_answers_nothing_else_either_is_away(ill: Ill) -> None:
    """It went away between what came before and this: the first path that fails says so."""
    ill.slow = set(PATHS)
    upkeep = Upkeep(ill.service)

    def leaves(path: str) -> None:
        ill.away = True
        ill.destroy(path)

    ill.service.desk.secrets.destroy = leaves  # type: ignore[method-assign]
    for number in range(len(PATHS) + 1):
        ill.away = False
        upkeep._keep_store()
        assert list(told(upkeep)) == ["secret store"]
        assert len(ill.tried) == number + 1, "each is waited for once, one in a round"
    assert ill.tried == [*PATHS, PATHS[0]]
    ill.slow, ill.away = {PATHS[0]}, False
    ill.service.desk.secrets.destroy = ill.destroy  # type: ignore[method-assign]
    upkeep._keep_store()
    assert list(told(upkeep)) == ["secret left"], "it is back, and one path of it is ill"


@pytest.mark.parametrize("slow", [True, False])
def test_one_path_that_fails_keeps_nothing_of_the_upkeep_back(
    ill: Ill, slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it fails at once: that the store was put back was not told for as long as it did."""
    (ill.slow if slow else ill.quick).add(PATHS[0])
    monkeypatch.setattr(ill.service.mirror, "put_back", lambda: "back_1")
    upkeep = Upkeep(ill.service)
    upkeep._keep_store()
    assert "store put back" in {one.subject for one in upkeep.hazards()}
    assert "secret store" not in told(upkeep)


def test_what_a_rotation_left_is_cleared_away_beside_one_path_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_us = [0]
    refs = [KeyRef("main", Slot.TRADE, number) for number in (1, 2, 3)]
    keys = [SimpleNamespace(ref=ref, stage=Stage.PENDING, venue_key_id="") for ref in refs]
    desk = SimpleNamespace(
        guard=SimpleNamespace(allows=lambda _: None), database=SimpleNamespace(read=nullcontext),
        clock=SimpleNamespace(boot_us=lambda: now_us[0]),
        secrets=SimpleNamespace(mirror=SimpleNamespace(read=lambda _: None)),
    )  # fmt: skip
    given_up = SimpleNamespace(held="", state="abandoned")
    monkeypatch.setattr(rotation_store, "making", lambda *_: given_up)
    reach: Any = SimpleNamespace(desk=desk, service=SimpleNamespace(keys=SimpleNamespace(list=lambda: keys)))
    work = Burial(reach)

    def clear(ref: KeyRef) -> None:
        if ref == refs[0]:
            now_us[0] += SLOW_US
            raise StoreUnavailable("vault_failed", "failed on purpose")
        next(key for key in keys if key.ref == ref).stage = Stage.TOMBSTONE

    monkeypatch.setattr(work, "clear", clear)
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as fault:
            work.clear_up()
    assert [key.stage for key in keys] == [Stage.PENDING, Stage.TOMBSTONE, Stage.TOMBSTONE]
    assert (fault.value.reason, refs[0].path in str(fault.value)) == (SOME_PATHS, True)
