"""How a key is put into a file's text: NAME=value lines, or JSON. Pure.

Rules:
1. Everything that is not ours stays as it is: byte for byte in a dotenv file, value for value in JSON. A quoted value
   is replaced up to its closing quote, on whatever line that is; where that cannot be told nothing is written.
2. What could be lost by an edit (comments in JSON, a key that is there twice, digits that no number keeps, an object
   where the key would go) makes a file unfit, and it is left as it is.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

from broker.destination import Kind
from broker.files.place import Unfit

_HEAD = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=")
_OTHER = re.compile(r"[ \t]*(?:#.*|export[ \t]+[A-Za-z_][A-Za-z0-9_]*[ \t]*)?")
_QUOTED = re.compile(
    r"""[ \t]*(?:"(?P<double>(?:\\.|[^"\\])*)"|(?P<quote>['`])(?P<literal>(?:(?!(?P=quote)).)*)(?P=quote))"""
    r"[ \t]*(?:#[^\r\n]*)?(?=\r?(?:\n|\Z))",
    re.DOTALL,
)
"""A value in quotes, over as many lines as it takes; nothing but a comment may follow it."""
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_QUOTES = ('"', "'", "`")


def fill(kind: Kind, text: str, values: Mapping[str, str]) -> str:
    """Return a file's text with values under their names.

    Raises:
        Unfit: The file cannot be edited without a loss.
    """
    return _fill_dotenv(text, values) if kind is Kind.DOTENV else _fill_json(text, values)


def found(kind: Kind, text: str, names: tuple[str, ...]) -> dict[str, str]:
    """Return what a file's text holds under names.

    Raises:
        Unfit: It cannot be read.
    """
    return _found_dotenv(text, names) if kind is Kind.DOTENV else _found_json(text, names)


def check(kind: Kind, text: str, names: tuple[str, ...]) -> None:
    """Look whether a file is what a person says it is, and can be filled.

    Raises:
        Unfit: It is not.
    """
    if kind is Kind.DOTENV:
        _check_lines(text)
    fill(kind, text, dict.fromkeys(names, "x"))


# --- dotenv -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Assigned:
    """One NAME=value of a dotenv file; the value may span lines. `value` None: its quote is never closed."""

    name: str
    begins: int
    ends: int
    value: str | None


def _assigned(text: str) -> Iterator[_Assigned]:
    """Yield what a dotenv file assigns. A line inside somebody's quoted value assigns nothing."""
    at = 0
    while at < len(text):
        head = _HEAD.match(text, at)
        if head is not None:
            one = _value(text, head["name"], head.end())
            yield one
            at = one.ends
        at = text.find("\n", at) + 1 or len(text)


def _value(text: str, name: str, begins: int) -> _Assigned:
    quoted = _QUOTED.match(text, begins)
    if quoted is None:
        end = text.find("\n", begins)
        plain = text[begins : len(text) if end < 0 else end].removesuffix("\r")
        is_open = plain.strip().startswith(_QUOTES)
        return _Assigned(name, begins, begins + len(plain), None if is_open else plain.strip())
    value = quoted["literal"] if quoted["double"] is None else _ESCAPED.sub(_unescaped, quoted["double"])
    return _Assigned(name, begins, quoted.end(), value)


def _fill_dotenv(text: str, values: Mapping[str, str]) -> str:
    left, pieces, at = dict(values), list[str](), 0
    for one in _assigned(text):
        if one.name not in values:
            continue
        if one.value is None:
            raise Unfit(
                f"has a line where the quote that {one.name} begins with is not closed, or more follows it; it was "
                "left as it is: mend that line"
            )
        pieces += [text[at : one.begins], _quoted(values[one.name])]
        at = one.ends
        left.pop(one.name, None)
    filled = "".join([*pieces, text[at:]])
    more = "\n".join(f"{name}={_quoted(value)}" for name, value in left.items())
    if not more:
        return filled
    return f"{filled}{more}\n" if not filled or filled.endswith("\n") else f"{filled}\n{more}"


def _check_lines(text: str) -> None:
    """Refuse a file with lines that assign nothing: it is something else than a dotenv file."""
    at = 0
    for one in (*_assigned(text), None):
        until = len(text) if one is None else text.rfind("\n", at, one.begins) + 1 or at
        between = text[at:until]
        if not all(_OTHER.fullmatch(line.removesuffix("\r")) for line in between.split("\n")):
            raise Unfit("has lines that are no NAME=value: it is no dotenv file; it was left as it is")
        if one is not None:
            at = text.find("\n", one.ends) + 1 or len(text)


def _quoted(value: str) -> str:
    """Write a value as dotenv readers agree on; a PEM key goes on one line."""
    if re.fullmatch(r"[A-Za-z0-9+/=_.:-]*", value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _found_dotenv(text: str, names: tuple[str, ...]) -> dict[str, str]:
    return {one.name: one.value for one in _assigned(text) if one.name in names and one.value is not None}


def _unescaped(found: re.Match[str]) -> str:
    return "\n" if found[1] == "n" else found[1] if found[1] in '"\\' else found[0]


# --- JSON -------------------------------------------------------------------------------------


def _fill_json(text: str, values: Mapping[str, str]) -> str:
    document = _json(text) if text.strip() else {}
    for pointer, value in values.items():
        *above, last = _parts(pointer)
        here: Any = document
        for part in above:
            here = here.setdefault(part, {}) if isinstance(here, dict) else None
        if not isinstance(here, dict):
            raise Unfit(f"has no object that {pointer} could lie in")
        if not isinstance(here.get(last), str | None):
            raise Unfit(f"has something else than text at {pointer}: name where the key goes")
        here[last] = value
    filled = json.dumps(document, indent=_indent(text), ensure_ascii=False) + "\n"
    try:
        filled.encode()
    except UnicodeEncodeError:
        raise Unfit("holds text that is none (half a character); it was left as it is") from None
    return filled


def _found_json(text: str, names: tuple[str, ...]) -> dict[str, str]:
    document, found = _json(text), {}
    for pointer in names:
        here: Any = document
        for part in _parts(pointer):
            here = here.get(part) if isinstance(here, dict) else None
        if isinstance(here, str):
            found[pointer] = here
    return found


def _json(text: str) -> Any:
    try:
        document = json.loads(text, object_pairs_hook=_once, parse_float=_exact, parse_constant=_no_number)
    except ValueError as fault:
        where = f" (line {fault.lineno})" if isinstance(fault, json.JSONDecodeError) else ""
        raise Unfit(f"is not JSON{where}; comments are not JSON either. It was left as it is") from None
    except RecursionError:
        raise Unfit("is JSON too deep for settings; it was left as it is") from None
    if not isinstance(document, dict):
        raise Unfit("holds no JSON object; it was left as it is")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise Unfit("holds an object with the same key twice; it was left as it is: remove one of them")
    return made


def _exact(text: str) -> float:
    number = float(text)
    if Decimal(text) != Decimal(repr(number)):
        raise Unfit(
            "holds a number of more digits than would be kept; it was left as it is: write it as text"
        )
    return number


def _no_number(text: str) -> NoReturn:
    raise Unfit(f"holds {text}, which is not JSON; it was left as it is")


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _indent(text: str) -> int:
    found = re.search(r"\n( +)\"", text)
    return len(found[1]) if found else 4
