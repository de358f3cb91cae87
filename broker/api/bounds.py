"""How much a request may hold, counted before any library parses it. Pure.

Rules:
1. A body is JSON of a bounded size, depth and number of values, so that neither the parser nor the models behind it
   can be given more than a millisecond or two of work: they run on the event loop that also answers a cut.
2. A target has a bounded length and number of parameters; so have the headers.
3. Counting looks at each byte once. What is refused is not quoted.
4. What says why somebody is stopped is made text first (`as_text`): it is refused for no byte of its reason.
"""

import re
from collections.abc import Sequence

LARGEST_BODY = 160 * 1024
_LONGEST_PATH, _LONGEST_QUERY, _MOST_PARAMETERS = 1024, 2048, 16
_MOST_HEADERS, _LONGEST_HEADERS = 64, 16 * 1024
_MOST_TEXTS, _MOST_COMMAS, _MOST_FIELDS, _MOST_BRACKETS, _DEEPEST = 1500, 1500, 300, 200, 16
_MOST_BLANKS = 16 * 1024
_MOST_MARKS = 12_000
"""Quotation marks and backslashes: a policy as JSON is a text in which each name brings two of both."""

# Possessive, and each matches wherever it begins, also before half of an escape: no byte is looked at from two places.
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.|\\\Z)*+(?:"|\Z)', re.DOTALL)
_LONG = re.compile(rb"[^\s\[\]{},:]{41}")
_PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_NONE = rb"u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})"
_GOOD = rb"(?:[^\\]++|" + _PAIR + rb"|\\(?!" + _NONE + rb").)*+"
_WHOLE = re.compile(_GOOD, re.DOTALL)
"""No escape is a NUL, or half of a character: text that is none is an error to whatever it is handed on to."""
_NO_TEXT = re.compile(rb"(" + _GOOD + rb")\\" + _NONE, re.DOTALL)
_NUL, _PRIVATE = b"\\u0000", b"\\ue"
_HALVES = tuple(b"\\ud%c" % kind for kind in b"89abcdefABCDEF")
"""How a half of a character is escaped begins so, and no letter: \\ud000 to \\ud7ff are Korean ones."""
_LONG_WHY, _MANY_ESCAPES = 16 * 1024, 1000
_ASCII = bytes(one if one < 0x80 else 0x3F for one in range(256))  # noqa: PLR2004 - 0x3F is a question mark
_BLANKS = bytes(max(one, 32) for one in range(256))

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_OPENING = frozenset(b"[{")


def odd_target(path: bytes, query: bytes) -> str:
    """Say why a target is more than any route needs; empty where it is not."""
    if len(path) > _LONGEST_PATH:
        return f"the path is longer than {_LONGEST_PATH} bytes"
    if len(query) > _LONGEST_QUERY or query.count(b"&") + query.count(b";") >= _MOST_PARAMETERS:
        return f"the query has more than {_MOST_PARAMETERS} parameters, or {_LONGEST_QUERY} bytes"
    return ""


def odd_headers(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """Say why headers are more than any client sends; empty where they are not."""
    if (
        len(headers) > _MOST_HEADERS
        or sum(len(name) + len(value) for name, value in headers) > _LONGEST_HEADERS
    ):
        return f"there are more than {_MOST_HEADERS} headers, or {_LONGEST_HEADERS // 1024} KiB of them"
    return ""


def odd_body(body: bytes) -> str:
    """Say why a body is no JSON that a route could need; empty where it may be parsed."""
    if body.count(b'"') > _MOST_MARKS or body.count(b"\\") > _MOST_MARKS:
        return "the body has more quotation marks or backslashes than any request needs"
    if b"\0" in body or not _is_text(body):
        return "the body is not JSON in UTF-8, or has a NUL in it"
    if _may_be_no_text(body) and _WHOLE.fullmatch(body) is None:
        return (
            "the body has an escaped NUL in it, or half a character: an escaped surrogate without the other"
        )
    bare, texts = _TEXT.subn(b'"', body)
    counts = (
        (texts, _MOST_TEXTS, "texts"), (bare.count(b","), _MOST_COMMAS, "values"),
        (bare.count(b":"), _MOST_FIELDS, "fields"),
    )  # fmt: skip
    for count, most, what in counts:
        if count > most:
            return f"the body has more than {most} {what}"
    if len(bare) - len(bare.translate(None, b" \t\r\n")) > _MOST_BLANKS:
        return "the body has more blanks than any request needs"
    brackets = bare.translate(None, _NOT_BRACKETS)
    if len(brackets) > 2 * _MOST_BRACKETS or _depth(brackets) > _DEEPEST:
        return f"the body has more than {_MOST_BRACKETS} brackets, or is deeper than {_DEEPEST}"
    if _LONG.search(bare):
        return "the body has a number of more than 40 characters"
    return ""


def as_text(body: bytes) -> bytes:
    """Return a body with all its texts made such: what is none is U+FFFD, as who types a command has it.

    Bytes that are not UTF-8, escapes of NUL and of halves of characters; other control characters that were not
    escaped, which a shell leaves in a text, are blanks. Of many escapes each half of a character, in a whole one too,
    is one of private use: that is quicker.
    """
    if not _is_text(body):
        body = body.decode("utf-8", "replace").encode() if len(body) <= _LONG_WHY else body.translate(_ASCII)
    body = body.translate(_BLANKS)
    if not (_may_be_no_text(body) and body.rstrip().endswith(b"}")):
        return body
    escapes = body.count(b"\\")
    if _MANY_ESCAPES < escapes <= _MOST_MARKS:  # of more than those it is refused
        body = body.replace(_NUL, b"\\ufffd").replace(b"\\uD", b"\\ud")
        for half in _HALVES:
            body = body.replace(half, _PRIVATE + half[-1:])
    if escapes > _MANY_ESCAPES:
        return body
    return _NO_TEXT.sub(rb"\1\\ufffd", body + _NUL)[: -len(_NUL)]  # there is always one to find


def _may_be_no_text(body: bytes) -> bool:
    return _NUL in body or b"\\ud" in body.lower()


def _is_text(body: bytes) -> bool:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _depth(brackets: bytes) -> int:
    depth = deepest = 0
    for bracket in brackets:
        depth += 1 if bracket in _OPENING else -1
        deepest = max(deepest, depth)
    return deepest
