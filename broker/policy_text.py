"""A policy's text as a document: bounded before a library sees it, because strangers' text comes here. Pure.

Rules:
1. Size, lines, names, brackets and dots are counted in one pass that never looks back; what has more of one than a
   policy can need is refused unread. tomllib takes seconds for a key of a thousand dots.
2. No text within the limits costs more than 5 ms of CPU; a test goes through the worst of each kind.
3. A name stands once in its table, and no number is floating point: 0.1 is not a tenth.
"""

import json
import re
import tomllib
from typing import Any, Never

LARGEST = 64 * 1024
LARGEST_TOML = 12 * 1024
"""tomllib is written in Python: a pair costs it 3.5 us, json's C code 0.05."""

_MOST_LINES = 2000
_MOST_TEXTS, _MOST_TEXTS_TOML = 2000, 300
_MOST_BRACKETS, _MOST_FIELDS, _MOST_DOTS, _MOST_ESCAPES, _LONGEST_BARE = 64, 64, 64, 64, 64

# Possessive, and closed by the end of the text where nothing else closes it: no match is ever tried twice.
_JSON_TEXT = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z)', re.DOTALL)
_TOML_TEXT = r'"(?!"")(?:[^"\\\n]++|\\.)*+"' + r"|'(?!'')[^'\n]*+'"
_TOML_WHOLE = re.compile(rf"(?:[^\"'#]++|{_TOML_TEXT}|#[^\n]*+)*+")
_TOML_KEPT = re.compile(rf"({_TOML_TEXT})|#[^\n]*+")
_TOML_STRING = re.compile(_TOML_TEXT)
_LONG = re.compile(rf"[\w+\-]{{{_LONGEST_BARE + 1}}}")


def document_of(text: str) -> object:
    """Read a policy's text, TOML or JSON.

    Raises:
        ValueError: It is neither, or has more of something than a policy can need; in words for people.
    """
    _bound(len(text.encode("utf-8", "surrogatepass")), LARGEST, "bytes")
    _bound(text.count("\n"), _MOST_LINES, "lines")
    _bound(text.count("\\"), _MOST_ESCAPES, "backslashes")
    try:
        if text.lstrip().startswith("{"):
            return _json(text)
        return _toml(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _json(text: str) -> object:
    _bound(text.count('"'), 2 * (_MOST_TEXTS + _MOST_FIELDS), "quotation marks")
    bare, texts = _JSON_TEXT.subn("", text)
    _bound(texts, _MOST_TEXTS, "texts")
    _bound_bare(bare, ":")
    return json.loads(text, parse_float=_refuse_float, parse_constant=_refuse_float, object_pairs_hook=_once)


def _toml(text: str) -> object:
    _bound(len(text), LARGEST_TOML, "characters of TOML (JSON may have more)")
    _bound(text.count('"') + text.count("'"), 4 * _MOST_TEXTS_TOML, "quotation marks")
    whole = _TOML_WHOLE.match(text)
    if whole is None or whole.end() < len(text):
        line = text.count("\n", 0, 0 if whole is None else whole.end()) + 1
        raise ValueError(f"a text in line {line} is not closed there; no text of a policy has several lines")
    kept = _TOML_KEPT.sub(r"\1", text)
    bare, texts = _TOML_STRING.subn("", kept)
    _bound(texts, _MOST_TEXTS_TOML, "texts in TOML (write longer lists as JSON, or a rule: {quote = [...]})")
    _bound_bare(bare, "=")
    return tomllib.loads(kept, parse_float=_refuse_float)


def _bound_bare(bare: str, assigns: str) -> None:
    """Bound what is no text: fields, brackets, dots, and how long a bare word or number is."""
    _bound(bare.count(assigns), _MOST_FIELDS, "fields")
    _bound(bare.count("[") + bare.count("{"), _MOST_BRACKETS, "brackets")
    _bound(bare.count("."), _MOST_DOTS, "dots outside of texts")
    _bound(bare.count(","), _MOST_TEXTS, "commas")
    if _LONG.search(bare):
        raise ValueError(f"it has a word or number of more than {_LONGEST_BARE} characters outside of texts")


def _bound(count: int, most: int, what: str) -> None:
    if count > most:
        raise ValueError(f"it has more than {most} {what}; no policy needs that")


def _refuse_float(text: str) -> Never:
    raise ValueError(f'{text[:40]} is floating point; write money in quotes, as in "0.5"')


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:40]} stands twice")
        found[name] = value
    return found
