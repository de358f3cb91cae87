"""What is slow at a destination holds no worker of the rotator: errands have threads of their own."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from broker.model import Stage
from clients.outbound import LOOPBACK
from clients.secret import Secret
from clients.venue import Slot
from rotation.alerts.sending import Message, by_apprise
from rotation.destinations import errands
from rotation.destinations.delivery import Deliveries
from rotation.destinations.errands import Errands, Found
from rotation.destinations.files import FilePlace
from tests.rotation.alerting import home_with_a_key
from tests.rotation.place import Unfenced, running_place
from tests.rotation.test_destinations import SIGNING
from tests.strangers import FINITE, KINDS, ends, stranger

PATIENCE_S = 60


@contextmanager
def hung() -> Iterator[threading.Event]:
    """Give something to hang on, and let it go in the end."""
    free = threading.Event()
    try:
        yield free
    finally:
        free.set()


def test_a_hanging_destination_is_asked_once_and_keeps_nobody() -> None:
    """Who begins gets away at once; a second call waits for the first one's end, and finds what it is about."""
    work = Errands()
    with hung() as free:
        assert work.begin("hook", "webhook", 1, lambda: Found(free.wait(PATIENCE_S))) == ""
        assert work.collect("hook", 1) is None
        assert "still on its way" in work.begin("hook", "webhook", 2, lambda: Found(delivered=False))
        assert work.begin("other", "webhook", 1, lambda: Found(delivered=True)) == ""
        assert work.collect("other", 1, PATIENCE_S) == Found(delivered=True)
        free.set()
        assert work.collect("hook", 2, 0.01) is None, "it was about something else"
        assert work.collect("hook", 1, PATIENCE_S) == Found(delivered=True)
        assert work.collect("hook", 1) is None, "it is told once"


def test_kinds_take_no_room_from_each_other_and_none_waits_in_a_queue() -> None:
    """Sixteen hanging webhooks keep the seventeenth away, and no file."""
    work = Errands()
    with hung() as free:
        for number in range(16):
            assert work.begin(f"hook-{number}", "webhook", 1, lambda: Found(free.wait(PATIENCE_S))) == ""
        assert "its turn comes" in work.begin("one-more", "webhook", 1, lambda: Found(delivered=True))
        assert work.begin("file", "dotenv", 1, lambda: Found(delivered=True)) == ""
        assert work.collect("file", 1, PATIENCE_S) == Found(delivered=True)


def test_what_was_found_long_ago_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be true no more."""
    work = Errands()
    work.begin("hook", "webhook", 1, lambda: Found(delivered=True))
    work._by_place["hook"].done.wait(PATIENCE_S)
    monkeypatch.setattr(errands, "_KEPT_S", -1)
    assert work.collect("hook", 1) is None
    assert not work.is_on_its_way("hook", 1)


@pytest.mark.sockets
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("errands_hang")
async def test_eight_endless_webhooks_hold_no_worker_and_no_other_destination(
    tmp_path: Path, kind: str
) -> None:
    """A step with all of them is over in moments, and the file beside them has its key; none is called confirmed."""
    async with running_place(tmp_path) as here:
        service = here.world.service
        with ExitStack() as stack:
            path = tmp_path / "zz.env"
            for number in range(8):
                one = stack.enter_context(stranger(kind))
                service.destinations.create(
                    f"hook-{number}", account="main", slot=Slot.TRADE, kind="webhook", settings={"url": one.url},
                    secret=Secret(SIGNING),
                )  # fmt: skip
            service.destinations.create(
                "zz", account="main", slot=Slot.TRADE, kind="dotenv",
                settings={"path": str(path), "key_id": "API_KEY", "secret": "API_SECRET"},
            )  # fmt: skip
            deliveries = Deliveries(service, service.desk.clock.now_us)
            (current,) = [one for one in service.keys.list("main") if one.stage is Stage.CURRENT]
            fence = Unfenced(service.desk.database, "rot_1", 1)
            began_us = service.desk.clock.now_us()
            waited = str(ends(lambda: deliveries.bring(fence, current, venue="binance")))
            took_us = service.desk.clock.now_us() - began_us
            assert took_us < 10_000_000, "ten seconds is what one of them alone may take"
            for _ in range(600):
                if "zz" not in waited:
                    break
                waited = deliveries.bring(fence, current, venue="binance")
            assert current.venue_key_id in path.read_text()
            assert all(f"hook-{number}: " in waited for number in range(8))


@pytest.mark.sockets
@pytest.mark.parametrize("kind", [*KINDS, *FINITE])
def test_a_channel_that_never_ends_is_not_taken(kind: str) -> None:
    """Apprise waits for each byte, follows redirects, and unpacks what comes: it does that in a process that ends."""
    said = Message("title", [("body", "")])
    with stranger(kind) as here:
        found = ends(lambda: by_apprise(f"json://127.0.0.1:{here.port}/", said, LOOPBACK, 2.0))
        assert found.fault is not None
        assert here.asked <= 40
        assert here.sent < 64 * 2**20


def test_a_disk_that_hangs_holds_no_start_and_the_others_are_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a crash left beside a file is looked for as a rotator starts: one hung mount stopped all of its work."""
    with home_with_a_key(tmp_path) as service, hung() as free:
        for name in ("a-hangs", *(f"b-{number:02}" for number in range(20))):
            (tmp_path / name).mkdir()
            (tmp_path / name / ".env").write_text("API_KEY=x\nAPI_SECRET=y\n")
            where = {"path": str(tmp_path / name / ".env"), "key_id": "API_KEY", "secret": "API_SECRET"}
            service.destinations.create(name, account="main", slot=Slot.TRADE, kind="dotenv", settings=where)

        def clean(self: FilePlace) -> bool:
            return free.wait(PATIENCE_S) if "a-hangs" in self._settings.path else True

        monkeypatch.setattr(FilePlace, "clean", clean)
        work = Deliveries(service, service.desk.clock.now_us)
        assert ends(lambda: work.clean(5.0), 2 * PATIENCE_S) == (20, ("a-hangs",))
        assert "still on its way" in work._errands.full("a-hangs", "dotenv"), (
            "nothing is brought there meanwhile"
        )
