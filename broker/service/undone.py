"""What this process did and a database that went back has undone: done again, as another history begins.

Rules:
1. A key that was handed out, or asked back, is so on record again. Whoever has such a key trades past every gate; a cut
   ends it by its line on record alone, and so does its time. Where the record has forgotten the key itself, that is on
   record again as well, as one that was replaced: it is asked about, and ended, as those are. Where it has forgotten
   the account, a cut stands in for it, and says who has what: what is in a log alone nobody reads.
2. What takes a right away is done again; what gives one is not: an operator and a login that were ended, also by
   another process, where this one had seen that they counted no more (`Operators.learn`); a destination that was
   removed; an act that was called off. Each is told from another of its name that was made since. So ends who was
   recovered meanwhile, the last admin too: the token that counts on record may be the one that had leaked. That nobody
   is left is told (`conditions.NO_ADMIN`).
3. Not done again: a password and codes that were reset or enrolled anew, an alert channel that was removed (what signs
   to it is destroyed in the secret store all the same), and what another process removed or called off.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from broker.db import Connection
from broker.db import accounts as account_store
from broker.db import acts as act_store
from broker.db import checkouts as store
from broker.db import cuts as cut_store
from broker.db import destinations as destination_store
from broker.db import operators as operator_store
from broker.db.checkouts import Checkout
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.model import Death, KeyRef, KeyVersion, ScopeKind, Stage, scope
from broker.service.adoption import adopt
from broker.service.audit import ITSELF, Audit
from broker.service.desk import Desk, Right

_MOST = 1_000
_LOG = logging.getLogger("portcullis.authority")


def note(desk: Desk, one: Checkout, key: KeyVersion | None) -> None:
    """Keep in mind that a key was handed out, or asked back, once that is committed."""
    desk.handed.pop(one.id, None)
    desk.handed[one.id] = one, key
    if len(desk.handed) > _MOST:
        del desk.handed[next(iter(desk.handed))]


def do_again(connection: Connection, desk: Desk, audit: Audit) -> None:
    """Put on record what the record has forgotten."""
    for one, key in list(desk.handed.values()):
        if account_store.account(connection, one.ref.account) is None:
            _stand_in(connection, desk, audit, one, key)
        elif _put_back(connection, audit, one, key):
            details = {"key": str(one.ref), "holder": one.holder}
            audit.record(connection, "checkout.adopt", one.id, dict(details))
    for right, again in _AGAIN.items():
        for name, mark in list(desk.taken.get(right, {}).items()):
            done = again(connection, name, mark, desk.clock.now_us())
            if done is not None:
                audit.record(connection, *done, {"why": "the database forgot it"})
                _LOG.error("%s of %s is done again: the database forgot it", *done)


_Done = tuple[str, str] | None
"""Action and subject of what was taken away once more; None where there was nothing to take."""


def _end_operator(connection: Connection, digest: str, name: str, now_us: int) -> _Done:
    row = operator_store.by_name(connection, name)
    if row is None or row.digest != digest or not operator_store.end(connection, name, now_us):
        return None
    operator_store.end_sessions(connection, name)
    return "operator.end", f"operator:{name}"


def _end_session(connection: Connection, digest: str, name: str, _: int) -> _Done:
    return ("operator.logout", f"operator:{name}") if operator_store.end_session(connection, digest) else None


def _remove_destination(connection: Connection, name: str, made: str, now_us: int) -> _Done:
    there = destination_store.get(connection, name)
    if there is None or str(there.created_us) != made:
        return None
    destination_store.remove(connection, name, now_us)
    return "destination.remove", f"destination:{name}"


def _call_off(connection: Connection, act: str, _: str, now_us: int) -> _Done:
    return ("act.cancel", act) if act_store.end(connection, act, "cancelled", now_us) else None


_AGAIN: Mapping[Right, Callable[[Connection, str, str, int], _Done]] = {
    Right.OPERATOR: _end_operator,
    Right.SESSION: _end_session,
    Right.DESTINATION: _remove_destination,
    Right.ACT: _call_off,
}


def _put_back(connection: Connection, audit: Audit, one: Checkout, key: KeyVersion | None) -> bool:
    there = store.get(connection, one.id)
    if there is not None:
        if one.closed_at is None or there.closed_at is not None or there.dead_at is not None:
            return False
        return store.close(connection, one.id, store.microseconds(one.closed_at))
    ref = one.ref if key is None else _known(connection, audit, key)
    store.restore(connection, replace(one, rotation=None, ref=ref))
    return True


def _known(connection: Connection, audit: Audit, key: KeyVersion) -> KeyRef:
    """Return by which version the record knows a key; where it knows of none, it is put there."""
    known = account_store.keys(connection)
    same = next((one.ref for one in known if one.venue_key_id == key.venue_key_id), None)
    if same is not None:
        return same
    if key.ref in {one.ref for one in known}:
        account_store.name_unnamed(
            connection, key.ref, key.venue_key_id
        )  # its rotation had not heard of it yet
        return key.ref
    replaced = replace(key, stage=Stage.PREVIOUS, death=Death.UNSAID)
    account_store.add_key(connection, replaced, store.microseconds(key.created_at))
    audit.record(
        connection,
        "key.adopt",
        f"key-version:{key.ref}",
        {"venue_key_id": key.venue_key_id, "path": key.path},
    )
    _LOG.error("%s is on record again, which the record had forgotten: it was handed out", key.ref)
    return key.ref


def _stand_in(
    connection: Connection, desk: Desk, audit: Audit, one: Checkout, key: KeyVersion | None
) -> None:
    """Put a cut in the place of a checkout that the record has no room for: it is shown until somebody thaws it."""
    name = f"cut_{hashlib.sha256(one.id.encode()).hexdigest()[:20]}"
    if cut_store.get(connection, name) is not None:
        return
    shown = "" if key is None else f" ({key.venue_key_id[:8]}...{key.venue_key_id[-4:]})"
    reason = (
        f"{one.holder} has the key {one.ref}{shown}, and the database forgot its account: delete it at the exchange, "
        "then thaw this"
    )
    scopes, now_us = (scope(ScopeKind.ACCOUNT, one.ref.account),), desk.clock.now_us()
    adopt(connection, audit, NotedCut(name, Mode.CLOSED, scopes, reason, ITSELF, now_us), now_us)
