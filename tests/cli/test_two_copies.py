"""Two copies of one home on one database and store: the second does not start, and who lost its seat does nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.db import meta
from broker.deeds import Deed
from broker.errors import StoreUnavailable, Withheld
from broker.gate import Mode
from broker.seat import DEAD_S, Place
from broker.service import Service
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from portcullis import seating
from portcullis.database_settings import DatabaseDocument
from portcullis.foundation import found, opened
from portcullis.settings import Home, SettingsError, open_home
from portcullis.vault_settings import VaultDocument
from tests.cli.started import GONE_S, READY_S, cli
from tests.services.postgres.server import PASSWORD, PostgresServer
from tests.services.vault.server import VaultServer

FACTS = KeyFacts(True, True, False, False, True, "42")
KEY = Credential("REAL", Secret("planted-real-secret"), KeyType.HMAC)


@pytest.fixture(params=["postgres", "vault", "postgres and vault"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    vault, database = None, None
    mount = request.getfixturevalue("mount") if "vault" in request.param else "seat-" + os.urandom(4).hex()
    if "vault" in request.param:
        server: VaultServer = request.getfixturevalue("vault")
        token = str(request.getfixturevalue("root_token"))
        vault = VaultDocument.model_validate(
            {"addresses": [server.address], "mount": mount, "auth": {"method": "token", "file": token}}
        )
    if "postgres" in request.param:
        postgres: PostgresServer = request.getfixturevalue("postgres_server")
        postgres.database(mount)
        (tmp_path / "password").write_text(PASSWORD)
        database = DatabaseDocument.model_validate(
            {"hosts": [f"127.0.0.1:{postgres.port}"], "database": mount, "ssl_mode": "disable",
             "password_file": str(tmp_path / "password"), "single_node": True}
        )  # fmt: skip
    made = found(
        tmp_path / "home",
        Environment.PAPER,
        "solo",
        api_port=0,
        gateway_port=0,
        vault=vault,
        database=database,
    ).home
    with opened(made) as service:
        service.accounts.create("main", venue="binance", upstream="http://127.0.0.1:1")
    return made


def copy(home: Home) -> Home:
    there = home.root.with_name("copy")
    shutil.copytree(home.root, there, ignore=shutil.ignore_patterns("*.sock"))
    return open_home(there)


def beat(service: Service) -> None:
    """Keep the seat, as the heartbeat and upkeep do."""
    service.continuity.beat()
    service.mirror.merge()


@contextmanager
def beating(service: Service) -> Iterator[None]:
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            beat(service)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def imported(service: Service) -> None:
    service.keys.import_key("main", slot=Slot.TRADE, credential=KEY, facts=FACTS)


def test_a_second_copy_does_not_start_beside_one_that_lives(home: Home) -> None:
    with opened(home) as first:
        seating.take(home, first)
        beat(first)
        other = copy(home)
        with beating(first), opened(other) as second:
            with pytest.raises(SettingsError) as refused:
                seating.take(other, second)
            assert str(home.root) in str(refused.value), "what runs where"
            assert f"process {os.getpid()}" in str(refused.value)
            assert "end it there" in str(refused.value)
            with pytest.raises(Withheld):
                imported(second)
        beat(first)
        imported(first)


def test_who_did_not_end_in_order_is_watched_and_then_replaced_and_does_nothing_when_it_wakes(
    home: Home,
) -> None:
    """A paused host: its successor holds a higher seat, and what it had begun is refused in its own transaction."""
    with opened(home) as first:
        seating.take(home, first)
        beat(first)
        other = copy(home)
        now_s = [0.0]
        pauses: list[float] = []

        def pause(_: float) -> None:
            pauses.append(now_s[0])
            now_s[0] += 1.0

        with opened(other) as second:
            seating.take(other, second, pause, lambda: now_s[0])
            assert DEAD_S <= len(pauses) <= DEAD_S + 3
            assert second.desk.guard.seating.number == 2
            if not first.desk.guard.sits_in_store:
                with pytest.raises(Withheld):
                    first.continuity.beat()
            with pytest.raises(Withheld):
                imported(first)
            first.mirror.merge()
            assert not first.mirror.serves
            assert "runs this home" in first.mirror.superseded
            cut, _ = first.cuts.close(targets=("everything",), mode=Mode.CLOSED, reason="leak", actor="me")
            assert cut.on_record, "a cut goes from wherever somebody makes it"
            beat(second)
            if home.database is not None and home.vault is not None:
                imported(second)
                return
            with pytest.raises(Withheld, match="reconcile"):
                imported(second)  # a store of it is a copy: what happened since is not in it


def test_one_that_ended_in_order_and_one_of_the_same_place_are_followed_at_once(home: Home) -> None:
    def refuses(_: float) -> None:
        raise AssertionError("nobody is watched")

    for ends in (False, True):
        with opened(home) as first:
            seating.take(home, first, refuses)
            beat(first)
            if ends:
                seating.leave(first)
    other = copy(home)
    with opened(other) as second:
        seating.take(other, second, refuses)


def test_the_rotator_works_under_the_seat_of_who_started_it(home: Home) -> None:
    with opened(home) as first, opened(home) as rotator:
        seating.take(home, first)
        beat(first)
        seating.look_at(home, rotator, first.desk.guard.seating.number)
        imported(rotator)
        seating.look_at(home, rotator, 7)
        with pytest.raises(Withheld):
            rotator.desk.guard.ensure(Deed.DELETE)
        seating.leave(first)
        seating.take(home, first)
        seating.look_at(home, rotator, 1)
        with pytest.raises(Withheld):
            rotator.desk.guard.ensure(Deed.DELETE)


def test_a_vault_that_is_away_keeps_no_start_and_nothing_is_done_before_it_answers(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    if home.vault is None:
        return

    def away(*_: object) -> None:
        raise StoreUnavailable("vault_unreachable", "away on purpose")

    with opened(home) as first:
        with monkeypatch.context() as patched:
            patched.setattr(type(first.desk.secrets.mirror), "change", away)
            seating.take(home, first)
            first.continuity.beat()
            with pytest.raises((StoreUnavailable, Withheld)):
                imported(first)
        beat(first)
        imported(first)


@pytest.fixture
def embedded(tmp_path: Path) -> Home:
    return found(tmp_path / "home", Environment.PAPER, "solo", api_port=0, gateway_port=0).home


def test_a_copy_of_an_embedded_home_is_closed_until_it_was_compared(embedded: Home) -> None:
    """Nothing is shared with its original, which may run on: it is as good as a backup."""
    with opened(embedded) as first:
        seating.take(embedded, first)
        first.accounts.create("main", venue="binance", upstream="http://127.0.0.1:1")
        imported(first)
        assert not first.cuts.list(open_only=True).items
    for left in (False, True):
        other = copy(embedded)
        with opened(other) as second:
            seating.take(other, second)
            (cut,) = second.cuts.list(open_only=True).items
            assert "copied" in cut.reason
            with pytest.raises(Withheld, match="reconcile"):
                second.rotations.start("main", Slot.TRADE)
        with opened(other) as again:
            seating.take(other, again)
            assert len(again.cuts.list(open_only=True).items) == 1, "it is closed once"
        shutil.rmtree(other.root)
        with opened(embedded) as first:
            seating.take(embedded, first)
            assert not first.cuts.list(open_only=True).items, "where it was it is not closed"
            if not left:
                seating.leave(first)


def test_another_boot_or_an_unknown_machine_is_no_other_place(
    embedded: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = seating.place_of(embedded)
    for place, closes in (
        (where, False), (Place(where.machine, "another boot", where.file), False), (Place("", "", where.file), False),
        (Place("m1", "b", where.file), False), (Place("m2", "b", where.file), True),
    ):  # fmt: skip
        monkeypatch.setattr(seating, "place_of", lambda _, place=place: place)
        with opened(embedded) as service:
            seating.take(embedded, service)
            assert bool(service.cuts.list(open_only=True).items) is closes, place


@pytest.mark.process
@pytest.mark.parametrize("home", ["postgres"], indirect=True)
def test_the_second_run_ends_with_a_sentence_and_the_first_serves_on(home: Home, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "portcullis", "run", "--json", "--home"]
    with (tmp_path / "first.log").open("w") as log:
        first = subprocess.Popen([*command, str(home.root)], stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert first.stdout is not None
            assert json.loads(first.stdout.readline())
            other = copy(home)
            (other.root / "run.json").unlink(missing_ok=True)
            second = subprocess.run(
                [*command, str(other.root)], capture_output=True, text=True, timeout=READY_S, check=False
            )
            assert second.returncode != 0
            told = second.stdout + second.stderr
            assert "runs this home" in told
            assert "planted" not in told
            assert cli(home.root, "status", "--json").returncode == 0
            first.send_signal(signal.SIGTERM)
            assert first.wait(GONE_S) == 0
        finally:
            first.kill()
            first.wait(GONE_S)
            if first.stdout is not None:
                first.stdout.close()
    with opened(other) as after, after.desk.database.read() as connection:
        assert json.loads(meta.get(connection, "seat") or "")["left"] is True
