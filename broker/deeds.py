"""Who may touch an exchange, a key or a secret: the one judge before every deed, in every process. Pure.

Rules:
1. Nothing is done where another host took this home's place (a restore, another copy of it that runs): not one deed.
2. After a restore or a failover nothing is made, moved, delivered, taken in or deleted until `reconcile` has compared
   the record with the exchanges. Then what a person asks for is done; what the program begins by itself (schedules,
   sweeps, ends of checkouts) waits until nothing stands in the way of a thaw.
3. A fact that is missing is no yes: while the secret store or the database cannot be asked, what makes, moves, hands
   out or deletes waits. Running leases do not; they have bounds of their own (`vault.max_absence_s`).
4. Nothing by which a key leaves is done before the cuts in the secret store were taken in once since the start: a
   broker that was killed may have left one there alone. That the store goes away after that ends no lease.
5. Cuts and halts are no deeds: they are never asked about here.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum


class Needs(IntEnum):
    """What has to be so. `LIVING`: this is the home's one host. The others: of what was closed by itself since."""

    LIVING = 0
    COMPARED = 1
    WELL = 2


class Deed(Enum):
    """What touches an exchange, a key or a secret.

    What it is called, what it needs, whether the stores must answer, and whether a key leaves by it.
    """

    LEASE = "a lease", Needs.LIVING, False, True
    RENEW = "going on with a lease", Needs.LIVING, False
    CHECKOUT = "handing out a key", Needs.COMPARED, True, True
    CHECKOUT_END = "ending a checkout", Needs.LIVING, False
    DELIVER = "bringing a key to a destination", Needs.COMPARED, True, True
    IMPORT = "importing a key", Needs.COMPARED, True
    IMPORT_MANAGER = "importing a manager key", Needs.LIVING, True
    MANAGE = "putting an account under a manager key, or taking it off", Needs.LIVING, True
    ISSUE = "issuing a virtual key", Needs.LIVING, True
    BRING = "a secret that a person brings", Needs.LIVING, True
    FORGET = "removing what a secret belongs to", Needs.LIVING, False
    ASKED = "what an operator asks of the rotator", Needs.COMPARED, True
    LOOK = "asking about a key that is rotated", Needs.COMPARED, True
    MAKE = "making a key", Needs.COMPARED, True
    MOVE = "moving which key is in use", Needs.COMPARED, True, True
    DELETE = "deleting a key", Needs.COMPARED, True
    BURY = "destroying a secret", Needs.COMPARED, True
    RECORD = "putting a rotation's step on record", Needs.LIVING, False
    START = "starting a rotation", Needs.COMPARED, False
    PLAN = "starting a rotation that is due", Needs.WELL, True
    RETURN = "rotating a key that was handed out", Needs.WELL, True
    SWEEP = "a sweep", Needs.COMPARED, True
    DELETE_ORPHAN = "deleting what a rotation left", Needs.WELL, True
    TIDY = "destroying secrets that nobody was given", Needs.WELL, True
    THAW = "a thaw", Needs.LIVING, True
    BACKUP = "a backup", Needs.LIVING, False
    MOVE_STORE = "moving the secret store", Needs.LIVING, True
    RECOVER = "recovering an operator", Needs.LIVING, False

    def __init__(self, what: str, needs: Needs, asks: bool, leaves: bool = False) -> None:
        self.what, self.needs, self.asks, self.leaves = what, needs, asks, leaves


@dataclass(frozen=True, slots=True)
class Known:
    """All that decides. `usurped`: who took this home's place, in words. `away`: why the stores cannot be asked.

    `unread`: that the cuts in the secret store were not taken in since the start.
    `closed` are the closings that the program made by itself and nobody thawed; of those `compared` names the ones
    since which the record was compared with the exchanges, `well` the ones since which nothing is left to do. `doubt`:
    that the history of the database changed this moment, so that everything is about to be closed.
    """

    usurped: str = ""
    away: str = ""
    doubt: str = ""
    unread: str = ""
    closed: frozenset[str] = frozenset()
    compared: frozenset[str] = frozenset()
    well: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class No:
    """Why a deed is not done: a short reason, and for people what is so and what to do."""

    reason: str
    message: str


NEVER_ASKED = "the stores were not asked yet"
UNREAD = (
    "the cuts that the secret store holds were not taken in since the last start, and one of them may be on no record; "
    "that is tried every few seconds: `portcullis status` says what is in the way (RB-03)"
)


def judge(deed: Deed, known: Known) -> No | None:
    """Judge one deed; None where it may be done."""
    if known.usurped:
        return No("superseded", f"{deed.what} is not done here: {known.usurped}")
    what_waits = "no further step was done" if deed is Deed.DELIVER else "nothing was done"
    if known.away and deed.asks:
        return No("guard_away", f"{deed.what} waits, {what_waits}: {known.away}")
    if known.doubt and deed.needs is not Needs.LIVING:
        return No("not_compared", f"{deed.what} waits, {what_waits}: {known.doubt}")
    done = {Needs.LIVING: known.closed, Needs.COMPARED: known.compared | known.well, Needs.WELL: known.well}
    left = sorted(known.closed - done[deed.needs])
    if not left and known.unread and deed.leaves:
        return No("cuts_not_read", f"{deed.what} waits, {what_waits}: {known.unread}")
    if not left:
        return None
    since = (
        "has something left to do"
        if deed.needs is Needs.WELL and set(left) <= known.compared
        else "was not made"
    )
    why = (
        f"everything is closed by {left[0]} (a restore or a failover)"
        if left[0].startswith("cut_")
        else f"the secret store was put back ({left[0]})"
    )
    return No(
        "not_compared",
        f"{deed.what} waits, {what_waits}: {why}, and the comparison with the exchanges {since}: "
        "`portcullis reconcile`",
    )
