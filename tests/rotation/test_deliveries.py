"""A rotation waits for who holds a key outside a gateway: through crashes, failures, roll-backs, and until waived."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.db import destinations as destination_store
from broker.errors import Conflict
from broker.gate import Mode
from broker.model import Stage
from broker.service.rotations import Wish
from clients.secret import Secret
from clients.venue import Slot
from rotation.asks import Asks
from rotation.decide import decide
from rotation.destinations import delivery, rounds
from rotation.destinations.files import FilePlace
from rotation.destinations.parcel import NotDelivered, Parcel
from rotation.journal import Journal
from rotation.runner import Runner
from rotation.state import Limits, RollBack
from rotation.venues import Venues
from tests.rotation.deaths import release, tell
from tests.rotation.place import POLLS, QUICK, Place, now, running_place, trading
from tests.rotation.test_destinations import SIGNING, Service, service

pytestmark = pytest.mark.sockets


def add_file(here: Place, directory: Path, name: str = "env") -> Path:
    path = directory / f"{name}.env"
    here.world.service.destinations.create(
        name, account="main", slot=Slot.TRADE, kind="dotenv",
        settings={"path": str(path), "key_id": "API_KEY", "secret": "API_SECRET"},
    )  # fmt: skip
    return path


def begun(here: Place, limits: Limits = QUICK) -> str:
    planned = replace(here.plan(), limits=limits)
    here.runner().journal.plan(planned)
    return planned.id


async def until(
    here: Place, rotation: str, condition: Callable[[], bool], runner: Runner | None = None, most: int = POLLS
) -> None:
    work = runner or here.runner()
    for _ in range(most):
        if condition():
            return
        await asyncio.to_thread(work.once)
        await asyncio.sleep(0.02)
    raise AssertionError(here.world.service.rotations.get(rotation))


async def test_a_file_that_was_written_over_before_the_old_key_goes_gets_the_new_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had said that it holds the new key; what manages it put the old one back while another was waited for."""
    monkeypatch.setattr(rounds, "_FRESH_US", 0)
    async with running_place(tmp_path) as here:
        path = add_file(here, tmp_path)
        (tmp_path / "there").mkdir()
        add_file(here, tmp_path / "there", "slow")
        (tmp_path / "there").rename(tmp_path / "away")
        rotation = begun(here)

        def confirmed() -> bool:
            with here.world.service.desk.database.read() as connection:
                return destination_store.delivery(connection, rotation, "env", 2).confirmed_us is not None

        await until(here, rotation, confirmed)
        fresh, old = path.read_text(), f"API_KEY={here.old_key}\nAPI_SECRET=old\n"
        path.write_text(old)
        (tmp_path / "away").rename(tmp_path / "there")
        await until(here, rotation, lambda: here.world.service.rotations.get(rotation).ended_at is not None)
        assert here.world.service.rotations.get(rotation).state == "done"
        assert path.read_text() == fresh


def state(here: Place, rotation: str) -> str:
    return here.world.service.rotations.get(rotation).state


def living(here: Place) -> set[str]:
    return {key.key_id for key in here.living()}


