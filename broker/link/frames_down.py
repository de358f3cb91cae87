"""What the broker says to a gateway. Pure; see `frames` for the rules."""

from dataclasses import dataclass, field
from decimal import Decimal

from broker.link.parts import (
    ClaimPart,
    ClosingPart,
    EgressPart,
    GateState,
    Mount,
    SlicePart,
    Successor,
    UnheardPart,
    VerifierPart,
)
from clients.secret import Secret


@dataclass(frozen=True, slots=True)
class Welcome:
    """Answer to `Hello`: where to forward, and the gates as `AllGates` has them.

    `history` is that of the record: what every epoch, version and rule number of this link belongs to.
    """

    version: int
    environment: str
    generation: int
    mounts: tuple[Mount, ...]
    egress: EgressPart
    gates: tuple[GateState, ...]
    closings: tuple[ClosingPart, ...] = ()
    history: str = ""
    over: tuple[str, ...] = ()
    kept: tuple[ClosingPart, ...] = ()


@dataclass(frozen=True, slots=True)
class Serves:
    """The virtual keys that the gateway serves: all of them, in several frames where `more` follow.

    It opens a lease on each ahead of its first use. Those it was told before and not again are none of its any more.
    `whose` has venue, account, consumer and grant of each, in the same order: a cut of them is known without a lease.
    """

    key_ids: tuple[str, ...]
    more: bool = False
    whose: tuple[tuple[str, str, str, str], ...] = ()


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
    history: str = ""


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
    """Gates as they are now. Leases of risen scopes are void, but those with a successor.

    `over` are closings that end with it: they are among the gates now, or were taken back.
    """

    change: int
    gates: tuple[GateState, ...]
    successors: tuple[Successor, ...] = ()
    over: tuple[str, ...] = ()
    history: str = ""


@dataclass(frozen=True, slots=True)
class CloseNow:
    """Close these scopes until a `GateChanged` says that it is over; the epochs stay as they are."""

    change: int
    closing: ClosingPart


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
    history: str = ""


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
    history: str = ""


@dataclass(frozen=True, slots=True)
class SliceLent:
    """Answer to `AskSlice`; no slice where the window is used up."""

    ask: int
    grant: str
    slice: SlicePart | None = None


@dataclass(frozen=True, slots=True)
class OwnerAnswer:
    """Whose order it is; None where nobody recorded it. Of a name: who last confirmed it, and who else sent it.

    `gone`: it is on record as a revoked grant's, and no other grant stands for that.
    """

    ask: int
    grant: str | None = None
    claims: tuple[ClaimPart, ...] = ()
    gone: bool = False


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
class Marked:
    """How far the record of an instance has come (`broker.history.Mark`): said again by the gateway's next start."""

    instance: str
    mark: str


@dataclass(frozen=True, slots=True)
class CallsForgotten:
    """Lines of this boot from `first` on were acknowledged, and the record may have lost them: send them again.

    With them those of earlier boots that are still there: lines that the record took in after `first` - 1 of this one.
    """

    boot: str
    first: int


@dataclass(frozen=True, slots=True)
class StakeAnswer:
    """Whose a base asset is; see `broker.policy_facts.Stake`. A question's `rest` counts where it is as of `upto`.

    `unheard` are orders that were sent through other gateways or earlier starts, of others that bring the asset and of
    the asking grant that give it: nobody has heard what became of them, and who asks finds it out.
    """

    ask: int
    bought_here: bool = False
    own: Decimal = Decimal(0)
    others: Decimal = Decimal(0)
    freed: Decimal = Decimal(0)
    resting: tuple[tuple[str, str, str, str], ...] = ()
    more: str = ""
    upto: int = -1
    sure: bool = True
    unheard: tuple[UnheardPart, ...] = ()


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
    """Answer to `AskGates`: every gate that was ever touched, as of now, and what is closed above them.

    Also sent, as a change that is acknowledged, where another history of the record begins: what was counted in the
    last one is void (leases, keys, policies, rules), and what it had closed stays closed but for `over`.

    `over` are cuts that a person opened, the latest of them: who has not heard of that hears of it here. `kept` is
    closed as of another history, until this one has it closed or says that it is over.
    """

    gates: tuple[GateState, ...]
    closings: tuple[ClosingPart, ...] = ()
    history: str = ""
    change: int = 0
    over: tuple[str, ...] = ()
    kept: tuple[ClosingPart, ...] = ()


@dataclass(frozen=True, slots=True)
class Wipe:
    """Forget the material of these key versions."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The broker will not serve this gateway; it says why and hangs up."""

    reason: str
