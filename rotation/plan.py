"""Planning: what a rotation will make, drawn up from the record before anything is done.

Rules:
1. Least permissions: what the policies of the grants in force need, and never more than the slot is for.
2. A new key is bound to the addresses of its account's egress; an egress that declares none cannot be rotated to. What
   only ends a key needs none.
3. What cannot work is refused here, with what to do about it.
4. An account under no manager key goes through the same states; a person makes and deletes its keys. In the sitting in
   which its trade key is made a standby key is enrolled too: an incident then has something to switch to.
"""

import secrets
from dataclasses import replace
from datetime import datetime, timedelta

from broker.db import accounts as account_store
from broker.db import cutovers
from broker.db import destinations as destination_store
from broker.db import grants as grant_store
from broker.db import rotations as store
from broker.errors import Conflict, StoreUnavailable
from broker.model import Death, KeyRef, Stage
from broker.service import Service, deaths, holding, rights
from broker.service.numbers import next_version
from clients.keys import Capabilities, Permissions
from clients.venue import KeyType, Slot
from clients.venues.binance import admin, by_hand
from rotation import retire
from rotation.journal import Journal
from rotation.state import Limits, Rotation, State

_MOST_GRANTS = 100_000
CAPABLE: dict[str, Capabilities] = {"binance": admin.CAPABILITIES}
"""What each venue's keys can be asked for under a manager key."""

BY_HAND: dict[str, Capabilities] = {"binance": by_hand.CAPABILITIES}
"""What they can without."""


def draw_up(
    service: Service,
    account: str,
    slot: Slot,
    why: str,
    now: datetime,
    *,
    rotation: str | None = None,
    hmac: bool = False,
    makes: bool = True,
) -> Rotation:
    """Draw up a rotation of an account's slot, under an id of ours where none was given.

    `hmac`: the venue makes the secret, where a person makes the key. `makes`: it makes a key, whose number is free.

    Raises:
        NotFound: No such account.
        Conflict: It cannot be rotated, and why.
    """
    known = service.accounts.get(account)
    addresses = service.accounts.addresses(known.egress)
    if makes and not addresses:
        raise Conflict(
            "no_addresses",
            f"the egress {known.egress} of {account} declares no addresses, and a new key is bound to them. An account "
            "keeps its egress for ever: make another with portcullis egress create --name NAME --address ADDRESS, and "
            "an account on it with portcullis account create --name ACCOUNT --egress NAME",
        )
    alone = known.manager is None
    capable = BY_HAND[known.venue] if alone else CAPABLE[known.venue]
    with service.desk.database.read() as connection:
        if (busy := store.open_of(connection, account, slot.value)) is not None:
            held = holding.held(busy, holding.to_hold(connection))
            raise Conflict(
                "rotating",
                f"its rotation {busy.id} is held ({held}): {holding.moves(busy.id)}. Then again"
                if held
                else f"{account}/{slot.value} is being rotated already: portcullis rotation watch {busy.id}",
            )
        current = account_store.current_key(connection, account, slot)
        last = account_store.last_version(connection, account, slot)
        places = destination_store.every(connection, account, slot)
    number = _free(service, account, slot, last) if makes else last + 1
    patience = [timedelta(seconds=one.patience_s) for one in places]
    limits = Limits(
        window_for=timedelta(seconds=capable.window_s + 1), settling_for=timedelta(seconds=capable.settling_s),
        drain_for=max([Limits().drain_for, *patience]),
    )  # fmt: skip
    own = capable.public_key and not (alone and hmac)
    return Rotation(
        rotation or f"rot_{secrets.token_hex(10)}", account, slot, number,
        None if current is None else current.ref.version,
        KeyType.ED25519 if own else KeyType.HMAC, _permissions(service, account, slot), addresses,
        why, by_hand=alone, listed=capable.label and capable.list, leased=slot is Slot.TRADE, state=State.PLANNED,
        started_at=now, entered_at=now, due_at=now, limits=limits, venue=known.venue,
        old_key_id="" if current is None else current.venue_key_id,
    )  # fmt: skip