async def test_the_old_key_lives_until_a_file_has_the_new_one(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here, trading(here.bot) as answers:
        path = add_file(here, tmp_path)
        rotation = begun(here)
        await until(here, rotation, lambda: state(here, rotation) == "done")
        (fresh,) = here.living()
        assert f"API_KEY={fresh.key_id}" in path.read_text()
        (one,) = here.world.service.destinations.deliveries(rotation)
        assert one.confirmed_us is not None
        assert set(answers()) <= {(200, None)}


async def test_one_that_fails_keeps_the_old_key_alive_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_place(tmp_path) as here:
        monkeypatch.setattr(delivery, "_SHORTEST_US", 20_000)
        path = add_file(here, tmp_path)
        path.mkdir()  # nothing can be written there
        old, rotation = here.old_key, begun(here)
        await until(here, rotation, lambda: _tries(here, rotation) >= 3)
        assert state(here, rotation) == "draining"
        assert old in living(here)
        path.rmdir()
        await until(here, rotation, lambda: state(here, rotation) == "done")
        assert old not in living(here)


def _tries(here: Place, rotation: str) -> int:
    return max([one.tries for one in here.world.service.destinations.deliveries(rotation)], default=0)


async def test_past_its_deadline_it_stalls_and_a_waiver_lets_it_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_place(tmp_path) as here:
        monkeypatch.setattr(delivery, "_SHORTEST_US", 20_000)
        add_file(here, tmp_path).mkdir()
        old = here.old_key
        rotation = begun(here, replace(QUICK, drain_for=timedelta(seconds=1)))
        await until(here, rotation, lambda: state(here, rotation) == "stalled")
        known = here.world.service.rotations.get(rotation)
        assert known.runbook == "RB-09"
        assert " is a directory: name a file in it" in known.reason, known.reason
        assert old in living(here), "nothing dies while somebody may need it"
        asked = here.world.service.rotations.ask(
            rotation, Wish.WAIVE, {"destination": "env", "reason": "that tool is gone"}
        )
        desk = here.world.service
        work = Asks(desk, Venues(desk), Journal(desk.desk.database, desk.audit, "asks"), "asks", now)
        assert await asyncio.to_thread(work.once)
        assert desk.rotations.outcome(asked.id).outcome == ""
        await until(here, rotation, lambda: state(here, rotation) == "done")
        assert living(here) != {old}
        audit = [entry.entry.action for entry in desk.audit.list().items]
        assert "rotation.ask-waive" in audit


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("where", ["file", "webhook"])
@pytest.mark.parametrize("after", ["deliver", "confirm"])
async def test_a_crash_between_deliver_and_confirm_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, after: str
) -> None:
    with service() as hook:
        async with running_place(tmp_path) as here:
            path = add_file(here, tmp_path) if where == "file" else _add_hook(here, hook)
            rotation = begun(here)
            kind = FilePlace if where == "file" else delivery.WebhookPlace
            real = getattr(kind, after)

            def dying(self: object, parcel: Parcel) -> object:
                real(self, parcel)
                raise Killed

            monkeypatch.setattr(kind, after, dying)
            with pytest.raises(Killed):
                await until(here, rotation, lambda: False)
            monkeypatch.undo()
            assert state(here, rotation) == "draining"
            assert here.old_key in living(here)
            await until(here, rotation, lambda: state(here, rotation) == "done")
            (fresh,) = here.living()
            if path is not None:
                assert f"API_KEY={fresh.key_id}" in path.read_text()
            else:
                assert {one["key_id"] for one in hook.got} == {fresh.key_id}
                assert hook.wrong == []
            (current,) = [key for key in here.world.service.keys.list("main") if key.stage is Stage.CURRENT]
            assert current.venue_key_id == fresh.key_id


def _add_hook(here: Place, hook: Service) -> None:
    here.world.service.destinations.create(
        "hook",
        account="main",
        slot=Slot.TRADE,
        kind="webhook",
        settings={"url": hook.url},
        secret=Secret(SIGNING),
    )


