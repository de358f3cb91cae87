"""A home that is copied, used on and put back over its own place starts closed: the machine knows how far it had come."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.db import meta
from broker.deeds import Deed
from broker.errors import StoreUnavailable, Withheld
from broker.gate import Mode
from broker.seat import Place
from broker.service import Service
from broker.service.reconcile import RESTORED, RESTORED_KEYS
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from portcullis import run, seating
from portcullis.foundation import found, opened
from portcullis.settings import Home, SettingsError, open_home
from portcullis.witness import Witness
from tests.cli.started import cli, cli_json, cut_off, running_demo
from tests.paper.harness import running_paper

FACTS = KeyFacts(True, True, False, False, True, "42")
CLOSED = "portcullis"


def a_key(name: str) -> Credential:
    return Credential(name, Secret(f"planted-real-secret-{name}"), KeyType.HMAC)


def imported(service: Service, name: str = "REAL") -> None:
    service.keys.import_key("main", slot=Slot.TRADE, credential=a_key(name), facts=FACTS)


def cut(service: Service) -> None:
    made, _ = service.cuts.close(
        targets=("account:main",), mode=Mode.CLOSED, reason="it loses money", actor="me"
    )
    assert made.on_record


def thawed(service: Service) -> None:
    made, _ = service.cuts.close(targets=("account:main",), mode=Mode.HALT, reason="a look", actor="me")
    service.cuts.thaw(made.id, reason="over", actor="me")


DEEDS: list[Callable[[Service], None]] = [
    cut,
    thawed,
    lambda service: imported(service, "NEXT"),  # the key in use is another one from then on
    lambda service: service.operators.end("leaver"),
]
NAMES = ["a cut", "a thaw", "another key", "an operator who left"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = found(
        tmp_path / "home",
        Environment.PAPER,
        "solo",
        api_port=0,
        gateway_port=0,
        operators=("owner", "leaver"),
    )
    with opened(made.home) as service:
        service.accounts.create("main", venue="binance", upstream="http://127.0.0.1:1")
        imported(service)
    return made.home


def copied(home: Home) -> Path:
    there = home.root.with_name("yesterday")
    shutil.rmtree(there, ignore_errors=True)
    subprocess.run(["cp", "-a", str(home.root), str(there)], check=True)
    return there


def put_back(home: Home, there: Path) -> None:
    """Put a copy back over the place of its original; the exchange is not put back."""
    for left in home.root.glob("*.db-*"):
        left.unlink()
    subprocess.run(["cp", "-a", f"{there}/.", str(home.root)], check=True)


@contextmanager
def at_work(home: Home, *, restored: bool = False) -> Iterator[Service]:
    """Work on a home as a broker does, from its start to its end in order."""
    with opened(home) as service:
        seating.take(home, service, restored=restored)
        service.continuity.beat()
        service.mirror.merge()
        yield service
        Witness(home, service, seating.place_of(home)).note()
        seating.leave(service)


def closings(service: Service) -> list[str]:
    return [one.reason for one in service.cuts.list(open_only=True).items if one.actor == CLOSED]


def written() -> list[Path]:
    return sorted((Path(os.environ["XDG_STATE_HOME"]) / "portcullis" / "homes").glob("*"))


@pytest.mark.parametrize("deed", DEEDS, ids=NAMES)
@pytest.mark.process
async def test_what_was_done_after_the_copy_was_made_closes_a_home_that_is_put_back(
    home: Home, deed: Callable[[Service], None]
) -> None:
    """From start to end of real brokers; the copy lies where its original did, on the same machine, in the same file."""
    async with running_paper() as paper:
        options = run.Options(api_port=0, gateway_port=0, paper_upstream=paper.base_url)
        async with run.running_broker(home, options):
            pass
        there, place = copied(home), seating.place_of(home)
        async with run.running_broker(home, options) as broker:
            assert not closings(broker.service), "where it was it is not closed"
            await asyncio.to_thread(deed, broker.service)
        put_back(home, there)
        assert seating.place_of(home) == place
        async with run.running_broker(home, options) as broker:
            (reason,) = closings(broker.service)
            assert "was put back" in reason
            assert "reconcile" in reason
            with pytest.raises(Withheld, match="reconcile"):
                await asyncio.to_thread(broker.service.desk.guard.ensure, Deed.MAKE)
            assert broker.authority.changes.gates["everything"].closers
        async with run.running_broker(home, options) as broker:
            assert len(closings(broker.service)) == 1, "it is closed once"


def test_a_home_is_opened_by_what_opens_a_restored_one_and_stays_so(home: Home) -> None:
    with at_work(home):
        pass
    there = copied(home)
    with at_work(home) as service:
        cut(service)
    put_back(home, there)
    with at_work(home) as service:
        found = service.reconciliation.look(
            lambda *_: FACTS, lambda *_: pytest.fail("no list"), confirmed=("main",), old_host_off=False
        )
        assert found.well, found.missing
        (made,) = service.cuts.list(open_only=True).items
        service.cuts.thaw(made.id, reason="compared", actor="me")
        service.desk.guard.ensure(Deed.MAKE)
    with at_work(home) as service:
        assert not closings(service)


def test_a_first_start_and_what_is_written_behind_close_nothing_and_no_secret_is_in_it(home: Home) -> None:
    assert not written(), "a home is founded without"
    with at_work(home) as service:
        assert not closings(service)
        (path,) = written()
        early = path.read_bytes()
        cut(service)
    assert path.read_bytes() != early, "a cut is written down"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    text = path.read_text()
    assert set(json.loads(text)) == {"home", "place", "mark"}
    for secret in ("planted", "REAL", home.operator_token.read_text().strip(), "loses money"):
        assert secret not in text
    path.write_bytes(early)  # ended by force between a commit and this
    with at_work(home) as service:
        assert not closings(service)


def test_copies_beside_each_other_do_not_close_each_other(home: Home) -> None:
    """Two homes of one id on one machine: each is known by its own place."""
    with at_work(home):
        pass
    other = open_home(copied(home))
    with at_work(other) as service:
        assert len(closings(service)) == 1, "a copy is told by its place, and once"
        cut(service)
    with at_work(home) as service:
        assert not closings(service)
        thawed(service)
    with at_work(other) as service:
        assert len(closings(service)) == 1
    assert len(written()) == 2


def test_a_home_that_was_made_anew_in_its_place_is_another(home: Home) -> None:
    with at_work(home) as service:
        cut(service)
    shutil.rmtree(home.root)
    anew = found(home.root, Environment.PAPER, "solo", api_port=0, gateway_port=0).home
    with at_work(anew) as service:
        assert not closings(service)


def test_a_machine_that_was_started_anew_knows_the_home_and_of_two_disks_the_right_one(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of a whole file system has the same files, and after a start of the machine other devices."""

    def lies(boot: str, device: str, disk: str) -> None:
        monkeypatch.setattr(seating, "place_of", lambda _: Place("machine", boot, "7", device, disk))

    lies("first", "50", "disk-1")
    with at_work(home):
        pass
    there = copied(home)
    other = open_home(there)
    lies("first", "51", "disk-2")
    with at_work(other) as service:
        assert closings(service)
        cut(service)
    lies("second", "52", "disk-1")
    with at_work(home) as service:
        assert not closings(service), "what the other one did says nothing here"
        cut(service)
    assert len(written()) == 2, "one for each place, whatever its device was called"
    lies("third", "53", "disk-1")
    put_back(home, there := copied(home))
    with at_work(home) as service:
        assert not closings(service)
        thawed(service)
    put_back(home, there)
    lies("fourth", "54", "disk-1")
    with at_work(home) as service:
        assert closings(service)


