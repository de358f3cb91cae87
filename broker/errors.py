"""What can go wrong inside the broker and between it and a gateway.

    BrokerError             never raised itself
      Unauthenticated       who asks is not known                                          401
      NotGranted            known, and not allowed                                         403
      NotFound              the thing named does not exist                                 404
      Conflict              the state of things forbids it; nothing was changed            409
        Withheld            the guard says no: see `broker.deeds`                          409
      Malformed             the input cannot be used; `problems` name field and remedy     400
      StoreUnavailable      secret store or database cannot answer; nothing was promised   503
      StoreConflict         a check-and-set lost: re-read and judge again                  409
      LinkDown              the other end of the link is away                              503

An expected no of a judge is a value (`Deny`), never one of these. Each carries a short stable `reason` for
metrics, logs and HTTP, and a message for the person on call; neither ever holds secret text.
"""

from dataclasses import dataclass
from enum import StrEnum


class Done(StrEnum):
    """What an error knows about what was asked for: it was not done, it was, or that is not known."""

    NO = "no"
    YES = "yes"
    UNKNOWN = "unknown"


_DONE = {
    "commit_unknown": Done.UNKNOWN, "cut_unknown": Done.UNKNOWN, "thaw_unknown": Done.UNKNOWN,
    "not_replicated": Done.YES, "not_yet": Done.UNKNOWN, "done_unread": Done.YES, "not_destroyed": Done.YES,
    "kept_untested": Done.YES,
}  # fmt: skip
"""Reasons after which "nothing was changed" would be a lie."""


class BrokerError(Exception):
    """Root of the tree."""

    status = 500

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason

    @property
    def done(self) -> Done:
        """Whether what was asked was done all the same."""
        return _DONE.get(self.reason, Done.NO)


class Unauthenticated(BrokerError):
    """Who asks is not known."""

    status = 401


class NotGranted(BrokerError):
    """Who asks is known and may not."""

    status = 403


class NotFound(BrokerError):
    """The thing named does not exist."""

    status = 404


class Conflict(BrokerError):
    """The state of things forbids it; nothing was changed."""

    status = 409


class Withheld(Conflict):
    """Nothing of the kind is done here, or not now: another host has this home's place, a restore was not compared."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with an input: the field, as in `order.max_notional`, and what to do about it."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class Malformed(BrokerError):
    """The input cannot be used; nothing was changed."""

    status = 400

    def __init__(self, reason: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(reason, "; ".join(str(problem) for problem in problems))
        self.problems = problems


class StoreUnavailable(BrokerError):
    """The secret store or the database cannot answer."""

    status = 503


class StoreConflict(BrokerError):
    """A check-and-set lost against another writer, or a write-once path holds something else."""

    status = 409


class LinkDown(BrokerError):
    """The other end of the link is away."""

    status = 503
