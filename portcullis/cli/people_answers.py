"""What the API answers about operators, and about what they have announced; see `answers` for the rules."""

from datetime import datetime

import msgspec

from portcullis.cli.answers import Answer


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
    ready: bool = False
