"""What a rotation is: its states, what happens to it, what it asks for. Frozen values, no I/O, no clock.

Rules:
1. A `Rotation` is all that has to be known to go on after a crash; it is saved before its effect is performed.
2. No value here holds a secret: paths, ids and public halves only.
3. An effect is asked once per save. `asked` says that it may have been performed: what is not safe to repeat is
   answered UNKNOWN after a restart.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from broker.steady import Moment
from broker.stores.held import EGRESS_LOST
from clients.keys import Permissions
from clients.venue import KeyType, Slot


class State(StrEnum):
    """Where a rotation stands; style section 7.1 has the table."""

    PLANNED = "planned"
    PREPARING = "preparing"
    CREATING = "creating"
    RECONCILING = "reconciling"
    VERIFYING = "verifying"
    CANARY = "canary"
    CUTTING_OVER = "cutting-over"
    DRAINING = "draining"
    ROLLING_BACK = "rolling-back"
    DRAINING_NEW = "draining-new"
    RETIRING_OLD = "retiring-old"
    DISCARDING_NEW = "discarding-new"
    STALLED = "stalled"
    HALTING = "halting"
    HALTED = "halted"
    DONE = "done"
    ABANDONED = "abandoned"


TERMINAL = frozenset({State.DONE, State.ABANDONED, State.HALTED})


class Answer(StrEnum):
    """What came of an effect."""

    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    RETRY = "retry"


class Do(StrEnum):
    """What can be asked for. Those in `ONCE` are not safe to repeat."""

    PREPARE = "prepare"
    READ_CLOCK = "read-clock"
    CREATE = "create"
    FIND = "find"
    VERIFY = "verify"
    CANARY = "canary"
    MOVE = "move"
    MOVE_BACK = "move-back"
    DRAIN = "drain"
    DELETE = "delete"
    PROBE = "probe"
    ENTOMB = "entomb"
    ASK_CREATE = "ask-create"
    ASK_DELETE = "ask-delete"


ONCE = frozenset({Do.CREATE, Do.DELETE})


IN_USE = "in-use"
"""Answers DRAIN: nobody uses the old key any more, and somebody the new one."""

OUT_OF_BUDGET = "out_of_budget"
"""Answers RETRY: nothing was sent, because this minute's calls to the venue are spent. No try is counted for it."""

MANAGER_LOST = "manager_lost"
"""Begins what answers RETRY: nothing was sent, because the secret of the manager key is lost. No try is counted for it,
and behind a colon it says in words which key that is and what to do. So does
`EGRESS_LOST` of the password of a way out."""

STALE, TOO_LATE = "stale_timestamp", "too_late"
"""Begin what answers RETRY to a CREATE or DELETE: the exchange says that it was signed too long ago, or ahead of its
time; or we looked for too long to sign it at all. Nothing was done."""

KEYS_REFUSED = "the exchange refuses the new key"
"""How DRAIN's answer begins where the new key is refused to bots: that takes the old one back."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing to be done in the world. `version` says about which key version it is, where it is about one."""

    do: Do
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how often. Our caution; none of it is a venue's rule, but `window_for` and `settling_for`.

    `watch_for` is how long the old key lives on at least while bots use the new one, so that it can be taken back.
    `signed_for` is how long after the venue's clock was read for it a request may be signed; a claim is longer.
    `window_for` is how long after its timestamp a signed request may take effect, the venue's second of tolerance
    included; `settling_for` how long after that its lists may not show it.
    """

    signed_for: timedelta = timedelta(seconds=60)
    window_for: timedelta = timedelta(seconds=6)
    settling_for: timedelta = timedelta(seconds=10)
    tries: int = 6
    probes: int = 60
    deletes: int = 8
    backoff_for: timedelta = timedelta(seconds=1)
    longest_backoff_for: timedelta = timedelta(seconds=60)
    poll_for: timedelta = timedelta(seconds=1)
    canary_for: timedelta = timedelta(seconds=20)
    drain_for: timedelta = timedelta(minutes=15)
    watch_for: timedelta = timedelta(seconds=5)
    remind_for: timedelta = timedelta(hours=4)
    by_hand_for: timedelta = timedelta(seconds=5)
    budget_for: timedelta = timedelta(seconds=5)

    def latest_us(self, clock_us: int) -> int:
        """Return the latest venue time to sign a request with, for which the venue's clock was read and said that."""
        return clock_us + self.signed_for // timedelta(microseconds=1)


class Phase(StrEnum):
    """Where retiring one key stands."""

    DELETING = "deleting"
    PROBING = "probing"
    ENTOMBING = "entombing"


