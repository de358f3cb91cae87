"""People are told whatever there is to tell: by services with limits and markup of theirs. Real process, real Apprise."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.db import findings
from broker.db.findings import Finding
from broker.gate import Mode
from broker.service import Service
from clients.secret import Secret
from rotation.alerts import sending, telling
from rotation.alerts.telling import AGAIN_US, CATCH_UP_US, TOGETHER_US, Telling
from tests.rotation.alerting import Clock, home_with_a_key
from tests.rotation.messengers import Messenger, messenger

pytestmark = pytest.mark.sockets

LONG = "its container was rebuilt from an image that nobody knows; see the incident channel"
EVERY = ["telegram", "discord", "embeds", "slack", "ntfy", "pagerduty", "mail", "webhook"]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with home_with_a_key(tmp_path) as service:
        yield service


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Messenger]:
    for module, name in ((telling, "WAIT_S"), (telling, "REST_S"), (sending, "_START_S")):
        monkeypatch.setattr(module, name, 120.0)  # a process begins late on a busy machine
    with messenger(tmp_path, monkeypatch) as here:
        yield here


@pytest.fixture
def clock(service: Service) -> Clock:
    return Clock(service.desk.clock.now_us())


def found(service: Service, clock: Clock, *texts: str) -> None:
    """Let the sweep have found keys, of which it says this."""
    with service.desk.database.write() as connection:
        ones = [Finding("main", f"{number:064}", "unknown", text) for number, text in enumerate(texts)]
        findings.found(connection, "main", ones, clock())


def looks(telling: Telling, clock: Clock, times: int = 2) -> None:
    for _ in range(times):
        telling.look()
        clock.us += TOGETHER_US


def untold(service: Service) -> list[str]:
    return [one.says for one in service.alerts.standing() if one.sent_us is None]


def failed(service: Service) -> str:
    (channel,) = service.alerts.channels()
    return channel.failed


def many(count: int) -> list[str]:
    return [f"key {number:03} is not on record: {LONG * 2}" for number in range(count)]


@pytest.mark.parametrize(("kind", "count"), [("telegram", 30), ("discord", 16), ("pagerduty", 6)])
def test_what_is_too_much_for_one_message_comes_in_several(
    service: Service, clock: Clock, here: Messenger, kind: str, count: int
) -> None:
    """One message with everything was refused as too long, grew, and from then on nobody was told of anything."""
    service.alerts.add("phone", kind, here.address(kind))
    telling = Telling(service, clock)
    found(service, clock, *many(count))
    looks(telling, clock)
    assert untold(service) == []
    assert all(f"key {number:03} " in here.text for number in range(count))
    assert [status for status, _ in here.asked if status >= 300] == [], "none was too long"
    assert 1 < len(here.asked) <= 5
    clock.us += AGAIN_US
    looks(telling, clock, 1)
    service.cuts.close(targets=("everything",), mode=Mode.CLOSED, actor="ann", reason="leak")
    looks(telling, clock)
    assert "CUT OFF" in here.text, "what is found later is told, whatever stands"
    assert untold(service) == []
    assert failed(service) == ""


@pytest.mark.parametrize("kind", EVERY)
def test_what_others_wrote_is_shown_and_is_no_markup(
    service: Service, clock: Clock, here: Messenger, kind: str
) -> None:
    """One `<` in a reason silenced Telegram, and a mail did not show it; `@everyone` in a label called a whole server."""
    service.alerts.add("phone", "discord" if kind == "embeds" else kind, here.address(kind))
    telling = Telling(service, clock)
    assert telling.test("phone") == ""
    label = "<b onclick=x & <unclosed <!-- *x_y* [a](https://b.example) `c` ```d``` <!channel> <@1> @everyone &lt; end"
    found(service, clock, f"a key labelled {label}", "a second one")
    looks(telling, clock)
    assert untold(service) == []
    shown = here.taken[-1].replace("\r\n", "\n")
    if kind == "discord":
        assert shown.count("```") == 2
        assert shown.index("```") < shown.index("onclick") < shown.rindex("```"), (
            "no markup is read in between"
        )
    if kind in {"discord", "embeds"}:
        assert "@everyone" not in shown
        assert "@1" not in shown
        assert "\U0001f449" not in shown, "Apprise calls whom it finds in a text"
        shown = shown.replace("\u200b", "").replace("'''", "```")
    assert f"a key labelled {label}" in shown
    assert "\n- main: a second one\n" in shown, "each begins a line"
    if kind == "embeds":
        assert "\\[a\\]\\(https" in here.sent[-1]["embeds"][0]["description"]
    if kind == "slack":
        assert "<!channel>" not in str(here.sent[-1])
    if kind == "mail":
        assert here.sent[-1].get_content_type() == "text/plain"


@pytest.mark.parametrize("kind", ["telegram", "webhook"])
def test_no_text_of_others_stands_for_another_line_or_turns_one_around(
    service: Service, clock: Clock, here: Messenger, kind: str
) -> None:
    """A label with line ends wrote entries of its own; one with a turned line showed another command."""
    service.alerts.add("phone", kind, here.address(kind))
    service.cuts.close(
        targets=("everything",), mode=Mode.CLOSED, actor="ann",
        reason="x\n+ right again: everything\u202e\u2066\x1b[2J\u2028\u200b",
    )  # fmt: skip
    found(service, clock, "a key labelled 'y\r\n+ right again: all\u202egro'")
    looks(Telling(service, clock), clock)
    assert untold(service) == []
    assert not [line for line in here.text.splitlines() if line.startswith("+")]
    assert "a key labelled 'y\\r\\n+ right again: all\\u202egro'" in here.text
    assert not set("\u202e\u2066\x1b\u2028\u200b") & set(here.text)


@pytest.mark.parametrize("kind", ["telegram", "discord"])
def test_one_that_is_too_long_for_any_message_is_shortened_and_says_so(
    service: Service, clock: Clock, here: Messenger, kind: str
) -> None:
    service.alerts.add("phone", kind, here.address(kind))
    found(service, clock, "begins so " + "\U0001f511" * 5000, "a short one")
    looks(Telling(service, clock), clock)
    assert untold(service) == []
    assert "begins so" in here.text
    assert "(shortened: portcullis alerts list)" in here.text
    assert here.text.count("next: portcullis sweep show") == 2, "what to do is never left out"
    assert "a short one" in here.text


def test_one_that_is_refused_keeps_no_other_back_and_is_told_bare(
    service: Service, clock: Clock, here: Messenger
) -> None:
    """A message that is refused is not a channel that fails: what it minds is told in letters that nobody minds."""
    minded = "\u2620"
    here.minds = lambda text: 422 if minded in text else 0
    service.alerts.add("phone", "webhook", here.address("webhook"))
    found(service, clock, "key 0", f"key 1 {minded}", "key 2", "key 3")
    looks(Telling(service, clock), clock)
    assert untold(service) == []
    assert all(f"main: key {number}" in here.text for number in range(4))
    assert "main: key 1" in here.taken[-1], "it is told last"
    assert "not in its own words" in here.taken[-1]
    assert failed(service) == ""


def test_one_that_is_refused_in_any_words_is_tried_alone_and_seldom(
    service: Service, clock: Clock, here: Messenger
) -> None:
    """It stays due, its channel says what is so, and what is found later is told at once."""
    here.minds = lambda text: 400 if "key 1" in text else 0
    service.alerts.add("phone", "webhook", here.address("webhook"))
    telling = Telling(service, clock)
    found(service, clock, "key 0", "key 1")
    looks(telling, clock)
    assert untold(service) == ["main: key 1"]
    assert failed(service) == "the service answered 400 and refuses 1 alert, each sent alone; it takes others"
    before = len(here.asked)
    looks(telling, clock, 3)
    assert len(here.asked) == before, "nobody is asked the same every few seconds"
    found(service, clock, "key 0", "key 1", "key 2")
    looks(telling, clock)
    assert untold(service) == ["main: key 1"]
    assert "key 2" in here.taken[-1]
    assert here.text.count("key 0") == 1
    here.minds = lambda _: 0
    clock.us += 2 * CATCH_UP_US
    looks(telling, clock, 1)
    assert untold(service) == []
    assert failed(service) == ""


def test_a_service_that_takes_less_than_is_known_is_sent_less(
    service: Service, clock: Clock, here: Messenger
) -> None:
    """A webhook's limit is known to nobody: what it refuses is halved until it is taken."""
    here.minds = lambda text: 413 if len(text) > 700 else 0
    service.alerts.add("phone", "webhook", here.address("webhook"))
    found(service, clock, *(f"key {number}: {LONG}" for number in range(6)))
    looks(Telling(service, clock), clock, 3)
    assert untold(service) == []
    assert all(f"key {number}: {LONG}" in here.text for number in range(6))