async def test_a_rotation_that_is_taken_back_brings_the_old_key_back(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        path, old = add_file(here, tmp_path), here.old_key
        add_file(here, tmp_path, "slow").mkdir()  # keeps it draining
        rotation = begun(here)
        await until(here, rotation, lambda: path.exists() and old not in path.read_text())
        here.world.service.destinations.remove("slow")
        service_ = here.world.service
        claimed = here.runner().journal.claim_one(rotation, now())
        assert claimed is not None
        event = RollBack("it is slow")
        here.runner().journal.save(claimed, decide(claimed.rotation, event, now()), event, now())
        await until(here, rotation, lambda: state(here, rotation) == "abandoned")
        assert f"API_KEY={old}" in path.read_text()
        assert living(here) == {old}
        assert service_.rotations.get(rotation).reason == "it is slow"


async def test_a_person_confirms_a_tool_of_theirs_and_takes_its_key_once(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        desk = here.world.service
        desk.destinations.create(
            "tax-tool", account="main", slot=Slot.TRADE, kind="manual", settings={"what": "the tax tool"}
        )
        old, rotation = here.old_key, begun(here)
        await until(here, rotation, lambda: bool(desk.destinations.deliveries(rotation)))
        (one,) = desk.destinations.deliveries(rotation)
        assert "a person pastes main/trade/2 into the tax tool" in one.says
        assert (old in living(here), one.delivered_us) == (True, None)
        with pytest.raises(Conflict, match="main/trade/2 was shown to nobody") as caught:
            desk.destinations.confirm("tax-tool", rotation)
        assert "portcullis destination key tax-tool --reason rotation" in str(caught.value)
        out = desk.checkouts.paste("tax-tool", "rotation")
        assert out.key.ref.version == 2
        secret = out.take(out.look())
        assert secret is not None
        assert secret.reveal() not in repr(out)
        place, done = desk.destinations.confirm("tax-tool", rotation)
        assert (place.where, done.version, done.delivered_us is None) == ("the tax tool", 2, False)
        await until(here, rotation, lambda: state(here, rotation) == "done")
        assert out.key.venue_key_id in living(here)


async def test_a_secret_store_that_is_away_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_place(tmp_path) as here:
        monkeypatch.setattr(delivery, "_SHORTEST_US", 20_000)
        path, rotation = add_file(here, tmp_path), begun(here)
        real, times = FilePlace.deliver, []

        def failing(self: FilePlace, parcel: Parcel) -> None:
            times.append(time.monotonic())
            if len(times) < 3:
                raise NotDelivered("not now")
            real(self, parcel)

        monkeypatch.setattr(FilePlace, "deliver", failing)
        await until(here, rotation, lambda: state(here, rotation) == "done")
        assert len(times) == 3
        assert path.exists()


async def test_a_key_that_was_brought_and_not_written_down_is_taken_back_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rotator dies after it wrote the file and before it said so; then the rotation is taken back."""
    async with running_place(tmp_path) as here:
        path, old = add_file(here, tmp_path), here.old_key
        rotation = begun(here)
        deliver = FilePlace.deliver

        def dies(place: FilePlace, parcel: Parcel) -> None:
            deliver(place, parcel)
            raise Killed

        monkeypatch.setattr(FilePlace, "deliver", dies)
        with pytest.raises(Killed):
            await until(here, rotation, lambda: False)
        monkeypatch.setattr(FilePlace, "deliver", deliver)
        assert old not in path.read_text()
        release(here)
        await tell(here, rotation, RollBack("asked"))
        await until(here, rotation, lambda: state(here, rotation) == "abandoned")
        assert f"API_KEY={old}" in path.read_text()
        assert living(here) == {old}


@pytest.mark.parametrize("mode", [Mode.CLOSED, Mode.HALT])
async def test_no_key_is_brought_past_a_cut(tmp_path: Path, mode: Mode) -> None:
    async with running_place(tmp_path) as here:
        path, old = add_file(here, tmp_path), here.old_key
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        cut = await here.world.cut("account:main", mode=mode)
        rotation = begun(here)
        await until(here, rotation, lambda: _tries(here, rotation) >= 1)
        assert not path.exists()
        assert old in living(here)
        (one,) = here.world.service.destinations.deliveries(rotation)
        assert "cut off or halted" in one.says
        await here.world.thaw(cut)
        await until(here, rotation, lambda: state(here, rotation) == "done")
        (fresh,) = living(here)
        assert fresh in path.read_text()


async def test_nor_past_one_that_comes_while_its_secret_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret store is slow at times: the look at the gates before it is worth nothing after it."""
    async with running_place(tmp_path) as here:
        path, service = add_file(here, tmp_path), here.world.service
        rotation = begun(here)
        await until(here, rotation, lambda: state(here, rotation) == "draining")
        fresh = next(key.ref.path for key in service.keys.list("main") if key.stage is Stage.CURRENT)
        path.unlink(missing_ok=True)
        with service.desk.database.write() as connection:
            connection.exec_driver_sql("DELETE FROM deliveries")
        read, cuts = type(service.desk.secrets).read, list[str]()

        def slow(self: object, where: str) -> Mapping[str, Secret]:
            if where == fresh and not cuts:
                cut, _ = service.cuts.close(
                    targets=("account:main",), mode=Mode.HALT, reason="leak", actor="me"
                )
                cuts.append(cut.id)
            return read(self, where)  # type: ignore[arg-type]

        monkeypatch.setattr(type(service.desk.secrets), "read", slow)
        await until(here, rotation, lambda: bool(cuts) and _tries(here, rotation) >= 1)
        assert not path.exists()
        (one,) = service.destinations.deliveries(rotation)
        assert "cut off or halted" in one.says


async def test_one_that_was_written_over_gets_its_key_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_place(tmp_path) as here:
        monkeypatch.setattr(delivery, "_SHORTEST_US", 20_000)
        path, rotation = add_file(here, tmp_path), begun(here)
        deliver, over = FilePlace.deliver, list[str]()

        def written_over(place: FilePlace, parcel: Parcel) -> None:
            deliver(place, parcel)
            if not over:
                over.append(path.read_text())
                path.write_text("API_KEY=somebody\nAPI_SECRET=elses\n")

        monkeypatch.setattr(FilePlace, "deliver", written_over)
        await until(here, rotation, lambda: state(here, rotation) == "done")
        (fresh,) = living(here)
        assert f"API_KEY={fresh}" in path.read_text()


async def test_one_that_fails_unforeseen_is_tried_again_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_place(tmp_path) as here:
        monkeypatch.setattr(delivery, "_SHORTEST_US", 20_000)
        add_file(here, tmp_path, "broken")
        well = add_file(here, tmp_path, "well")
        rotation, deliver, failed = begun(here), FilePlace.deliver, list[str]()

        def fails(place: FilePlace, parcel: Parcel) -> None:
            if "broken" in str(place._path) and len(failed) < 3:
                failed.append("planted-secret-in-a-text")
                raise LookupError("planted-secret-in-a-text")
            deliver(place, parcel)

        monkeypatch.setattr(FilePlace, "deliver", fails)
        await until(here, rotation, lambda: len(failed) == 3)
        (one, _) = here.world.service.destinations.deliveries(rotation)
        assert one.says == "failed unforeseen (LookupError)"
        assert well.exists()
        await until(here, rotation, lambda: state(here, rotation) == "done")


async def test_one_that_is_waived_on_the_way_back_is_waited_for_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stalled while the old key was brought back: the waiver is of the old key's delivery."""
    async with running_place(tmp_path) as here:
        monkeypatch.setattr(delivery, "_SHORTEST_US", 20_000)
        path, old = add_file(here, tmp_path), here.old_key
        rotation = begun(
            here, replace(QUICK, drain_for=timedelta(seconds=2), watch_for=timedelta(minutes=10))
        )
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        await until(here, rotation, path.exists)
        path.unlink()
        path.mkdir()
        await tell(here, rotation, RollBack("asked"))
        await until(here, rotation, lambda: state(here, rotation) == "stalled")
        here.world.service.rotations.ask(rotation, Wish.WAIVE, {"destination": "env", "reason": "gone"})
        desk = here.world.service
        work = Asks(desk, Venues(desk), Journal(desk.desk.database, desk.audit, "asks"), "asks", now)
        assert await asyncio.to_thread(work.once)
        await until(here, rotation, lambda: state(here, rotation) == "abandoned")
        assert living(here) == {old}