@pytest.mark.parametrize("odd", [b"", b"{", b"[]", b'{"place": {}, "mark": {}}', b"\xff\xfe", b"[" * 5000])
def test_what_cannot_be_read_tells_nothing_and_is_written_anew(home: Home, odd: bytes) -> None:
    with at_work(home):
        pass
    (path,) = written()
    good = path.read_bytes()
    path.write_bytes(odd)
    with at_work(home) as service:
        assert not closings(service)
    assert path.read_bytes() == good


def test_where_nothing_can_be_kept_it_is_said_and_everything_goes_on(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for place, said in (
        (tmp_path / "file", "cannot be written"),
        (home.root / ".state", "in the home itself"),
    ):
        monkeypatch.setenv("XDG_STATE_HOME", str(place))
        with opened(home) as service:
            seating.take(home, service)
            assert not closings(service)
            witness = Witness(home, service, seating.place_of(home))
            witness.start()
            cut(service)
            witness.end()
            assert said in witness.lacks
            (hazard,) = run._unwitnessed(witness)
            assert said in hazard.what
            assert "XDG_STATE_HOME" in hazard.step
    assert not (home.root / ".state").exists()
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("none")))
    with opened(home) as service:
        seating.take(home, service)
        assert "no home directory" in Witness(home, service, seating.place_of(home)).lacks


