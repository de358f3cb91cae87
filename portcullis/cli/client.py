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
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from broker.errors import Done
from clients.bounds import MIB, Bounds
from clients.http import silence
from clients.near_http import NearTransport
from clients.secret import Secret
from clients.venue import Environment
from portcullis.cli import answers, people_answers, remedies, session
from portcullis.cli.answers import A, Answer
from portcullis.cli.face import STATES, Face, Stopped
from portcullis.cli.tables import hanging
from portcullis.cli.way import Way, named, ways
from portcullis.running import Running, find_started, is_held
from portcullis.settings import Home

TIMEOUT = httpx.Timeout(connect=3.0, read=20.0, write=5.0, pool=5.0)
"""Seconds. Read: a cut waits for gateways up to 2 s, a key import for the venue up to 10 s."""

BOUNDS = Bounds(30.0, 32 * MIB)
"""Of one call in all: whoever answers at that address may send a byte every few seconds, or without end."""

PAGE = 200
_CODE, _ACT = "Portcullis-Code", "Portcullis-Act"
_REPLAYED, _FIRST = "Idempotency-Replayed", "Idempotency-First-Answered"
_LOOK_S = 2.0
_DONE = "It was done: the broker said so, in words that cannot be shown."
_ACCEPTED = 202
_BAD = 400
_UNAUTHENTICATED = 401
_FORBIDDEN = 403
_INTERNAL = 500


class _Page(Answer):
    """One page of a list."""

    items: list[Any]
    next: str | None


Who = Secret | Literal["nobody"] | None
"""A token to speak with, or none at all, as who logs in; None: the session's, or the home's own."""


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
    ) -> None:
        silence()
        self._face, self.home, self.running = face, home, running
        self._token = session.token_of(home) if who is None else who
        self._transport = transport
        first, *self._others = ways or [Way(running.api)]
        self._client = self._by(first)

    def _by(self, way: Way) -> httpx.Client:
        """Return a client that goes one way."""
        return httpx.Client(
            base_url=way.base,
            headers={"Accept": "application/json", **_credentials(self._token)},
            timeout=TIMEOUT,
            trust_env=False,
            follow_redirects=False,
            transport=self._transport or NearTransport(BOUNDS, verify=way.verify, uds=way.uds),
        )

    def get(self, kind: type[A], path: str, **params: Any) -> A:
        """Read something."""
        given = {name: value for name, value in params.items() if value is not None}
        return self._read(kind, self._ask("GET", path, params=given), path, "Nothing was changed.")

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
        headers = {"Idempotency-Key": secrets.token_hex(16), **more}
        try:
            return self._send(method, path, json=document, headers=headers)
        except httpx.RequestError:
            return self._ask(method, path, json=document, headers=headers)

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

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        try:
            return self._send(method, path, **more)
        except httpx.RequestError:
            write = method != "GET"
            raise Stopped(
                f"The broker (process {self.running.pid}) does not answer.",
                "Whether it was done is not known." if write else "Nothing was changed.",
                f"See whether it runs: {self._face.command('status')}; its log says more. "
                "To stop all trading at once, end the broker: no gateway serves without it.",
                reason="no_answer",
            ) from None

    def _send(self, method: str, path: str, **more: Any) -> Any:
        answer = self._request(method, f"/v1/{path}", **more)
        if answer.status_code >= _BAD:
            raise self._stopped(answer)
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
        if answer.status_code == _UNAUTHENTICATED:
            login = self._face.command("login --name NAME")
            step = step or f"{login}, or restore the home's own token ({self.home.operator_token})."
        sure = answer.status_code < _INTERNAL or answer.request.method == "GET"
        state = STATES.get(str(problem.get("done")), STATES[Done.NO if sure else Done.UNKNOWN])
        if reason in remedies.AWAY:
            state = f"{state} {remedies.WHILE_AWAY}"
        return Stopped(detail, state, step, reason=reason, errors=errors)


def _credentials(token: Secret | Literal["nobody"]) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.reveal()}"} if isinstance(token, Secret) else {}


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
        return Api(face, home, Running(0, port, 0, 0), ways=[elsewhere], who=who)
    home = face.home()
    running = find_started(home)
    if running is None and is_held(home):
        raise Stopped(
            f"A process holds {home.root} and does not say where it listens.",
            "It is starting, or cannot write into its home; its bots may trade. Nothing was changed.",
            f"Ask again in a few seconds. If it stays so, end that process, and start it anew: {face.command('run')}",
            reason="not_listening",
        )
    if running is None:
        raise Stopped(
            f"Portcullis does not run on {home.root}.",
            "No bot of this home can trade: without a broker no gateway serves. Nothing was changed.",
            f"Start it: {face.command('run')}",
            reason="not_running",
        )
    return Api(face, home, running, ways=ways(running), who=who)
