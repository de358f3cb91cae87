"""Rotations as operators see them, and what they ask of the rotator.

Rules:
1. The broker decides nothing about a rotation and makes no key: it writes down what an operator asks, and a rotator
   carries it out or says why not. Both meet in the database alone.
2. A secret that an operator brings goes into the secret store's inbox; the record holds its path: as an intent before,
   which ends in the transaction of the ask. Who carries the ask out empties it, and what no ask is on record of.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from broker.db import asks, findings, intents
from broker.db import rotations as store
from broker.db.asks import Ask
from broker.db.findings import Finding
from broker.deeds import Deed
from broker.errors import Conflict, NotFound
from broker.model import KeyRef, in_part, moment, new_id
from broker.service import holding
from broker.service.audit import Audit, acting
from broker.service.desk import Desk, Page, cursor_number, missing, page
from broker.service.secrets import INBOX
from clients.secret import Secret
from clients.venue import Slot

_END = (2**62, "~")


class Wish(StrEnum):
    """What an operator can ask for."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    ROLL_BACK = "rollback"
    ANSWER = "answer"
    WAIVE = "waive"
    DROP = "drop"
    RETIRE = "retire"
    SWEEP = "sweep"
    TEST_ALERT = "test-alert"


_TOUCHES_NOTHING = frozenset({Wish.PAUSE, Wish.TEST_ALERT})


@dataclass(frozen=True, slots=True)
class Rotation:
    """One rotation as it stands. `todo` is what a person has to do now; empty where nothing.

    `held`: why nobody carries it on before a person has said so; empty where nothing holds it.
    """

    id: str
    account: str
    slot: Slot
    state: str
    why: str
    old_version: int | None
    new_version: int
    reason: str
    runbook: str
    paused: bool
    created_at: datetime
    entered_at: datetime
    due_at: datetime
    ended_at: datetime | None
    todo: Mapping[str, Any]
    held: str = ""


@dataclass(frozen=True, slots=True)
class Transition:
    """One line of a rotation's history."""

    at: datetime
    event: str
    was: str
    state: str
    effect: str
    note: str


class Rotations:
    """Use cases on rotations."""

    def __init__(self, desk: Desk, audit: Audit) -> None:
        self._desk, self._audit = desk, audit

    def list(
        self, *, after: str = "", limit: int = 50, account: str | None = None, only_open: bool = False
    ) -> Page[Rotation]:
        """List rotations, newest first.

        Raises:
            Malformed: An unknown cursor.
        """
        before = _END
        if after:
            at_us, _, last = after.partition(".")
            before = (cursor_number(at_us), last)
        with self._desk.database.read() as connection:
            rows = store.page(connection, before, limit + 1, account=account, only_open=only_open)
            hold = holding.to_hold(connection)
        found = page(rows, limit, lambda row: f"{row.created_us}.{row.id}")
        return Page(tuple(_rotation(row, hold) for row in found.items), found.next)

    def get(self, rotation: str) -> Rotation:
        """Return one.

        Raises:
            NotFound: No such rotation, or a rotator has not taken it up yet.
        """
        with self._desk.database.read() as connection:
            row, hold = store.get(connection, rotation), holding.to_hold(connection)
        if row is None:
            raise missing("rotation", rotation)
        return _rotation(row, hold)

    def history(self, rotation: str) -> tuple[Transition, ...]:
        """Return every transition of one, oldest first."""
        with self._desk.database.read() as connection:
            rows = store.steps(connection, rotation)
        return tuple(
            Transition(moment(row.at_us), row.event, row.was, row.state, row.effect, row.note) for row in rows
        )

    def asked(self, rotation: str) -> tuple[Ask, ...]:
        """Return what operators asked of one, oldest first."""
        with self._desk.database.read() as connection:
            return tuple(asks.of(connection, rotation))

    # --- asking ---------------------------------------------------------------------------

    def start(self, account: str, slot: Slot, why: str = "asked", *, hmac: bool = False) -> Ask:
        """Ask for a rotation of an account's slot; the ask names it. `hmac`: a key whose secret the exchange makes."""
        body = {"account": account, "slot": slot.value, "why": why, "hmac": hmac}
        return self._ask(f"rot_{secrets.token_hex(10)}", Wish.START, body)

    def retire(self, key: KeyRef) -> Ask:
        """Ask for the retirement of a version that was replaced and still lives."""
        return self._ask(f"rot_{secrets.token_hex(10)}", Wish.RETIRE, {"key": str(key)})

    def sweep(self) -> Ask:
        """Ask for a sweep now."""
        return self._ask("", Wish.SWEEP, {})

    def findings(self) -> tuple[Finding, ...]:
        """List what the sweep found and did not find mended."""
        with self._desk.database.read() as connection:
            return tuple(findings.standing(connection))

    def ask(self, rotation: str, wish: Wish, body: Mapping[str, object], secret: Secret | None = None) -> Ask:
        """Ask something of a rotation.

        An id of a key lies in the inbox, and on record in part: who swaps id and secret types the secret there, and
        nobody knows what it is before the rotator has asked the exchange.

        Args:
            rotation: Its id.
            wish: What is wanted.
            body: What belongs to it.
            secret: The secret of a key that an operator made, where the exchange made it.

        Raises:
            NotFound: No such rotation.
            StoreUnavailable: A store cannot answer.
            Conflict: It took so long that the secret was given up; nothing was asked.
        """
        self.get(rotation)
        document, brought = dict(body), dict[str, Secret]()
        if secret is not None:
            brought["secret"] = secret
        if key_id := str(document.get("key_id") or ""):
            brought["key_id"], document["key_id"] = Secret(key_id), in_part(key_id)
        if brought:
            self._desk.guard.ensure(Deed.BRING)
            path = f"{INBOX}{new_id('sec')}"
            with self._desk.database.write() as connection:
                intents.add(connection, path, self._desk.clock.now_us())
            self._desk.secrets.write(path, brought, {"rotation": rotation})
            document["inbox"] = path
        return self._ask(rotation, wish, document)

    def outcome(self, ask: str) -> Ask:
        """Return an ask as it is now."""
        with self._desk.database.read() as connection:
            found = asks.get(connection, ask)
        if found is None:
            raise NotFound("no_ask", f"nothing was asked as {ask[:40]}")
        return found

    def _ask(self, rotation: str, wish: Wish, body: Mapping[str, object]) -> Ask:
        if wish not in _TOUCHES_NOTHING:
            self._desk.guard.refuse(Deed.ASKED)
        one = Ask(
            new_id("ask"), rotation, wish.value, json.dumps(body, sort_keys=True), acting.get(),
            self._desk.clock.now_us(),
        )  # fmt: skip
        with self._desk.database.write() as connection:
            if "inbox" in body and not intents.end(connection, str(body["inbox"])):
                raise Conflict("given_up", "this took too long and was given up; do it again")
            asks.add(connection, one)
            told = {name: str(value) for name, value in body.items() if name != "inbox"}
            self._audit.record(connection, f"rotation.ask-{wish.value}", rotation or "everything", told)
        return one


def _rotation(row: Any, hold: str) -> Rotation:
    held = holding.held(row, hold)
    todo = json.loads(row.todo) if row.todo and not held else {}  # what is held asks nobody for anything
    return Rotation(
        row.id, row.account, Slot(row.slot), row.state, row.why, row.old_version, row.new_version, row.reason,
        row.runbook, row.paused, moment(row.created_us), moment(row.entered_us), moment(row.due_us),
        None if row.ended_us is None else moment(row.ended_us), todo, held,
    )  # fmt: skip
