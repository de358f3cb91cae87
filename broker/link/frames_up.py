"""What a gateway says to the broker. Pure; see `frames` for the rules."""

from dataclasses import dataclass
from decimal import Decimal

from broker.budget import Parts


@dataclass(frozen=True, slots=True)
class Hello:
    """First frame. `boot` is random per start of the gateway: sequence numbers count within it.

    `mark` is how far the record of `instance` had come when this gateway was told last, in an earlier start of it.
    """

    version: int
    gateway: str
    boot: str
    pid: int = 0
    instance: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True)
class OpenLease:
    """Ask for a lease on the grant of a virtual key: on its first use, or `ahead` of it, when no bot waits."""

    ask: int
    key_id: str
    ahead: bool = False


@dataclass(frozen=True, slots=True)
class Renew:
    """Ask for all leases in use to go on."""

    ask: int
    leases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EndLease:
    """Give leases back: not used any more. `last`: nothing is served here any more, whatever else was granted."""

    leases: tuple[str, ...]
    last: bool = False


@dataclass(frozen=True, slots=True)
class AskSlice:
    """Ask for the next budget slice of a grant. `wanted`: what one request needs, if more than usual.

    `ahead`: nothing needs it yet, so only what others can spare is lent.
    """

    ask: int
    lease: str
    wanted: Decimal = Decimal(0)
    ahead: bool = False


@dataclass(frozen=True, slots=True)
class CloseSlices:
    """Give slices back, each with what is left of it."""

    parts: Parts


@dataclass(frozen=True, slots=True)
class Release:
    """Give back reservations of slices that were closed before the outcome was known."""

    parts: Parts


@dataclass(frozen=True, slots=True)
class Calls:
    """Lines of the call-log spool of one boot, in order; `first` is the sequence number of the first."""

    boot: str
    first: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SpoolDone:
    """Every line of an earlier boot, up to `last`, was acknowledged: its slices may be closed.

    Or of this boot, which stops: every line of it was sent, and it spends nothing more.

    What it did not spend goes back only where its lines are `whole`: no line torn, unreadable or gone.
    Sent again until `SpoolClosed` answers it.
    """

    boot: str
    last: int
    whole: bool = True


@dataclass(frozen=True, slots=True)
class OwnerQuery:
    """Ask whose order this is."""

    ask: int
    account: str
    symbol: str
    order_id: str | None = None
    client_order_id: str | None = None
    is_list: bool = False


@dataclass(frozen=True, slots=True)
class StakeQuery:
    """Ask whose a base asset of an account is; `recent` are orders whose answers the broker may not have yet.

    `recent`: grant, symbol, order id, side, executed and open quantity. `replaces`: the venue's id of the order that
    the sale replaces. `resting_after`: behind which of the orders that may still execute to name some, as the answer
    before said it (`more`). `rest`: what all other orders come to beyond what the broker had of them as of a line of
    this boot (`as_of`), by grant, symbol and side: executed, offered and bound quantity (`broker.db.fills.Rest`); only
    where the broker has said as of which line it answers. `lists`: symbol, order id and list (`broker.listed`) of those
    of the recent ones that are of any; None: not told. `held`: when its holdings were asked for, by its wall clock
    and the venue's.
    """

    ask: int
    lease: str
    symbol: str
    base: str
    recent: tuple[tuple[str, str, str, str, str, str], ...] = ()
    replaces: str = ""
    resting_after: str = ""
    rest: tuple[tuple[str, str, str, str, str, str], ...] = ()
    as_of: int = 0
    lists: tuple[tuple[str, str, str], ...] | None = None
    held: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Ack:
    """The change is in force here: nothing that was judged before it leaves any more.

    `in_flight` counts the requests in the scope of what the change closed that had left before: they are at the
    venue, unanswered, and cannot be called back. `Landed` follows, until the last of them has its answer. `lines`: up
    to which line this boot has written its spool; `users`: accounts and consumers that sent anything since that was
    said last, here, in `Health` or in `Uses`.
    """

    change: int
    in_flight: int = 0
    lines: int = 0
    users: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Uses:
    """Who sends by this gateway whom it did not name lately, before anything of theirs leaves: as in `Ack`."""

    lines: int
    users: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Acted:
    """Nobody acts any more on the answers to these `StakeQuery`s: what left by them is among these `lines`."""

    asks: tuple[int, ...]
    lines: int


@dataclass(frozen=True, slots=True)
class NotInForce:
    """The change is not in force here, and why: what it may have closed is shut instead, where that is known."""

    change: int
    reason: str


@dataclass(frozen=True, slots=True)
class Landed:
    """Of the requests that were in flight when a change came in force, `left` have no answer yet.

    The last answer came `after_us` microseconds after the change was in force.
    """

    change: int
    after_us: int
    left: int = 0


@dataclass(frozen=True, slots=True)
class AskGates:
    """A frame could not be read or applied: what it may have closed is shut here. Send every gate anew.

    `holds` are the keys that are here, `lacks` those of a lease or a canary that came without. `anew`: it may have been
    another of those that are said once.
    """

    holds: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    anew: bool = False


@dataclass(frozen=True, slots=True)
class CanaryDone:
    """What came of a `Canary`: whether the venue served the key, and its reason where not."""

    ask: int
    well: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class KeyWord:
    """What the venue said last of a key version: the code by which it refuses it, or 0: it serves it."""

    key: str
    write: bool
    code: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """`venue-banned`, `venue-pause`, `venue-silent`, `orders-unanswered`, `clock` of a way to a venue.

    `venue-turns-away`, `orders-turned-away`: with which HTTP status, in `detail`.

    Or `account-blocked`, or `spool`: files that it cannot read, write or delete, one for each part that they are of.
    Until when by the gateway's wall clock, and how long that is, if it is told.
    """

    kind: str
    subject: str
    detail: str = ""
    until_us: int = 0
    left_us: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """How the gateway fares, every few seconds. Times in microseconds; `-1` where nothing was measured.

    `spool_lines` wait for the broker; `lines` is up to which line this boot has written its spool, `users` as in `Ack`;
    `owes` says how many of these lines cannot be written yet.
    """

    requests: int
    refused: int
    in_flight: int
    added_p50_us: int
    added_p99_us: int
    spool_lines: int
    resident_bytes: int = 0
    keys: tuple[KeyWord, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    lines: int = 0
    users: tuple[tuple[str, str], ...] = ()
    owes: int = 0
