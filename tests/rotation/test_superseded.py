"""What another host took over, or a restore closed, touches nothing: not the exchange, no key, no secret, no record."""

import asyncio
import json
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.authority import LeaseAuthority
from broker.db import cuts as cut_store
from broker.db import meta
from broker.db import rotations as rotation_store
from broker.db import tables as t
from broker.deeds import Deed
from broker.destination import Kind
from broker.errors import StoreUnavailable, Withheld
from broker.gate import Mode
from broker.link.frames import Renew
from broker.model import KeyRef
from broker.service import Service, host_guard
from broker.service.audit import ITSELF
from broker.service.host_guard import COMPARED, RECONCILED
from broker.service.rotations import Wish
from clients.keys import KeyOrder, Permissions
from clients.secret import Secret
from clients.venue import Credential, KeyFacts, KeyType, Slot
from portcullis import backup
from rotation.alerts.conditions import conditions
from rotation.asks import Asks
from rotation.destinations.delivery import Deliveries
from rotation.journal import Journal
from rotation.planner import Planner
from rotation.returned import Returned
from rotation.state import Answer, Do, Effect, State
from rotation.sweeper import Sweeper
from rotation.venues import Venues
from tests.gateway.world import POLICY
from tests.rotation.place import EMAIL, Place, Unfenced, now, running_place

pytestmark = pytest.mark.sockets
FACTS = KeyFacts(True, True, False, False, True, "42")
LATER = timedelta(days=400)
CLOSING = "cut_closedbyitself"


@asynccontextmanager
async def placed(folder: Path) -> AsyncIterator[Place]:
    """Run a place; keys that a test let be where no record knows them are gone in the end."""
    async with running_place(folder) as here:
        yield here
        known = {key.venue_key_id for key in here.world.service.keys.list()}
        for key in here.living():
            key.deleted = key.deleted or key.key_id not in known


def supersede(service: Service) -> None:
    """Let another host take this home's place: what a restore onto the same secret store does."""
    newer = {"instance": service.desk.home.instance, "generation": service.desk.home.generation + 1}
    service.desk.secrets.mirror.change("instance", lambda _: json.dumps(newer))


def close_by_itself(service: Service) -> None:
    """Close everything as a restore and a failover do."""
    record = {"id": CLOSING, "mode": Mode.CLOSED.value, "actor": ITSELF, "opened_us": 1, "reason": "restored"}
    with service.desk.database.write() as connection:
        cut_store.add(connection, record, ("everything",))


def note(service: Service, *facts: str) -> None:
    with service.desk.database.write() as connection:
        for fact in facts:
            meta.put(connection, fact, json.dumps([CLOSING]))


def journal(here: Place, who: str = "test") -> Journal:
    service = here.world.service
    return Journal(service.desk.database, service.audit, who)


@dataclass
class Scene:
    """A home with everything that could be touched: a rotation, a checkout that is over, an orphan, a destination."""

    here: Place
    grant: str
    checkout: str
    file: Path

    @property
    def service(self) -> Service:
        return self.here.world.service

    def asks(self) -> Asks:
        return Asks(self.service, Venues(self.service), journal(self.here, "asks"), "asks", now)

    def desk(self, work: Callable[[Any], object]) -> None:
        with Venues(self.service).desk(self.service.accounts.get("main")) as desk:
            work(desk)


def checkouts_of(scene: Scene) -> list[object]:
    with scene.service.desk.database.read() as connection:
        return list(connection.execute(t.CHECKOUTS.select()))


