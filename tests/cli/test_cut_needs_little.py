"""What takes rights away is sent by whichever token at hand counts, and needs nothing else of the host it is typed on."""

import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from clients.secret import Secret
from portcullis.cli import client, cuts, destinations, grants, oversight, people, session
from portcullis.cli.app import app
from portcullis.cli.client import Api
from portcullis.cli.face import Face
from portcullis.running import Running, held
from portcullis.settings import Home, open_home

ENDED = "pcls_se_" + "a" * 43
LATER, BEFORE = "2099-01-01T00:00:00+00:00", "2020-01-01T00:00:00+00:00"
CUT = ["cut", "--everything", "--reason", "leak"]
CLOSING = {
    "cut": CUT,
    "halt": ["halt", "--consumer", "my-bot", "--reason", "leak"],
    "revoke": ["grant", "revoke", "grt_1", "--reason", "leak"],
    "remove": ["destination", "remove", "their-tool"],
    "close": ["checkout", "close", "out_1"],
    "end": ["operator", "end", "bob"],
    "cancel": ["act", "cancel", "act_1"],
}


class Broker:
    """Refuses every token but those that count; what a good one asks is not understood, and nobody minds."""

    def __init__(self, *good: str, status: int = 401, reason: str = "unauthenticated") -> None:
        self.good, self.status, self.reason = good, status, reason
        self.asked: list[tuple[str, str, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        self.asked.append(
            (f"{request.method} {request.url.path}", token, request.headers.get("idempotency-key", ""))
        )
        if token in self.good:
            return httpx.Response(409, json={"reason": "odd", "detail": "taken", "done": "no"})
        problem = {
            "reason": self.reason,
            "detail": "this token is not known here, or was ended",
            "done": "no",
        }
        return httpx.Response(self.status, json=problem)

    @property
    def tokens(self) -> list[str]:
        return [token for _, token, _ in self.asked]


Given = tuple[Home, Callable[[Broker, list[str]], str]]


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    """A home, and a way to type a command on its host; whether the broker answers is the test's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    root = tmp_path / "home"
    done = CliRunner().invoke(app, ["--home", str(root), "init", "--environment", "paper", "--mode", "solo"])
    assert done.exit_code == 0, done.output

    def type_(broker: Broker, line: list[str]) -> str:
        def connect(face: Face) -> Api:
            return Api(face, face.home(), Running(4711, 2, 3, 4), httpx.MockTransport(broker))

        for module in (client, cuts, grants, destinations, people, oversight):
            monkeypatch.setattr(module, "connect", connect)
        said = CliRunner().invoke(app, ["--home", str(root), *line])
        return " ".join(said.output.split())

    return open_home(root), type_


def own(home: Home) -> str:
    return home.operator_token.read_text().strip()


@pytest.mark.parametrize("line", CLOSING.values(), ids=CLOSING)
@pytest.mark.parametrize(("status", "reason"), [(401, "unauthenticated"), (403, "scope_missing")])
def test_a_session_that_is_refused_keeps_nothing_from_being_taken_away(
    given: Given, line: list[str], status: int, reason: str
) -> None:
    """It ends by a logout elsewhere, a reset, `operator recover`, a failover, or is a viewer's; the token would do."""
    home, type_ = given
    session.keep(home, "owner", Secret(ENDED), LATER)
    broker = Broker(own(home), status=status, reason=reason)
    said = type_(broker, line)
    assert broker.tokens == [ENDED, own(home)], "the session first: then a person is on record"
    assert len({key for _, _, key in broker.asked}) == 2, "a key belongs to whose token it came with"
    assert "taken" in said


def test_by_which_token_a_cut_was_made_is_said(given: Given) -> None:
    home, type_ = given
    session.keep(home, "owner", Secret(ENDED), LATER)

    class Makes(Broker):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            answer = super().__call__(request)
            return httpx.Response(201, json={}) if answer.status_code == 409 else answer

    said = type_(Makes(own(home)), CUT)
    assert "your session was not taken" in said
    assert "the home's own token was, and on record is whose it is" in said


def test_a_cut_is_made_by_who_is_remembered_while_the_database_is_away(given: Given) -> None:
    home, type_ = given
    session.keep(home, "owner", Secret(ENDED), LATER)
    broker = Broker(own(home), status=503, reason="database")
    type_(broker, CUT)
    assert broker.tokens == [ENDED, own(home)]
    broker.asked.clear()
    said = type_(broker, CLOSING["revoke"])
    assert broker.tokens == [ENDED], "of anything else it remembers nobody"
    assert "Mend the database" in said


@pytest.mark.parametrize("name", ["PORTCULLIS_TOKEN", "PORTCULLIS_TOKEN_FILE"])
@pytest.mark.parametrize("text", ["pcls_op_of_nobody", "no token"])
def test_a_variable_that_names_a_bad_token_keeps_no_cut_from_being_made(
    given: Given, name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, type_ = given
    if name.endswith("FILE"):
        (tmp_path / "token").write_text(text)
        text = str(tmp_path / "token")
    monkeypatch.setenv(name, text)
    broker = Broker(own(home))
    said = type_(broker, CUT)
    assert broker.tokens[-1] == own(home)
    assert "taken" in said
    broker.asked.clear()
    type_(broker, ["status"])
    assert own(home) not in broker.tokens, "who named a token is not served as somebody else"


def test_a_session_that_is_over_by_a_clock_set_ahead_makes_a_cut(given: Given) -> None:
    home, type_ = given
    session.keep(home, "owner", Secret(ENDED), BEFORE)
    home.operator_token.unlink()
    broker = Broker(ENDED)
    type_(broker, CUT)
    assert broker.tokens == [ENDED]


def test_where_every_token_is_refused_the_step_of_each_is_named_and_the_last_way(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, type_ = given
    monkeypatch.setattr(client, "pid_here", lambda _, written: written)
    session.keep(home, "owner", Secret(ENDED), LATER)
    broker = Broker()
    said = type_(broker, CUT)
    assert broker.tokens == [ENDED, own(home)]
    assert "Nothing was changed." in said
    for step in ("login --name NAME", "operator recover --name NAME", "end the broker (kill -9 4711)"):
        assert step in said
    broker.asked.clear()
    said = type_(broker, ["status"])
    assert broker.tokens == [ENDED]
    assert "logout" in said
    assert str(home.operator_token) not in said, "that file is fine"


def test_a_user_without_a_home_directory_cuts_by_the_homes_own_token(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's user has no line in its user file: there is no place for a session, and none was looked for."""
    home, type_ = given
    monkeypatch.delenv("XDG_STATE_HOME")

    def none(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    broker = Broker(own(home))
    type_(broker, CUT)
    assert broker.tokens == [own(home)]
    broker.asked.clear()
    type_(broker, ["status"])
    assert broker.tokens[0] == own(home), "nor does anything else need one"


@pytest.mark.parametrize("fault", ["others may read it", "damaged"])
def test_a_home_that_cannot_be_used_as_it_is_is_cut_all_the_same(given: Given, fault: str) -> None:
    """A broker runs on it: what is wrong with the directory or with `home.json` is no reason to let bots trade."""
    home, type_ = given
    if fault == "damaged":
        (home.root / "home.json").write_text("{")
    else:
        home.root.chmod(0o755)
    broker = Broker(own(home))
    with held(home):
        said = type_(broker, CUT)
        assert broker.tokens == [own(home)]
        assert "home" in said
        broker.asked.clear()
        type_(broker, ["cuts"])
        assert not broker.asked


@pytest.mark.parametrize("line", [CUT, CLOSING["halt"]], ids=["cut", "halt"])
def test_a_cut_is_sent_where_no_thread_can_be_had(
    given: Given, line: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a limit of processes: a thread only tells that an answer takes long."""
    home, type_ = given

    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    broker = Broker(own(home))
    type_(broker, line)
    assert "POST /v1/cuts" in [what for what, _, _ in broker.asked]
