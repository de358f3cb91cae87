"""A thaw that the database did not take is none, in the secret store's mirror too: a cut that holds is in both.

"NOTHING was opened, it holds" was true until the database was put back to before the cut: the mirror had it as thawed.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from broker import gate_document
from broker.db.turns import Urgency
from broker.errors import BrokerError, StoreUnavailable, Withheld
from broker.gate import Mode
from broker.service.host_guard import HostGuard
from tests.broker.test_put_back import Life, copied, found

SAFE = {"reason": "safe", "actor": "me"}
Patch = pytest.MonkeyPatch
PATIENCE_S = 60.0


def cut_of(life: Life) -> str:
    cut, _ = life.service.cuts.close(targets=("consumer:bot",), mode=Mode.CLOSED, reason="leak", actor="me")
    life.service.mirror.merge()
    return cut.id


def thawed_there(life: Life, cut: str) -> bool:
    document = life.secrets.mirror.read(cut)
    assert document is not None
    return gate_document.load(cut, document).thawed_us is not None


def in_force(life: Life, cut: str) -> bool:
    return cut in {one.id for one in life.service.cuts.list(open_only=True).items}


def busy(life: Life, patch: Patch) -> None:
    real = life.database.write

    def write(how: Any = None, **more: Any) -> Any:
        if how is Urgency.SAFETY:
            raise StoreUnavailable("store_busy", "planted")
        return real(how, **more)

    patch.setattr(life.database, "write", write)


def superseded(_: Life, patch: Patch) -> None:
    """Another host took its place after the guard was asked: who stood still in between opens nothing."""

    def fence(*_given: object) -> None:
        raise Withheld("superseded", "planted")

    patch.setattr(HostGuard, "fence", fence)


def killed(life: Life, patch: Patch) -> None:
    def write(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    patch.setattr(life.database, "write", write)
    patch.setattr(life.service.mirror, "_hold_on", lambda: None)


def lost(life: Life, patch: Patch) -> None:
    """The secret store wrote it, and its answer was lost."""
    mirror = type(life.secrets.mirror)
    real = mirror.change

    def change(self: Any, *given: Any) -> None:
        real(self, *given)
        if given[0].startswith("cut_"):
            raise StoreUnavailable("timeout", "planted")

    patch.setattr(mirror, "change", change)


@pytest.mark.parametrize("fails", [busy, superseded, killed, lost])
def test_a_cut_whose_thaw_was_not_made_is_in_force_after_the_database_was_put_back_to_before_it(
    tmp_path: Path, monkeypatch: Patch, fails: Callable[[Life, Patch], None]
) -> None:
    found(tmp_path)
    with Life(tmp_path) as life:
        life.changes("bot")
    copied(tmp_path, tmp_path / "yesterday")
    with Life(tmp_path) as life:
        cut = cut_of(life)
        with monkeypatch.context() as patch:
            fails(life, patch)
            with pytest.raises((BrokerError, KeyboardInterrupt)):
                life.service.cuts.thaw(cut, **SAFE)
        assert in_force(life, cut)
        if fails is lost:
            life.service.mirror.merge()
    with Life(tmp_path) as life:
        assert in_force(life, cut)
        assert not thawed_there(life, cut)
    copied(tmp_path / "yesterday", tmp_path)
    with Life(tmp_path) as life:
        assert in_force(life, cut), "the secret store alone knows of it"


def test_it_is_taken_back_at_once_and_can_be_thawed_again(tmp_path: Path, monkeypatch: Patch) -> None:
    found(tmp_path)
    with Life(tmp_path) as life:
        life.changes("bot")
        cut = cut_of(life)
        with monkeypatch.context() as patch:
            busy(life, patch)
            with pytest.raises(StoreUnavailable):
                life.service.cuts.thaw(cut, **SAFE)
        assert not thawed_there(life, cut)
        life.service.cuts.thaw(cut, **SAFE)
        for _ in range(2):
            life.service.mirror.merge()
            assert (in_force(life, cut), thawed_there(life, cut)) == (False, True)
    with Life(tmp_path) as life:
        assert (in_force(life, cut), thawed_there(life, cut)) == (False, True)


@pytest.mark.parametrize("first", [False, True])
def test_nobody_closes_again_what_is_being_thawed(tmp_path: Path, monkeypatch: Patch, *, first: bool) -> None:
    """The mirror is merged between its word and the database's; also where it was never read whole before."""
    found(tmp_path)
    with Life(tmp_path) as life:
        life.changes("bot")
        cut = cut_of(life)
        mirror, real = life.service.mirror, life.database.write
        if first:
            mirror._was_read = False
            mirror._agreed.clear()

        @contextmanager
        def write(how: Any = None, **more: Any) -> Iterator[Any]:
            if how is Urgency.SAFETY and not merged:
                merged.append(True)
                mirror.merge()
            with real(how, **more) as connection:
                yield connection

        merged: list[bool] = []
        with monkeypatch.context() as patch:
            patch.setattr(life.database, "write", write)
            life.service.cuts.thaw(cut, **SAFE)
        assert merged
        mirror.merge()
        assert (in_force(life, cut), thawed_there(life, cut)) == (False, True)