async def staged(here: Place, tmp_path: Path) -> Scene:
    service = here.world.service
    service.grants.create_consumer("person")
    policy = POLICY + "[checkout]\nmax_seconds = 3600\n"
    grant = service.grants.create(consumer="person", account="main", policy=policy).grant.id
    out = service.checkouts.open(grant, ttl=timedelta(seconds=600), holder="Ann", reason="tax")
    assert out.checkout is not None
    service.checkouts.close(out.checkout.id)
    file = tmp_path / "bot.env"
    file.write_text("KEY=old\nSECRET=old\n")
    settings = {"path": str(file), "key_id": "KEY", "secret": "SECRET"}
    service.destinations.create(
        "file", account="main", slot=Slot.TRADE, kind=Kind.DOTENV.value, settings=settings
    )
    service.destinations.create(
        "tool", account="main", slot=Slot.TRADE, kind=Kind.MANUAL.value, settings={"what": "a tool"}
    )
    return Scene(here, grant, out.checkout.id, file)


def _planned(scene: Scene) -> None:
    assert (
        Planner(scene.service, journal(scene.here, "plan"), random.SystemRandom()).look(now() + LATER) == ()
    )


def _returned(scene: Scene) -> None:
    assert Returned(scene.service, journal(scene.here, "plan")).look(now()) == ()


def _rotated(scene: Scene) -> None:
    runner = scene.here.runner("other")
    assert runner.once() is None
    assert runner.effects.perform(scene.here.plan(), Effect(Do.CREATE, 2)).answer is Answer.RETRY
    assert runner.effects.perform(scene.here.plan(), Effect(Do.DELETE, 1)).answer is Answer.RETRY
    assert runner.effects.perform(scene.here.plan(), Effect(Do.MOVE, 2)).answer is Answer.RETRY
    assert runner.effects.perform(scene.here.plan(), Effect(Do.ENTOMB, 1)).answer is Answer.RETRY


def _swept(scene: Scene) -> None:
    troubles = Sweeper(scene.service, Venues(scene.service), journal(scene.here)).sweep(
        now() + timedelta(days=2)
    )
    assert len(troubles) == 1


def _asked(scene: Scene) -> None:
    assert not scene.asks().once()


def _deliver(scene: Scene) -> None:
    key, fence = scene.service.keys.list("main")[0], Unfenced(scene.service.desk.database, "rot_x", 1)
    said = Deliveries(scene.service, scene.service.desk.clock.now_us).bring(fence, key, venue="binance")
    assert "file:" in said


def _refused(work: Callable[[Scene], object]) -> Callable[[Scene], None]:
    def refused(scene: Scene) -> None:
        with pytest.raises(Withheld):
            work(scene)

    return refused


KEY = Credential("FRESH", Secret("planted-fresh"), KeyType.HMAC)
ORDER = KeyOrder(EMAIL, "rot_" + "c" * 20, Permissions(trade=True), ("127.0.0.7",), None)
DEEDS: dict[str, Callable[[Scene], None]] = {
    "a schedule": _planned,
    "the end of a checkout": _returned,
    "a rotation under way": _rotated,
    "a sweep": _swept,
    "what was asked before": _asked,
    "a delivery": _deliver,
    "a rotation is put on record": _refused(lambda it: journal(it.here).plan(it.here.plan())),
    "a create at the exchange": _refused(
        lambda it: it.desk(lambda desk: desk.admin.create(ORDER, stamp=lambda: 1))
    ),
    "a delete at the exchange": _refused(
        lambda it: it.desk(lambda desk: desk.admin.delete(EMAIL, "x", stamp=lambda: 1))
    ),
    "a checkout": _refused(
        lambda it: it.service.checkouts.open(it.grant, ttl=timedelta(seconds=60), holder="Bob", reason="why")
    ),
    "a key to paste": _refused(lambda it: it.service.checkouts.paste("tool", "why")),
    "an import": _refused(
        lambda it: it.service.keys.import_key("main", slot=Slot.READ, credential=KEY, facts=FACTS)
    ),
    "an ask for a rotation": _refused(lambda it: it.service.rotations.start("main", Slot.TRADE)),
    "an ask for a sweep": _refused(lambda it: it.service.rotations.sweep()),
    "an ask to retire": _refused(lambda it: it.service.rotations.retire(KeyRef("main", Slot.TRADE, 1))),
}
ELSEWHERE: dict[str, Callable[[Scene], None]] = {
    "a checkout is ended": _refused(lambda it: it.service.checkouts.close(it.checkout)),
    "a virtual key": _refused(lambda it: it.service.grants.reissue(it.grant)),
    "a thaw": _refused(lambda it: _thaw_anything(it.service)),
    "a destination is removed": _refused(lambda it: it.service.destinations.remove("file")),
    "a backup": _refused(lambda it: _backup(it)),  # noqa: PLW0108 - it is defined below
}
"""Those that a restored home may do, and one whose place was taken may not."""


