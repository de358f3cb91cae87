"""A database that is put back keeps its timeline: the secret store, running brokers and the audit trail tell."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Self

import pytest

from broker.authority import LeaseAuthority
from broker.db import history, meta
from broker.deeds import Deed
from broker.errors import StoreUnavailable, Withheld
from broker.gate import Gate, Mode
from broker.gate_document import NotedCut
from broker.gates import Gates
from broker.gateway.record_mark import RecordMark
from broker.history import History, Mark, dump_mark
from broker.link import frames
from broker.link.channel import memory_pair
from broker.service import Change, Service
from broker.service.adoption import FORGOTTEN
from broker.service.audit import ITSELF
from broker.service.cuts import Cut
from broker.service.host_guard import HISTORY, RECONCILED
from broker.service.service import found_home, open_service
from broker.stores.embedded import key
from clients.venue import Environment
from tests import places
from tests.broker.failing import again, closing_of, forget_connections
from tests.gateway.world import WallClock, World, running_world
from tests.services.postgres.server import PostgresServer, postgres, where

STATE = ("state.db", "state.db-wal", "state.db-shm")


def found(folder: Path) -> None:
    database = places.database_at(folder)
    database.upgrade()
    found_home(database, Environment.PAPER, "solo")
    database.close()
    key.to_file(folder / "kek", key.fresh())


class Life:
    """One start of a broker on a folder, to its end."""

    def __init__(self, folder: Path) -> None:
        self.database, self.secrets = places.database_at(folder), places.secrets_at(folder)
        self.service: Service = open_service(self.database, self.secrets, WallClock())

    def __enter__(self) -> Self:
        self.service.mirror.merge()
        self.service.continuity.beat()
        return self

    def __exit__(self, *_: object) -> None:
        self.service.close()
        self.secrets.close()
        self.database.close()

    def closings(self) -> list[Cut]:
        return [one for one in self.service.cuts.list(open_only=True).items if one.actor == ITSELF]

    def changes(self, name: str) -> None:
        """Do something that is on record."""
        self.service.grants.create_consumer(name)

    def reconciles(self) -> None:
        with self.database.write() as connection:
            meta.put(connection, RECONCILED, str([one.id for one in self.closings()]).replace("'", '"'))


def copied(folder: Path, to: Path, *more: str) -> None:
    to.mkdir(exist_ok=True)
    for name in (*STATE, *(one + end for one in more for end in ("", "-wal", "-shm"))):
        (to / name).unlink(missing_ok=True)
        if (folder / name).exists():
            shutil.copy(folder / name, to / name)


def test_a_state_that_was_put_back_while_the_broker_was_down_is_closed(tmp_path: Path) -> None:
    """The secret store knows what the database does not any more."""
    found(tmp_path)
    with Life(tmp_path) as life:
        life.changes("one")
    copied(tmp_path, tmp_path / "yesterday")
    with Life(tmp_path) as life:
        life.changes("two")
        life.service.mirror.merge()
    copied(tmp_path / "yesterday", tmp_path)
    with Life(tmp_path) as life:
        (closing,) = life.closings()
        assert closing.scopes == ("everything",)
        assert "put back" in closing.reason
        life.service.mirror.merge()
        assert len(life.closings()) == 1, "it is said once"
        assert life.service.mirror.serves
        life.reconciles()
        life.service.cuts.thaw(closing.id, reason="looked", actor="me")
        life.changes("three")
        life.service.mirror.merge()
        assert life.closings() == []
    with Life(tmp_path) as life:
        assert life.closings() == []


def test_a_home_of_an_older_program_is_not_taken_for_one_that_was_put_back(tmp_path: Path) -> None:
    """Nothing told its histories apart: the first look at the secret store comes before the first heartbeat."""
    found(tmp_path)
    database = places.database_at(tmp_path)
    with database.write() as connection:
        meta.remove(connection, history.FACT)
    database.close()
    for _ in range(2):
        with Life(tmp_path) as life:
            life.changes(f"one{life.service.desk.clock.now_us()}")
            life.service.mirror.merge()
            life.service.continuity.beat()
            life.service.mirror.merge()
            assert life.closings() == []


def test_a_state_that_was_put_back_and_went_on_further_than_it_had_come_is_closed(tmp_path: Path) -> None:
    """Records are told apart by their digests, not by how many there are."""
    found(tmp_path)
    with Life(tmp_path) as life:
        life.changes("one")
    copied(tmp_path, tmp_path / "yesterday")
    with Life(tmp_path) as life:
        life.changes("two")
        life.service.mirror.merge()
    copied(tmp_path / "yesterday", tmp_path)
    database = places.database_at(tmp_path)
    service = open_service(database, places.secrets_at(tmp_path), WallClock())
    for name in ("three", "four", "five"):  # by a process that does not look
        service.grants.create_consumer(name)
    service.close()
    database.close()
    with Life(tmp_path) as life:
        assert len(life.closings()) == 1


def test_two_databases_behind_one_secret_store_do_not_close_each_other_for_ever(tmp_path: Path) -> None:
    """Neither serves beside the other, and a person decides: by reconciling at the one that is right."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    found(here)
    with Life(here) as life:
        life.changes("one")
    copied(here, there)
    shutil.copy(here / "kek", there / "kek")
    (there / "secrets.db").symlink_to(here / "secrets.db")
    with Life(here) as ours:
        ours.changes("two")
        ours.service.mirror.merge()
        with Life(there) as theirs:
            assert len(theirs.closings()) == 1
            for _ in range(4):
                for one in (ours, theirs):
                    one.service.mirror.merge()
                    one.service.continuity.beat()
            closings = {cut.id for one in (ours, theirs) for cut in one.closings()}
            assert len(closings) == 2, (
                "each closed its own database once, and took over what the other had closed"
            )
            assert [one.service.mirror.serves for one in (ours, theirs)].count(True) <= 1
        ours.reconciles()
        ours.service.mirror.merge()
        assert ours.service.mirror.serves
        assert {cut.id for cut in ours.closings()} == closings, "it stays closed until somebody thaws it"
        for cut in ours.closings():
            ours.service.cuts.thaw(cut.id, reason="the other is off", actor="me")
        ours.service.mirror.merge()
        assert ours.closings() == []


