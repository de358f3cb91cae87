"""What the command line makes of the broker's answers: its nos say what to do, and name options as they were typed."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from portcullis.cli import client, consumers, cuts, destinations, rotations, sweeps
from portcullis.cli.answers import A, read
from portcullis.cli.app import app
from portcullis.cli.client import Api
from portcullis.cli.face import Face
from portcullis.running import Running
from portcullis.settings import open_home
from tests.cli.examples import example

Answers = dict[tuple[str, str], tuple[int, dict[str, Any]]]
EMPTY = {"items": [], "next": None}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    root = tmp_path / "home"
    done = CliRunner().invoke(app, ["--home", str(root), "init", "--environment", "paper", "--mode", "solo"])
    assert done.exit_code == 0, done.output
    return root


def problem(status: int, reason: str, *errors: tuple[str, str]) -> tuple[int, dict[str, Any]]:
    told = [{"field": field, "message": message} for field, message in errors]
    return status, {"reason": reason, "detail": "it is no", "errors": told}


def said(monkeypatch: pytest.MonkeyPatch, home: Path, answers: Answers, *arguments: str) -> tuple[int, str]:
    """Run a command against answers that were made up; 404 where there is none."""

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1/")
        status, document = answers.get((request.method, path), problem(404, "not_found"))
        return httpx.Response(status, json=document)

    def connect(face: Face) -> Api:
        running = Running(1, 2, 3, 4)
        return Api(face, open_home(home), running, httpx.MockTransport(answer))

    for module in (client, consumers, cuts, destinations, rotations, sweeps):
        monkeypatch.setattr(module, "connect", connect)
    done = CliRunner().invoke(app, ["--home", str(home), *arguments])
    return done.exit_code, " ".join(done.output.split())


CHECKOUT = ("checkout", "open", "--grant", "g", "--hours", "2", "--holder", "h", "--reason", "r")


@pytest.mark.parametrize(
    ("reason", "step"),
    [
        ("no_checkout", "grant policy"),
        ("too_long", "--hours"),
        ("cut", "cuts"),
        ("scope_missing", "token has that scope"),
    ],
)
def test_a_no_is_not_blamed_on_the_token_where_it_is_about_something_else(
    monkeypatch: pytest.MonkeyPatch, home: Path, reason: str, step: str
) -> None:
    code, text = said(monkeypatch, home, {("POST", "checkouts"): problem(403, reason)}, *CHECKOUT)
    assert code == 1
    assert step in text
    assert ("token has that scope" in text) is (reason == "scope_missing")


@pytest.mark.parametrize(
    ("status", "more", "says"),
    [
        (503, {"done": "unknown"}, "Whether it was done is not known"),
        (503, {"done": "yes"}, "It was done all the same"),
        (503, {"done": "no"}, "Nothing was changed"),
        (502, {}, "Whether it was done is not known"),
        (409, {}, "Nothing was changed"),
    ],
)
def test_a_failure_says_what_is_true_of_what_was_asked(
    monkeypatch: pytest.MonkeyPatch, home: Path, status: int, more: dict[str, Any], says: str
) -> None:
    """A commit whose answer was lost was told as "Nothing was changed"; whoever did it again did it twice."""
    code, document = problem(status, "commit_unknown")
    _, text = said(monkeypatch, home, {("POST", "checkouts"): (code, document | more)}, *CHECKOUT)
    assert says in text


def test_an_input_at_fault_is_named_by_its_option(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    answers: Answers = {("POST", "checkouts"): problem(400, "bad_checkout", ("ttl_s", "is too long"))}
    _, text = said(monkeypatch, home, answers, *CHECKOUT)
    assert "--hours is too long" in text
    assert "ttl_s" not in text


def test_a_new_destination_is_followed_by_the_rotation_of_its_own_slot(
    monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"what": "the tax tool"}')
    made = example("DestinationShown", where="the tax tool", account="demo", slot="read")
    answers: Answers = {
        ("POST", "destinations"): (201, made),
        ("POST", "destinations/tax/remove"): (200, made),
    }
    place = ("--account", "demo", "--kind", "manual", "--slot", "read", "--settings", str(file))
    for arguments in (("create", "tax", *place), ("remove", "tax")):
        code, text = said(monkeypatch, home, answers, "destination", *arguments)
        assert code == 0, text
        assert "rotation start --account demo --slot read" in text


def test_a_sweep_claims_nothing_of_accounts_that_nobody_can_list(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    rows = [
        example("Account", name="master-made", manager="master"), example("Account", name="hand-made", manager=None)
    ]  # fmt: skip
    for accounts, well in ((rows, True), (rows[1:], False)):
        answers: Answers = {
            ("POST", "sweeps"): (200, EMPTY), ("GET", "findings"): (200, EMPTY),
            ("GET", "accounts"): (200, {"items": accounts, "next": None}),
        }  # fmt: skip
        for what in ("run", "show"):
            code, text = said(monkeypatch, home, answers, "sweep", what)
            assert code == 0, text
            assert ("as it is on record: master-made" in text) is well
            assert "hand-made" in text.split("not looked at")[1]


def test_rotations_of_an_account_that_does_not_exist_are_refused(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    answers: Answers = {
        ("GET", "accounts/nope"): problem(404, "no_account"),
        ("GET", "rotations"): (200, EMPTY),
    }
    code, text = said(monkeypatch, home, answers, "rotation", "list", "--account", "nope")
    assert (code, "account list" in text) == (1, True)
    assert said(monkeypatch, home, answers, "rotation", "list", "--open")[1].startswith("none open")
    assert said(monkeypatch, home, answers, "rotation", "list")[1].startswith("no rotations yet")


def test_a_slip_in_a_key_id_is_answered_with_the_same_command(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    for reason in ("venue_unknown_key", "key_known"):
        answers: Answers = {("POST", "rotations/rot_1/answer"): problem(409, reason)}
        code, text = said(monkeypatch, home, answers, "rotation", "answer", "rot_1", "--key-id", "abc")
        assert code == 1
        assert "rotation answer rot_1" in text
        assert "import" not in text


@pytest.mark.parametrize(
    ("state", "words"),
    [("discarding-new", "the new key is looked at"), ("retiring-old", "the old key is looked at")],
)
def test_a_deletion_is_said_of_the_key_that_was_deleted(
    monkeypatch: pytest.MonkeyPatch, home: Path, state: str, words: str
) -> None:
    answers: Answers = {
        ("POST", "rotations/rot_1/answer"): (
            200,
            example("RotationWhole", id="rot_1", state=state, reason=""),
        )
    }
    assert words in said(monkeypatch, home, answers, "rotation", "answer", "rot_1", "--deleted")[1]


def test_a_second_waiver_is_a_no_that_says_who_waived(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    one = example("DeliveryShown", destination="tax", confirmed_at=None, waived_by="ann")
    found = example("RotationWhole", id="rot_1", deliveries=[one])
    answers: Answers = {("GET", "rotations/rot_1"): (200, found)}
    arguments = ("rotation", "waive", "rot_1", "--destination", "tax", "--reason", "gone")
    code, text = said(monkeypatch, home, answers, *arguments)
    assert code == 1
    assert "was waived by ann already" in text


def test_onward_and_leave_are_asked_of_the_core_and_nothing_else_sends_it(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    sent: list[dict[str, Any]] = []

    def post(_: Api, kind: type[A], path: str, body: dict[str, Any]) -> A:
        sent.append({"path": path} | body)
        return read(kind, example("RotationWhole", id="rot_1"))

    monkeypatch.setattr(Api, "post", post)
    for more in (["--onward"], ["--leave"], []):
        assert said(monkeypatch, home, {}, "rotation", "resume", "rot_1", *more)[0] == 0
    path = "rotations/rot_1/resume"
    assert sent == [
        {"path": path, "discard": False, "onward": True},
        {"path": path, "discard": False, "leave": True},
        {"path": path, "discard": False},
    ]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("rolling-back", "the old key is taken into use again"),
        ("abandoned", "is given up: the old key stays in use"),
        ("discarding-new", "a new key that was made is deleted"),
    ],
)
def test_giving_up_says_what_becomes_of_both_keys(
    monkeypatch: pytest.MonkeyPatch, home: Path, state: str, words: str
) -> None:
    found = example("RotationWhole", id="rot_1", state=state, old_version=1)
    answers: Answers = {("POST", "rotations/rot_1/rollback"): (200, found)}
    assert words in said(monkeypatch, home, answers, "rotation", "rollback", "rot_1", "--reason", "r")[1]


def test_a_thaw_beside_another_cut_names_the_cut_that_still_holds(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """With another cut open the answer lists it whole, and the screen says which one and how to lift it."""
    other = example("Cut", id="cut_2", mode="halt", targets=["account:main"], reason="the other incident")
    done = example("Thawed", cut="cut_1", targets=["account:main"], still_closed=[other])
    code, text = said(
        monkeypatch, home, {("POST", "thaws"): (200, done)}, "thaw", "cut_1", "--reason", "over"
    )
    assert code == 0, text
    assert "still halt account:main by cut_2: the other incident" in text
    assert "thaw cut_2 --reason WHY" in text


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ([], ("nothing to thaw",)),
        ([("cut_1", "account:main")], ("cut_1 holds account:main", "thaw cut_1 --reason WHY")),
        (
            [("cut_1", "account:main"), ("cut_2", "consumer:bot")],
            ("cut_1 holds account:main", "cut_2 holds consumer:bot"),
        ),
    ],
)
def test_a_thaw_that_names_nothing_is_told_what_could_be_meant(
    monkeypatch: pytest.MonkeyPatch, home: Path, listed: list[tuple[str, str]], words: tuple[str, ...]
) -> None:
    rows = [example("Cut", id=one, targets=[target]) for one, target in listed]
    code, text = said(
        monkeypatch, home, {("GET", "cuts"): (200, {"items": rows, "next": None})}, "thaw", "--reason", "over"
    )
    assert code == 1
    for word in words:
        assert word in text


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_an_answer_that_does_not_fit_is_told_alike_with_and_without_json(
    monkeypatch: pytest.MonkeyPatch, home: Path, how: list[str]
) -> None:
    """The cut was made: nobody is told that nothing was changed, and no command ends in a traceback."""
    short = {key: value for key, value in example("MadeCut").items() if key != "durable"}
    for answered in (short, {"items": []}, [], None, "x"):
        answers: Answers = {("POST", "cuts"): (201, answered)}  # type: ignore[dict-item]
        code, text = said(monkeypatch, home, answers, "cut", "--everything", "--reason", "r", *how)
        assert code == 1
        assert "It was done" in text
        assert "Traceback" not in text


def test_a_cut_that_is_in_force_and_not_on_record_is_listed_as_that(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    rows = [example("Cut", id="cut_1", on_record=False), example("Cut", id="cut_2", on_record=True)]
    listed = {("GET", "cuts"): (200, {"items": rows, "next": None})}
    code, text = said(monkeypatch, home, listed, "cuts", "--all")  # type: ignore[arg-type]
    assert (code, text.count("NOT on record")) == (0, 1)


def test_a_snippet_for_nobody_is_told_as_that(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """A typo was told to make a grant, for a consumer that is not there."""
    code, text = said(
        monkeypatch, home, {("GET", "grants"): (200, EMPTY)}, "consumer", "snippet", "my-bto", "--for", "ccxt"
    )
    assert code == 1
    assert "grant create" not in text
    assert "it is no" in text, "the broker's own word of the consumer"
