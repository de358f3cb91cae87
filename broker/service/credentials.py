"""What operators log in with: a password and one-time codes (TOTP, RFC 6238), for a session of an hour.

Rules:
1. Of a password only its argon2id hash is kept; the seed of the codes lies in the secret store.
2. A code counts once. Who guesses is locked out, for longer each time; an unknown name takes as long as a known one.
3. Enrolling anew, once somebody is enrolled, opens something: it goes through `openings`.
"""

import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from broker.db import operators as store
from broker.errors import Conflict, Malformed, NotGranted, Problem, Unauthenticated
from broker.model import moment, new_id
from broker.service.audit import Audit
from broker.service.desk import Desk
from broker.service.secrets import Secrets
from clients.secret import Secret
from clients.venue import Environment

MARK = "pcls_se_"
SESSION_US = 3_600_000_000
SHORTEST, LONGEST = 12, 200
_PREFIX = 12
_STEP_S = 30
_FREE_FAILURES = 5
_FIRST_LOCK_US = 30_000_000
_LONGEST_LOCK_US = 900_000_000
_NO = Unauthenticated("bad_login", "name, password or code is not right")


@dataclass(frozen=True, slots=True)
class Session:
    """A login: its token, this once, and until when it lasts."""

    operator: str
    token: Secret
    expires_at: datetime


