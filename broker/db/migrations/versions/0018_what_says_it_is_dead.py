"""Key versions say what their death is known by: a tombstone alone says only that a key is asked with no more."""

import json
import re
import sys
from operator import itemgetter

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_NAME = re.compile(r"[^/]+/[^/]+/[0-9]{1,9}")
_SAID = ("key.dead", "key.confirm-deleted")
_PROOFS = (
    "absent from two lists a settling time apart. First seen so at ",
    "refused by name on every host, twice a settling time apart, while another key was served by the same way. First",
)
"""How what proves a death begins (ADR 0022). One refusal by name was written as proof before that, and lists that did
not add up: living keys were refused so, and missing so."""

_ONCE_MORE = {"unproven": "stated", "stated": "confirmed", "confirmed": "confirmed", "proven": "proven"}
"""What a death is known by once a person said that the key is deleted."""

_LISTED = ("undead", "unknown", "orphan")
"""Findings of a sweep whose list had the key."""


def upgrade() -> None:
    """Add it, out of the audit trail: what was ended is proven dead by what proves it today, and by nothing else.

    A list that had the key afterwards takes it back, and nothing counts while it is found so.
    """
    op.add_column("key_versions", sa.Column("death", sa.String(16), nullable=False, server_default=""))
    audit = sa.table("audit", *map(sa.column, ("at_us", "action", "subject", "details")))
    key = sa.table(
        "key_versions", *map(sa.column, ("account", "slot", "version", "stage", "venue_key_id", "death"))
    )
    said = sa.select(audit.c.at_us, audit.c.action, audit.c.subject, audit.c.details)
    told = [tuple(row) for row in op.get_bind().execute(said.where(audit.c.action.in_(_SAID)))]
    deaths = dict[str, str]()
    for _, action, subject, details in sorted([*told, *_listed(key)], key=itemgetter(0)):
        name = subject.removeprefix("key-version:")
        if not _NAME.fullmatch(name):
            continue  # a trail that was tampered with keeps nobody from an upgrade
        if action == "key.dead":
            deaths[name] = _death(details)
        elif action == "listed":
            deaths[name] = "unproven"
        elif name in deaths:
            deaths[name] = _ONCE_MORE[deaths[name]]
    ended = key.c.stage == "tombstone"
    op.execute(sa.update(key).where(ended, key.c.venue_key_id != "").values(death="unproven"))
    for name, death in deaths.items():
        account, slot, version = name.rsplit("/", 2)
        op.execute(
            sa.update(key)
            .where(
                key.c.account == account, key.c.slot == slot, key.c.version == int(version),
                ended,
            )
            .values(death=death)
        )  # fmt: skip


def _listed(key: sa.TableClause) -> list[tuple[int, str, str, str]]:
    """Return when a list had a key, as lines of the trail: after all else where it is found so still."""
    found = sa.table("findings", *map(sa.column, ("key_id", "what", "last_us", "ended_us")))
    query = (
        sa.select(key.c.account, key.c.slot, key.c.version, found.c.last_us, found.c.ended_us)
        .join_from(found, key, found.c.key_id == key.c.venue_key_id)
        .where(found.c.what.in_(_LISTED), found.c.key_id != "")
    )
    return [
        (sys.maxsize if row.ended_us is None else row.last_us, "listed",
         f"key-version:{row.account}/{row.slot}/{row.version}", "")
        for row in op.get_bind().execute(query)
    ]  # fmt: skip


def _death(details: str) -> str:
    try:
        said = json.loads(details)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return "unproven"  # what cannot be read proves nothing
    proof = str(said.get("proof", ""))
    if said.get("stated") or "stated, not proven" in proof:
        return "stated"
    return "proven" if proof.startswith(_PROOFS) else "unproven"


def downgrade() -> None:
    """Remove it."""
    op.drop_column("key_versions", "death")