def test_what_touches_a_key_waits_from_the_moment_that_a_database_is_put_back(tmp_path: Path) -> None:
    """In every process: the rotator may look before a broker has closed anything."""
    found(tmp_path)
    with Life(tmp_path) as life:
        life.changes("one")
    copied(tmp_path, tmp_path / "yesterday")
    with Life(tmp_path) as life:
        life.changes("two")
        life.service.mirror.merge()
    copied(tmp_path / "yesterday", tmp_path)
    database, secrets = places.database_at(tmp_path), places.secrets_at(tmp_path)
    rotator = open_service(database, secrets, WallClock())
    for deed in (Deed.MAKE, Deed.DELETE, Deed.PLAN, Deed.CHECKOUT):
        with pytest.raises(Withheld, match="put back"):
            rotator.desk.guard.ensure(deed)
    rotator.close()
    database.close()


def test_a_cut_that_the_database_forgot_while_the_broker_runs_is_put_back_and_listed(tmp_path: Path) -> None:
    """Somebody deleted its rows; the secret store has it, and its thaw opens it as ever."""
    found(tmp_path)
    with Life(tmp_path) as life:
        life.changes("bot")
        cut, _ = life.service.cuts.close(
            targets=("consumer:bot",), mode=Mode.CLOSED, reason="leak", actor="me"
        )
        life.service.mirror.merge()
        with life.database.write() as connection:
            for table in ("closers", "cut_scopes"):
                connection.exec_driver_sql(f"DELETE FROM {table} WHERE cut = '{cut.id}'")  # noqa: S608 - its own id
            connection.exec_driver_sql(f"DELETE FROM cuts WHERE id = '{cut.id}'")  # noqa: S608 - its own id
        told: list[Change] = []
        life.service.desk.listeners.append(told.append)
        life.service.mirror.merge()
        (again_,) = life.service.cuts.list(open_only=True).items
        assert (again_.id, again_.reason, again_.actor) == (cut.id, "leak", "me")
        (change,) = told
        assert [(one.scope, one.mode) for one in change.gates] == [("consumer:bot", Mode.CLOSED)]
        life.service.mirror.merge()
        assert len(told) == 1, "once is enough"
        life.service.cuts.thaw(cut.id, reason="clean", actor="me")
        life.service.mirror.merge()
        assert life.service.cuts.list(open_only=True).items == ()