class Credentials:
    """Use cases on logging in."""

    def __init__(self, desk: Desk, audit: Audit, secrets_: Secrets) -> None:
        self._desk, self._audit, self._secrets = desk, audit, secrets_
        self._hasher = PasswordHasher()
        self._nobody = ""
        self._one_at_a_time = threading.Lock()
        """A hash takes 64 MiB: many logins at once must not take the broker's memory."""

    # --- enrolment ------------------------------------------------------------------------

    def is_enrolled(self, name: str) -> bool:
        """Tell whether an operator has a password and codes."""
        with self._desk.database.read() as connection:
            row = store.by_name(connection, name)
        return row is not None and row.totp_since_us is not None

    def admins_without_codes(self) -> tuple[str, ...]:
        """Return who may open things, with a token alone, in a home where that takes codes."""
        if self._desk.home.environment is Environment.PAPER:
            return ()
        with self._desk.database.read() as connection:
            rows = store.listing(connection)
        return tuple(
            row.name
            for row in rows
            if row.ended_us is None and row.totp_since_us is None and "admin" in row.scopes.split(",")
        )

    def enrol(self, name: str, password: Secret) -> Secret:
        """Give an operator a password and a fresh seed; nothing counts before `activate`.

        Returns:
            The `otpauth://` address for an authenticator app, this once.

        Raises:
            Malformed: The password is too short or too long.
            NotFound: No such operator.
        """
        text = password.reveal()
        if not SHORTEST <= len(text) <= LONGEST:
            message = f"is {SHORTEST} to {LONGEST} characters; a few random words are good"
            raise Malformed("bad_password", (Problem("password", message),))
        if name.lower() in text.lower():
            raise Malformed("bad_password", (Problem("password", "must not contain your name"),))
        with self._one_at_a_time:
            hashed = self._hasher.hash(text)
        seed = Secret(pyotp.random_base32())
        path = f"operators/{name}/{new_id('otp')}"
        with self._secrets.written(path, {"seed": seed}, {"operator": name}) as connection:
            self._known(connection, name)
            store.change(
                connection, name, password=hashed, totp_path=path, totp_since_us=None, failures=0,
                locked_until_us=0,
            )  # fmt: skip
            store.end_sessions(connection, name)
            self._audit.record(connection, "operator.enrol", f"operator:{name}")
        uri = pyotp.TOTP(seed.reveal()).provisioning_uri(
            name=name, issuer_name=f"Portcullis {self._desk.home.instance[:6]}"
        )
        return Secret(uri)

    def activate(self, name: str, code: str) -> None:
        """Make an enrolment count, by its first code.

        Raises:
            Unauthenticated: The code is not right.
        """
        self.use_code(name, code, enrolling=True)
        with self._desk.database.write() as connection:
            store.change(connection, name, totp_since_us=self._desk.clock.now_us())
            self._audit.record(connection, "operator.activate", f"operator:{name}")

    # --- login ----------------------------------------------------------------------------

    def login(self, name: str, password: Secret, code: str) -> Session:
        """Log in.

        Raises:
            Unauthenticated: Something of it is not right; which, is not said.
            Conflict: Too many failures; with the time to wait.
        """
        with self._desk.database.read() as connection:
            row = store.by_name(connection, name)
        self._refuse_locked(row)
        known = row is not None and row.ended_us is None and row.totp_since_us is not None
        with self._one_at_a_time:
            if not self._nobody:  # at the first login, whoever it is: a hash takes time, and 64 MiB
                self._nobody = self._hasher.hash(secrets.token_hex(16))
            hashed = row.password if row is not None and known and row.password else self._nobody
            right = _fits(self._hasher, hashed, password)
        if not (right and known):
            self._failed(name)
            raise _NO
        self.use_code(name, code)
        prefix, now_us = secrets.token_hex(_PREFIX // 2), self._desk.clock.now_us()
        token = Secret(f"{MARK}{prefix}{secrets.token_urlsafe(32)}")
        with self._desk.database.write() as connection:
            store.change(connection, name, failures=0, locked_until_us=0)
            store.add_session(
                connection, prefix=prefix, digest=digest(token), operator=name, created_us=now_us,
                expires_us=now_us + SESSION_US,
            )  # fmt: skip
            self._audit.record(connection, "operator.login", f"operator:{name}")
        return Session(name, token, moment(now_us + SESSION_US))

    def logout(self, name: str) -> None:
        """End an operator's sessions."""
        with self._desk.database.write() as connection:
            store.end_sessions(connection, name)
            self._audit.record(connection, "operator.logout", f"operator:{name}")

    def by_session(self, token: Secret) -> Any | None:
        """Return the operator's row whose session this is; None where it is nobody's, or over."""
        prefix = token.reveal()[len(MARK) : len(MARK) + _PREFIX]
        with self._desk.database.read() as connection:
            row = store.session(connection, prefix)
        good = hmac.compare_digest(digest(token), "" if row is None else row.session_digest)
        if row is None or not good or row.expires_us <= self._desk.clock.now_us() or row.ended_us is not None:
            return None
        return row

    # --- codes ----------------------------------------------------------------------------

    def use_code(self, name: str, code: str, *, enrolling: bool = False) -> None:
        """Check a one-time code and use it up.

        Raises:
            NotGranted: This operator has no codes.
            Unauthenticated: It is not right, or was used before.
            Conflict: Too many failures.
            StoreUnavailable: The seed cannot be read.
        """
        with self._desk.database.read() as connection:
            row = store.by_name(connection, name)
        if row is None or row.totp_path is None or (row.totp_since_us is None and not enrolling):
            raise NotGranted(
                "not_enrolled", f"{name} has no one-time codes yet; run `portcullis operator enrol`"
            )
        self._refuse_locked(row)
        totp = pyotp.TOTP(self._desk.secrets.read(row.totp_path)["seed"].reveal())
        now = self._desk.clock.now_us() // 1_000_000 // _STEP_S
        wanted = code.strip().replace(" ", "")
        found = [step for step in (now - 1, now, now + 1) if _same(totp.generate_otp(step), wanted)]
        with self._desk.database.write() as connection:
            used = bool(found) and store.use_code(connection, name, found[-1])
        if not used:
            self._failed(name)
            raise Unauthenticated("bad_code", "the one-time code is not right, or was used before")

    # --- parts ----------------------------------------------------------------------------

    def _known(self, connection: Any, name: str) -> None:
        row = store.by_name(connection, name)
        if row is None or row.ended_us is not None:
            raise Conflict("no_operator", f"there is no operator {name!r} any more")

    def _refuse_locked(self, row: Any | None) -> None:
        left_us = 0 if row is None else row.locked_until_us - self._desk.clock.now_us()
        if left_us > 0:
            raise Conflict(
                "locked",
                f"too many wrong tries; wait {-(-left_us // 1_000_000)} s. If that was not you, say so",
            )

    def _failed(self, name: str) -> None:
        with self._desk.database.write() as connection:
            row = store.by_name(connection, name)
            if row is None:
                return
            failures = row.failures + 1
            over = failures - _FREE_FAILURES
            lock_us = 0 if over < 0 else min(_LONGEST_LOCK_US, _FIRST_LOCK_US << min(over, 10))
            until_us = self._desk.clock.now_us() + lock_us if lock_us else 0
            store.change(connection, name, failures=failures, locked_until_us=until_us)
            self._audit.record(connection, "operator.fail", f"operator:{name}", {"failures": failures})


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _fits(hasher: PasswordHasher, hashed: str, password: Secret) -> bool:
    try:
        return hasher.verify(hashed, password.reveal())
    except (VerificationError, InvalidHashError):
        return False


def digest(token: Secret) -> str:
    """Return what is kept of a token: it is as random as a key, so a slow hash would protect nothing more."""
    return hashlib.sha256(token.reveal().encode()).hexdigest()
