"""What operators log in with: a password and one-time codes (TOTP, RFC 6238), for a session of an hour.

Rules:
1. Of a password only its argon2id hash is kept; the seed of the codes lies in the secret store.
2. A code counts once. Who guesses waits, for longer each time, and nobody else does (`broker.service.throttle`); an
   unknown name takes as long as a known one.
3. Enrolling anew, once somebody is enrolled, opens something: it goes through `openings`. What was enrolled before
   counts until the new codes are activated; where another person resets it, at once no more, but for the last admin's.
   One's own enrolment is begun `MOST_BEGUN` times an hour at most: each is kept, and needs no right but to be known.
"""

import hashlib
import hmac
import json
import secrets
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from broker.db import intents, meta
from broker.db import operators as store
from broker.errors import BrokerError, Conflict, Malformed, NotGranted, Problem, Unauthenticated
from broker.model import moment, new_id
from broker.service.audit import ITSELF, Audit, acting
from broker.service.desk import Desk, Right
from broker.service.last_admin import refuse_last_admin
from broker.service.secrets import Secrets
from broker.service.throttle import FREE, Throttle, asking_from
from broker.service.using import still
from broker.stores.held import is_lost
from clients.secret import Secret
from clients.venue import Environment

MARK = "pcls_se_"
SESSION_US = 3_600_000_000
SHORTEST, LONGEST = 12, 200
MOST_BEGUN, _HOUR_US = 20, 3_600_000_000
_PREFIX = 12
_STEP_S = 30
_BAD_CODE = ("bad_code", "the one-time code is not right, or was used before")
_CODES_LOST = "codes_lost"
_NO = ("bad_login", "name, password or code is not right")


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
        self._throttle = Throttle()
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
            Conflict: No such operator, or it was begun too often within an hour.
        """
        text = password.reveal()
        if not SHORTEST <= len(text) <= LONGEST:
            message = f"is {SHORTEST} to {LONGEST} characters; a few random words are good"
            raise Malformed("bad_password", (Problem("password", message),))
        if name.lower() in text.lower():
            raise Malformed("bad_password", (Problem("password", "must not contain your name"),))
        with self._desk.database.read() as connection:
            self._known(connection, name)
            self._begun(connection, name)
        with self._one_at_a_time:
            hashed = self._hasher.hash(text)
        seed = Secret(pyotp.random_base32())
        path = f"operators/{name}/{new_id('otp')}"
        with self._secrets.written(path, {"seed": seed}, {"operator": name}) as connection:
            row = self._known(connection, name)
            still(row.totp_since_us)
            if row.totp_since_us is not None and acting.get() not in {name, ITSELF}:
                refuse_last_admin(store.listing(connection), name, self._desk.home.environment)
                store.change(connection, name, totp_since_us=None)
                store.end_sessions(connection, name)
            before, now_us = meta.get(connection, _pending(name)), self._desk.clock.now_us()
            if before is not None:  # that seed counts no more, nobody knows of it here: it is tidied away
                intents.add(connection, json.loads(before)["path"], now_us)
            begun_us = [*self._begun(connection, name), now_us]
            pending = {"password": hashed, "path": path, "begun_us": begun_us}
            meta.put(connection, _pending(name), json.dumps(pending))
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
        with self._desk.database.read() as connection:
            found = meta.get(connection, _pending(name))
        if found is None:
            raise _not_enrolled(name)
        enrolled = json.loads(found)
        self._refuse_waiting(name)
        step = self._step(name, enrolled["path"], code)
        if step is None:
            self._failed(name)
            raise self._wrong(*_BAD_CODE)
        with self._desk.database.write() as connection:
            before = self._known(connection, name)
            if meta.get(connection, _pending(name)) != found:
                raise Conflict(
                    "enrolled_anew", f"{name} was enrolled anew meanwhile; enter a code of that one"
                )
            meta.remove(connection, _pending(name))
            store.change(
                connection, name, password=enrolled["password"], totp_path=enrolled["path"], totp_last=step,
                totp_since_us=self._desk.clock.now_us(), failures=0,
            )  # fmt: skip
            if before.totp_path is not None:
                store.end_sessions(connection, name)
            self._audit.record(connection, "operator.activate", f"operator:{name}")
        self._throttle.passed(name, asking_from.get())

    # --- login ----------------------------------------------------------------------------

    def login(self, name: str, password: Secret, code: str) -> Session:
        """Log in.

        Raises:
            Unauthenticated: Something of it is not right; which, is not said.
            Conflict: Too many failures; with the time to wait.
        """
        with self._desk.database.read() as connection:
            row = store.by_name(connection, name)
        self._refuse_waiting(name)
        known = row is not None and row.ended_us is None and row.totp_since_us is not None
        with self._one_at_a_time:
            if not self._nobody:  # at the first login, whoever it is: a hash takes time, and 64 MiB
                self._nobody = self._hasher.hash(secrets.token_hex(16))
            hashed = row.password if row is not None and known and row.password else self._nobody
            right = _fits(self._hasher, hashed, password)
        if not (right and known):
            self._failed(name)
            raise self._wrong(*_NO)
        try:
            self.use_code(name, code)
        except Unauthenticated:  # which of both was wrong tells a guesser that the password is right
            raise self._wrong(*_NO) from None
        except Conflict as fault:
            if fault.reason != _CODES_LOST:
                raise
            self._failed(name)  # so does this: whoever has a token is told by `status`
            raise self._wrong(*_NO) from None
        prefix, lasts = secrets.token_hex(_PREFIX // 2), self._desk.spans.begin(SESSION_US)
        token = Secret(f"{MARK}{prefix}{secrets.token_urlsafe(32)}")
        with self._desk.database.write() as connection:
            store.add_session(
                connection, prefix=prefix, digest=digest(token), operator=name,
                created_us=lasts.until_us - SESSION_US, expires_us=lasts.until_us, base=lasts.base,
                skew_us=lasts.skew_us,
            )  # fmt: skip
            self._audit.record(connection, "operator.login", f"operator:{name}")
        return Session(name, token, moment(lasts.until_us))

    def logout(self, name: str) -> None:
        """End an operator's sessions."""
        with self._desk.database.read() as connection:
            if not store.has_sessions(connection, name):
                return  # who only has a token makes no writer wait for nothing
        with self._desk.database.write() as connection:
            ended = store.digests(connection, name)
            store.end_sessions(connection, name)
            self._audit.record(connection, "operator.logout", f"operator:{name}")
        for one in ended:
            self._desk.took(Right.SESSION, one, name)

    def by_session(self, token: Secret) -> Any | None:
        """Return the operator's row whose session this is; None where it is nobody's, or over."""
        prefix = token.reveal()[len(MARK) : len(MARK) + _PREFIX]
        with self._desk.database.read() as connection:
            row = store.session(connection, prefix)
        good = hmac.compare_digest(digest(token), "" if row is None else row.session_digest)
        if row is None or not good or store.is_over(row, self._desk.spans.now()) or row.ended_us is not None:
            return None
        return row

    # --- codes ----------------------------------------------------------------------------

    def use_code(self, name: str, code: str) -> None:
        """Check a one-time code and use it up.

        Raises:
            NotGranted: This operator has no codes.
            Unauthenticated: It is not right, or was used before.
            Conflict: Too many failures, or the seed is lost.
            StoreUnavailable: The seed cannot be read now.
        """
        with self._desk.database.read() as connection:
            row = store.by_name(connection, name)
        if row is None or row.totp_path is None or row.totp_since_us is None:
            raise _not_enrolled(name)
        self._refuse_waiting(name)
        step = self._step(name, row.totp_path, code)
        used = False
        if step is not None:
            with self._desk.database.write() as connection:
                used = store.use_code(connection, name, step)
                if used:
                    store.change(connection, name, failures=0)
        if not used:
            self._failed(name)
            raise self._wrong(*_BAD_CODE)
        self._throttle.passed(name, asking_from.get())

    # --- parts ----------------------------------------------------------------------------

    def _begun(self, connection: Any, name: str) -> list[int]:
        """Return when an enrolment that waits for its first code was begun within the last hour.

        Raises:
            Conflict: Too often, by the operator alone.
        """
        found = meta.get(connection, _pending(name))
        earlier: list[int] = [] if found is None else json.loads(found).get("begun_us", [])
        now_us = self._desk.clock.now_us()
        lately = [at_us for at_us in earlier if abs(now_us - at_us) < _HOUR_US][-MOST_BEGUN:]
        if len(lately) >= MOST_BEGUN and acting.get() == name:
            raise Conflict(
                "enrolled_too_often",
                f"{name} was enrolled anew {len(lately)} times within an hour, and no code was given: the last one "
                "still counts; enter a code of it, or wait",
            )
        return lately

    def _known(self, connection: Any, name: str) -> Any:
        row = store.by_name(connection, name)
        if row is None or row.ended_us is not None:
            raise Conflict("no_operator", f"there is no operator {name[:64]!r} any more")
        return row

    def seed_of(self, name: str) -> str | None:
        """Return where the seed of an operator's codes lies; None where there are none."""
        with self._desk.database.read() as connection:
            row = store.by_name(connection, name)
        return None if row is None or row.ended_us is not None else row.totp_path

    def _step(self, name: str, path: str, code: str) -> int | None:
        """Return the step of time that a code is of; None where it is of none near now.

        Raises:
            Conflict: The seed is lost (`_CODES_LOST`).
        """
        try:
            seed = self._desk.secrets.read(path)["seed"]
        except BrokerError as fault:
            if not is_lost(fault):
                raise
            self._desk.gone["codes", name] = path
            raise Conflict(
                _CODES_LOST,
                f"the seed of {name}'s one-time codes is lost ({fault.reason}): no code counts. Let another "
                f"admin run `portcullis operator enrol --name {name}`; or, on the broker's host, run "
                f"`portcullis operator recover --name {name}`",
            ) from None
        self._desk.gone.pop(("codes", name), None)
        totp = pyotp.TOTP(seed.reveal())
        now = self._desk.clock.now_us() // 1_000_000 // _STEP_S
        wanted = code.strip().replace(" ", "")
        found = [step for step in (now - 1, now, now + 1) if _same(totp.generate_otp(step), wanted)]
        return found[-1] if found else None

    def _wrong(self, reason: str, what: str) -> Unauthenticated:
        """Return a no that tells what time we count codes by: where it is wrong every code is refused."""
        return Unauthenticated(reason, f"{what}. {self._time()}")

    def _time(self) -> str:
        now = moment(self._desk.clock.now_us())
        return f"The broker's host has {now:%Y-%m-%d %H:%M:%S} UTC, and codes go by that"

    def _refuse_waiting(self, name: str) -> None:
        left_us = self._throttle.wait_us(name, asking_from.get(), self._desk.spans.sure_us())
        if left_us > 0:
            raise Conflict(
                "locked",
                f"too many wrong tries from here; wait {-(-left_us // 1_000_000)} s, or come from elsewhere: on the "
                f"broker's host the command line does. If that was not you, say so. {self._time()}",
            )

    def _failed(self, name: str) -> None:
        """Slow this source down, and write down what may be told of it."""
        source = asking_from.get()
        failures = self._throttle.failed(name, source, self._desk.spans.sure_us())
        if failures > FREE and failures & (failures - 1):
            return  # who goes on guessing fills no trail: one record of each doubling
        with self._desk.database.write() as connection:
            row = store.by_name(connection, name)
            if row is None:
                return
            store.change(connection, name, failures=row.failures + 1)
            self._audit.record(
                connection, "operator.fail", f"operator:{name}", {"failures": failures, "from": source}
            )


def _pending(name: str) -> str:
    """Return the fact under which an enrolment waits for its first code."""
    return f"enrolment:{name}"


def _not_enrolled(name: str) -> NotGranted:
    return NotGranted(
        "not_enrolled", f"{name} has no one-time codes yet; run `portcullis operator enrol --name {name}`"
    )


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
