r"""What a PostgreSQL whose encoding is not UTF8 holds of a text: the rest is written with a backslash.

Rules:
1. No text of the state is refused for its characters: a bot is cut off, a grant revoked and an exchange's answer kept
   whatever their words are made of. A dash of print becomes `\u2013` where the encoding has none.
2. What the encoding has stays as it is; of an encoding that Python does not know, ASCII alone does.
3. A text is looked for as it was written: both go the same way.
4. What is written so within a document of JSON is read as what it was.

A new home is refused on such a database (`replication.look`); one that is there serves on.
"""

import codecs
import re
from typing import Any

from psycopg.types.string import StrDumper

_HOLD_ALL = frozenset({"UTF8", "SQL_ASCII"})
_LATIN = {
    "LATIN1": 1, "LATIN2": 2, "LATIN3": 3, "LATIN4": 4, "LATIN5": 9, "LATIN6": 10, "LATIN7": 13, "LATIN8": 14,
    "LATIN9": 15, "LATIN10": 16,
}  # fmt: skip
"""PostgreSQL's numbers are not those of ISO 8859: https://www.postgresql.org/docs/current/multibyte.html."""

_ISO, _WINDOWS = re.compile(r"ISO_8859_([5-8])"), re.compile(r"WIN(\d{3,4})")


_ESCAPED = "portcullis-escaped"


def prepare(connection: Any) -> None:
    """Have a psycopg connection write texts as its database holds them."""
    encoding = connection.info.parameter_status("server_encoding") or "UTF8"
    if encoding not in _HOLD_ALL:
        connection.adapters.register_dumper(str, _dumper(codec_of(encoding)))


def codec_of(encoding: str) -> str:
    """Return Python's name of an encoding of PostgreSQL's; `ascii` where it has none."""
    number = _LATIN.get(encoding)
    if number is None and (iso := _ISO.fullmatch(encoding)) is not None:
        number = int(iso[1])
    windows = _WINDOWS.fullmatch(encoding)
    name = f"cp{windows[1]}" if windows is not None else f"iso8859-{number}" if number else "ascii"
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "ascii"


def held(text: str, codec: str) -> str:
    """Return a text as an encoding holds it."""
    if text.isascii():
        return text
    return text.encode(codec, _ESCAPED).decode(codec)


def _escaped(fault: UnicodeError) -> tuple[str, int]:
    """Write what an encoding lacks as JSON does, in halves of UTF-16: within a document of JSON it means the same."""
    if not isinstance(fault, UnicodeEncodeError):
        raise fault
    halves = fault.object[fault.start : fault.end].encode("utf-16-be", "surrogatepass")
    pairs = (halves[place : place + 2].hex() for place in range(0, len(halves), 2))
    return "".join(f"\\u{pair}" for pair in pairs), fault.end


def _dumper(codec: str) -> type[StrDumper]:
    class Held(StrDumper):
        def dump(self, obj: str) -> Any:
            return super().dump(held(obj, codec))

    return Held


codecs.register_error(_ESCAPED, _escaped)
