"""A cut is never taken back for its words: what the database does not hold of them is on record in others.

Only a target that does not exist takes a cut back. What no record could hold is refused before anything is closed.
"""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import literal, select

from broker.db import characters, meta, rows
from broker.db import cuts as store
from broker.db import tables as t
from broker.db.database import Database
from broker.errors import Malformed, NotFound, StoreUnavailable
from broker.gate import Mode
from broker.gate_document import NotedCut, load
from broker.model import EVERYTHING, new_id
from broker.service import Service
from broker.service.making import Made
from broker.service.service import found_home, open_service
from broker.service.unrecorded import Unrecorded
from broker.service.words import plain
from broker.stores.embedded import key as keys
from broker.stores.embedded.store import EmbeddedStore
from clients.venue import Environment
from portcullis.clock import SystemClock
from tests.places import NAMED, database_at
from tests.services.postgres.server import PostgresServer

PATIENCE_S = 60.0
SAID = {"reason": 'leaked \U0001f525 \u2013 "caf\u00e9" \\ \u20ac'}
POLICY = 'allow = ["market", "trade"]\nsymbols = ["BTCUSDT"]\n[order]\nmax_notional = "1000"\n'
LATIN1 = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
DASH, DASH_HELD = "leaked \u2013 see chat", "leaked \\u2013 see chat"
_NUMBERS = count(1)


