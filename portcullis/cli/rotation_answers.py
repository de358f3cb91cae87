"""What the API answers about rotations and about what holds their keys; see `answers` for the rules."""

from datetime import datetime

from portcullis.cli.answers import Answer

# --- destinations, checkouts ----------------------------------------------------------------------


class Destination(Answer):
    """A place that gets each new key."""

    name: str
    account: str
    slot: str
    kind: str
    where: str
    patience_s: int


class Delivery(Answer):
    """How far a destination is with a key version."""

    destination: str
    version: int
    confirmed_at: datetime | None
    waived_by: str | None
    says: str


class ConfirmedDelivery(Delivery):
    """A delivery that a person gave their word for."""

    delivered_at: datetime | None
    key: str
    where: str


class Checkout(Answer):
    """A key that was handed out."""

    id: str
    key: str
    holder: str
    reason: str
    opened_at: datetime
    ends_at: datetime
    closed_at: datetime | None
    rotation: str | None
    dead_at: datetime | None
    death: str | None = ""


class HandedOut(Answer):
    """A real key, this once."""

    key: str
    venue_key_id: str
    secret: str | None
    checkout: Checkout | None


# --- rotations ------------------------------------------------------------------------------------


class Todo(Answer):
    """What a person has to do now."""

    title: str
    steps: list[str]
    then: str
    public_key: str = ""


class Rotation(Answer):
    """One rotation."""

    id: str
    account: str
    slot: str
    state: str
    why: str
    old_version: int | None
    new_version: int
    reason: str
    runbook: str
    paused: bool
    created_at: datetime
    entered_at: datetime
    ended_at: datetime | None
    todo: Todo | None
    held: str


class Transition(Answer):
    """One line of its history."""

    at: datetime
    event: str
    was: str
    state: str
    effect: str
    note: str


class Asked(Answer):
    """What an operator asked of it."""

    what: str
    operator: str
    at: datetime
    outcome: str | None


class RotationWhole(Rotation):
    """A rotation with its history, and what else is open of its account."""

    beside: list[Rotation]
    history: list[Transition]
    deliveries: list[Delivery]
    asks: list[Asked]


class Finding(Answer):
    """A key that is not as it is on record."""

    account: str
    key_id: str
    what: str
    says: str
    first_at: datetime | None


class Findings(Answer):
    """Some of them."""

    items: list[Finding]


# --- schedules --------------------------------------------------------------------------------------


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
