"""What the API answers about what is stopped, what was done and what is wrong; see `answers` for the rules."""

from datetime import datetime
from decimal import Decimal

from portcullis.cli.answers import Answer, Heard

# --- cuts, calls, audit -----------------------------------------------------------------------------


class Cut(Answer, kw_only=True):
    """A cut or halt. Not `on_record`: it is in force, and the database has not taken it yet."""

    id: str
    mode: str
    targets: list[str]
    reason: str
    operator: str
    opened_at: datetime
    thawed_at: datetime | None
    on_record: bool = True


class OnTheirWay(Answer):
    """What had left for the exchange before a gate closed."""

    requests: int
    unanswered: int
    last_answer_after_ms: int | None


class MadeCut(Cut, kw_only=True):
    """A cut just made."""

    durable: list[str]
    gateways: Heard
    on_their_way: OnTheirWay | None
    notes: list[str]


class Thawed(Answer):
    """A thaw, and the cuts that still hold something of it."""

    cut: str
    targets: list[str]
    gateways: Heard
    still_closed: list[Cut]
    notes: list[str]


class Call(Answer):
    """One request of a bot."""

    at: datetime
    consumer: str
    endpoint: str
    symbol: str | None
    side: str | None
    notional: str | None
    decision: str
    reason: str | None
    status: int
    code: str | None
    outcome: str | None
    latency_us: int | None


class AuditRecord(Answer):
    """One record of the audit trail."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str


# --- status, readiness, reconciling -----------------------------------------------------------------


class GatewayState(Answer):
    """A connected gateway."""

    name: str
    leases: int
    requests: int
    refused: int
    in_flight: int
    added_p50_us: int | None
    added_p99_us: int | None
    resident_bytes: int


class SharedUse(Answer):
    """What all grants of an account or a consumer used of a limit that binds them together."""

    scope: str
    name: str
    day_used: Decimal
    day_max: Decimal
    asset: str


class GrantUse(Answer):
    """A standing grant, and what it used of its day."""

    consumer: str
    account: str
    mode: str
    policy_mode: str
    day_used: Decimal
    day_max: Decimal | None
    asset: str
    shared: list[SharedUse]


class Unsafe(Answer):
    """Something that is not safe, and what to do."""

    what: str
    step: str


class Wrong(Answer):
    """Something that is wrong, and the next step; `account` is empty where it concerns more than one."""

    account: str
    what: str
    step: str
    kind: str = ""
    subject: str = ""


class Standing(Answer):
    """What the broker knows without the database."""

    away_since: datetime | None
    cuts: list[Cut]
    gateways: list[GatewayState]


class Announced(Answer):
    """Something that opens, announced and not done."""

    act: str
    operator: str
    action: str
    subject: str
    ready_at: datetime | None


class Status(Answer):
    """The state of everything."""

    environment: str
    mode: str
    gateways: list[GatewayState]
    grants: list[GrantUse]
    cuts: list[Cut]
    announced: list[Announced]
    wrong: list[Wrong]


class Readiness(Answer):
    """How ready one account is for a leak."""

    account: str
    deletes: str
    standby: bool
    age_days: float | None
    bound: bool | None
    addresses: list[str]
    red: list[Unsafe]


class Ready(Answer):
    """How ready every account is. `instead`: why this broker serves nobody, and who does."""

    ready: bool
    accounts: list[Readiness]
    wrong: list[Wrong]
    instead: str = ""


class LookedAt(Answer):
    """One key on record, and what its exchange says of it."""

    key: str
    stage: str
    finding: str
    note: str


class Todo(Answer):
    """Something to do after a restore, with its commands."""

    what: str
    do: str
    commands: list[str]


class Reconciled(Answer):
    """What a comparison with the exchanges found, and what is left to do."""

    steps: list[Todo]

    well: bool
    keys: list[LookedAt]
    missing: list[str]
    environment: str = ""
    waits: str = "Everything that was closed stays closed."


# --- alerts -----------------------------------------------------------------------------------------


class Channel(Answer):
    """A place that alerts go to."""

    name: str
    kind: str
    failed: str


class Channels(Answer):
    """Some of them."""

    items: list[Channel]


class Alert(Answer):
    """Something that is wrong."""

    says: str
    step: str
    opened_at: datetime
    sent_at: datetime | None
    quiet: bool
    place: int = 0