def _thaw_anything(service: Service) -> None:
    (cut,) = service.cuts.list(open_only=True).items
    service.cuts.thaw(cut.id, reason="safe", actor="me")


def _backup(scene: Scene) -> None:
    class Folder:
        root = scene.here.world.directory

    with scene.service.desk.database.write() as connection:
        meta.put(connection, backup.RECOVERY, "x")
    backup.make(Folder(), scene.service, scene.here.world.directory / "backup")  # type: ignore[arg-type] # only its root


def state(scene: Scene) -> list[object]:
    """Return everything that none of it may change: at the exchange, on record, in the secret store, in files."""
    tables = (t.KEY_VERSIONS, t.ROTATIONS, t.ROTATION_ASKS, t.CHECKOUTS, t.GRANTS)
    with scene.service.desk.database.read() as connection:
        rows = [list(connection.execute(table.select())) for table in tables]
    exchange = sorted((key.key_id, key.deleted) for key in scene.here.world.paper.exchange.keys.values())
    paths = [path for path in scene.service.desk.secrets.paths("") if not path.startswith("gates")]
    return [rows, exchange, paths, scene.file.read_text()]


async def prepared(here: Place, tmp_path: Path) -> Scene:
    """Let a rotation and an ask stand there, and a key that a rotation left."""
    scene = await staged(here, tmp_path)
    scene.service.rotations.ask(_given_up(here), Wish.PAUSE, {})
    here.world.paper.exchange.make_key(
        EMAIL, KeyType.HMAC, {"enableSpotAndMarginTrading": True}, ips=("127.0.0.7",), label=_given_up(here)
    )
    return scene


def _given_up(here: Place) -> str:
    service = here.world.service
    with service.desk.database.read() as connection:
        known = list(connection.execute(t.ROTATIONS.select()))
    if known:
        return str(known[0].id)
    planned = here.plan()
    journal(here).plan(planned)
    with service.desk.database.write() as connection:
        row = rotation_store.get(connection, planned.id)
        assert row is not None
        rotation_store.save(
            connection, planned.id, row.row_version,
            {"state": State.ABANDONED.value, "ended_us": 1, "open_slot": None, "reason": "test"},
        )  # fmt: skip
        connection.execute(t.KEY_VERSIONS.delete().where(t.KEY_VERSIONS.c.version == planned.new))
    return planned.id


async def test_a_home_whose_place_was_taken_touches_nothing(tmp_path: Path) -> None:
    """Each deed by itself, as its process would do it; a cut alone goes."""
    async with placed(tmp_path) as here:
        scene = await prepared(here, tmp_path)
        scene.service.cuts.close(targets=("consumer:person",), mode=Mode.HALT, reason="before", actor="me")
        supersede(scene.service)
        await asyncio.to_thread(scene.service.mirror.merge)
        before = state(scene)
        for name, deed in (DEEDS | ELSEWHERE).items():
            await asyncio.to_thread(deed, scene)
            assert state(scene) == before, name
        assert scene.service.secrets.tidy() == ()
        made, _ = await asyncio.to_thread(
            lambda: scene.service.cuts.close(
                targets=("everything",), mode=Mode.CLOSED, reason="leak", actor="me"
            )
        )
        assert made.on_record


async def test_a_restored_home_touches_nothing_until_it_was_compared(tmp_path: Path) -> None:
    async with placed(tmp_path) as here:
        scene = await prepared(here, tmp_path)
        close_by_itself(scene.service)
        before = state(scene)
        for name, deed in DEEDS.items():
            await asyncio.to_thread(deed, scene)
            assert state(scene) == before, name


