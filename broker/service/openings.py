"""The one judge of whatever opens something: a thaw, a grant, a wider policy, a new operator, a move of the store.

Rules:
1. Closing never comes here.
2. A team needs a second person; alone, a one-time code and ten minutes in which it is announced and can be called
   off. The second person is older than a day, except those who were there when the home was founded.
3. What is announced is one exact request, shown in full to who confirms it. It is done by sending the same again,
   once, within a day: it is used up in the transaction of its deed (`using`), so that what failed may be sent again.
4. No second step in a paper home, nor in the first hour of a home that holds no key yet, and no manager key.
5. What lets somebody do more is over late, not early, whoever sets a clock (`broker.steady`). The ten minutes count on
   each host from when it saw the act first, as is on record: on another host, or after a reboot, they begin anew. A day
   as an operator is over by both clocks; the first hour, and an act's own day, by either.
"""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from broker.db import Connection
from broker.db import accounts as account_store
from broker.db import acts as store
from broker.db import managers as manager_store
from broker.db import operators as operator_store
from broker.errors import BrokerError, Conflict, NotFound, NotGranted
from broker.model import moment, new_id
from broker.service import act_times
from broker.service.act_times import DAY_US, DELAY_US, FOUNDED
from broker.service.audit import Audit
from broker.service.credentials import Credentials
from broker.service.desk import Desk, Right
from broker.service.using import Premise, Unkeyed, Using
from broker.steady import Moment, Span
from clients.venue import Environment

__all__ = ["DAY_US", "DELAY_US", "FOUNDED", "Act", "Announced", "Openings", "Wanted"]

_LOG = logging.getLogger("portcullis.openings")