@pytest.fixture
def latin1(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Database]:
    """A database of ours whose encoding is not what it should be: from before that was looked at."""
    name = f"latin1-{next(_NUMBERS)}"
    (tmp_path / NAMED).write_text(postgres_server.database(name, "template0", LATIN1))
    database = database_at(tmp_path)
    database.upgrade()
    yield database
    database.close()
    postgres_server.sql(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def service(latin1: Database, tmp_path: Path) -> Iterator[Service]:
    home = found_home(latin1, Environment.PAPER, "solo")
    secrets = EmbeddedStore(tmp_path / "secrets.db", keys.fresh())
    made = open_service(latin1, secrets, SystemClock())
    made.desk.unrecorded = Unrecorded(tmp_path / "cuts", home.instance)
    made.accounts.create("main", venue="binance", upstream="http://127.0.0.1:1")
    made.mirror.merge()
    yield made
    made.close()
    secrets.close()


def cut(service: Service, reason: str = DASH, actor: str = "me") -> str:
    made, _ = service.cuts.close(targets=("account:main",), mode=Mode.CLOSED, reason=reason, actor=actor)
    return made.id


def is_closed(service: Service) -> bool:
    with service.desk.database.read() as connection:
        return rows.gates_of(connection, ("account:main",))["account:main"].mode is Mode.CLOSED


def recorded(service: Service, name: str) -> Any:
    with service.desk.database.read() as connection:
        return store.get(connection, name)


def files(tmp_path: Path) -> set[str]:
    return {one.stem for one in (tmp_path / "cuts").glob("*.cut")}


@pytest.mark.parametrize(
    ("reason", "held"),
    [
        (DASH, DASH_HELD), ("leak \U0001f525", "leak \\ud83d\\udd25"), ("утечка", "\\u0443\\u0442\\u0435\\u0447\\u043a\\u0430"),
        ("я" * 500, "\\u044f" * 500), ("caf\u00e9", "caf\u00e9"),
    ],
)  # fmt: skip
def test_a_reason_that_the_database_cannot_hold_is_on_record_in_others(
    service: Service, tmp_path: Path, reason: str, held: str
) -> None:
    """One dash, and a cut that was in force was taken back: the bots traded on."""
    name = cut(service, reason)
    assert service.cuts.get(name).on_record
    assert recorded(service, name).reason == held
    assert is_closed(service)
    assert not service.cuts.closing.strays()
    service.mirror.merge()
    document = service.desk.secrets.mirror.read(name)
    assert document is not None
    assert load(name, document).thawed_us is None
    assert files(tmp_path) == set()
    service.cuts.thaw(name, reason="looked at", actor="me")
    assert not is_closed(service)


@pytest.mark.parametrize("actor", ["a" * 65, "\u2013" * 64, "a\0b", "\ud800"])
def test_who_made_it_is_on_record_as_far_as_that_can_be_held(service: Service, actor: str) -> None:
    name = cut(service, "leak", actor)
    assert service.cuts.get(name).on_record
    assert is_closed(service)
    assert len(recorded(service, name).actor) <= 64


@pytest.mark.parametrize(
    ("why", "kept"),
    [
        ("a\0b", "a\ufffdb"),
        ("\ud800", "\ufffd"),
        ("fuite de cl\udce9", "fuite de cl\ufffd"),
        ("a" * 501, "a" * 484 + " ... (shortened)"),
        ("\0" * 501, "\ufffd" * 484 + " ... (shortened)"),
    ],
)
def test_whatever_is_said_is_no_reason_to_refuse_a_cut(service: Service, why: str, kept: str) -> None:
    """Nor is it one to refuse a thaw, where it is short enough."""
    name = cut(service, why)
    assert is_closed(service)
    assert recorded(service, name).reason == plain(kept), "as this database holds it"
    if len(why) <= 500:
        service.cuts.thaw(name, reason=why, actor="me")
        assert not is_closed(service)


@pytest.mark.parametrize("why", ["", " "])
def test_a_reason_that_is_none_is_refused_before_anything_is_closed(service: Service, why: str) -> None:
    with pytest.raises(Malformed, match="say why"):
        cut(service, why)
    assert not service.desk.closings
    name = cut(service)
    with pytest.raises(Malformed, match="say why"):
        service.cuts.thaw(name, reason=why, actor="me")


@pytest.mark.parametrize("target", ["grant:a\0b", "gateway:\ud800"])
def test_a_target_that_no_record_holds_is_refused_before_anything_is_closed(
    service: Service, target: str
) -> None:
    with pytest.raises(NotFound, match="NOTHING was cut"):
        service.cuts.close(targets=(target,), mode=Mode.CLOSED, reason="leak", actor="me")
    assert not service.desk.closings
    assert not service.cuts.closing.standing()


def test_a_target_is_looked_for_as_it_would_have_been_written(service: Service) -> None:
    with pytest.raises(NotFound, match="NOTHING was cut"):
        service.cuts.close(targets=("gateway:büro\u2013",), mode=Mode.CLOSED, reason="leak", actor="me")
    assert not service.desk.closings


def test_a_grant_is_revoked_whatever_is_said_of_it(service: Service) -> None:
    """For a dash nothing was revoked, and the bot traded on."""
    service.grants.create_consumer("bot")
    made = service.grants.create(consumer="bot", account="main", policy=POLICY)
    service.grants.revoke(made.grant.id, reason=DASH)
    assert service.grants.get(made.grant.id).revoked_at is not None
    with service.desk.database.read() as connection:
        assert connection.execute(select(t.GRANTS.c.revoked_why)).scalar() == DASH_HELD


def test_a_cut_on_record_is_thawed_whatever_is_said_of_it(service: Service) -> None:
    name = cut(service, "leak")
    service.cuts.thaw(name, reason=DASH, actor="j\u00fcrgen")
    row = recorded(service, name)
    assert (row.thawed_why, row.thawed_by) == (DASH_HELD, "j\u00fcrgen")
    assert not is_closed(service)


def test_what_others_say_is_kept_and_found_again(service: Service) -> None:
    """An exchange, or a bot with a pair of other letters, says what it likes."""
    for text in ("\u5e01\u5b89USDT", "caf\u00e9", "plain", "\U0001f525", msgspec.json.encode(SAID).decode()):
        with service.desk.database.write() as connection:
            meta.put(connection, text, text)
        with service.desk.database.read() as connection:
            kept = meta.get(connection, text)
        assert kept == characters.held(text, "iso8859-1")
    assert json.loads(kept or "") == SAID, (
        "a document of JSON says what it said: a rotation was not read any more"
    )


@pytest.mark.parametrize(
    ("encoding", "codec"),
    [
        ("LATIN1", "iso8859-1"), ("LATIN5", "iso8859-9"), ("LATIN9", "iso8859-15"), ("ISO_8859_6", "iso8859-6"),
        ("WIN1252", "cp1252"), ("WIN866", "cp866"), ("MULE_INTERNAL", "ascii"), ("EUC_JP", "ascii"), ("WIN1", "ascii"),
    ],
)  # fmt: skip
def test_each_encoding_has_what_is_known_of_it(encoding: str, codec: str) -> None:
    assert characters.codec_of(encoding) == codec
    assert characters.held("a", codec) == "a"
    for text in ("\u2013\u5e01", "\U0001f525", "\ud800"):
        assert json.loads(f'"{characters.held(text, codec)}"') == text
        assert characters.held(text, codec).encode(codec)


@pytest.mark.parametrize("fault", [Malformed("unfit", ()), UnicodeEncodeError("latin-1", "x", 0, 1, "no")])
def test_a_cut_that_the_database_refuses_in_any_words_stays_closed_and_is_kept(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """It is in force, in the home and in the secret store, and on record once that is possible."""

    def refuses(*_: object) -> None:
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(store, "add", refuses)
        name = cut(service)
        (made,) = service.cuts.closing.standing()
        assert made.left.result(PATIENCE_S)
        assert name in service.desk.closings
        assert files(tmp_path) == {name}
        service.mirror.note(made.noted)
        assert not service.cuts.closing.strays()
    service.cuts.closing.hurry()
    assert made.settled.result(PATIENCE_S)
    assert is_closed(service)
    assert recorded(service, name).thawed_us is None


def test_a_thaw_before_the_record_is_there_is_on_record_in_words_that_it_holds(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Made) -> None:
        raise StoreUnavailable("store_busy", "busy on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(service.cuts.closing, "_write", away)
        name = cut(service, "leak")
        (made,) = service.cuts.closing.standing()
        service.cuts.thaw(name, reason=DASH, actor="me")
    service.cuts.closing.hurry()
    assert made.settled.result(PATIENCE_S) is False
    row = recorded(service, name)
    assert (row.reason, row.thawed_why) == ("leak", DASH_HELD)
    assert not is_closed(service)


@pytest.mark.parametrize("where", ["store", "home"])
def test_a_cut_that_is_taken_in_holds_what_it_named_in_words_that_the_database_holds(
    service: Service, where: str
) -> None:
    """For a dash in its reason everything was closed in its place."""
    noted = NotedCut(new_id("cut"), Mode.CLOSED, ("account:main",), DASH, "me", 1)
    if where == "store":
        service.mirror.note(noted)
    else:
        assert service.desk.unrecorded.keep(noted)
    later = open_service(service.desk.database, service.desk.secrets, SystemClock())
    later.desk.unrecorded = service.desk.unrecorded
    later.mirror.merge()
    (standing,) = later.cuts.list(open_only=True).items
    assert (standing.id, standing.scopes, standing.reason) == (noted.id, ("account:main",), DASH_HELD)
    assert EVERYTHING not in standing.scopes
    later.close()


def test_a_database_in_another_encoding_is_refused_and_told_what_to_do(latin1: Database) -> None:
    with pytest.raises(
        StoreUnavailable, match=r"LATIN1.*ENCODING 'UTF8' TEMPLATE template0.*pg_dump"
    ) as caught:
        latin1.look(fresh=True)
    assert caught.value.reason == "postgres_encoding"


def test_one_that_is_in_use_holds_no_start_down_and_is_told_of(latin1: Database) -> None:
    """Every exit needs the start; what it cannot hold of a cut's words is on record in others."""
    latin1.look()
    (told,) = [one for one in latin1.set_otherwise() if one.name == "server_encoding"]
    assert (told.value, told.harms) == ("LATIN1", True)
    assert "ENCODING 'UTF8'" in told.says


def test_one_that_holds_bytes_as_they_come_holds_every_text(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """What initdb makes where the locale is C."""
    (tmp_path / NAMED).write_text(
        postgres_server.database("bytes", "template0", "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    )
    database = database_at(tmp_path)
    database.upgrade()
    database.look(fresh=True)
    assert [one for one in database.set_otherwise() if one.name == "server_encoding"] == []
    found_home(database, Environment.PAPER, "solo")
    secrets = EmbeddedStore(tmp_path / "secrets.db", keys.fresh())
    service = open_service(database, secrets, SystemClock())
    service.accounts.create("main", venue="binance", upstream="http://127.0.0.1:1")
    why = f"{DASH} \U0001f525 \u0443\u0442\u0435\u0447\u043a\u0430"
    made = cut(service, why, "j\u00fcrgen")
    (known,) = service.cuts.list(open_only=True).items
    assert (known.id, known.reason, known.actor) == (made, why, "j\u00fcrgen")
    service.close()
    secrets.close()
    database.close()
    postgres_server.sql('DROP DATABASE "bytes" WITH (FORCE)')


def test_the_log_refuses_what_it_cannot_hold(service: Service) -> None:
    """Sums are looked up by the pair as it came: one that is read back otherwise was overwritten, or counted twice."""
    with pytest.raises(Malformed), service.desk.database.log.write() as connection:
        connection.execute(select(literal("\u5e01\u5b89USDT")))
