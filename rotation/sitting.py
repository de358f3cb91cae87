"""What a person is asked to do at the exchange, as numbered steps. Pure.

Only where the venue has no call for it: the machine goes through the same states, and waits.
"""

from clients.keys import PERMISSIONS, Pages
from clients.venue import KeyType
from clients.venues.binance.by_hand import PAGES as BINANCE
from rotation.possible import may_leave
from rotation.retire import LOST
from rotation.state import Phase, Rotation, State

PAGES: dict[str, Pages] = {"binance": BINANCE}


def todo(rotation: Rotation) -> dict[str, object] | None:
    """Return what a person has to do now: `title`, `steps`, `public_key` and the command for `then`; None: nothing."""
    if not rotation.by_hand or rotation.over or rotation.state is State.STALLED:
        return None
    if rotation.state is State.CREATING:
        return _create(rotation)
    retirement = rotation.retirement
    if retirement is not None and retirement.phase is Phase.PROBING:  # not before it was looked at what stays
        return _delete(rotation, retirement.version)
    return None


def _create(rotation: Rotation) -> dict[str, object]:
    pages = PAGES[rotation.venue]
    own = rotation.key_type is not KeyType.HMAC
    wanted = [pages.reading, *(pages.permissions[name] for name in rotation.permissions.words())]
    unwanted = [pages.permissions[name] for name in PERMISSIONS if not getattr(rotation.permissions, name)]
    steps = [
        f"Open {pages.where}, and create a key: {pages.own_key if own else pages.their_key}.",
        f"Label: {rotation.label}",
        *(["Public key: paste the lines below, BEGIN and END included."] if own else []),
        f"{pages.addresses}: {', '.join(rotation.addresses)}",
        f"Tick: {', '.join(wanted)}",
        f"Do NOT tick: {', '.join([pages.withdrawal, *unwanted])}",
        "Save, and copy the key id (API key)." if own else "Save, and copy the key id and the secret.",
    ]
    more = "" if own else " --hmac"
    return {
        "title": f"make a key for {rotation.account}/{rotation.slot.value} at the exchange",
        "steps": steps,
        "public_key": rotation.public_key,
        "then": f"rotation answer {rotation.id}{more}",
    }


def _delete(rotation: Rotation, version: int) -> dict[str, object]:
    pages = PAGES[rotation.venue]
    key_id = rotation.new_key_id if version == rotation.new else rotation.old_key_id
    shown = f"{key_id[:8]}...{key_id[-4:]}" if key_id else f"version {version}"
    seen = "" if rotation.retirement is None else rotation.retirement.seen
    lost = seen.startswith(LOST)
    after = (
        "Delete it. Its secret is lost, so nobody can ask the exchange whether it lives: look twice.",
        "Then say that you deleted it: below. It ends by your word alone, and is told of until it is confirmed.",
    ) if lost else (
        "Delete it. It is probed all the while: once every host refuses it by name twice, this ends by itself.",
        "Where a host refuses it without its name, or no other key is in use here, say that you deleted it: below.",
        "Where the key in use is refused as well, that says nothing of this one, and neither does your word.",
    )  # fmt: skip
    leave = (
        "Where it cannot be told, or you keep it, end this. The key is not called dead then, you are told of it, and "
        f"its slot takes another: portcullis rotation resume {rotation.id} --leave"
    )
    return {
        "title": f"delete the key {shown} of {rotation.account}/{rotation.slot.value} at the exchange",
        "steps": [
            f"Open {pages.where}.",
            f"Find the key whose id begins and ends as {shown}. Compare both ends before you delete.",
            *after,
            *([leave] if may_leave(rotation) else []),
            *([f"What the exchange said of it last: {seen}."] if seen and not lost else []),
        ],
        "public_key": "",
        "then": f"rotation answer {rotation.id} --deleted",
    }