class Announced(BrokerError):
    """It is announced and not done yet: what is awaited, and from when it may be sent again. No error: 202."""

    status = 202

    def __init__(
        self, act: str, ready_at: datetime | None, message: str, shows: tuple[str, ...] = ()
    ) -> None:
        super().__init__("announced", message)
        self.act, self.ready_at, self.shows = act, ready_at, shows


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request that opens something. `digest` names exactly this request; `code` and `act` as they were sent.

    `shows` says in lines what it would do; the digest is of them, too.
    """

    action: str
    subject: str
    digest: str
    operator: str
    code: str = ""
    act: str = ""
    shows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Act:
    """An announced act. `ready_at` is None while a second person is awaited; `ready`: it may be sent again now.

    `shows` says in lines what it would do, `content` names exactly that.
    """

    id: str
    action: str
    subject: str
    operator: str
    created_at: datetime
    ready_at: datetime | None
    confirmed_by: str | None
    shows: tuple[str, ...] = ()
    content: str = ""
    ready: bool = False


class Openings:
    """Use cases on acts that open."""

    def __init__(self, desk: Desk, audit: Audit, credentials: Credentials) -> None:
        self._desk, self._audit, self._credentials = desk, audit, credentials

    def judge(self, wanted: Wanted) -> Premise | None:
        """Let a request pass, or announce it; return by what: the act that its deed uses up, where it takes one.

        Raises:
            Announced: It is on record, and has to be sent again when it is ready.
            NotGranted: A code is needed, or the operator has none.
            Unauthenticated: The code is not right.
            Conflict: The act it names is not ready, over, or another request.
        """
        if self._desk.home.environment is Environment.PAPER:
            return None
        if not self._is_needed():
            return Unkeyed(_holds_key)
        if wanted.act:
            self._ensure_ready(wanted)
            return Using(wanted.act, wanted.action, lambda: self._desk.spans.now().wall_us)
        if not wanted.code:
            raise NotGranted("code_needed", f"{wanted.action} opens something: it needs a one-time code")
        self._credentials.use_code(wanted.operator, wanted.code)
        act_id, now = new_id("act"), self._desk.spans.now()
        now_us = now.wall_us
        alone = self._desk.home.mode == "solo"
        ready_us = now_us + DELAY_US if alone else None
        with self._desk.database.write() as connection:
            store.add(
                connection, id=act_id, action=wanted.action, subject=wanted.subject, digest=wanted.digest,
                operator=wanted.operator, created_us=now_us, ready_us=ready_us, shows="\n".join(wanted.shows),
                sightings=act_times.sightings({}, now),
            )  # fmt: skip
            self._audit.record(
                connection, "act.announce", act_id,
                {"what": wanted.action, "to": wanted.subject, "content": wanted.digest},
            )  # fmt: skip
        awaited = (
            f"ready at {moment(now_us + DELAY_US):%H:%M:%S} UTC; until then anybody can call it off"
            if alone
            else f"another admin confirms it: portcullis act confirm {act_id}"
        )
        _LOG.warning("announced: %s wants %s %s (%s)", wanted.operator, wanted.action, wanted.subject, act_id)
        raise Announced(
            act_id,
            None if ready_us is None else moment(ready_us),
            f"announced, not done: {wanted.action} {wanted.subject}. {awaited}",
            wanted.shows,
        )

    def confirm(self, act_id: str, operator: str, code: str, content: str | None = None) -> Act:
        """Confirm another person's act; with `content` only if it is what was shown.

        Raises:
            NotFound: No such act.
            Conflict: It is one's own, over, confirmed before, or this home has one operator.
            NotGranted: The second person is here for less than a day.
            Unauthenticated: The code is not right.
        """
        now = self._desk.spans.now()
        if self._desk.home.mode == "solo":
            raise Conflict(
                "solo", "this home waits instead of asking a second person; see `portcullis act list`"
            )
        with self._desk.database.read() as connection:
            row = _row(connection, act_id)
            person = operator_store.by_name(connection, operator)
            founded = act_times.founded_at(connection)
        if content is not None and content != row.digest:
            raise Conflict(
                "other_content", f"{act_id} is not what was shown; look again: portcullis act show {act_id}"
            )
        if row.operator == operator:
            raise Conflict("same_person", "who announced it cannot confirm it: ask somebody else")
        made = (
            None if person is None else Span(person.created_us + DAY_US, DAY_US, person.base, person.skew_us)
        )
        if made is None or not (
            act_times.is_first_hour(founded, act_times.began(made)) or act_times.is_over(made, now)
        ):
            raise NotGranted("too_new", f"{operator} may confirm from a day after being made an operator")
        self._refuse_over(row, now)
        self._credentials.use_code(operator, code)
        with self._desk.database.write() as connection:
            if not store.confirm(connection, act_id, operator, now.wall_us):
                raise Conflict("over", f"{act_id} is over, or was confirmed before")
            self._audit.record(connection, "act.confirm", act_id, {"by": operator})
            return _act(_row(connection, act_id), now)

    def cancel(self, act_id: str) -> Act:
        """Call an act off; anybody who may close may do that.

        Raises:
            NotFound: No such act.
            Conflict: It is over.
        """
        now = self._desk.spans.now()
        with self._desk.database.write() as connection:
            row = _row(connection, act_id)
            if not store.end(connection, act_id, "cancelled", now.wall_us):
                raise Conflict("over", f"{act_id} was {row.ended_how} before")
            self._audit.record(connection, "act.cancel", act_id)
        self._desk.took(Right.ACT, act_id)
        return _act(row, now)

    def list(self) -> tuple[Act, ...]:
        """List acts that are announced and not over, newest first."""
        now = self._desk.spans.now()
        with self._desk.database.read() as connection:
            found = store.open_since(connection, now.wall_us - DAY_US)
        return tuple(_act(row, now) for row in found if not act_times.is_too_old(row, now))

    def look(self) -> None:
        """Write down which acts are here now, so that their ten minutes count on this host, too.

        Raises:
            StoreUnavailable: The database cannot answer.
        """
        now = self._desk.spans.now()
        with self._desk.database.read() as connection:
            found = store.unsighted(connection, now.base, now.wall_us - 2 * DAY_US)
        for act in found:
            self._sight(act)

    # --- parts ----------------------------------------------------------------------------

    def _is_needed(self) -> bool:
        now = self._desk.spans.now()
        with self._desk.database.read() as connection:
            young = act_times.is_first_hour(act_times.founded_at(connection), now)
            return not young or _holds_key(connection)

    def _sight(self, act: str) -> None:
        """Write down that an act was seen here, where it was not before."""
        now = self._desk.spans.now()
        with self._desk.database.write() as connection:
            row = store.get(connection, act, keep=True)
            if row is not None and now.base not in (seen := act_times.seen(row)):
                store.sighted(connection, act, act_times.sightings(seen, now))

    def _ensure_ready(self, wanted: Wanted) -> None:
        """Make sure that an act is ready, for the one request it was announced for."""
        self._sight(wanted.act)
        now = self._desk.spans.now()
        with self._desk.database.read() as connection:
            row = _row(connection, wanted.act)
            self._refuse_over(row, now)
            if row.operator != wanted.operator:
                step = (
                    f"{row.operator} does it once it is confirmed: portcullis act confirm {wanted.act}"
                    if row.ready_us is None
                    else f"It is for {row.operator} to do"
                )
                raise Conflict(
                    "other_operator",
                    f"{wanted.act} was announced by {row.operator}, not by {wanted.operator}: "
                    f"nothing was changed. {step}",
                )
            if row.digest != wanted.digest or row.action != wanted.action:
                raise Conflict(
                    "other_request",
                    f"{wanted.act} was announced for another request, or what it names has changed since; nothing was "
                    "changed: announce it anew",
                )
            if row.ready_us is None:
                raise Conflict(
                    "not_confirmed", f"nobody confirmed it yet: portcullis act confirm {wanted.act}"
                )
            left_us = act_times.left_us(row, now)
            if left_us > 0:
                raise Conflict(
                    "not_ready",
                    f"it is ready in {-(-left_us // 1_000_000)} s; until then anybody can call it off",
                )

    def _refuse_over(self, row: Any, now: Moment) -> None:
        if row.ended_us is not None:
            raise Conflict("over", f"{row.id} was {row.ended_how} before")
        if act_times.is_too_old(row, now):
            raise Conflict("over", f"{row.id} is older than a day; announce it anew")


def _holds_key(connection: Connection) -> bool:
    """Tell whether a home holds a key; a manager key makes others, and is one."""
    return bool(account_store.keys(connection) or manager_store.every(connection))


def _row(connection: Connection, act_id: str) -> Any:
    row = store.get(connection, act_id)
    if row is None:
        raise NotFound("no_act", f"there is no act {act_id[:40]!r}; `portcullis act list` shows them")
    return row


def _act(row: Any, now: Moment) -> Act:
    left_us = None if row.ready_us is None else max(0, act_times.left_us(row, now))
    ready_us = row.ready_us if not left_us else now.wall_us + left_us
    return Act(
        row.id, row.action, row.subject, row.operator, moment(row.created_us),
        None if ready_us is None else moment(ready_us), row.confirmed_by,
        tuple(row.shows.split("\n")) if row.shows else (), row.digest, left_us == 0,
    )  # fmt: skip
