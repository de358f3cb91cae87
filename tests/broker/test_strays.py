"""What is said of cuts with the database away: who stops nobody is told of after a restart, what is thawed stands no more."""

from dataclasses import replace
from pathlib import Path

import pytest

from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.model import EVERYTHING, new_id
from broker.service import Service, strays
from broker.service.adoption import adopt
from broker.service.audit import ITSELF
from broker.service.strays import Strays
from clients.venue import Environment
from portcullis.foundation import found, opened
from portcullis.settings import Home
from tests.broker.test_unrecorded import killed_after_a_failed_try, last_life
from tests.places import database_document

PATIENCE_S = 60.0
pytestmark = pytest.mark.usefixtures("kind")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = found(tmp_path / "home", Environment.PAPER, "solo", database=database_document(tmp_path)).home
    with opened(made) as service:
        service.grants.create_consumer("my-bot")
    return made


def told(service: Service) -> list[tuple[tuple[str, ...], str]]:
    return [(one.noted.scopes, one.why) for one in service.cuts.closing.strays()]


def test_a_cut_that_is_taken_over_and_names_nobody_is_told_as_that(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was shown as a real halt, of a bot that is not there: whoever mistyped it believed the real one stopped."""
    monkeypatch.setattr("tests.broker.test_unrecorded.SCOPE", "consumer:my-bto")
    with last_life(home) as service:
        killed_after_a_failed_try(service)
    for _ in range(2):  # and after another restart
        with opened(home) as service:
            service.mirror.merge()
            (standing,) = service.cuts.list(open_only=True).items
            assert standing.scopes == ("consumer:my-bto",), "it holds, in case somebody is called so"
            assert told(service) == [(("consumer:my-bto",), "there is no consumer:my-bto")]


@pytest.mark.parametrize("actor", [ITSELF, "ann"])
def test_what_a_failover_forgot_together_with_its_name_is_no_slip_of_anybodys(home: Home, actor: str) -> None:
    """It was told that it stops nobody and to be cut again, beside gateways that it did stop."""
    with opened(home) as service:
        noted = NotedCut(new_id("cut"), Mode.CLOSED, ("account:forgotten",), "a key is out", actor, 1)
        with service.desk.database.write() as connection:
            adopt(connection, service.audit, noted, service.desk.clock.now_us())
        service.mirror.note(replace(noted, id=new_id("cut")))
        service.mirror.merge()
        assert len(service.cuts.list(open_only=True).items) == 2
        assert told(service) == []


@pytest.mark.parametrize("scope", ["consumer:my-bot", EVERYTHING, "venue:binance"])
def test_one_that_names_somebody_is_told_of_as_any_other(
    home: Home, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.broker.test_unrecorded.SCOPE", scope)
    with last_life(home) as service:
        killed_after_a_failed_try(service)
    with opened(home) as service:
        service.mirror.merge()
        assert len(service.cuts.list(open_only=True).items) == 1
        assert told(service) == []


def test_what_was_taken_back_is_told_of_after_a_restart(home: Home) -> None:
    noted = NotedCut(new_id("cut"), Mode.CLOSED, ("consumer:my-bto",), "leak", "me", 1)
    with opened(home) as service:
        done = service.cuts.closing._strays.add(noted, "there is no consumer 'my-bto'")
        assert done is not None
        done.result(PATIENCE_S)
        assert told(service) == [(("consumer:my-bto",), "there is no consumer 'my-bto'")]
    with opened(home) as service:
        assert told(service) == [(("consumer:my-bto",), "there is no consumer 'my-bto'")]


def test_a_database_that_is_away_hides_none_of_them(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> object:
        raise StoreUnavailable("database", "away on purpose")

    with opened(home) as service:
        strays = Strays(service.desk)
        monkeypatch.setattr(service.desk.database, "write", away)
        monkeypatch.setattr(service.desk.database, "read", away)
        done = strays.add(
            NotedCut(new_id("cut"), Mode.CLOSED, ("consumer:no",), "leak", "me", 1), "no such bot"
        )
        assert done is not None
        done.result(PATIENCE_S)
        assert [one.why for one in strays.list()] == ["no such bot"]
        strays.shutdown()
        assert (
            strays.add(NotedCut(new_id("cut"), Mode.CLOSED, ("consumer:x",), "leak", "me", 1), "later")
            is None
        )
        assert [one.why for one in strays.list()] == ["no such bot", "later"]


def test_what_was_thawed_before_the_database_went_away_does_not_stand(home: Home) -> None:
    """Four seconds after a thaw the database went away, and for all of the outage the bot was said to be cut off."""
    with opened(home) as service:
        cuts = service.cuts
        made, _ = cuts.close(targets=("consumer:my-bot",), mode=Mode.CLOSED, reason="leak", actor="me")
        other, _ = cuts.close(targets=(EVERYTHING,), mode=Mode.HALT, reason="leak", actor="me")
        cuts.learn()
        before = cuts._learned
        cuts.thaw(made.id, reason="looked at", actor="me")
        assert [one.id for one in cuts.known()] == [other.id]
        cuts._learned = before  # read before the thaw, noted after it
        assert [one.id for one in cuts.known()] == [other.id]
        cuts.learn()
        assert [one.id for one in cuts.known()] == [other.id]
        assert cuts._thawed == frozenset()


def test_a_thaw_that_the_record_forgets_hides_no_cut(home: Home) -> None:
    """After a failover the cut holds again: with the database away nobody would have been told so, for good."""
    with opened(home) as service:
        cuts = service.cuts
        made, _ = cuts.close(targets=("consumer:my-bot",), mode=Mode.CLOSED, reason="leak", actor="me")
        cuts.thaw(made.id, reason="looked at", actor="me")
        noted = NotedCut(made.id, Mode.CLOSED, ("consumer:my-bot",), "leak", "me", 1)
        with service.desk.database.write() as connection:
            adopt(connection, service.audit, noted, service.desk.clock.now_us())
        cuts.learn()
        assert [one.id for one in cuts.known()] == [made.id]


def test_one_that_cannot_be_read_keeps_no_other_back(home: Home) -> None:
    with opened(home) as service:
        odd = NotedCut(new_id("cut"), Mode.CLOSED, ("consumer:odd",), "leak", "x" * 65, 1)
        good = NotedCut(new_id("cut"), Mode.CLOSED, ("consumer:gone",), "leak", "me", 1)
        with service.desk.database.write() as connection:
            strays.record(connection, strays.Stray(odd, "why", service.desk.clock.now_us()))
            strays.of_nobody(connection, good, service.desk.clock.now_us())
        assert told(service) == [(("consumer:gone",), "there is no consumer:gone")]