def test_a_record_that_cannot_be_closed_does_not_start(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with at_work(home):
        pass
    there = copied(home)
    with at_work(home) as service:
        cut(service)
    put_back(home, there)

    def full(*_: object) -> None:
        raise StoreUnavailable("disk_full", "planted")

    with opened(home) as service:
        monkeypatch.setattr(service.continuity, "begin", full)
        with pytest.raises(SettingsError, match="put back"):
            seating.take(home, service)
    with at_work(home) as service:
        assert closings(service), "it is told again"


def test_who_says_that_a_home_was_restored_has_it_closed_as_a_restored_one(home: Home) -> None:
    """A whole disk, or a virtual machine: nothing on the machine tells it."""
    with at_work(home):
        pass
    with at_work(home, restored=True) as service:
        (reason,) = closings(service)
        assert "--restored" in reason
        with pytest.raises(Withheld, match="reconcile"):
            service.rotations.start("main", Slot.TRADE)
        with service.desk.database.read() as connection:
            assert int(meta.get(connection, RESTORED) or 0)
            assert json.loads(meta.get(connection, RESTORED_KEYS) or "") == ["main/trade/1"]
        look = service.reconciliation.look
        ask, survey = (lambda *_: FACTS), (lambda *_: pytest.fail("no list"))
        found = look(ask, survey, confirmed=("main",), old_host_off=False)
        assert not found.well, "the one it is a copy of may run on"
        assert look(ask, survey, confirmed=("main",), old_host_off=True).well
    with at_work(home) as service:
        assert len(closings(service)) == 1


@pytest.mark.process
def test_the_demo_is_put_back_and_the_bot_that_was_cut_does_not_trade(tmp_path: Path) -> None:
    root, there, paper = tmp_path / "home", tmp_path / "yesterday", tmp_path / "paper"
    with running_demo(root, tmp_path / "errors") as demo:
        assert demo.order().status == 200
    subprocess.run(["cp", "-a", str(root), str(there)], check=True)
    with running_demo(root, tmp_path / "errors") as demo:
        cut_off(demo)
        assert demo.order().status == 401
    shutil.copytree(root / "paper", paper)
    put_back(open_home(root), there)
    shutil.rmtree(root / "paper")
    shutil.copytree(paper, root / "paper")
    with running_demo(root, tmp_path / "errors") as demo:
        demo.plays = ("was told, and is not on record",)  # that is what is played here
        assert demo.order().status == 401
        (one,) = cli_json(root, "cuts")["items"]
        assert one["targets"] == ["everything"]
        shown = " ".join(cli(root, "status").stdout.split())
        assert "was put back" in shown
        assert "reconcile" in shown
