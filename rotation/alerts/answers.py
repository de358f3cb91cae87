"""What became of one message: it was taken, or whose fault it is that it was not.

A message that a service refuses says nothing against its channel: another one may be taken.
"""

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Why a message was not taken."""

    SILENT = "silent"
    UNREADABLE = "unreadable"
    MESSAGE = "message"
    ADDRESS = "address"
    OFTEN = "often"
    SERVICE = "service"


_WHY = {
    Fault.SILENT: "its host does not answer, or its address is wrong",
    Fault.UNREADABLE: "its address cannot be read",
    Fault.MESSAGE: "the service answered {} and refused the message",
    Fault.ADDRESS: "the service answered {}: its address is wrong, or may not be written to any more",
    Fault.OFTEN: "the service answered {}: it was sent too many messages",
    Fault.SERVICE: "the service answered {}: it has a fault of its own",
}
_NOT_ALLOWED = frozenset({401, 403, 404, 407, 410})
_ELSEWHERE = range(300, 400)
_TOO_OFTEN = 429
_NOT_LOGGED_IN = frozenset({530, 534, 535, 538})
_PERMANENT = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a message with the first `count` of the entries; `code`: as the service answered."""

    fault: Fault | None = None
    count: int = 0
    code: int = 0

    @property
    def why(self) -> str:
        """Why it was not taken, in words; empty where it was."""
        return "" if self.fault is None else f"it was not taken: {_WHY[self.fault].format(self.code)}"


def of_http(code: int) -> Fault:
    """Return whose fault it is by a status of HTTP: 2xx that says no in its body is about the message."""
    if code in _NOT_ALLOWED or code in _ELSEWHERE:
        return Fault.ADDRESS
    if code == _TOO_OFTEN:
        return Fault.OFTEN
    return Fault.SERVICE if code >= _PERMANENT else Fault.MESSAGE


def of_mail(code: int) -> Fault:
    """Return whose fault it is by a code of SMTP: 4xx is of the moment."""
    if code in _NOT_LOGGED_IN:
        return Fault.ADDRESS
    return Fault.MESSAGE if code >= _PERMANENT else Fault.SERVICE
