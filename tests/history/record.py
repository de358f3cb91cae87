"""What is on record at the end, whoever wrote it: the database, the secret store, the exchange, the gateways' logs.

So a history can be told of processes that ran, were stopped or killed: nothing of it was seen from inside.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from broker.calllog import Ask, parse
from broker.db import tables as t
from broker.db.database import Database
from broker.db.log_tables import CALLS
from broker.errors import BrokerError, NotFound
from broker.gate import Mode
from broker.model import KeyRef, lasting
from broker.ports import SecretStore
from clients.paper.exchange import MASTER, PaperExchange
from clients.venue import Action, Slot
from tests.history.events import (
    Became,
    Buried,
    Deleted,
    Executed,
    History,
    Key,
    Noted,
    Rotation,
    Version,
    Written,
)
from tests.history.lives import CURRENT

HARMLESS = {Action.READ, Action.CANCEL}
_GONE = frozenset({"vault_deleted", "tampered"})
_MICROSECONDS = 10**15
_SAME_CLOCK_US = 1_000_000


# --- the exchange -----------------------------------------------------------------------------


def of_exchange(history: History, exchange: PaperExchange, settles_us: int = 0) -> None:
    """Take in what an exchange in this process noted."""
    at_us = exchange.now_us()
    keys = [
        {
            "key_id": key.key_id,
            "account": key.account,
            "label": key.label,
            "deleted": key.dead(at_us, settles_us),
        }
        for key in exchange.keys.values()
    ]
    of_venue(history, keys, exchange.executed, exchange.offset_us)
    history.one_clock &= abs(at_us - exchange.offset_us - time.time_ns() // 1000) < _SAME_CLOCK_US


def of_venue(
    history: History,
    keys: Sequence[Mapping[str, Any]],
    executed: Sequence[Mapping[str, Any]],
    offset_us: int = 0,
) -> None:
    """Take in what an exchange says of its keys and of what it executed."""
    by_request = {
        row["effect"]["key_id"]: str(row["effect"]["label"])
        for row in executed
        if row["action"] == "key-create"
    }
    history.keys = [
        Key(one["key_id"], one["account"], not one["deleted"], by_request.get(one["key_id"], ""))
        for one in keys
        if one["account"] != MASTER
    ]
    history.deleted = [
        Deleted(int(row["at_us"]) - offset_us, row["effect"]["key_id"])
        for row in executed
        if row["action"] == "key-delete"
    ]
    history.executed = [
        Executed(str(row["key_id"]), row["order"]["client_order_id"], _signed_us(row["params"], offset_us))
        for row in executed
        if row["action"] == "place" and row["order"]
    ]


def _signed_us(params: Mapping[str, Any], offset_us: int) -> int | None:
    stamp = str(params.get("timestamp", ""))
    if not stamp.isdigit():
        return None
    return (int(stamp) if int(stamp) >= _MICROSECONDS else int(stamp) * 1000) - offset_us


# --- the record -------------------------------------------------------------------------------


def of_record(history: History, database: Database, secrets: SecretStore | None) -> None:
    """Take in what is on record of keys, rotations and orders; what was executed with keys of others is left out."""
    with database.read() as connection:
        versions = list(connection.execute(t.KEY_VERSIONS.select()))
        cuts, scopes = (
            list(connection.execute(t.CUTS.select())),
            list(connection.execute(t.CUT_SCOPES.select())),
        )
        steps = list(connection.execute(t.ROTATION_STEPS.select().order_by(t.ROTATION_STEPS.c.number)))
        history.rotations = [
            Rotation(
                row.id, row.state, f"{row.account}/{row.slot}", row.old_version, row.new_version,
                row.ended_us is not None,
                tuple((one.at_us, one.state) for one in steps if one.rotation == row.id), row.ended_us,
            )
            for row in connection.execute(t.ROTATIONS.select())
        ]  # fmt: skip
        trail = list(connection.execute(t.AUDIT.select().order_by(t.AUDIT.c.seq)))
    history.cuts = frozenset(row.id for row in cuts)
    history.noted = [
        Noted(
            row.id, row.opened_us, row.thawed_us, frozenset(one.scope for one in scopes if one.cut == row.id),
            row.mode != Mode.CLOSED.value,
        )
        for row in cuts
    ]  # fmt: skip
    history.versions = [
        Version(
            f"{row.account}/{row.slot}", row.version, row.stage, row.venue_key_id,
            _kept(secrets, KeyRef(row.account, Slot(row.slot), row.version)) if row.stage == CURRENT else None,
        )
        for row in versions
    ]  # fmt: skip
    for row in trail:
        if row.action not in {"key.current", "key.dead"}:
            continue
        slot, _, number = row.subject.removeprefix("key-version:").rpartition("/")
        said = json.loads(row.details)
        if row.action == "key.current":
            history.became.append(Became(row.at_us, slot, int(number), str(said.get("rotation", ""))))
        else:
            history.buried.append(Buried(row.at_us, slot, int(number), str(said.get("proof", ""))))
    ours = {one.key_id for one in history.versions}
    history.executed = [one for one in history.executed if one.key_id in ours]


def _kept(secrets: SecretStore | None, ref: KeyRef) -> bool | None:
    if secrets is None:
        return None
    try:
        return "secret" in secrets.read(ref.path)
    except NotFound:
        return False
    except BrokerError as fault:
        return False if fault.reason in _GONE else None


# --- the gateways' logs -----------------------------------------------------------------------


def of_logs(history: History, database: Database, spools: Mapping[str, Path]) -> None:
    """Take in what gateways wrote down before they sent it: what the broker has, and what lies in their spools yet."""
    with database.read() as connection:
        venues = {row.name: row.venue for row in connection.execute(t.ACCOUNTS.select())}
    with database.log.read() as connection:
        rows = [dict(row) for row in connection.execute(CALLS.select()).mappings()]
    for row in rows:
        names = tuple(json.loads(row["client_ids"]))
        _wrote(history, venues, row, names)
    for gateway, folder in spools.items():
        for ask in _asks(folder):
            row = {name: getattr(ask, name) for name in ("at_us", "grant", "consumer", "account", "key", "action",
                                                         "decision", "leaving", "endpoint")}  # fmt: skip
            names = (*ask.client_order_ids, *(sent[0] for sent in ask.sent))
            _wrote(history, venues, row | {"gateway": gateway}, names)


def _wrote(
    history: History, venues: Mapping[str, str], row: Mapping[str, Any], names: tuple[str, ...]
) -> None:
    if row["decision"] == "deny" or not row["grant"] or not row["key"]:
        return
    account = row["account"]
    scopes = lasting(venues.get(account, ""), account, row["gateway"], row["consumer"], row["grant"])
    risk = row["action"] not in {one.value for one in HARMLESS} and not row["leaving"]
    risk &= not row["endpoint"].endswith(".test")
    more = (*scopes, f"key-version:{row['key']}")
    history.written.append(Written(row["at_us"], row["grant"], frozenset(more), risk, names, row["key"]))


def _asks(folder: Path) -> Iterator[Ask]:
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        for line in path.read_text(errors="replace").splitlines():
            found = parse(line)
            if isinstance(found, Ask):
                yield found