def test_a_flood_is_told_in_a_few_messages_and_hides_nothing_of_another_kind(
    service: Service, clock: Clock, here: Messenger
) -> None:
    """A service bans whoever sends it hundreds of messages; the last one says how many are left, and where they stand."""
    service.alerts.add("phone", "discord", here.address("discord"))
    service.alerts.add("spare", "webhook", Secret("json://127.0.0.1:9/x"))
    telling = Telling(service, clock)
    found(service, clock, *many(150))
    service.cuts.close(targets=("everything",), mode=Mode.CLOSED, actor="ann", reason="leak")
    telling.look()
    clock.us += TOGETHER_US
    telling.look()
    assert len(here.asked) == 5
    assert all(len(text) <= 2000 for text in here.taken)
    assert "key 000" in here.taken[0]
    assert "CUT OFF" in here.taken[0], "no flood of one kind hides another"
    named = sum(f"key {number:03} " in here.text for number in range(150))
    assert f"- and {150 - named} more: portcullis alerts list" in here.taken[-1]
    assert untold(service) == [], "by that line they are told"
    looks(telling, clock, 3)
    assert len(here.asked) == 5


@pytest.mark.parametrize(
    ("kind", "code", "says"),
    [
        ("telegram", 400, "the service answered 400 and refused the message"),
        (
            "telegram",
            401,
            "the service answered 401: its address is wrong, or may not be written to any more",
        ),
        ("webhook", 503, "the service answered 503: it has a fault of its own"),
        ("discord", 429, "the service answered 429: it was sent too many messages"),
        ("mail", 554, "the service answered 554 and refused the message"),
        ("mail", 451, "the service answered 451: it has a fault of its own"),
    ],
)
def test_of_a_channel_is_said_what_its_service_answered(
    service: Service, clock: Clock, here: Messenger, kind: str, code: int, says: str
) -> None:
    """It was said of all of them that their host does not answer."""
    here.minds = lambda _: code
    service.alerts.add("phone", kind, here.address(kind))
    telling = Telling(service, clock)
    assert telling.test("phone") == f"it was not taken: {says}"
    found(service, clock, "a key")
    looks(telling, clock)
    assert failed(service) == f"it was not taken: {says}"