def test_a_gate_that_lost_its_closer_is_closed_again(tmp_path: Path) -> None:
    """The cut is listed, and nothing held: whoever wrote to the database opened the gate."""
    found(tmp_path)
    with Life(tmp_path) as life:
        life.changes("bot")
        life.changes("other")
        cut, _ = life.service.cuts.close(
            targets=("consumer:bot", "consumer:other"), mode=Mode.CLOSED, reason="leak", actor="me"
        )
        life.service.mirror.merge()
        with life.database.write() as connection:
            connection.exec_driver_sql("DELETE FROM closers WHERE scope = 'consumer:bot'")
        told: list[Change] = []
        life.service.desk.listeners.append(told.append)
        life.service.mirror.merge()
        (change,) = told
        closed = {one.scope: one.closers for one in change.gates}
        assert closed["consumer:bot"] == {cut.id: Mode.CLOSED}
        life.service.mirror.merge()
        assert len(told) == 1
        life.service.cuts.thaw(cut.id, reason="clean", actor="me")
        life.service.mirror.merge()
        assert life.service.continuity.beat().gates["consumer:bot"].closers == {}


def test_a_cut_that_memory_brought_back_gets_its_reason_from_the_secret_store(tmp_path: Path) -> None:
    found(tmp_path)
    with Life(tmp_path) as life:
        life.changes("bot")
        copied(tmp_path, tmp_path / "yesterday")
        cut, _ = life.service.cuts.close(
            targets=("consumer:bot",), mode=Mode.CLOSED, reason="leak", actor="ann"
        )
        life.service.mirror.merge()
    copied(tmp_path / "yesterday", tmp_path)
    database, secrets = places.database_at(tmp_path), places.secrets_at(tmp_path)
    service = open_service(database, secrets, WallClock())
    service.continuity.beat()
    nameless = NotedCut(cut.id, Mode.CLOSED, ("consumer:bot",), FORGOTTEN, "unknown", 5)
    with database.write() as connection:
        service.continuity.begin(connection, "the database went back")
    service.continuity.beat(remembered=lambda: {cut.id: nameless})
    assert service.cuts.get(cut.id).reason == FORGOTTEN
    for _ in range(2):
        service.mirror.merge()
    assert (service.cuts.get(cut.id).reason, service.cuts.get(cut.id).actor) == ("leak", "ann")
    service.close()
    secrets.close()
    database.close()


def test_a_thaw_that_the_database_forgot_stays_one_for_a_person_to_repeat(tmp_path: Path) -> None:
    """The record says closed, the secret store that it was thawed: the stricter is in force."""
    found(tmp_path)
    with Life(tmp_path) as life:
        life.changes("bot")
        cut, _ = life.service.cuts.close(
            targets=("consumer:bot",), mode=Mode.CLOSED, reason="leak", actor="me"
        )
        life.service.mirror.merge()
        copied(tmp_path, tmp_path / "yesterday")
        life.service.cuts.thaw(cut.id, reason="clean", actor="me")
    copied(tmp_path / "yesterday", tmp_path)
    with Life(tmp_path) as life:
        assert cut.id in {one.id for one in life.service.cuts.list(open_only=True).items}
        life.service.mirror.merge()
        life.service.cuts.thaw(cut.id, reason="clean, once more", actor="me")
        life.service.mirror.merge()
        assert cut.id not in {one.id for one in life.service.cuts.list(open_only=True).items}


def test_a_record_that_lost_a_closer_without_a_rise_opens_nothing_in_memory() -> None:
    gates = Gates()
    gates.take([Gate("consumer:bot", 3, {"cut_1": Mode.CLOSED, "cut_2": Mode.HALT})])
    gates.take([Gate("consumer:bot", 3, {"cut_2": Mode.HALT})], same=True)
    assert gates.now["consumer:bot"].mode is Mode.CLOSED
    gates.take([Gate("consumer:bot", 4, {"cut_2": Mode.HALT})], same=True)
    assert gates.now["consumer:bot"].mode is Mode.HALT


