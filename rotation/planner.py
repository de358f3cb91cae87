"""Starts rotations that are due: due or not is asked of the record at every look, so that nothing is ever missed.

Rules:
1. Every slot with a key in use has a schedule; where it has none, one is made and its jitter drawn, once.
2. After downtime there is no stampede: at each venue only so many scheduled rotations are under way at once, and so
   many in all; those due longest come first. Who asks for one by hand is not held up.
3. One that was given up is tried again after a rest, not at once.
4. Nothing is started where the guard says no (`broker.deeds`): another host serves, or a restore was not compared yet.
"""

import logging
import random
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker import maintenance
from broker.db import rotations as store
from broker.db import schedules as schedule_store
from broker.deeds import Deed
from broker.errors import BrokerError
from broker.model import Account, KeyVersion, Schedule, Stage, moment
from broker.service import Service
from rotation.dates import Due, next_due
from rotation.journal import Journal, microseconds
from rotation.plan import CAPABLE, draw_up, enrol_standby
from rotation.state import State

INTERVAL = timedelta(days=90)
JITTER = 0.1
"""Of the interval, at most: a fleet that was set up on one day is not rotated on one day."""

MOST_AT_A_VENUE = 4
MOST_IN_ALL = 8
REST = timedelta(hours=1)
SCHEDULED = "schedule"
_LOG = logging.getLogger("portcullis.rotation")


@dataclass(frozen=True, slots=True)
class _Slot:
    key: KeyVersion
    account: Account
    schedule: Schedule
    due: Due

    @property
    def name(self) -> str:
        return f"{self.account.name}/{self.key.ref.slot.value}"


class Planner:
    """Keeps the schedule. `dice` draws jitter, once per slot."""

    def __init__(self, service: Service, journal: Journal, dice: random.Random) -> None:
        self._service, self._journal, self._dice = service, journal, dice

    def look(self, now: datetime) -> tuple[str, ...]:
        """Work out when what is due, and start what is due now; return the ids of what was started.

        Raises:
            StoreUnavailable: The database cannot answer.
        """
        if self._service.desk.guard.allows(Deed.PLAN) is not None:
            return ()
        slots = self._slots(now)
        with self._service.desk.database.read() as connection:
            rows = store.every_open(connection)
        open_slots = {row.open_slot for row in rows}
        venues = {one.account.name: one.account.venue for one in slots}
        busy = Counter(
            venues[row.account]
            for row in rows
            if row.account in venues
            and row.why == SCHEDULED
            and row.state != State.STALLED.value
            and not row.todo
        )
        started = []
        for one in sorted(slots, key=lambda slot: slot.due.at):
            if one.schedule.paused:
                self._note(one, None, "paused")
                continue
            full = busy[one.account.venue] >= MOST_AT_A_VENUE or busy.total() >= MOST_IN_ALL
            if one.due.at > now or one.name in open_slots or full:
                self._note(one, one.due.at, "is being rotated" if one.name in open_slots else one.due.why)
                continue
            made, why = self._start(one, now)
            self._note(one, one.due.at, why)
            if made:
                busy[one.account.venue] += 1
                started.append(made)
        return tuple(started)

    def _start(self, one: _Slot, now: datetime) -> tuple[str, str]:
        """Plan a rotation; return its id, empty where it cannot be, and what is to be said of it."""
        try:
            self._service.desk.guard.ensure(Deed.PLAN)
            planned = draw_up(self._service, one.account.name, one.key.ref.slot, SCHEDULED, now)
            self._journal.plan(planned)
            enrol_standby(self._service, self._journal, planned, now)
        except BrokerError as fault:
            return "", f"cannot be rotated: {fault}"
        except Exception as fault:  # noqa: BLE001 - one slot must not stop the others; its text may quote
            return "", f"cannot be rotated: {_told(one.name, fault)}"
        return planned.id, "is being rotated"

    # --- when what is due -----------------------------------------------------------------

    def _slots(self, now: datetime) -> list[_Slot]:
        """Return every slot with a key in use, and when it is due."""
        keys = [key for key in self._service.keys.list() if key.stage is Stage.CURRENT]
        accounts = {name: self._service.accounts.get(name) for name in {key.ref.account for key in keys}}
        found = []
        for key in keys:
            try:
                found.append(self._slot(key, accounts[key.ref.account], now))
            except BrokerError:
                raise  # the database cannot answer: nothing is known of the others, either
            except Exception as fault:  # noqa: BLE001 - one slot must not stop the others; its text may quote
                _told(str(key.ref), fault)
        return found

    def _slot(self, key: KeyVersion, account: Account, now: datetime) -> _Slot:
        with self._service.desk.database.read() as connection:
            schedule = schedule_store.get(connection, account.name, key.ref.slot)
            last = store.last_ended(connection, account.name, key.ref.slot.value)
        schedule = schedule or self._fresh(key)
        windows = maintenance.parse(schedule.windows, schedule.zone)
        due = next_due(schedule, windows, key.created_at, ends_at(key, account.venue), now)
        if last is not None and last.state == State.ABANDONED.value:
            rested = moment(last.ended_us) + REST
            if due.at < rested:
                due = Due(rested, f"again, after the last try was given up: {last.reason}")
        return _Slot(key, account, schedule, due)

    def _fresh(self, key: KeyVersion) -> Schedule:
        """Make a slot's schedule, and draw its jitter."""
        made = Schedule(key.ref.account, key.ref.slot, INTERVAL, INTERVAL * (self._dice.random() * JITTER))
        with self._service.desk.database.write() as connection:
            schedule_store.add(connection, made)
            return schedule_store.get(connection, key.ref.account, key.ref.slot) or made

    def _note(self, one: _Slot, at: datetime | None, why: str) -> None:
        """Write down when it is next, where that changed."""
        known = one.schedule
        if known.next_at == at and known.why == why[:200]:
            return
        at_us = None if at is None else microseconds(at)
        with self._service.desk.database.write() as connection:
            schedule_store.work_out(connection, known.account, known.slot, at_us, why)


def _told(what: str, fault: Exception) -> str:
    """Log what nobody foresaw; return the words for it."""
    name = type(fault).__name__
    _LOG.critical("planning %s failed unforeseen: %s", what, name)
    return f"it failed unforeseen ({name})"


def ends_at(key: KeyVersion, venue: str) -> datetime | None:
    """Return when a venue takes a key's rights away by itself; None where it does not."""
    lasts = CAPABLE[venue].unbound_lasts_days
    if lasts is None or key.ip_restricted is not False:
        return None
    return key.created_at + timedelta(days=lasts)