def draw_up_retirement(
    service: Service, ref: KeyRef, why: str, now: datetime, *, undead: bool = False
) -> Rotation:
    """Draw up a rotation that makes nothing: it retires a version that is not in use any more.

    `undead`: it is dead on record, or was never known to exist, and the exchange lists it all the same.

    Raises:
        NotFound: No such account.
        Conflict: The version is in use, somebody may still use it, it is dead or unknown, or its slot is being rotated.
    """
    planned = draw_up(service, ref.account, ref.slot, why, now, makes=False)
    keys = {one.ref: one for one in service.keys.list(ref.account)}
    key = keys.get(ref)
    if key is not None and key.stage is Stage.TOMBSTONE and not undead:
        if key.venue_key_id and key.death is not Death.PROVEN:
            raise Conflict(
                "dead",
                f"{ref} {deaths.says(key.death)}, and its secret is gone: nothing can be asked with it. Look "
                f"whether the exchange has it, and delete it there if so; then {deaths.confirm(ref)}",
            )
        said = deaths.says(key.death) if key.venue_key_id else "was never made"
        raise Conflict("dead", f"{ref} {said}: there is nothing to retire")
    left = key is not None and key.stage is Stage.PENDING and (key.venue_key_id or undead)
    if key is None or not (left or key.stage in {Stage.PREVIOUS, Stage.TOMBSTONE}):
        raise Conflict("in_use", f"{ref} is no version that was replaced: it is not retired")
    current = None if planned.old is None else keys[KeyRef(ref.account, ref.slot, planned.old)]
    with service.desk.database.read() as connection:
        held = cutovers.holders(connection, str(ref), service.desk.spans)
        places = [] if undead else destination_store.lacking(connection, ref.account, ref.slot, planned.old)
    if held:
        names = ", ".join(sorted({one.gateway for one in held}))
        raise Conflict("held", f"{names} may still use {ref}; try again in a minute")
    if places:
        raise Conflict(
            "held",
            f"{', '.join(places)} may still hold {ref}: destinations get a key by a rotation. First "
            f"portcullis rotation start --account {ref.account} --slot {ref.slot.value} --wait",
        )
    stays = current or key
    return replace(
        planned, old=ref.version, new=stays.ref.version, new_key_id=stays.venue_key_id, may_be_current=True,
        old_key_id=key.venue_key_id, state=State.RETIRING_OLD,
        retirement=retire.begin(ref.version, by_hand=planned.by_hand).retirement,
    )  # fmt: skip


def enrol_standby(service: Service, journal: Journal, planned: Rotation, now: datetime) -> None:
    """Plan a standby key beside a trade key that a person makes, where the account has none."""
    if not planned.by_hand or planned.slot is not Slot.TRADE:
        return
    with service.desk.database.read() as connection:
        if (
            account_store.current_key(connection, planned.account, Slot.STANDBY) is not None
            or store.open_of(connection, planned.account, Slot.STANDBY.value) is not None
        ):
            return
    hmac = planned.key_type is KeyType.HMAC
    journal.plan(draw_up(service, planned.account, Slot.STANDBY, "standby", now, hmac=hmac))


def _free(service: Service, account: str, slot: Slot, last: int) -> int:
    """Return the number of the key that is to be made; while the store is away that is looked at before it is made."""
    try:
        return next_version(service.desk.secrets, account, slot, last)
    except StoreUnavailable:
        return last + 1


def _permissions(service: Service, account: str, slot: Slot) -> Permissions:
    """Return the least that the grants in force need; a trade key that nobody uses yet may trade."""
    if slot is not Slot.TRADE:
        return Permissions(trade=slot is not Slot.READ)
    with service.desk.database.read() as connection:
        every = grant_store.grants(connection, "", _MOST_GRANTS, consumer=None, account=account)
    standing = [one.policy for one in every if one.revoked_at is None]
    return Permissions(trade=not standing or any(map(rights.needs_trade, standing)))
