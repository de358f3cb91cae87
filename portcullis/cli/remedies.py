"""What to do next, by the reason of a refusal: for the person on call."""

from portcullis.cli.face import Face
from portcullis.cli.pages import PAGES
from portcullis.settings import SettingsError

_COMMANDS = {
    "no_account": "account list", "no_consumer": "consumer list", "no_grant": "grant list", "no_egress": "egress list",
    "no_key": "key list", "no_cut": "cuts", "no_gateway": "status", "no_key-version": "key list", "thawed": "cuts",
    "no_rotation": "rotation list", "no_destination": "destination list",
    "commit_unknown": "audit list", "not_replicated": "status", "done_unread": "status", "internal": "audit list",
    "no_channel": "alerts list", "no_manager": "manager list", "no_schedule": "schedule show", "key_known": "key list",
}  # fmt: skip
_CLOCK = (
    "Where that time is off by more than half a minute, no code is right: set the host's clock (by systemd: "
    "timedatectl set-ntp true), or the phone's. A cut needs no code: "
    "on that host the home's own token makes it meanwhile."
)
_STEPS = {
    "venue_unknown_key": "The exchange knows no such key id. Are id and secret swapped, or is it a virtual key of ours "
    "(PCLS...)? Copy the id again and import again; if it should exist, look whether somebody deleted it.",
    "venue_served_elsewhere": "One host of the exchange does not know this key, and another may still serve it: it was "
    "deleted just now, or it is being made. Wait a minute, then again.",
    "venue_bad_signature": "The secret is not this key's, or the key type is another one. Check and import again.",
    "venue_key_refused": "The exchange refuses the key from here: check its IP list against the account's egress, and "
    "that this is the key's id (not its secret, nor a virtual key of ours, PCLS...), and that nobody deleted it.",
    "venue_not_connected": "The exchange cannot be reached by the account's egress. Check the network, then again.",
    "venue_timed_out": "The exchange did not answer. Look at its status page, then try again.",
    "can_withdraw": "Untick withdrawals for this key at the exchange, and import it again.",
    "any_address": "Bind the key at the exchange to the addresses of the account's egress, and import it again.",
    "venue_bad_key_format": "That is no key id. Copy it again from the exchange's API Management page.",
    "bad_code": f"Wait for the next code of your authenticator app, then the same command again. {_CLOCK}",
    "taken": "Choose another name, or use what there is.",
    "locked": _CLOCK,
    "bad_login": f"The same again, with the next code. {_CLOCK}",
}


AWAY = frozenset({"database", "store_slow", "store_read_only", "store_connections", "disk_full"})
"""The database does not answer, or takes nothing."""
WHILE_AWAY = (
    "While the database is away no lease is renewed: within 15 s no bot is served (later where its policy's [lease] "
    "says so). "
    "`portcullis cut` works all the same."
)
_FORBIDDEN = {
    "scope_missing": "Ask somebody whose token has that scope; who has which: {operators}",
    "not_granted": "Ask somebody whose token has that scope; who has which: {operators}",
    "no_checkout": "Where it should: add [checkout] max_seconds to its policy, then {policy}",
    "too_long": "Ask for less by --hours, or raise [checkout] max_seconds in its policy, then {policy}",
    "cut": "See by what it is shut: {cuts}; once that is thawed, again.",
}
"""A no that is about who asks, and nos that are not."""


def step(face: Face, reason: str, *, forbidden: bool = False) -> str:
    """Return what to do next; nothing where the refusal itself says it."""
    if forbidden:
        return _FORBIDDEN.get(reason, "").format(
            operators=face.command("operator list"),
            policy=face.command("grant policy GRANT --policy FILE"),
            cuts=face.command("cuts"),
        )
    if reason == "no_checkout":
        return f"See what there is: {face.command('checkout list')}"
    if reason in AWAY:
        return f"Mend the database{_place(face)}: {face.command('db check')} looks at it; {PAGES['RB-02']}. Then again."
    if reason == "guard_away" or reason.startswith("vault_"):
        look = f"{face.command('vault check')} looks at a Vault"
        return f"Mend the secret store: {look}; {PAGES['RB-03']}. Then again."
    if reason in _COMMANDS:
        return f"See what there is: {face.command(_COMMANDS[reason])}"
    return _STEPS.get(reason, "")


def _place(face: Face) -> str:
    """Return where a home's PostgreSQL is; nothing where it has none, or the home is not ours to read."""
    try:
        database = face.home().database
    except (SettingsError, OSError):
        return ""
    return "" if database is None else f" (PostgreSQL at {', '.join(database.hosts)})"