async def test_compared_a_person_may_and_the_program_by_itself_may_not(tmp_path: Path) -> None:
    async with placed(tmp_path) as here:
        scene = await prepared(here, tmp_path)
        close_by_itself(scene.service)
        note(scene.service, COMPARED)
        before = state(scene)
        for name in ("a schedule", "the end of a checkout"):
            await asyncio.to_thread(DEEDS[name], scene)
            assert state(scene) == before, name
        swept = Sweeper(scene.service, Venues(scene.service), journal(here))
        assert await asyncio.to_thread(swept.sweep, now() + timedelta(days=2)) == ()
        assert state(scene)[1] == before[1], "an orphan is reported, and not deleted yet"
        ask = scene.service.rotations.start("main", Slot.TRADE)
        while scene.service.rotations.outcome(ask.id).outcome is None:
            assert await asyncio.to_thread(scene.asks().once)
        assert scene.service.rotations.get(ask.rotation).state == State.PLANNED.value
        back = scene.service.rotations.ask(ask.rotation, Wish.ROLL_BACK, {"reason": "asked"})
        while scene.service.rotations.outcome(back.id).outcome is None:
            assert await asyncio.to_thread(scene.asks().once)
        note(scene.service, RECONCILED)
        assert await asyncio.to_thread(swept.sweep, now() + timedelta(days=3)) == ()
        begun = [one.why for one in scene.service.rotations.list(only_open=True).items]
        assert begun == ["orphan"], "all is well: the orphan is retired"


WRITTEN_DOWN = frozenset(
    {"a rotation is put on record", "an ask for a rotation", "an ask for a sweep", "an ask to retire"}
)
"""These are rows; they touch nothing until the rotator asks the guard."""


@pytest.mark.parametrize("what", ["the store", "the database"])
async def test_with_a_store_away_nothing_is_made_or_deleted_and_a_cut_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async with placed(tmp_path) as here:
        scene = await prepared(here, tmp_path)
        before = state(scene)

        def away(*_: object, **__: object) -> Any:
            raise StoreUnavailable("away", "away on purpose")

        with monkeypatch.context() as patched:
            if what == "the store":
                patched.setattr(type(scene.service.desk.secrets.mirror), "change", away)
            else:
                patched.setattr(type(scene.service.desk.database), "read", away)
            for name, deed in DEEDS.items():
                if name in WRITTEN_DOWN:
                    continue
                with suppress(StoreUnavailable):
                    await asyncio.to_thread(deed, scene)
            if what == "the store":
                made, _ = await asyncio.to_thread(
                    lambda: scene.service.cuts.close(
                        targets=("everything",), mode=Mode.CLOSED, reason="leak", actor="me"
                    )
                )
                assert made.on_record
        assert state(scene) == before


async def test_who_was_paused_before_a_save_saves_nothing_once_the_database_is_another_hosts(
    tmp_path: Path,
) -> None:
    """The generation in the database is looked at in the transaction that would record the step."""
    async with placed(tmp_path) as here:
        runner = here.runner()
        await asyncio.to_thread(runner.journal.plan, here.plan())
        perform = type(runner.effects).perform

        def paused(self: Any, rotation: Any, effect: Any) -> Any:
            reply = perform(self, rotation, effect)
            if effect.do is Do.PREPARE:
                with here.world.service.desk.database.write() as connection:
                    meta.put(connection, "generation", "2")
            return reply

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(runner.effects), "perform", paused)
            assert await asyncio.to_thread(runner.once) is None, "lost"
        assert len(here.living()) == 1


async def test_no_lease_is_granted_or_renewed_and_no_key_is_sent(tmp_path: Path) -> None:
    async with placed(tmp_path) as here:
        await here.bot.ready()
        authority: LeaseAuthority = here.world.authority
        supersede(here.world.service)
        await asyncio.to_thread(here.world.service.mirror.merge)
        link = next(iter(authority.changes.links.values()))
        answer = authority.leases.renew(link, Renew(1, tuple(link.leases)))
        assert answer.ttls == ()


