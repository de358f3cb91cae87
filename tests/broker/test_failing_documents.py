"""One document of a cut that cannot be read or written keeps no other back, nor the start; deleted ones cost little."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.deeds import Deed
from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.service.host_guard import HISTORY, INSTANCE
from broker.service.rounds import SOME_PATHS
from portcullis.upkeep import Upkeep
from tests import places
from tests.broker.test_put_back import Life, found
from tests.broker.test_written_anew import BOT, OTHER, PANIC, in_force, mode, thaw, write
from tests.broker.test_written_anew import home as home  # noqa: PLC0414 - a fixture
from tests.broker.test_written_anew import merged as whole
from tests.services.vault.server import VaultServer

ODD, GOOD = replace(PANIC, id="a", scopes=(BOT,)), replace(PANIC, id="b", scopes=(OTHER,))


@pytest.fixture
def vaulted(tmp_path: Path, vault: VaultServer, mount: str) -> Path:
    """A home over a real Vault."""
    token = tmp_path / "token"
    token.write_text(vault.root)
    token.chmod(0o600)
    config = {"address": vault.address, "token_file": str(token), "mount": mount}
    (tmp_path / places.VAULT).write_text(json.dumps(config))
    found(tmp_path)
    with Life(tmp_path) as life:
        life.changes("bot")
        life.changes("other")
    return tmp_path


def gone(vault: VaultServer, mount: str, life: Life, name: str, how: str) -> None:
    kv, path = vault.client().secrets.kv.v2, f"{life.secrets.mirror._folder}/{name}"  # type: ignore[attr-defined]
    if "delete" in how:
        kv.delete_latest_version_of_secret(path, mount_point=mount)
    if "destroy" in how:
        last = kv.read_secret_metadata(path, mount_point=mount)["data"]["current_version"]
        kv.destroy_secret_versions(path, versions=[last], mount_point=mount)


def close(life: Life) -> str:
    cut, _ = life.service.cuts.close(targets=(BOT,), mode=Mode.CLOSED, reason="leak", actor="me")
    return cut.id


@pytest.mark.parametrize("how", ["delete", "destroy", "delete, then destroy"])
def test_a_document_that_is_gone_in_vault_is_written_again_and_its_cut_thawed(
    vaulted: Path, vault: VaultServer, mount: str, how: str
) -> None:
    with Life(vaulted) as life:
        cut = close(life)
        whole(life)
        gone(vault, mount, life, cut, how)
        whole(life)
        whole(life)
        assert life.secrets.mirror.read(cut) is not None
        write(life, PANIC)
        whole(life)
        assert {one[0] for one in in_force(life)} == {cut, PANIC.id}
        thaw(life, cut)
        thaw(life)
        whole(life)
        assert in_force(life) == []


@pytest.mark.parametrize("how", ["delete", "destroy"])
def test_a_start_over_a_document_that_is_gone_in_vault_serves(
    vaulted: Path, vault: VaultServer, mount: str, how: str
) -> None:
    with Life(vaulted) as life:
        cut = close(life)
        whole(life)
        gone(vault, mount, life, cut, how)
    with Life(vaulted) as life:
        assert life.service.mirror.serves
        assert life.service.desk.guard.allows(Deed.LEASE) is None
        assert mode(life, BOT) is Mode.CLOSED
        thaw(life, cut)
    with Life(vaulted) as life:
        assert in_force(life) == []


@pytest.mark.parametrize("how", ["delete", "destroy"])
@pytest.mark.parametrize("name", [INSTANCE, HISTORY])
def test_what_says_whose_the_store_is_and_how_far_it_came_is_written_again_too(
    vaulted: Path, vault: VaultServer, mount: str, name: str, how: str
) -> None:
    with Life(vaulted) as life:
        cut = close(life)
        whole(life)
        gone(vault, mount, life, name, how)
        whole(life)
        assert life.secrets.mirror.read(name) is not None
        assert bool(life.service.mirror.put_back()) == (name == HISTORY), "a mark that is gone is told"
        assert mode(life, BOT) is Mode.CLOSED
        thaw(life, cut)


def ill(life: Life, monkeypatch: pytest.MonkeyPatch, does: str, bad: Callable[[str], bool]) -> None:
    mirror = type(life.secrets.mirror)
    real = getattr(mirror, does)

    def fails(self: Any, name: str, *more: Any) -> Any:
        if bad(name):
            raise StoreUnavailable("vault_busy", "planted")
        return real(self, name, *more)

    monkeypatch.setattr(mirror, does, fails)


def serves(life: Life) -> bool:
    return life.service.mirror.serves


@contextmanager
def told(name: str) -> Iterator[None]:
    with pytest.raises(StoreUnavailable, match="planted") as fault:
        yield
    assert (fault.value.reason, f"gates/'{name}'" in str(fault.value)) == (SOME_PATHS, True)


@pytest.mark.parametrize("does", [("read", "change"), ("change",)], ids=["to be read", "to be written"])
def test_one_that_fails_keeps_neither_the_others_back_nor_a_start_and_its_cut_holds(
    home: Path, monkeypatch: pytest.MonkeyPatch, does: tuple[str, ...]
) -> None:
    with Life(home) as life:
        cut = close(life)
    life = Life(home)
    try:
        for one in does:
            ill(life, monkeypatch, one, cut.__eq__)
        if "read" not in does:
            monkeypatch.setattr(type(life.secrets.mirror), "names", lambda _: (GOOD.id,))  # it is gone there
        write(life, GOOD, GOOD.id)
        with told(cut):
            life.service.mirror.merge()
        assert (mode(life, BOT), mode(life, OTHER)) == (Mode.CLOSED, Mode.CLOSED)
        assert life.service.mirror.serves
        upkeep = Upkeep(life.service)
        upkeep._keep_store()
        said = {one.subject: one.what for one in upkeep.hazards()}
        assert cut in said["cut documents"]
        assert "secret store" not in said
        monkeypatch.undo()
        upkeep._keep_store()
        assert "cut documents" not in {one.subject for one in upkeep.hazards()}
    finally:
        life.__exit__()


def test_nobody_is_served_by_a_start_before_what_is_on_no_record_was_read(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Life(home)
    try:
        write(life, ODD, ODD.id)
        write(life, GOOD, GOOD.id)
        ill(life, monkeypatch, "read", ODD.id.__eq__)
        with told(ODD.id):
            life.service.mirror.merge()
        assert mode(life, OTHER) is Mode.CLOSED, "the others are in force"
        assert not serves(life)
        monkeypatch.undo()
        whole(life)
        assert serves(life)
        assert mode(life, BOT) is Mode.CLOSED
    finally:
        life.__exit__()


def test_a_store_that_answers_nothing_is_away(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(home)
    try:
        ill(life, monkeypatch, "read", lambda _: True)
        with pytest.raises(StoreUnavailable) as fault:
            life.service.mirror.merge()
        assert fault.value.reason == "vault_busy"
        assert not life.service.mirror.serves
    finally:
        life.__exit__()


# --- what was deleted and is still listed ---------------------------------------------------------


def test_what_was_deleted_is_read_within_a_bound_and_in_turn(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Life(home) as life:
        mirror, clock = type(life.secrets.mirror), life.service.desk.clock
        names, read, boot_us = mirror.names, mirror.read, clock.boot_us
        deleted = {f"cut_{number:020x}" for number in range(50)}
        asked, later = Counter[str](), [0]

        def slow(self: Any, name: str) -> str | None:
            if name not in deleted:
                return read(self, name)
            asked[name] += 1
            later[0] += 100_000
            return None

        monkeypatch.setattr(mirror, "names", lambda self: tuple(sorted({*names(self), *deleted})))
        monkeypatch.setattr(mirror, "read", slow)
        monkeypatch.setattr(clock, "boot_us", lambda: boot_us() + later[0])
        whole(life)
        asked.clear()
        whole(life)
        assert 5 <= asked.total() <= 11
        for _ in range(9):
            whole(life)
        assert set(asked) == deleted
        last = max(deleted)
        deleted.remove(last)
        write(life, replace(PANIC, id=last), last)
        for _ in range(10):
            whole(life)
        assert [one[0] for one in in_force(life)] == [last]


def test_few_that_were_deleted_are_looked_at_in_each_round(home: Path) -> None:
    with Life(home) as life:
        listed = life.secrets.mirror.names
        life.secrets.mirror.names = lambda: tuple(sorted({*listed(), PANIC.id}))  # type: ignore[method-assign]
        whole(life)
        write(life, PANIC)
        whole(life)
        assert mode(life, BOT) is Mode.OPEN
        assert mode(life, "everything") is Mode.CLOSED
