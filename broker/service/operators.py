"""Operators and their tokens, and the answers kept for idempotency keys.

Rules:
1. A token is `pcls_op_` + 12 characters that name it + 43 random ones. Only its SHA-256 is kept: it is as random
   as a key, so a slow hash would protect nothing more.
2. Scopes are viewer < operator < admin, and responder, which may read and close.
3. The last admin stays: `end` refuses, and `recover` is the way back, for who is on the broker's host.
4. Who has a token is remembered for a few seconds: for a cut, and nothing else, while the database cannot say it.
5. An idempotency key belongs to its operator, lives a day, and never answers with a secret again.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from broker.db import acts, history
from broker.db import operators as store
from broker.db.turns import Urgency
from broker.errors import Conflict, Malformed, NotFound, Problem, StoreUnavailable
from broker.history import Mark
from broker.model import moment
from broker.service.audit import ITSELF, Audit
from broker.service.credentials import MARK as SESSION_MARK
from broker.service.credentials import Credentials
from broker.service.desk import Desk, Right, check_name
from broker.service.last_admin import refuse_last_admin
from clients.secret import Secret

_MARK = "pcls_op_"
_NAME_LENGTH = 12
_AT_ONCE = 100
KEY_REUSED = ("key_reused", "this idempotency key was used for another request; use a fresh one")
_NO_END = 2**63
_DAY_US = 24 * 3600 * 1_000_000


class Role(StrEnum):
    """What an operator may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    RESPONDER = "responder"
    ADMIN = "admin"


_INCLUDED = {
    Role.VIEWER: frozenset({Role.VIEWER}),
    Role.RESPONDER: frozenset({Role.VIEWER, Role.RESPONDER}),
    Role.OPERATOR: frozenset({Role.VIEWER, Role.OPERATOR, Role.RESPONDER}),
    Role.ADMIN: frozenset(Role),
}


@dataclass(frozen=True, slots=True)
class Operator:
    """A person or a program with a token."""

    name: str
    roles: frozenset[Role]
    created_at: datetime
    ended_at: datetime | None = None

    def may(self, role: Role) -> bool:
        """Tell whether this operator has a role, by itself or included in another."""
        return any(role in _INCLUDED[held] for held in self.roles)