def test_a_secret_store_put_back_to_before_a_history_began_is_told_as_one_put_back_within_it(
    tmp_path: Path,
) -> None:
    """A Vault from a snapshot that was taken before the last failover shows a mark of the history before."""
    found(tmp_path)
    with Life(tmp_path) as life:
        life.changes("one")
        life.service.mirror.merge()
    copied(tmp_path, tmp_path / "yesterday", "secrets.db")
    with Life(tmp_path) as life:
        with life.database.write() as connection:
            life.service.continuity.begin(connection, "a failover")
        life.service.continuity.beat()
        life.reconciles()
        for cut in life.closings():
            life.service.cuts.thaw(cut.id, reason="looked", actor="me")
        life.service.mirror.merge()
        assert life.service.mirror.put_back() == ""
    for end in ("", "-wal", "-shm"):
        (tmp_path / f"secrets.db{end}").unlink(missing_ok=True)
    for one in (tmp_path / "yesterday").glob("secrets.db*"):
        shutil.copy(one, tmp_path / one.name)
    with Life(tmp_path) as life:
        assert life.service.mirror.put_back() != ""
        with pytest.raises(Withheld, match="the secret store was put back"):
            life.service.desk.guard.ensure(Deed.DELETE)
        life.service.mirror.merge()
        assert life.closings() == [], "the record is whole: nothing is closed"


def test_a_mark_that_cannot_be_understood_lets_no_lease_go_out(tmp_path: Path) -> None:
    found(tmp_path)
    with Life(tmp_path) as life:
        life.secrets.mirror.change(HISTORY, lambda _: "{")
    with pytest.raises(StoreUnavailable, match="gates/history"), Life(tmp_path):
        pass


def test_a_home_from_before_histories_begins_its_first_one_open(tmp_path: Path) -> None:
    found(tmp_path)
    database = places.database_at(tmp_path)
    with database.write() as connection:
        meta.remove(connection, "history")
    database.close()
    with Life(tmp_path) as life:
        assert life.closings() == []
        before = life.service.continuity.beat().history
        assert life.service.continuity.beat().history == before


# --- while a broker runs ---------------------------------------------------------------------


def put_back(server: PostgresServer, copy: Path) -> None:
    server.stop()
    shutil.rmtree(server.data)
    shutil.copytree(copy, server.data)
    _own(server.data)
    server.start()


def snapshot(server: PostgresServer, copy: Path) -> None:
    server.sql("CHECKPOINT")
    server.stop()
    shutil.copytree(server.data, copy)
    server.start()


def _own(path: Path) -> None:
    owner = path.parent.owner()
    for one in (path, *path.rglob("*")):
        shutil.chown(one, owner)
    path.chmod(0o700)


@pytest.mark.process
async def test_a_postgres_put_back_beneath_a_running_broker_is_closed_at_its_gateways(tmp_path: Path) -> None:
    """A volume snapshot: the same server, the same timeline, and a cut and its thaw that it never heard of."""
    with postgres() as server:
        server.sql("CREATE DATABASE state")
        (tmp_path / places.NAMED).write_text(where("state", server.port))
        async with running_world(tmp_path) as world:
            world.account()
            bot = world.bot()
            await bot.ready()
            snapshot(server, server.data.parent / "copy")
            forget_connections(world)
            await again(world.authority.beat)
            for _ in range(2):
                await world.thaw(await world.cut("consumer:bot"))
            await again(world.authority.beat)
            put_back(server, server.data.parent / "copy")
            forget_connections(world)
            await again(world.authority.beat)
            await world.settled()
            assert "lost record" in closing_of(world).reason
            assert (await bot.order()).reason == "cut"


