"""The CLI's way to the API of the broker that runs on its home.

Rules:
1. By the socket in the home, else by TCP on loopback, or where $PORTCULLIS_ADDR says (`portcullis.cli.way`). No token
   is ever printed.
2. A write carries an idempotency key. Without an answer it is asked once more under the same key: a cut that
   was made is then answered, not made twice.
3. If nothing runs, or nothing answers, the error says what that means for the bots and how to start it.
4. Every answer is read as its type here, before any screen sees it. One that does not fit is an error that says
   whether the thing was done: with `--json` as without.
"""

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from broker.errors import Done
from clients.bounds import MIB, Bounds
from clients.http import silence
from clients.near_http import NearTransport
from clients.venue import Environment
from portcullis.cli import answers, away, oversight_answers, people_answers, remedies, session
from portcullis.cli.absent import absent, ended_by, say_late
from portcullis.cli.answers import A, Answer
from portcullis.cli.face import STATES, Face, Stopped
from portcullis.cli.tables import hanging
from portcullis.cli.voice import ABOUT_WHO, Voice, Who
from portcullis.cli.way import Way, by_socket, named, ways
from portcullis.running import Running, find_started, pid_here, told
from portcullis.settings import Home

TIMEOUT = httpx.Timeout(connect=3.0, read=20.0, write=5.0, pool=5.0)
"""Seconds. Read: a cut waits for gateways up to 2 s, a key import for the venue up to 10 s."""

BOUNDS = Bounds(30.0, 32 * MIB)
"""Of one call in all: whoever answers at that address may send a byte every few seconds, or without end."""

NO_ANSWER = "no_answer"
_CUT = ("POST", "cuts")
LATE_S = 4.0
"""A cut is answered within three seconds by a broker that is well, whatever its stores do."""

PAGE = 200
_CODE, _ACT, _KEY = "Portcullis-Code", "Portcullis-Act", "Idempotency-Key"
_REPLAYED, _FIRST = "Idempotency-Replayed", "Idempotency-First-Answered"
_LOOK_S = 2.0
_TOLD_WITHOUT = frozenset({"status", "alerts", "cuts", "ready"})
"""What is looked at to see whether anything is shut: something of it is known without the database."""
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout)
_SENT, _NOT_SENT = "Whether it was done is not known.", "Nothing was sent, and nothing was changed."
_DONE = "It was done: the broker said so, in words that cannot be shown."
_ACCEPTED = 202
_BAD = 400
_FORBIDDEN = 403
_INTERNAL = 500


class _Page(Answer):
    """One page of a list."""

    items: list[Any]
    next: str | None


class _Announced(Answer):
    """A write that waits for a second step."""

    act: str
    detail: str
    shows: list[str] = msgspec.field(default_factory=list)


class Announcement(Exception):
    """A write that is announced and not done: the act's id, what is awaited, and what it would do."""

    def __init__(self, act: str, what: str, shows: Sequence[str]) -> None:
        super().__init__(what)
        self.act, self.what, self.shows = act, what, shows