@dataclass(frozen=True, slots=True)
class Retirement:
    """Retiring one key version: how far it is, and what it has cost.

    `by_hand`: a person deletes it at the exchange; `stated`: and says that it is done. `deleted_at` is when a delete
    was answered, or not answered, last: until then none was ever sent. `seen` is what the exchange said of the key when
    it was probed last: where, what and when. `absent_since` is venue time: since when it was seen as `absent_how` says.
    `told`: the exchange answered that it deleted it. `doubted`: it did, and the key showed since, before the delete had
    settled. `unheard`: nothing but that word is missing, so the next delete is sent to hear it.
    `late` counts deletes that came too late to be taken; `deletes` those that were not.
    """

    version: int
    by_hand: bool = False
    phase: Phase = Phase.DELETING
    deletes: int = 0
    probes: int = 0
    deleted_at: datetime | None = None
    absent_since: datetime | None = None
    absent_how: str = ""
    proof: str = ""
    stated: bool = False
    seen: str = ""
    told: bool = False
    doubted: bool = False
    unheard: bool = False
    late: int = 0


@dataclass(frozen=True, slots=True)
class Halt:
    """An incident took the rotation over: the versions it wants dead, and whether a create in doubt was looked up."""

    versions: tuple[int, ...]
    left: tuple[int, ...]
    looked: bool


@dataclass(frozen=True, slots=True)
class Rotation:
    """One rotation of one account's slot, from `old` (None: a first key) to `new`.

    `stamp_us` is venue time in microseconds, read for the next create or delete, which is signed then or a little later
    (`rotation.stamp`); None: to be read first. `created_us` is the latest that a create may have been signed with.
    `may_be_current` from the moment the move was asked for until it was taken back for certain.
    `due_at` is when the state wants to be looked at again. `deadline_at`, where set, is when it stalls.
    `row_version` is that of the record as it was read or saved last: what an effect writes, it writes only where the
    record still has it. `seen` is when it was saved last, by both clocks of who did (`rotation.carrying`).
    """

    id: str
    account: str
    slot: Slot
    new: int
    old: int | None
    key_type: KeyType
    permissions: Permissions
    addresses: tuple[str, ...]
    why: str
    by_hand: bool
    listed: bool
    leased: bool
    state: State
    started_at: datetime
    entered_at: datetime
    due_at: datetime
    limits: Limits = field(default_factory=Limits)
    asked: Effect | None = None
    tries: int = 0
    stamp_us: int | None = None
    created_us: int | None = None
    deadline_at: datetime | None = None
    new_key_id: str | None = None
    has_private: bool = False
    may_be_current: bool = False
    retirement: Retirement | None = None
    stalled_from: State | None = None
    halt: Halt | None = None
    paused: bool = False
    reason: str = ""
    runbook: str = ""
    venue: str = "binance"
    public_key: str = ""
    old_key_id: str = ""
    row_version: int = 1
    seen: Moment | None = None

    @property
    def label(self) -> str:
        """What the key is called at the venue."""
        return self.id

    @property
    def over(self) -> bool:
        """Whether it asks for nothing any more."""
        return self.state in TERMINAL

    @property
    def brings(self) -> int | None:
        """Which version destinations get now, or will again as soon as it is resumed; None: none."""
        match self.stalled_from if self.state is State.STALLED else self.state:
            case State.DRAINING:
                return self.new
            case State.DRAINING_NEW:
                return self.old
            case _:
                return None


# --- events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has come to go on."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """Somebody else went on before; an effect that was asked may have been performed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of the effect that was asked.

    `venue_us` answers READ_CLOCK, and tells what a CREATE in doubt was signed with. `key_id` and `has_private` answer
    CREATE and FIND; OK of a FIND without a key id: there is none, and none can come any more. `proof` says how a death
    was proven, or what was seen that proves none; `seen_us` when, by the venue's clock. `public_key` answers PREPARE.
    """

    answer: Answer
    reason: str = ""
    venue_us: int | None = None
    key_id: str | None = None
    has_private: bool = False
    proof: str = ""
    public_key: str = ""
    seen_us: int | None = None

    @property
    def code(self) -> str:
        """The reason's short form, where it has one before its words."""
        return self.reason.partition(":")[0]

    @property
    def says(self) -> str:
        """The reason as people are told it."""
        told = self.code in {MANAGER_LOST, EGRESS_LOST, STALE, TOO_LATE}
        return self.reason.removeprefix(f"{self.code}: ") if told else self.reason


@dataclass(frozen=True, slots=True)
class RollBack:
    """An operator, or key refusals that rise after the cutover, want the old version, and the new one given up."""

    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """An operator lets a stalled or paused rotation go on.

    `key_id` answers RECONCILING: the key that was found by hand, or empty for none. `discard` gives the new version up;
    `onward` keeps it where the old one cannot be taken back. `leave` ends it with the key that was to go as it is.
    """

    key_id: str | None = None
    has_private: bool = False
    discard: bool = False
    onward: bool = False
    leave: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """An operator wants it to stand still, where it may."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An operator made the key (with its id), or deleted the old one, at the exchange's own pages."""

    key_id: str = ""
    has_private: bool = True


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident wants these versions of the slot dead, at once."""

    versions: tuple[int, ...]
    reason: str


Event = Tick | Restarted | Reply | RollBack | Resume | Pause | Answered | Incident


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of a rotation, what to do now (nothing: wait until `due_at`), and what to say of it."""

    rotation: Rotation
    effect: Effect | None = None
    note: str = ""


class IllegalTransition(RuntimeError):
    """An event that the table does not list for this state: our own bug."""
