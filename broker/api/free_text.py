"""What people write beside what they ask for: reasons, notes, names, settings. None of it keeps a secret.

Rules:
1. Every text of a write is looked at, whatever its field is called, before anything else is done with the request: an
   announced one is on record before its route sees it. `MEANT` are the fields that hold a key by their meaning.
2. Such a text is refused by its field's name, and never repeated.
3. What closes is never refused, nor late: its reason is replaced, or shortened (`closing_inputs`), and the
   answer says so.
4. Texts are looked at beside the loop, and of no more than `pasted.LONGEST` characters in all: nothing that is kept has
   more, but for a policy in JSON, which keeps what its grammar has and nothing else.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import unquote

from fastapi import Request

from broker.api.access import is_cut
from broker.errors import Malformed, Problem
from broker.model import NAME
from broker.pasted import LONGEST, REMOVED, looks_secret
from broker.service.words import LONGEST_REASON, SHORTENED

MEANT = frozenset(
    {
        "secret",
        "password",
        "passphrase",
        "proxy_password",
        "code",
        "address",
        "key_id",
        "public_key",
        "content",
    }
)
"""Fields of a body that hold a key, or a digest; those that must be secret are kept as such by their routes."""

NAMING = frozenset(
    {
        "account",
        "channel",
        "consumer",
        "cut",
        "destination",
        "egress",
        "grant",
        "like",
        "manager",
        "operator",
    }
)
"""Fields of a body that name what is there already: it may have a name from before names were looked at. What names
nothing that is there is a text like any other: a secret in small letters looks like such a name."""

IsName = Callable[[str], bool]
"""Tells whether something on record has this name."""

HELD = (
    "holds what looks like a key, a token or a code, and would be kept: say it in other words. It was typed, so "
    "your shell's history may hold it now"
)
PRIVATE = (
    "holds a private key: the public one, or the key's id, belongs there. "
    "Keep it to yourself; it was kept nowhere here"
)
_PUBLIC = frozenset({"public_key", "key_id"})
TOO_LONG = (
    f"is too long to be looked through for keys: all texts of a request have at most {LONGEST} characters"
)
SAID = (
    "The reason held what looks like a key: it was removed, and is kept nowhere here. It was typed, so your shell's "
    "history may hold it now."
)
SHORT = f"The reason was too long: only its beginning is kept, {LONGEST_REASON} characters in all."
_LONGEST_FIELD = 80


def closes(request: Request) -> bool:
    """Tell whether a request stops somebody's trading: what it says never holds it up."""
    return is_cut(request) or (request.method == "POST" and request.url.path.endswith("/revoke"))


def refuse_secrets(body: bytes, is_name: IsName) -> None:
    """Refuse a body with a secret in a text that would be kept; what is no JSON is its route's to refuse.

    Raises:
        Malformed: With each such field.
        StoreUnavailable: Whether it is a name cannot be told.
    """
    try:
        document = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return
    fields = document.items() if isinstance(document, dict) else [("body", document)]
    left, held = (
        LONGEST,
        [
            Problem(name[:_LONGEST_FIELD], PRIVATE)
            for name, value in fields
            if name in _PUBLIC and isinstance(value, str) and "PRIVATE KEY" in value
        ],
    )
    for where, text in _looked_at(fields):
        left -= len(text)
        if left < 0 or (looks_secret(text) and not (_may_name(where, text) and is_name(text))):
            held.append(Problem(_shown(where), TOO_LONG if left < 0 else HELD))
        if left < 0:
            break
    if held:
        raise Malformed("held_secret", tuple(held))


def refuse_secret_path(path: str, is_name: IsName) -> None:
    """Refuse a path with a secret in it: that of a write may be put on record.

    Raises:
        Malformed: It has.
        StoreUnavailable: Whether it is a name cannot be told.
    """
    parts = unquote(path).split("/")
    if any(looks_secret(one) and not (NAME.fullmatch(one) and is_name(one)) for one in parts):
        raise Malformed(
            "held_secret", (Problem("path", "names what looks like a key: name it by its id, as listed"),)
        )


def removed(reason: str) -> list[str]:
    """Return what is to be said where a reason was replaced, or shortened."""
    if reason.endswith(SHORTENED):
        return [SHORT]
    return [SAID] if reason == REMOVED else []


def _looked_at(fields: Iterable[tuple[str, object]]) -> Iterator[tuple[str, str]]:
    for name, value in fields:
        text = value if isinstance(value, str) else ""
        if name in MEANT or (name == "policy" and text.lstrip().startswith("{")):
            continue
        yield from _texts(name, value)


def _may_name(field: str, text: str) -> bool:
    """Tell whether a text may be a name; a cut has any, where a person wrote it into the secret store."""
    return field == "cut" or (field in NAMING and NAME.fullmatch(text) is not None)


def _texts(where: str, value: object) -> Iterator[tuple[str, str]]:
    """Yield every text in a value, with where it stands."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(f"{where}.{name}", inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(where, inner)


def _shown(where: str) -> str:
    return "a field" if looks_secret(where) else where[:_LONGEST_FIELD]