class Operators:
    """Use cases on operators."""

    def __init__(self, desk: Desk, audit: Audit, credentials: Credentials) -> None:
        self._desk, self._audit, self._credentials = desk, audit, credentials
        self._known: dict[str, tuple[Operator, int]] = {}
        self._here = ""
        self._mark: Mark | None = None
        self.away: tuple[datetime, str] | None = None
        """Since when the database does not say who has a token, and why; None where it does."""

    def create(self, name: str, roles: frozenset[Role]) -> Secret:
        """Make an operator and return the token, this once; see `make`."""
        return self.make(name, roles)[1]

    def make(self, name: str, roles: frozenset[Role]) -> tuple[Operator, Secret]:
        """Make an operator; return who that is, and the token, this once.

        Raises:
            Malformed: The name cannot be one, or there is no role.
            Conflict: The name is taken.
        """
        self._check(name)
        if not roles:
            raise Malformed("bad_operator", (Problem("roles", f"name at least one of {', '.join(Role)}"),))
        prefix, token = _fresh()
        with self._desk.database.write() as connection:
            store.add(
                connection, name=name, prefix=prefix, digest=_digest(token.reveal()),
                scopes=",".join(sorted(role.value for role in roles)), **self._made(),
            )  # fmt: skip
            self._audit.record(
                connection,
                "operator.create",
                f"operator:{name}",
                {"roles": sorted(role.value for role in roles)},
            )
            row = store.by_name(connection, name)
        return _operator(row), token

    def _made(self) -> dict[str, object]:
        """Return what is kept of when an operator was made."""
        now = self._desk.spans.now()
        return {"created_us": now.wall_us, "base": now.base, "skew_us": now.wall_us - now.boot_us}

    @staticmethod
    def _check(name: str) -> None:
        check_name("name", name)
        if name == ITSELF:
            raise Malformed("bad_operator", (Problem("name", "is the program's own; choose another"),))

    def by_token(self, token: Secret) -> Operator | None:
        """Return whose token this is, a program's or a session's; None where it is nobody's, or over."""
        text = token.reveal()
        if not (text.isascii() and text.isprintable()):
            return None  # none of ours; no database need be asked what it cannot hold
        if text.startswith(SESSION_MARK):
            row = self._credentials.by_session(token)
            return None if row is None else _operator(row)
        prefix = text[len(_MARK) : len(_MARK) + _NAME_LENGTH]
        with self._desk.database.read() as connection:
            row = store.by_prefix(connection, prefix)
        good = hmac.compare_digest(_digest(text), row.digest if row is not None else _digest(""))
        if row is None or not good or row.ended_us is not None:
            return None
        return _operator(row)

    def learn(self) -> None:
        """Read who has a token or a session now, for `by_memory`.

        Raises:
            StoreUnavailable: The database cannot answer; what was read before stays.
        """
        try:
            with self._desk.database.read() as connection:
                tokens = store.listing(connection)
                sessions = store.sessions(connection, self._desk.spans.now())
                here = str(history.here(connection))
                goes_on = (
                    here == self._here and self._mark is not None and history.has(connection, self._mark)
                )
                mark = history.mark(connection)
        except StoreUnavailable as fault:
            self.away = (self._desk.clock.now() if self.away is None else self.away[0], str(fault))
            raise
        self.away = None
        known = {row.digest: (_operator(row), _NO_END) for row in tokens if row.ended_us is None}
        known |= {
            row.session_digest: (_operator(row), row.expires_us) for row in sessions if row.ended_us is None
        }
        if goes_on:  # in another history, or in a copy of an earlier moment, it may never have been
            self._note_taken(known)
        self._known, self._here, self._mark = known, here, mark

    def _note_taken(self, known: Mapping[str, tuple[Operator, int]]) -> None:
        """Keep in mind whose token or login counts no more before its time, whichever process took it away.

        Whoever was read before was on record, and so is all that was written since: each was taken away.
        """
        for digest in self._known.keys() - known.keys():
            operator, until_us = self._known[digest]
            if until_us == _NO_END:
                self._desk.took(Right.OPERATOR, digest, operator.name)
            elif until_us > self._desk.clock.now_us():
                self._desk.took(Right.SESSION, digest, operator.name)

    def by_memory(self, token: Secret) -> Operator | None:
        """Return whose token this was a few seconds ago, for a cut while the database cannot say. Closing only.

        Raises:
            StoreUnavailable: It is nobody's that we remember, and may be somebody's all the same.
        """
        found = self._known.get(_digest(token.reveal()))
        if found is None or found[1] <= self._desk.clock.now_us():
            raise StoreUnavailable("database", "the database cannot answer: whose token this is is not known")
        return found[0]

    def list(self) -> tuple[Operator, ...]:
        """List every operator."""
        with self._desk.database.read() as connection:
            return tuple(_operator(row) for row in store.listing(connection))

    def end(self, name: str) -> bool:
        """End an operator's token; tell whether there was one that still counted.

        Raises:
            NotFound: Nobody of that name.
            Conflict: It is the last admin: nobody could open anything any more.
        """
        with self._desk.database.write() as connection:
            rows = store.listing(connection)
            if name not in {row.name for row in rows}:
                raise NotFound(
                    "no_operator",
                    f"there is no operator {name[:64]!r}; `portcullis operator list` shows them",
                )
            refuse_last_admin(rows, name, self._desk.home.environment)
            ended = store.end(connection, name, self._desk.clock.now_us()) > 0
            if ended:
                store.end_sessions(connection, name)
                self._audit.record(connection, "operator.end", f"operator:{name}")
        self._desk.took(Right.OPERATOR, next(row.digest for row in rows if row.name == name), name)
        return ended

    def recover(self, name: str, by: str) -> tuple[Secret, tuple[str, ...]]:
        """Give an admin a fresh token, on the broker's host and nowhere else: the way back where nobody is left.

        Args:
            name: Who; made where there is nobody of that name, revived where it was ended.
            by: Whose account on the host it was done from; it is kept.

        Returns:
            The token, this once, and what was done, for people.

        Raises:
            Malformed: The name cannot be one.
        """
        self._check(name)
        prefix, token = _fresh()
        digest, done = _digest(token.reveal()), []
        with self._desk.database.write() as connection:
            row = store.by_name(connection, name)
            if row is None:
                store.add(
                    connection,
                    name=name,
                    prefix=prefix,
                    digest=digest,
                    scopes=Role.ADMIN.value,
                    **self._made(),
                )
                done.append(f"{name} is a new admin")
            else:
                scopes = sorted({*row.scopes.split(","), Role.ADMIN.value})
                store.change(
                    connection, name, prefix=prefix, digest=digest, scopes=",".join(scopes), ended_us=None,
                    password=None, totp_path=None, totp_since_us=None, failures=0,
                )  # fmt: skip
                store.end_sessions(connection, name)
                done.append(f"{name} has a new token; the old one and every session of {name} count no more")
                if row.ended_us is not None:
                    done.append(f"{name} was ended before, and is no more")
                if Role.ADMIN.value not in row.scopes.split(","):
                    done.append(f"{name} is an admin now")
                if row.totp_since_us is not None:
                    done.append(f"{name}'s password and codes count no more: enrol anew")
            called_off = acts.end_all(connection, "cancelled", self._desk.clock.now_us())
            if called_off:
                done.append(f"{called_off} announced acts were called off")
            self._audit.record(
                connection, "operator.recover", f"operator:{name}", {"by": by, "done": list(done)}
            )
        return token, tuple(done)

    # --- idempotency ----------------------------------------------------------------------

    def remembered(self, operator: str, key: str, content: bytes) -> tuple[int, str] | None:
        """Return the answer given to a key before; None where it is new.

        Raises:
            Conflict: The key was used for something else.
        """
        with self._desk.database.read() as connection:
            row = store.remembered(connection, operator, key)
        if row is None:
            return None
        if not hmac.compare_digest(row.digest, hashlib.sha256(content).hexdigest()):
            raise Conflict(*KEY_REUSED)
        return row.status, row.body

    def answered_at(self, operator: str, key: str) -> datetime | None:
        """Return when an idempotency key was answered first; None where it is new."""
        with self._desk.database.read() as connection:
            row = store.remembered(connection, operator, key)
        return None if row is None else moment(row.created_us)

    def remember(self, operator: str, key: str, content: bytes, status: int, body: str) -> None:
        """Keep an answer under a key, in place of an earlier one. `body` holds no secret: the caller took it out."""
        now_us = self._desk.clock.now_us()
        with self._desk.database.write() as connection:
            store.forget_one(connection, operator, key)
            store.remember(
                connection, operator=operator, key=key, digest=hashlib.sha256(content).hexdigest(),
                status=status, body=body, created_us=now_us,
            )  # fmt: skip

    def forget(self, operator: str, key: str) -> None:
        """Keep nothing under a key any more."""
        with self._desk.database.write() as connection:
            store.forget_one(connection, operator, key)

    def tidy(self) -> None:
        """Forget answers that nobody asks for any more, a few at a time: no write waits long for that.

        Raises:
            StoreUnavailable: The database cannot answer.
        """
        before_us = self._desk.clock.now_us() - _DAY_US
        with self._desk.database.read() as connection:
            left = store.has_old(connection, before_us)
        while left:
            with self._desk.database.write(Urgency.UPKEEP) as connection:
                left = store.forget(connection, before_us, _AT_ONCE) == _AT_ONCE


def _fresh() -> tuple[str, Secret]:
    """Return a token's public part, and the token."""
    prefix = secrets.token_hex(_NAME_LENGTH // 2)
    return prefix, Secret(f"{_MARK}{prefix}{secrets.token_urlsafe(32)}")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _operator(row: Any) -> Operator:
    return Operator(
        row.name, frozenset(Role(name) for name in row.scopes.split(",")), moment(row.created_us),
        None if row.ended_us is None else moment(row.ended_us),
    )  # fmt: skip
