"""Why the two ends of a link part at its greeting, and what somebody can do about it. Pure.

Rules:
1. Another version is said only of a greeting that names one. One of this version that cannot be read is unreadable:
   so is what two programs say that call themselves the same and are not.
2. Both ends say what leads out: a gateway that is started anew from files that were changed under a broker that runs
   on parts from it each time, until the broker is started anew, too.
"""

from broker.link import frames
from broker.link.codec import BadFrame

VERSION, UNREADABLE, NO_HELLO, NO_WELCOME, NOT_OURS = (
    "version",
    "unreadable",
    "no_hello",
    "no_welcome",
    "not_ours",
)

_ANEW = (
    "Restart the broker, which starts its gateway as well (`systemctl restart portcullis`, or end `portcullis run` and "
    "start it again): until then they part each time, and no bot can trade"
)
_WORDS = {
    VERSION: "it speaks another version of the link, as after an update of the files under a broker that runs on. "
    + _ANEW,
    UNREADABLE: "a greeting of this version cannot be read, as where the files were changed under a broker that runs "
    "on. " + _ANEW,
    NOT_OURS: "no gateway is expected by that name",
}


def why_unread(fault: BadFrame, greeting: type[frames.Hello | frames.Welcome]) -> str:
    """Return why a link parts where what should be a greeting cannot be read."""
    if fault.name != greeting.__name__:
        return NO_HELLO if greeting is frames.Hello else NO_WELCOME
    return UNREADABLE if fault.version in {0, frames.VERSION} else VERSION


def why_not(version: int, *, ours: bool) -> str:
    """Return why a greeting that can be read is turned down; empty where it is not."""
    if version != frames.VERSION:
        return VERSION
    return "" if ours else NOT_OURS


def words(reason: str) -> str:
    """Say what a reason means, and what to do."""
    return f"{reason}: {_WORDS[reason]}" if reason in _WORDS else reason
