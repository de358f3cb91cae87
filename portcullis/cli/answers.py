"""What the API answers, as the screens read it: one type per answer, checked before anything is shown.

Rules:
1. Screens read fields of these types and nothing else. An answer that does not fit is told as such by the client,
   with and without `--json`: no screen can fail where `--json` does not.
2. A field that is missing is an error, never a silent "no": "nothing is cut" is not guessed. Fields that are new and
   unknown here are ignored by screens, and printed by `--json`, which shows the document as it came.
3. Words that the broker may add to (states, modes, kinds) are plain text here; screens have a way to show any.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class Answer(msgspec.Struct, dict=True):
    """Root of every answer."""

    @property
    def document(self) -> dict[str, Any]:
        """The answer as it came: what `--json` prints."""
        found = self.__dict__.get("document")
        return found if isinstance(found, dict) else dict(msgspec.to_builtins(self))


A = TypeVar("A", bound=Answer)


def read(kind: type[A], document: object) -> A:
    """Return a document as its type.

    Raises:
        ValueError: It does not fit; the message names the field, never what is in it.
    """
    try:
        found = msgspec.convert(document, kind)
    except msgspec.ValidationError as fault:
        raise ValueError(str(fault)) from None
    found.__dict__["document"] = document
    return found


def plain(value: object) -> object:
    """Return what JSON has no word for: an answer as it came, anything else as text."""
    return value.document if isinstance(value, Answer) else str(value)


# --- accounts, egress, keys -----------------------------------------------------------------------


class Account(Answer):
    """An account."""

    name: str
    venue: str
    environment: str
    egress: str
    venue_uid: str | None
    upstream: str | None
    created_at: datetime
    manager: str | None
    subaccount: str | None


class Egress(Answer):
    """A way to the venues."""

    name: str
    way: str
    addresses: list[str]
    source: str | None
    proxy: str | None


class Key(Answer):
    """A version of a real key."""

    ref: str
    stage: str
    venue_key_id: str
    key_type: str
    ip_restricted: bool | None
    can_withdraw: bool | None
    created_at: datetime


class Manager(Answer):
    """A manager key."""

    name: str
    venue: str
    egress: str
    venue_key_id: str
    created_at: datetime


# --- consumers, grants, policies ------------------------------------------------------------------


class Consumer(Answer):
    """A bot or a tool."""

    name: str
    note: str
    created_at: datetime


class Grant(Answer):
    """A standing permission."""

    id: str
    consumer: str
    account: str
    key_id: str
    key_type: str
    policy: str
    policy_version: int
    created_at: datetime
    revoked_at: datetime | None


class Heard(Answer):
    """Which gateways have a change in force."""

    asked: int
    acknowledged: int
    missing: list[str]
    after_ms: int
    worst_case_s: int


class ChangedGrant(Grant):
    """A grant after a change; `warnings` say what it is at odds with."""

    gateways: Heard
    warnings: list[str]


class Issued(ChangedGrant):
    """A grant with its virtual secret, this once."""

    secret: str | None


class CheckedPolicy(Answer):
    """What a policy means."""

    meaning: list[str]


class PolicyChange(Answer):
    """One difference between two policies."""

    field: str
    old: str
    new: str
    effect: str


class PolicyDifference(Answer):
    """All of them."""

    changes: list[PolicyChange]


# --- cuts, calls, audit ---------------------------------------------------------------------------


class Cut(Answer):
    """A cut or halt."""

    id: str
    mode: str
    targets: list[str]
    reason: str
    operator: str
    opened_at: datetime
    thawed_at: datetime | None


class OnTheirWay(Answer):
    """What had left for the exchange before a gate closed."""

    requests: int
    unanswered: int
    last_answer_after_ms: int | None


class MadeCut(Cut):
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


# --- status, readiness, reconciling ---------------------------------------------------------------


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


class GrantUse(Answer):
    """A standing grant, and what it used of its day."""

    consumer: str
    account: str
    mode: str
    policy_mode: str
    day_used: Decimal
    day_max: Decimal | None
    asset: str


class Unsafe(Answer):
    """Something that is not safe, and what to do."""

    what: str
    step: str


class Wrong(Answer):
    """Something that is wrong, and the next step; `account` is empty where it concerns more than one."""

    account: str
    what: str
    step: str


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
    """How ready every account is."""

    ready: bool
    accounts: list[Readiness]
    wrong: list[Wrong]


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


# --- operators ------------------------------------------------------------------------------------


class Operator(Answer):
    """An operator."""

    name: str
    roles: list[str]
    created_at: datetime
    ended_at: datetime | None


class MadeOperator(Operator):
    """An operator with the token, this once."""

    token: str | None


class Session(Answer):
    """A login."""

    operator: str
    token: str
    expires_at: datetime


class Enrolled(Answer):
    """The seed of somebody's one-time codes, this once."""

    operator: str
    secret: str


class Done(Answer):
    """Whom something was done for."""

    operator: str


class Act(Answer):
    """Something that opens, announced and not done."""

    id: str
    action: str
    subject: str
    operator: str
    ready_at: datetime | None
    shows: list[str] = msgspec.field(default_factory=list)
    content: str = ""


# --- alerts, schedules ----------------------------------------------------------------------------


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


class Schedule(Answer):
    """When a slot's key is rotated."""

    account: str
    slot: str
    interval_days: float
    windows: str
    zone: str
    paused: bool
    next_at: datetime | None
    why: str