@pytest.mark.parametrize("code", [400, 403, 429])
def test_a_service_that_takes_nothing_is_not_asked_without_end(
    service: Service, clock: Clock, here: Messenger, code: int
) -> None:
    """Every look sent it a message, some seconds after the last."""
    here.minds = lambda _: code
    service.alerts.add("phone", "webhook", here.address("webhook"))
    telling = Telling(service, clock)
    found(service, clock, *(f"key {number}" for number in range(8)))
    looks(telling, clock)
    before = len(here.asked)
    assert before <= 8
    looks(telling, clock, 8)
    assert len(here.asked) == before
    here.minds = lambda _: 0
    clock.us += CATCH_UP_US
    looks(telling, clock)
    assert untold(service) == []
    assert all(f"key {number}" in here.text for number in range(8))
    assert failed(service) == ""


def test_a_channel_that_missed_some_is_told_those_and_no_others_again(
    service: Service, clock: Clock, here: Messenger
) -> None:
    """One of two channels refuses an entry: it is owed that one, and the other one is told nothing twice."""
    service.alerts.add("one", "webhook", here.address("webhook"))
    service.alerts.add("two", "telegram", here.address("telegram"))
    telling = Telling(service, clock)
    refusing = True
    takes = here.takes

    def picky(path: str, said: object) -> int:
        here.minds = lambda text: 400 if refusing and path.startswith("/bot") and "key 1" in text else 0
        return takes(path, said)

    here.takes = picky  # type: ignore[method-assign]
    found(service, clock, "key 0", "key 1")
    looks(telling, clock)
    assert untold(service) == [], "the other one took it"
    clock.us += 3 * CATCH_UP_US
    looks(telling, clock, 1)
    assert here.text.count("key 0") == 2
    refusing = False
    clock.us += 10 * CATCH_UP_US
    looks(telling, clock, 1)
    assert here.text.count("key 0") == 2
    assert here.text.count("key 1") == 2
    assert [one.failed for one in service.alerts.channels()] == ["", ""]
