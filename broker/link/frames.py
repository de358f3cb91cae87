"""What gateway and broker say to each other: versioned values. Pure.

Rules:
1. Append only: a new field has a default, a new frame a new name. `VERSION` rises when an old end could
   misread a new one; ends of different versions part at `Hello`.
2. Requests carry `ask`, and their answers the same number. Changes carry `change`, and are acknowledged once they
   are in force; what could not be applied is not acknowledged.
3. Secrets travel in `Material` and in `LeaseGranted.verifier` only, once each; their reprs are redacted.
4. The gateway counts a lease from when it sent `OpenLease` or `Renew`; `ttl_us` is what the broker grants.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from broker.budget import Parts
from clients.secret import Secret

VERSION = 3


# --- parts ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GateState:
    """One gate: closers are pairs of id and mode."""

    scope: str
    epoch: int
    closers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Mount:
    """First path segment -> venue. `upstream` is a base URL on loopback in a paper home, else empty."""

    name: str
    venue: str
    environment: str
    upstream: str = ""


@dataclass(frozen=True, slots=True)
class VerifierPart:
    """What virtual signatures are checked with: a shared secret, or the bot's public key."""

    key_type: str
    secret: Secret | None = field(default=None, repr=False)
    public_key: str | None = None


@dataclass(frozen=True, slots=True)
class EgressPart:
    """The way to the venue, as `clients.egress.Egress` has it."""

    name: str
    addresses: tuple[str, ...] = ()
    way: str = "direct"
    source: str | None = None
    proxy_host: str | None = None
    proxy_port: int | None = None
    proxy_user: str | None = field(default=None, repr=False)
    proxy_password: Secret | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SlicePart:
    """A budget slice lent to the gateway; one of older `rules` than those in force there is given back unused."""

    id: str
    amount: Decimal
    rules: int = 0


@dataclass(frozen=True, slots=True)
class ClaimPart:
    """What was sent under a client order id, and has no id of the venue yet: times are the venue's, in microseconds.

    `quantity` and `price` are text, empty where the order has none; `exact`: the venue takes the quantity as sent.
    `boot` is that of the gateway that sent it.
    """

    grant: str
    name: str
    sent_us: int
    until_us: int
    side: str = ""
    quantity: str = ""
    price: str = ""
    exact: bool = True
    boot: str = ""


@dataclass(frozen=True, slots=True)
class Successor:
    """A lease that goes on under new epochs, in the order of its chain. Its end does not move."""

    lease: str
    epochs: tuple[int, ...]


# --- up: gateway to broker --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """First frame. `boot` is random per start of the gateway: sequence numbers count within it."""

    version: int
    gateway: str
    boot: str
    pid: int = 0


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
    """Give leases back: not used any more."""

    leases: tuple[str, ...]


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
    the sale replaces.
    """

    ask: int
    lease: str
    symbol: str
    base: str
    recent: tuple[tuple[str, str, str, str, str, str], ...] = ()
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class Ack:
    """The change is in force here: nothing that was judged before it leaves any more.

    `in_flight` counts the requests in the scope of what the change closed that had left before: they are at the
    venue, unanswered, and cannot be called back. `Landed` follows, until the last of them has its answer.
    """

    change: int
    in_flight: int = 0


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
    """A change of gates could not be read or applied: what it may have closed is shut here. Send them all anew."""


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

    Or `account-blocked`. Until when, if that is told.
    """

    kind: str
    subject: str
    detail: str = ""
    until_us: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """How the gateway fares, every few seconds. Times in microseconds; `-1` where nothing was measured."""

    requests: int
    refused: int
    in_flight: int
    added_p50_us: int
    added_p99_us: int
    spool_lines: int
    resident_bytes: int = 0
    keys: tuple[KeyWord, ...] = ()
    troubles: tuple[Trouble, ...] = ()


# --- down: broker to gateway ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Welcome:
    """Answer to `Hello`: where to forward, and every gate that was ever touched."""

    version: int
    environment: str
    generation: int
    mounts: tuple[Mount, ...]
    egress: EgressPart
    gates: tuple[GateState, ...]


