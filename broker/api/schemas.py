"""What goes in and comes out of the API, as pydantic models. No answer has a field for a secret but `Issued`.

Rules:
1. Inputs are strict: unknown fields are refused, text has a length.
2. Outputs are built from domain values field by field, so a new domain field never leaks by itself.
"""

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from broker.api.closing_inputs import ClosingReason, Targets

T = TypeVar("T")

Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Note = Annotated[str, StringConstraints(max_length=500)]
PolicyText = Annotated[str, StringConstraints(min_length=1, max_length=64 * 1024)]
Pem = Annotated[str, StringConstraints(min_length=1, max_length=8 * 1024)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class Input(BaseModel):
    """Root of what comes in."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Listed(BaseModel, Generic[T]):
    """One page. `next` is the cursor of the page after it; null at the end."""

    items: list[T]
    next: str | None = None


class Problem(BaseModel):
    """What went wrong, as `application/problem+json`; `done` says whether it was done all the same."""

    type: str
    title: str
    status: int
    reason: str
    detail: str
    errors: list[dict[str, str]]
    instance: str
    done: Literal["no", "yes", "unknown"]


# --- accounts, egress, keys -------------------------------------------------------------------


class NewAccount(Input):
    """An account at a venue. `upstream` exists in paper homes only, on loopback only."""

    name: Name
    venue: Name = "binance"
    egress: Name = "direct"
    upstream: Annotated[str, StringConstraints(max_length=200)] | None = None


class Account(BaseModel):
    """An account. Its environment never changes. Without a manager, a person makes and deletes its keys."""

    name: str
    venue: str
    environment: Literal["paper", "testnet", "live"]
    egress: str
    venue_uid: str | None
    upstream: str | None
    created_at: datetime
    manager: str | None
    subaccount: str | None


class NewEgress(Input):
    """A way to the venues."""

    name: Name
    way: Literal["direct", "http-connect", "socks5h"] = "direct"
    addresses: Annotated[list[Annotated[str, StringConstraints(max_length=64)]], Field(max_length=64)] = []
    source: Annotated[str, StringConstraints(max_length=64)] | None = None
    proxy_host: Annotated[str, StringConstraints(max_length=255)] | None = None
    proxy_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    proxy_user: Annotated[str, StringConstraints(max_length=255)] | None = None
    proxy_password: SecretStr | None = None


class Egress(BaseModel):
    """A way to the venues, without its password."""

    name: str
    way: str
    addresses: list[str]
    source: str | None
    proxy: str | None


class NewKey(Input):
    """A real key to import. The venue is asked what it may do before anything is stored."""

    account: Name
    slot: Literal["trade", "read", "standby", "responder"] = "trade"
    key_id: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]
    key_type: Literal["hmac", "rsa", "ed25519"] = "hmac"
    secret: Annotated[SecretStr, Field(min_length=1, max_length=8 * 1024)]
    passphrase: Annotated[SecretStr, Field(max_length=256)] | None = None
    allow_withdraw: bool = False
    allow_any_address: bool = False


class Key(BaseModel):
    """A version of a real key. The secret lives in the secret store and leaves it for gateways only."""

    ref: str
    account: str
    slot: str
    version: int
    stage: str
    venue_key_id: str
    key_type: str
    ip_restricted: bool | None
    can_withdraw: bool | None
    created_at: datetime
    death: str
    """What says that it is dead: `proven`; `stated` by a person, or `confirmed` by them; `unproven`: it was ended, and
    nothing says so; empty: it was not ended."""


class ImportedKey(Key):
    """A key that was taken in."""

    replaced: list[str]
    """The versions of its slot that were replaced and are not proven dead: the exchange serves whoever has one."""


# --- consumers, grants, policies --------------------------------------------------------------


class NewConsumer(Input):
    """A bot or a tool."""

    name: Name
    note: Note = ""


class Consumer(BaseModel):
    """A bot or a tool."""

    name: str
    note: str
    created_at: datetime


class NewGrant(Input):
    """A standing permission: with the text of a policy, or the policy of another grant."""

    consumer: Name
    account: Name
    policy: PolicyText | None = None
    like: Name | None = None
    public_key: Pem | None = None


class Reissue(Input):
    """A fresh virtual key for a grant; with `public_key` the bot's own."""

    public_key: Pem | None = None


class NewPolicy(Input):
    """A policy as TOML or JSON text."""

    policy: PolicyText


class Why(Input):
    """A reason; it is kept."""

    reason: ClosingReason


class Grant(BaseModel):
    """A standing permission."""

    id: str
    consumer: str
    account: str
    key_id: str
    key_type: str
    public_key: str | None
    policy: str
    policy_version: int
    created_at: datetime
    revoked_at: datetime | None


class Heard(BaseModel):
    """Which gateways said that a change is in force there, by when.

    The silent ones are stopped by the end of their leases, at the latest `worst_case_s` after the change.
    """

    asked: int
    acknowledged: int
    missing: list[str]
    after_ms: int
    worst_case_s: int


class ChangedGrant(Grant):
    """A grant after a change, and which gateways have it in force; `warnings` say what it is at odds with."""

    gateways: Heard
    warnings: list[str] = []


class Issued(ChangedGrant):
    """A grant with its virtual secret, this once. Null: the bot's own key, or a replayed idempotency key."""

    secret: str | None


class CheckedPolicy(BaseModel):
    """A policy that can be used, and what it means in words."""

    meaning: list[str]
    normalised: str


class Comparison(Input):
    """Two policies to compare: the new text, and the old text or a grant's."""

    new: PolicyText
    old: PolicyText | None = None
    grant: Name | None = None


class PolicyChange(BaseModel):
    """One difference; `effect` is `narrows`, `widens` or `changes`."""

    field: str
    old: str
    new: str
    effect: Literal["narrows", "widens", "changes"]


class PolicyDifference(BaseModel):
    """All differences. `only_widens`: no lease is voided by it."""

    changes: list[PolicyChange]
    only_widens: bool


# --- cuts, calls, operators -------------------------------------------------------------------


class NewCut(Input):
    """Close gates. `targets` are scopes: `consumer:NAME`, `account:NAME`, ..., or `everything`."""

    targets: Targets
    mode: Literal["closed", "halt"] = "closed"
    reason: ClosingReason


class Cut(BaseModel):
    """A cut or halt. Not `on_record`: it is in force, and the database has not taken it yet."""

    id: str
    mode: Literal["closed", "halt"]
    targets: list[str]
    reason: str
    operator: str
    opened_at: datetime
    thawed_at: datetime | None
    thawed_by: str | None
    thawed_why: str | None
    on_record: bool = True


class OnTheirWay(BaseModel):
    """Requests in scope that had left for the exchange, unanswered, when the gate closed: nothing calls them back.

    `last_answer_after_ms` counts from when the gate closed at their gateway; `unanswered` have no answer yet.
    """

    requests: int
    unanswered: int
    last_answer_after_ms: int | None


class ShownCut(Cut):
    """A cut, and what was on its way to the exchange when it came in force; null where that is not known any more.

    `notes` say what the figure leaves out, and what to do.
    """

    on_their_way: OnTheirWay | None
    notes: list[str]


class MadeCut(ShownCut):
    """A cut just made: where it is durable, and which gateways have it in force."""

    durable: list[str]
    in_force_at: list[str]
    gateways: Heard


class NewThaw(Input):
    """Undo one cut; what others hold stays closed."""

    cut: Name
    reason: Reason


class Thawed(BaseModel):
    """A thaw, and what other cuts still hold."""

    cut: str
    targets: list[str]
    gateways: Heard
    still_closed: list[Cut]
    notes: list[str]


class Call(BaseModel):
    """One request of a bot. `outcome` null: not known."""

    at: datetime
    gateway: str
    grant: str
    consumer: str
    account: str
    key: str
    method: str
    endpoint: str
    action: str
    symbol: str | None
    side: str | None
    notional: str | None
    decision: str
    reason: str | None
    status: int
    code: str | None
    outcome: str | None
    latency_us: int | None
    source: str


class ListedCalls(Listed[Call]):
    """One page of the call log, newest first, and what it cannot show."""

    notice: str = "Calls made with a real key outside the gateway are not in this log."


Role = Literal["viewer", "operator", "responder", "admin"]


class NewOperator(Input):
    """A person or a program with a token."""

    name: Name
    roles: Annotated[list[Role], Field(min_length=1, max_length=4)]


class Operator(BaseModel):
    """An operator, without the token."""

    name: str
    roles: list[str]
    created_at: datetime
    ended_at: datetime | None


class MadeOperator(Operator):
    """An operator with the token, this once."""

    token: str | None
