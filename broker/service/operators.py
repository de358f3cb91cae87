"""Operators and their tokens, and the answers kept for idempotency keys.

Rules:
1. A token is `pcls_op_` + 12 characters that name it + 43 random ones. Only its SHA-256 is kept: it is as random
   as a key, so a slow hash would protect nothing more.
2. Scopes are viewer < operator < admin, and responder, which may read and close.
3. An idempotency key belongs to its operator, lives a day, and never answers with a secret again.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from broker.db import operators as store
from broker.errors import Conflict, Malformed, Problem
from broker.model import moment
from broker.service.audit import ITSELF, Audit
from broker.service.credentials import MARK as SESSION_MARK
from broker.service.credentials import Credentials
from broker.service.desk import Desk, check_name
from clients.secret import Secret

_MARK = "pcls_op_"
_NAME_LENGTH = 12
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

    def create(self, name: str, roles: frozenset[Role]) -> Secret:
        """Make an operator and return the token, this once.

        Raises:
            Malformed: The name cannot be one, or there is no role.
            Conflict: The name is taken.
        """
        check_name("name", name)
        if name == ITSELF:
            raise Malformed("bad_operator", (Problem("name", "is the program's own; choose another"),))
        if not roles:
            raise Malformed("bad_operator", (Problem("roles", f"name at least one of {', '.join(Role)}"),))
        prefix = secrets.token_hex(_NAME_LENGTH // 2)
        token = f"{_MARK}{prefix}{secrets.token_urlsafe(32)}"
        with self._desk.database.write() as connection:
            store.add(
                connection, name=name, prefix=prefix, digest=_digest(token),
                scopes=",".join(sorted(role.value for role in roles)), created_us=self._desk.clock.now_us(),
            )  # fmt: skip
            self._audit.record(
                connection,
                "operator.create",
                f"operator:{name}",
                {"roles": sorted(role.value for role in roles)},
            )
        return Secret(token)

    def by_token(self, token: Secret) -> Operator | None:
        """Return whose token this is, a program's or a session's; None where it is nobody's, or over."""
        text = token.reveal()
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

    def list(self) -> tuple[Operator, ...]:
        """List every operator."""
        with self._desk.database.read() as connection:
            return tuple(_operator(row) for row in store.listing(connection))

    def end(self, name: str) -> bool:
        """End an operator's token; tell whether there was one."""
        with self._desk.database.write() as connection:
            ended = store.end(connection, name, self._desk.clock.now_us()) > 0
            if ended:
                store.end_sessions(connection, name)
                self._audit.record(connection, "operator.end", f"operator:{name}")
            return ended

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
            raise Conflict("key_reused", "this idempotency key was used for another request; use a fresh one")
        return row.status, row.body

    def remember(self, operator: str, key: str, content: bytes, status: int, body: str) -> None:
        """Keep an answer under a key. `body` holds no secret: the caller took it out."""
        now_us = self._desk.clock.now_us()
        with self._desk.database.write() as connection:
            store.forget(connection, now_us - _DAY_US)
            store.remember(
                connection, operator=operator, key=key, digest=hashlib.sha256(content).hexdigest(),
                status=status, body=body, created_us=now_us,
            )  # fmt: skip


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _operator(row: Any) -> Operator:
    return Operator(
        row.name, frozenset(Role(name) for name in row.scopes.split(",")), moment(row.created_us),
        None if row.ended_us is None else moment(row.ended_us),
    )  # fmt: skip
