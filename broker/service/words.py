"""What a person says beside a cut or a thaw: judged before anything is closed. It never decides whether a cut holds.

Where something is said, no cut is refused for it: what is no text is replaced, what is too long is shortened.

A database may hold less than what was judged good (another encoding, a shorter column): then it gets `plain` words.
"""

import re
from dataclasses import replace

from broker.gate_document import NotedCut

LONGEST_REASON = 500
SAY_WHY = f"say why, in 1 to {LONGEST_REASON} characters"
SHORTENED = " ... (shortened)"
_LONGEST_ACTOR = 64
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


def is_text(text: str) -> bool:
    """Tell whether a text can be kept at all: PostgreSQL holds no NUL, and nothing holds half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def is_reason(text: str) -> bool:
    """Tell whether a text says why something is cut or thawed."""
    return bool(text.strip()) and len(text) <= LONGEST_REASON and is_text(text)


def as_text(text: str) -> str:
    """Return a text as it can be kept: what is none of it (NUL, half a character) stands as U+FFFD."""
    return _NO_TEXT.sub("\ufffd", text)


def shortened(reason: str) -> str:
    """Return a reason as much of which is kept as there is room for: none is too long for a cut."""
    too_long = len(reason) > LONGEST_REASON
    return reason[: LONGEST_REASON - len(SHORTENED)] + SHORTENED if too_long else reason


def plain(text: str) -> str:
    """Return a text as every database holds it: in ASCII, what is none of it as with a backslash."""
    return text.encode("ascii", "backslashreplace").decode().replace("\0", "\\x00")


def plain_actor(text: str) -> str:
    """Return a name as every database holds it, as much of it as the record has room for."""
    return plain(text)[:_LONGEST_ACTOR]


def in_plain_words(cut: NotedCut) -> NotedCut:
    """Return a cut that holds the same, in words that every database holds."""
    return replace(cut, reason=plain(cut.reason), actor=plain_actor(cut.actor))