class Api:
    """Calls to one broker."""

    def __init__(
        self,
        face: Face,
        home: Home,
        running: Running,
        transport: httpx.BaseTransport | None = None,
        ways: Sequence[Way] = (),
        who: Who = None,
        *,
        elsewhere: str = "",
    ) -> None:
        silence()
        self.elsewhere = elsewhere  # the address that $PORTCULLIS_ADDR names; nothing here is known of it
        self._face, self.home, self.running = face, home, running
        self._voice = Voice(face, home, who)
        self._transport = transport
        first, *self._others = ways or [Way(running.api)]
        self._client = self._by(first)

    def _by(self, way: Way) -> httpx.Client:
        """Return a client that goes one way."""
        return httpx.Client(
            base_url=way.base,
            headers={"Accept": "application/json", **self._voice.headers},
            timeout=TIMEOUT,
            trust_env=False,
            follow_redirects=False,
            transport=self._transport or NearTransport(BOUNDS, verify=way.verify, uds=way.uds),
        )

    def get(self, kind: type[A], path: str, **params: Any) -> A:
        """Read something."""
        given = {name: value for name, value in params.items() if value is not None}
        try:
            found = self._ask("GET", path, params=given)
        except Stopped as stopped:
            if path in _TOLD_WITHOUT and stopped.reason in remedies.AWAY:
                self._tell_without(stopped)
            raise
        return self._read(kind, found, path, "Nothing was changed.")

    def _tell_without(self, stopped: Stopped) -> None:
        """Add what the broker knows without the database; nothing where it does not say that either."""
        try:
            found = self._read(
                oversight_answers.Standing, self._ask("GET", "standing", params={}), "standing", ""
            )
        except Stopped:
            return
        stopped.known, stopped.document = away.lines(found), found

    def pages(self, kind: type[A], path: str, *, most: int | None = None, **params: Any) -> Iterator[A]:
        """Read a list, page by page, up to `most` entries."""
        cursor, seen = None, 0
        while True:
            size = PAGE if most is None else min(PAGE, most - seen)
            page = self.get(_Page, path, cursor=cursor, limit=size, **params)
            for item in page.items:
                yield self._read(kind, item, path, "Nothing was changed.")
                seen += 1
            if page.next is None or page.next == cursor or (most is not None and seen >= most):
                return
            cursor = page.next

    def post(self, kind: type[A], path: str, body: Mapping[str, Any] | None = None) -> A:
        """Write something."""
        return self._read(kind, self._write("POST", path, body), path, _DONE)

    def put(self, kind: type[A], path: str, body: Mapping[str, Any]) -> A:
        """Replace something."""
        return self._read(kind, self._write("PUT", path, body), path, _DONE)

    def _read(self, kind: type[A], document: object, path: str, state: str) -> A:
        """Return an answer as its type.

        Raises:
            Stopped: It does not fit: the broker that runs is of another version than this program.
        """
        try:
            return answers.read(kind, document)
        except ValueError as fault:
            raise Stopped(
                f"The broker's answer about {path.split('/', maxsplit=1)[0]} cannot be read: {fault}", state,
                "The broker is probably of another version than this command: end it and start it again "
                f"({self._face.command('run')}).",
                reason="unreadable_answer",
            ) from None  # fmt: skip

    def _write(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        document = dict(body or {})
        act = self._face.act
        try:
            return self._once(method, path, document, {_ACT: act} if act else {})
        except Stopped as stopped:
            if stopped.reason != "code_needed":
                raise
            code = session.one_time_code(stopped.what)
        except Announcement as announced:
            return self._when_ready(method, path, document, announced)
        try:
            return self._once(method, path, document, {_CODE: code})
        except Announcement as announced:
            return self._when_ready(method, path, document, announced)

    def _once(self, method: str, path: str, document: Any, more: Mapping[str, str]) -> Any:
        """Write, and once more where no answer came; under one key, so that it is done once."""
        headers = {_KEY: secrets.token_hex(16), **more}
        try:
            return self._send(method, path, json=document, headers=headers)
        except httpx.RequestError as fault:
            was_sent = not isinstance(fault, _UNSENT)
            return self._ask(method, path, was_sent=was_sent, json=document, headers=headers)

    def _when_ready(self, method: str, path: str, document: Any, announced: Announcement) -> Any:
        """Do what was announced once it may be done, where the person wants to wait."""
        if not self._face.as_json:
            for line in announced.shows:
                self._face.err.print(hanging("-", line))
        if not self._face.wait:
            raise Stopped(
                announced.what, "It is announced, and NOT done.",
                f"When it is ready, the same command again with --act {announced.act}; see "
                f"{self._face.command('act list')}, or add --wait.", reason="announced",
            )  # fmt: skip
        self._face.err.print(hanging("[yellow]-[/]", announced.what, 0))
        while True:
            found = {row.id: row for row in self.pages(people_answers.Act, "acts")}.get(announced.act)
            if found is None:
                raise Stopped(f"{announced.act} was called off.", reason="cancelled")
            if found.ready:
                return self._once(method, path, document, {_ACT: announced.act})
            time.sleep(_LOOK_S)

    def _ask(self, method: str, path: str, *, was_sent: bool = False, **more: Any) -> Any:
        try:
            return self._send(method, path, **more)
        except httpx.RequestError as fault:
            is_sent = was_sent or not isinstance(fault, _UNSENT)
            raise Stopped(
                f"{self._broker} {'does not answer' if is_sent else 'cannot be connected to'}.",
                _SENT if is_sent and method != "GET" else "Nothing was changed." if is_sent else _NOT_SENT,
                f"To stop all trading at once, end it{self._ended_by()}: no gateway serves without it. "
                + ("Look at the way there: a tunnel may be down." if self.elsewhere else
                   f"Its log, and {self._face.command('status')}, say more."),
                reason=NO_ANSWER,
            ) from None  # fmt: skip

    @property
    def _broker(self) -> str:
        """Say which broker is spoken to."""
        if self.elsewhere:
            return f"The broker at {self.elsewhere}"
        pid = self.pid
        return f"The broker (process {pid})" if pid else "The broker"

    @property
    def pid(self) -> int:
        """Which process the broker is, where we are; 0 where that is not known."""
        return 0 if self.elsewhere else pid_here(self.home, self.running.pid)

    def _ended_by(self) -> str:
        """Return how the broker is ended, from here if that can be."""
        return " on its own host" if self.elsewhere else ended_by(self.pid)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Say on stderr where the broker takes long to answer: whoever cuts must not wait in silence."""

        def late() -> None:
            self._face.err.print(
                f"The broker has not answered for {LATE_S:.0f} s; this waits on. To stop all trading at once, "
                f"end it{self._ended_by()}.",
                soft_wrap=True,
            )

        timer = Timer(LATE_S, late)
        timer.daemon = True
        with suppress(RuntimeError):  # no thread can be had: it only tells, and a cut needs none
            timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _send(self, method: str, path: str, **more: Any) -> Any:
        while (answer := self._request(method, f"/v1/{path}", **more)).status_code >= _BAD:
            stopped = self._stopped(answer)
            is_cut = (method, path) == _CUT
            if not self._voice.goes_on(stopped, is_cut=is_cut):
                raise self._untaken(stopped) if is_cut else self._voice.whole(stopped)
            self._client.headers.update(self._voice.headers)
            if _KEY in more.get("headers", {}):  # it belongs to whose token it first came with
                more["headers"] = more["headers"] | {_KEY: secrets.token_hex(16)}
        self._voice.done()
        try:
            document = answer.json()
        except ValueError:
            document = None
        if answer.headers.get(_REPLAYED) == "true":
            self._say_old(answer.headers.get(_FIRST, ""))
        if answer.status_code != _ACCEPTED:
            return document
        announced = self._read(_Announced, document, path, "It is announced, and NOT done.")
        raise Announcement(announced.act, announced.detail, announced.shows)

    def _untaken(self, stopped: Stopped) -> Stopped:
        """Return what to say of a cut that was not made; where no token was taken, by what it needs none for."""
        whole = self._voice.whole(stopped)
        if whole.reason in ABOUT_WHO:
            last = (
                f"To stop all trading at once without a token, end the broker{self._ended_by()}: no gateway serves "
                "without it."
            )
            whole.step = "\n".join(one for one in (whole.step, last) if one)
        return whole

    def _say_old(self, at: str) -> None:
        """Say that an answer was given before: it tells how things were then."""
        self._face.err.print(
            hanging("[yellow]![/]", f"this was answered before, at {at}, and says how things were then", 0)
        )

    def _request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request by the first way that connects; nothing was sent by those before it."""
        while True:
            try:
                return self._client.request(method, path, **more)
            except httpx.ConnectError:
                if not self._others:
                    raise
                self._client.close()
                self._client = self._by(self._others.pop(0))

    def _stopped(self, answer: httpx.Response) -> Stopped:
        try:
            problem = answer.json()
        except ValueError:
            problem = {}
        if not isinstance(problem, dict):
            problem = {}
        reason = str(problem.get("reason", "failed"))
        detail = str(problem.get("detail") or problem.get("title") or f"HTTP {answer.status_code}")
        listed = problem.get("errors")
        errors = tuple(
            (str(entry.get("field", "")), str(entry.get("message", "")))
            for entry in (listed if isinstance(listed, list) else ())
            if isinstance(entry, dict)
        )
        step = remedies.step(self._face, reason, forbidden=answer.status_code == _FORBIDDEN)
        sure = answer.status_code < _INTERNAL or answer.request.method == "GET"
        state = STATES.get(str(problem.get("done")), STATES[Done.NO if sure else Done.UNKNOWN])
        if reason in remedies.AWAY:
            state = f"{state} {remedies.WHILE_AWAY}"
        return Stopped(detail, state, step, reason=reason, errors=errors)


def connect(face: Face, who: Who = None) -> Api:
    """Return the API of the broker that runs on the home, or of the one that $PORTCULLIS_ADDR names.

    Args:
        face: What the command line asked for.
        who: Whose token to speak with; None: the session's, or the home's own.

    Raises:
        Stopped: Nothing runs there.
        SettingsError: There is no home.
    """
    elsewhere = named()
    if elsewhere is not None:
        port = urlsplit(elsewhere.base).port or 0
        place = Path("/") / quote(elsewhere.base, safe="")  # no home: sessions there are told apart by it
        home = Home(place, Environment.LIVE, "solo")
        return Api(face, home, Running(0, port, 0, 0), ways=[elsewhere], who=who, elsewhere=elsewhere.base)
    home = face.home()
    running = find_started(home, late_s=LATE_S, late=partial(say_late, face, home))
    if running is not None:
        return Api(face, home, running, ways=ways(running), who=who)
    met = by_socket(home)  # whoever listens there runs on it, whatever is known of the lock, or written down
    if met is None:
        raise absent(face, home)
    way, pid = met
    left = told(home)
    return Api(face, home, left if left and left.pid == pid else Running(pid, 0, 0, 0), ways=[way], who=who)