async def test_a_gateway_tells_that_database_and_secret_store_were_put_back_together(tmp_path: Path) -> None:
    """Nobody else knows: its spool lies elsewhere. It is closed before the gateway is let in."""
    home, spool = tmp_path, tmp_path / "spool"
    async with running_world(home) as world:
        world.account()
        await world.bot().ready()
        await world.authority.beat()
        copied(home, home / "yesterday", "secrets.db")
        await world.thaw(await world.cut("consumer:bot"))
        for link in world.authority.changes.links.values():
            link.marked_us = -(2**62)
        await world.authority.beat()
        mark = json.dumps(record_mark(world))
        async with asyncio.timeout(60):
            while RecordMark(spool).read() != tuple(json.loads(mark)):  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(0.02)
    copied(home / "yesterday", home, "secrets.db")
    with Life(home) as life:
        assert life.closings() == [], "neither the database nor the secret store can tell"
        authority = LeaseAuthority(life.service)
        await authority.beat()
        here, there = memory_pair()
        serving = asyncio.ensure_future(authority.serve(here))
        there.send(frames.Hello(frames.VERSION, "local", "b" * 16, 1, *RecordMark(spool).read()))
        welcome = await there.receive()
        assert isinstance(welcome, frames.Welcome)
        (closing,) = life.closings()
        assert "gateway local knows record" in closing.reason
        (everything,) = [one for one in welcome.gates if one.scope == "everything"]
        assert everything.closers == ((closing.id, "closed"),)
        here.close()
        await serving
        authority.close()


def record_mark(world: World) -> tuple[str, str]:
    with world.service.desk.database.read() as connection:
        return world.service.desk.home.instance, dump_mark(history.mark(connection))


@pytest.mark.parametrize(
    "said", [("", ""), ("another", ""), ("", "{"), ("another", "a mark of another home")]
)
def test_a_gateway_that_was_another_homes_closes_nothing(tmp_path: Path, said: tuple[str, str]) -> None:
    found(tmp_path)
    with Life(tmp_path) as life:
        instance, text = said
        if text.startswith("a mark"):
            text = dump_mark(Mark(History(9, 9, "9", "other"), 9, "9"))
        assert not life.service.continuity.is_told(instance, text, "gateway x")
        ours = life.service.desk.home.instance
        assert not life.service.continuity.is_told(ours, text if instance != "another" else "{}", "gateway x")
        assert life.closings() == []


def test_a_gateway_that_lies_about_histories_does_not_make_the_record_unreadable(tmp_path: Path) -> None:
    """A history above the highest that can be read is none: every start and every merge after that refused it."""
    found(tmp_path)
    with Life(tmp_path) as life:
        ours = life.service.desk.home
        for number in (10**18 - 1, 10**9):
            lie = dump_mark(Mark(History(ours.generation, number, "", "w"), 1, "d"))
            assert not life.service.continuity.is_told(ours.instance, lie, "gateway x")
        life.service.continuity.beat()
        life.service.mirror.merge()
    with Life(tmp_path) as life:
        assert life.service.mirror.serves
        life.service.mirror.merge()


@pytest.mark.parametrize(
    "content", [b"", b"x", b"x\n", b"x\ny", b"\xff\n\xff\n", b"x\n" + b"y" * 2000 + b"\n"]
)
def test_a_mark_on_disk_that_is_torn_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "record.mark").write_bytes(content)
    assert RecordMark(tmp_path).read() == ("", "")
    RecordMark(tmp_path).keep(frames.Marked("home", "{}"))
    assert RecordMark(tmp_path).read() == ("home", "{}")


@pytest.mark.process
async def test_a_dump_put_into_another_server_is_closed(tmp_path: Path) -> None:
    """A fresh cluster counts timelines from 1 again, as the old one did."""
    with postgres() as server, postgres() as other:
        server.sql("CREATE DATABASE state")
        (tmp_path / places.NAMED).write_text(where("state", server.port))
        found(tmp_path)
        with Life(tmp_path) as life:
            life.changes("one")
            dump = str(server.data.parent / "dump")
            server.run("pg_dump", *at(server), "-Fc", "-f", dump, "state")
            life.changes("two")
            life.service.mirror.merge()
        other.sql("CREATE DATABASE state")
        other.run("pg_restore", *at(other), "-d", "state", dump)
        (tmp_path / places.NAMED).write_text(where("state", other.port))
        with Life(tmp_path) as life:
            (closing,) = life.closings()
            assert closing.mode is Mode.CLOSED


def at(server: PostgresServer) -> tuple[str, ...]:
    return "-h", "127.0.0.1", "-p", str(server.port), "-U", "portcullis"