@dataclass(frozen=True, slots=True)
class Serves:
    """The virtual keys that the gateway serves: all of them, in several frames where `more` follow.

    It opens a lease on each ahead of its first use. Those it was told before and not again are none of its any more.
    """

    key_ids: tuple[str, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Material:
    """A real key, once per gateway and version. `key` is the text of a `KeyRef`."""

    key: str
    key_id: str
    key_type: str
    secret: Secret = field(repr=False)
    passphrase: Secret | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class LeaseGranted:
    """A lease, with everything needed to judge by: the material of `key` came before it.

    `sole`: the account has no other grant. `rules` numbers the rolling limits it stands under: slices of older ones
    are void. `slice_usual` is zero where nothing is limited.
    """

    ask: int
    lease: str
    key_id: str
    grant: str
    consumer: str
    account: str
    venue: str
    key: str
    chain: tuple[str, ...]
    epochs: tuple[int, ...]
    ttl_us: int
    policy: str
    policy_version: int
    account_owner: bool
    verifier: VerifierPart
    egress: EgressPart
    upstream: str = ""
    slice_usual: Decimal = Decimal(0)
    slice: SlicePart | None = None
    sole: bool = False
    rules: int = 0


@dataclass(frozen=True, slots=True)
class LeaseRefused:
    """No lease. `reason`: `unknown_key`, `revoked`, `cut`, `no_key` (the account has none), `unavailable`."""

    ask: int
    key_id: str
    reason: str
    scope: str = ""
    grant: str = ""
    consumer: str = ""
    account: str = ""


@dataclass(frozen=True, slots=True)
class Renewed:
    """Answer to `Renew`: time granted by lease; those not named are void, with reasons in `voided`."""

    ask: int
    ttls: tuple[tuple[str, int], ...]
    voided: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class GateChanged:
    """Gates as they are now. Leases of risen scopes are void, but those with a successor."""

    change: int
    gates: tuple[GateState, ...]
    successors: tuple[Successor, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    """A grant's policy and limits as they are now; where it narrowed, `gates` carries the risen epoch.

    Sent also where only its account's or consumer's limits changed.
    """

    change: int
    grant: str
    policy: str
    policy_version: int
    account_owner: bool
    slice_usual: Decimal = Decimal(0)
    gates: tuple[GateState, ...] = ()
    successors: tuple[Successor, ...] = ()
    sole: bool = False
    rules: int = 0


@dataclass(frozen=True, slots=True)
class Canary:
    """Try a key version with a signed read; its material came before. No lease is on it yet."""

    ask: int
    key: str
    account: str
    venue: str
    egress: EgressPart
    upstream: str = ""


@dataclass(frozen=True, slots=True)
class Moved:
    """A lease that goes on with another key version: its chain and epochs as they are now. Its end does not move."""

    lease: str
    chain: tuple[str, ...]
    epochs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cutover:
    """Use `new` instead of `old` from the next request on; its material came before.

    Acknowledged once nothing that was signed with `old` is in flight any more.
    """

    change: int
    old: str
    new: str
    leases: tuple[Moved, ...]


@dataclass(frozen=True, slots=True)
class SliceLent:
    """Answer to `AskSlice`; no slice where the window is used up."""

    ask: int
    grant: str
    slice: SlicePart | None = None


@dataclass(frozen=True, slots=True)
class OwnerAnswer:
    """Whose order it is; None where nobody recorded it. Of a name: who last confirmed it, and who else sent it."""

    ask: int
    grant: str | None = None
    claims: tuple[ClaimPart, ...] = ()


@dataclass(frozen=True, slots=True)
class CallsKept:
    """The lines of that boot from `first` to `seq`, and only these, were committed to the call log.

    `unreadable` numbers those among them that are no lines we know: they are on record as lost, not as kept.
    """

    boot: str
    seq: int
    first: int
    unreadable: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CallsNotKept:
    """Lines of that boot from `first` on were not taken: send them again from there, in order."""

    boot: str
    first: int


@dataclass(frozen=True, slots=True)
class StakeAnswer:
    """Whose a base asset is; see `broker.policy_facts.Stake`."""

    ask: int
    bought_here: bool = False
    own: Decimal = Decimal(0)
    others: Decimal = Decimal(0)
    freed: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class SpoolClosed:
    """Answer to `SpoolDone`: nothing more is wanted of that boot."""

    boot: str


@dataclass(frozen=True, slots=True)
class AskFailed:
    """Answer to an ask that could not be answered: whoever waits for it need not wait longer."""

    ask: int


@dataclass(frozen=True, slots=True)
class AllGates:
    """Answer to `AskGates`: every gate that was ever touched, as of now."""

    gates: tuple[GateState, ...]


@dataclass(frozen=True, slots=True)
class Wipe:
    """Forget the material of these key versions."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The broker will not serve this gateway; it says why and hangs up."""

    reason: str


Up = (
    Hello | OpenLease | Renew | EndLease | AskSlice | CloseSlices | Release | Calls | SpoolDone | OwnerQuery
    | Ack | Landed | AskGates | CanaryDone | Health | StakeQuery
)  # fmt: skip
Down = (
    Welcome | Serves | Material | LeaseGranted | LeaseRefused | Renewed | GateChanged | PolicyChanged | Canary | Cutover
    | SliceLent | OwnerAnswer | CallsKept | CallsNotKept | SpoolClosed | AskFailed | AllGates | Wipe | Goodbye
    | StakeAnswer
)  # fmt: skip
Frame = Up | Down