async def test_a_secret_store_that_hangs_delays_no_cut_and_no_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the guard holds nothing that a cut, or a renewal, needs."""
    async with placed(tmp_path) as here:
        scene = await prepared(here, tmp_path)
        await here.bot.ready()
        hangs, asked = threading.Event(), threading.Event()

        def hang(*_: object) -> None:
            asked.set()
            hangs.wait(60)
            raise StoreUnavailable("away", "it hung")

        def waits(number: int) -> None:
            with suppress(StoreUnavailable):
                scene.service.checkouts.open(
                    scene.grant, ttl=timedelta(seconds=60), holder=f"Bob {number}", reason="why"
                )

        before = state(scene)
        with monkeypatch.context() as patched:
            patched.setattr(type(scene.service.desk.secrets.mirror), "change", hang)
            waiting = [asyncio.ensure_future(asyncio.to_thread(waits, number)) for number in range(4)]
            await asyncio.to_thread(asked.wait, 30)
            try:
                link = next(iter(here.world.authority.changes.links.values()))
                renewed = here.world.authority.leases.renew(link, Renew(1, tuple(link.leases)))
                assert len(renewed.ttls) == len(link.leases) > 0
                made, _ = await asyncio.to_thread(
                    lambda: scene.service.cuts.close(
                        targets=("consumer:bot",), mode=Mode.CLOSED, reason="leak", actor="me"
                    )
                )
                assert made.on_record
                assert not any(one.done() for one in waiting), "they wait for the store still"
            finally:
                hangs.set()
            await asyncio.gather(*waiting)
        assert state(scene)[1:] == before[1:]
        assert len(checkouts_of(scene)) == 1, "none was handed out"


async def test_people_are_told_why_no_key_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotator that may do nothing, by its host's place or because a store is away, is no silent one."""
    async with placed(tmp_path) as here:
        service = here.world.service

        def told() -> list[str]:
            return [f"{one.says}; {one.step}" for one in conditions(service, now()) if one.kind == "withheld"]

        def away(*_: object) -> None:
            raise StoreUnavailable("vault_forbidden", "Vault does not let our role read the gate instance")

        assert await asyncio.to_thread(told) == []
        with monkeypatch.context() as patched:
            patched.setattr(type(service.desk.secrets.mirror), "change", away)
            patched.setattr(host_guard, "KNOWN_FOR_S", 0.0)
            (why,) = await asyncio.to_thread(told)
            assert "does not let our role" in why
            assert "RB-03" in why
        supersede(service)
        await asyncio.to_thread(service.mirror.merge)
        (why,) = await asyncio.to_thread(told)
        assert "restored elsewhere" in why
        assert "RB-14" in why


@pytest.mark.usefixtures("on_postgres")
async def test_a_new_timeline_stops_the_rotator_before_any_heartbeat_saw_it(tmp_path: Path) -> None:
    """The guard asks the database itself: the broker may be a second behind."""
    async with placed(tmp_path) as here:
        guard = here.world.service.desk.guard
        guard.ensure(Deed.DELETE)
        beat = type(here.world.service.desk.database).timeline

        def promoted(self: Any, connection: Any) -> str:
            return str(int(beat(self, connection)) + 1)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(here.world.service.continuity), "beat", lambda *_: {})
            patch.setattr(type(here.world.service.desk.database), "timeline", promoted)
            for deed in (Deed.DELETE, Deed.MAKE, Deed.MOVE, Deed.IMPORT, Deed.PLAN):
                with pytest.raises(Withheld, match="timeline"):
                    guard.ensure(deed)
            with (
                here.world.service.desk.database.write() as connection,
                pytest.raises(Withheld, match="timeline"),
            ):
                guard.fence(connection, Deed.MOVE)
