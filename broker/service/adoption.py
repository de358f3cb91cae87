"""A cut that is known elsewhere and not on record is put there.

It closes, ends checkouts, is listed, and is thawed by its name like every other. Known elsewhere is: the secret
store's mirror, the memory of a broker whose database went back, or a file that an earlier life left in the home.
Whoever asks has made sure that it was not thawed on record.

One that cannot be put on record as it is keeps no other from being: it is put there in plain words; where that cannot
be, either (nobody foresaw how), everything is closed in its place, by a cut that names where it lies, until somebody
has looked at it and thaws that.

Whether a cut is the program's own is said by the record, where that knows the cut: whoever may write into the secret
store may write any name there, ours in place of theirs and theirs in place of ours.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from broker import gate
from broker.audit.chain import Detail
from broker.db import Connection, checkouts, coverage, rows
from broker.db import cuts as store
from broker.db.turns import Urgency
from broker.errors import BrokerError, Malformed
from broker.gate import Gate, Mode
from broker.gate_document import NotedCut
from broker.model import EVERYTHING, is_readable
from broker.service import strays
from broker.service.audit import ITSELF, Audit
from broker.service.desk import Desk
from broker.service.unrecorded import Found, unreadable
from broker.service.words import in_plain_words

_LEFT_WAITS_S = 2.0
_LOG = logging.getLogger("portcullis.cuts")

FORGOTTEN = (
    "the database forgot it; it holds until somebody thaws it. Who made it, and why, is not known here"
)
"""Reason of a cut of which only its name and what it holds is known."""

_BESIDE = "; in the secret store stands besides, by "
_LONGEST_BESIDE = 200


def adopt(connection: Connection, audit: Audit, noted: NotedCut, now_us: int) -> tuple[NotedCut, list[Gate]]:
    """Put a cut on record, make it stricter, or take its thaw back; return all that it holds, and what it closed."""
    row = store.get(connection, noted.id)
    if row is not None:
        noted = _as_both(connection, row, noted)
    noted = replace(noted, scopes=_names(connection, noted))
    record = {
        "mode": noted.mode.value, "reason": noted.reason, "actor": noted.actor, "opened_us": noted.opened_us,
    }  # fmt: skip
    if row is None:
        store.add(connection, {"id": noted.id, **record}, noted.scopes)
    else:
        store.hold_again(connection, noted.id, record)
        store.widen(connection, noted.id, noted.scopes)
    known = rows.gates_of(connection, noted.scopes)
    closed = [gate.close(known[scope], noted.id, noted.mode) for scope in sorted(noted.scopes)]
    for one in closed:
        rows.save_gate(connection, one)
    details: dict[str, Detail] = {"scopes": list(noted.scopes)}
    ended = checkouts.end_in(connection, noted.scopes, now_us) if noted.mode is Mode.CLOSED else []
    if ended:
        details["checkouts"] = ended
    audit.record(connection, "cut.adopt", noted.id, details)
    return noted, closed


def take_in(desk: Desk, audit: Audit, *, whole: bool = False) -> None:
    """Put on record what earlier lives left in the home (`unrecorded`), before anything is served.

    Only what is `whole` before a backup: a broker beside us may be writing. It finds on record what it puts there.

    Raises:
        StoreUnavailable: What there is cannot be read, or the database does not take it.
    """
    for one in list(desk.unrecorded.found()):
        if one.name in desk.closings or (whole and not one.is_whole):
            continue  # our own, on its way there
        in_its_place = Found(unreadable(one.path), one.path, is_whole=False)
        forms = (one, replace(one, cut=in_plain_words(one.cut)), in_its_place)
        in_some_form(str(one.path), *(partial(_take_in, desk, audit, form) for form in forms))


def in_some_form(where: str, *forms: Callable[[], None]) -> None:
    """Put a cut on record in the first of some forms that can be: whatever it is, it was a cut; it keeps no other back.

    Raises:
        StoreUnavailable: The database does not take any now.
    """
    *earlier, last = forms
    for form in earlier:
        try:
            return form()
        except Exception as fault:  # its text may quote
            if isinstance(fault, BrokerError) and not isinstance(fault, Malformed):
                raise
            name = type(fault).__name__
            _LOG.critical("%s could not be put on record as it is: failed unforeseen (%s)", where, name)
    return last()


def _take_in(desk: Desk, audit: Audit, one: Found) -> None:
    closed: list[Gate] = []
    with desk.database.write(Urgency.SAFETY, patience_s=_LEFT_WAITS_S) as connection:
        there = store.get(connection, one.name)
        known = there or store.get(connection, one.cut.id)
        if known is None:
            now_us = desk.clock.now_us()
            closed = adopt(connection, audit, one.cut, now_us)[1]
            strays.of_nobody(connection, one.cut, now_us)  # it was answered before anybody could look
    if closed:
        _LOG.warning("closed here, because it was cut before the last end: %s %s", one.cut.id, one.cut.scopes)
        desk.tell(closed)
    is_over = known is not None and known.thawed_us is not None
    if (
        is_over or one.is_whole or there is not None
    ):  # what cannot be read lies there while it holds, for whoever looks
        with suppress(OSError):
            one.path.unlink()


def _as_both(connection: Connection, row: Any, noted: NotedCut) -> NotedCut:
    """Return a cut that is on record as the stricter of both; why it holds is what was said last, where that is known.

    One that was thawed and then made anew under its name, at another time, is what is said now and no more.
    """
    known = replace(noted, reason=row.reason, actor=row.actor) if noted.reason == FORGOTTEN else noted
    if row.reason != FORGOTTEN and row.actor != ITSELF == known.actor:
        known = replace(known, actor=row.actor)  # the record knows whose it is
    if row.thawed_us is not None and row.opened_us != noted.opened_us:
        store.forget_scopes(connection, row.id)
        return known
    if row.actor == ITSELF:
        known = replace(known, actor=ITSELF, reason=_beside_ours(row.reason, known))
    mode = gate.strictest((noted.mode, rows.mode(row.mode)))
    return replace(known, mode=mode, opened_us=min(noted.opened_us, row.opened_us))


def _beside_ours(reason: str, said: NotedCut) -> str:
    """Return why a cut of ours holds, with what somebody wrote over it: that takes nothing of ours away.

    Whether it is ours, and what ends it, is said by our own words: those of others are no command.
    """
    ours = reason.partition(_BESIDE)[0]
    if said.reason in {reason, ours}:
        return reason
    theirs = f"{said.actor}: {said.reason}".replace("`", "'")
    return f"{ours}{_BESIDE}{theirs[:_LONGEST_BESIDE]}"


def _names(connection: Connection, noted: NotedCut) -> tuple[str, ...]:
    """Return what a cut holds: what it names, here or there, and what took a named key version's place since."""
    known = {*noted.scopes, *store.scopes(connection, noted.id)}
    if not all(map(is_readable, known)):
        known.add(EVERYTHING)  # nobody knows whom it was to hold
    then = coverage.in_use_at(connection, known, noted.opened_us)
    return tuple(sorted({*known, *coverage.heirs(connection, known, then)}))
