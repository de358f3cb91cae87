"""What the API answers about accounts and their keys, and about who may use them; see `answers` for the rules."""

from datetime import datetime

from portcullis.cli.answers import Answer, Heard

# --- accounts, egress, keys -------------------------------------------------------------------------


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
    death: str = ""


class ImportedKey(Key, kw_only=True):
    """A key that was taken in, and which it replaced that are not proven dead."""

    replaced: list[str]


class Manager(Answer):
    """A manager key."""

    name: str
    venue: str
    egress: str
    venue_key_id: str
    created_at: datetime


# --- consumers, grants, policies --------------------------------------------------------------------


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