def test_a_broker_that_ends_writes_down_every_cut_that_waits_for_the_secret_store(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    """The database takes nothing, and the store is slow: what was to be written next was dropped as it ended."""
    found(tmp_path)
    with Life(tmp_path) as life:
        life.changes("bot")
        mirror = type(life.secrets.mirror)
        real = mirror.change

        def change(self: Any, *given: Any) -> None:
            time.sleep(0.1)
            real(self, *given)

        def away(*_: object, **__: object) -> Any:
            raise StoreUnavailable("store_busy", "planted")

        monkeypatch.setattr(mirror, "change", change)
        monkeypatch.setattr(life.database, "write", away)
        closing = life.service.cuts.closing
        cuts = []
        for _ in range(3):
            made = closing.begin(targets=("consumer:bot",), mode=Mode.CLOSED, reason="leak", actor="me")
            closing.note(made)
            cuts.append(made.noted.id)
    monkeypatch.undo()
    with Life(tmp_path) as life:
        assert [in_force(life, cut) for cut in cuts] == [True, True, True]


@pytest.mark.parametrize("order", ["again while the secret store is away", "two at once"])
def test_of_two_thaws_that_were_not_made_each_is_taken_back(
    tmp_path: Path, monkeypatch: Patch, order: str
) -> None:
    """The mirror holds what the one wrote, and only when the other one was tried was remembered."""
    found(tmp_path)
    with Life(tmp_path) as life:
        life.changes("bot")
        cut, mirror = cut_of(life), life.service.mirror
        with monkeypatch.context() as patch:
            busy(life, patch)
            patch.setattr(mirror, "_hold_on", lambda: None)  # nor can the database be read
            if order == "two at once":  # the one that began later wrote earlier
                holds = mirror._holding(cut)
                assert holds is not None
                with suppress(StoreUnavailable), mirror.thawing(holds, 7):
                    with suppress(StoreUnavailable), mirror.thawing(holds, 5):
                        away()
                    away()
            else:
                with pytest.raises(StoreUnavailable):
                    life.service.cuts.thaw(cut, **SAFE)
                patch.setattr(mirror, "note", away)
                with pytest.raises(StoreUnavailable):
                    life.service.cuts.thaw(cut, **SAFE)
        assert thawed_there(life, cut)
        mirror.merge()
        assert (in_force(life, cut), thawed_there(life, cut)) == (True, False)


@pytest.mark.parametrize("merged", ["later", "before", "without a database"])
def test_a_cut_whose_thaw_was_not_made_before_it_was_on_record_holds_there_too(
    tmp_path: Path, monkeypatch: Patch, merged: str
) -> None:
    """The secret store wrote the thaw, and its answer was lost: it stays closed, as was answered, wherever it is."""
    found(tmp_path)
    with Life(tmp_path) as life:
        life.changes("bot")
        closing = life.service.cuts.closing
        with monkeypatch.context() as patch:
            busy(life, patch)
            made = closing.begin(targets=("consumer:bot",), mode=Mode.CLOSED, reason="leak", actor="me")
            cut = made.noted.id
            closing.note(made).result(PATIENCE_S)
            with monkeypatch.context() as inner:
                lost(life, inner)
                with pytest.raises(StoreUnavailable):
                    life.service.cuts.thaw(cut, **SAFE)
            assert thawed_there(life, cut)
            if merged == "before":
                life.service.mirror.merge()
                assert not thawed_there(life, cut)
            if merged == "without a database":
                with monkeypatch.context() as inner:
                    inner.setattr(life.database, "read", away)
                    with suppress(StoreUnavailable):
                        life.service.mirror.merge()
                assert not thawed_there(life, cut)
        assert made.settled.result(PATIENCE_S)
        life.service.mirror.merge()
        assert (in_force(life, cut), thawed_there(life, cut)) == (True, False)


def away(*_: object, **__: object) -> None:
    raise StoreUnavailable("timeout", "planted")
