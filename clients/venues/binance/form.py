"""One strict parse of query and body into ordered pairs. Pure, and linear in their length.

Venues, web servers and libraries disagree on odd forms: which of two equal names wins, whether the query or
the body wins, whether names fold case, whether `+` is a blank. What passes here is read alike by all of them.

`split` finds the pairs and the signature, which is all that checking it needs; `read` looks at them. So nobody
has a form read without a key's signature over it.

Rules, in the order they are applied:
1. No more than `LARGEST_FORM` bytes and `MOST_PARAMETERS`. Both parts are forms, whatever the content type says.
   ASCII only; text beyond it comes percent-encoded.
2. Pairs are separated by one `&`; none is empty, each has exactly one `=`, names are [A-Za-z0-9]+.
3. No name twice, within a part, across parts, or after folding case.
4. `signature` is taken out with its place; its value is not judged here, because it is never forwarded. A
   second one is a duplicate.
5. Values: no raw `+` or `;`, escapes are `%` and two hex digits, never for a byte that needs none, and
   decode to UTF-8 without control characters.
6. Names must be known to the endpoint, values match its grammar, and what it requires is there.

A refusal is a `Fault` with a short stable reason and the parameter's name; never with its value.
"""

import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from clients.venues.binance.grammar import Grammar, any_text

Part = Literal["query", "body"]

MOST_PARAMETERS = 128
"""The venue's largest call, an order list of three legs, takes 44."""

LARGEST_FORM = 16 * 1024
"""Bytes of both parts. The longest that is of use, a thousand symbols, has 12 KiB; an order list has 2."""

_SIGNATURE = "signature="
_SIGNATURE_LENGTH = len(_SIGNATURE)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NEEDLESS_ESCAPE = re.compile(r"%(?:2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])")
"""Of letters, digits and `-._~`: what no client has a reason to escape."""

_RAW_FORBIDDEN = re.compile(r"[^!-~]|[#&<>\\^`{|}]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Pair(NamedTuple):
    """One parameter: name, the raw value as sent (ASCII, so one character is one byte), and decoded text."""

    name: str
    raw: str
    part: Part
    text: str


class Fault(NamedTuple):
    """Why a form does not pass: a short stable reason, and the parameter it is about."""

    reason: str
    field: str = ""


class Form(NamedTuple):
    """A parsed form. `query` and `body` are the raw `name=value` pairs in order, without `signature`.

    `values` maps names to decoded text. `signature` is the raw value; it stood in `signature_part` before the
    pair with index `signature_at`; -1 where there is none.
    """

    query: tuple[str, ...]
    body: tuple[str, ...]
    values: Mapping[str, str]
    signature: str | None
    signature_part: Part
    signature_at: int

    def pairs(self) -> Iterator[Pair]:
        """Yield the parameters in wire order, query first."""
        for part, raws in (("query", self.query), ("body", self.body)):
            for pair in raws:
                name, _, raw = pair.partition("=")
                yield Pair(name, raw, "query" if part == "query" else "body", self.values[name])

    def payload(self) -> str:
        """Return the text that is signed: query then body, nothing between them, without `signature`."""
        return "&".join(self.query) + "&".join(self.body)


class Parts(NamedTuple):
    """The pairs of a request, not looked at yet. `signature` as in `Form`."""

    query: tuple[str, ...]
    body: tuple[str, ...]
    signature: str | None
    signature_part: Part
    signature_at: int

    def payload(self) -> str:
        """Return the text that is signed: query then body, nothing between them, without `signature`."""
        return "&".join(self.query) + "&".join(self.body)


def split(query: bytes, body: bytes) -> Parts | Fault:
    """Take both parts of a request apart.

    Args:
        query: Raw query string without the question mark.
        body: Raw body; empty where there is none.
    """
    if len(query) + len(body) > LARGEST_FORM:
        return Fault("form_too_large")
    if query.count(b"&") + body.count(b"&") >= MOST_PARAMETERS:
        return Fault("too_many_parameters")
    try:
        query_text, body_text = query.decode("ascii"), body.decode("ascii")
    except UnicodeDecodeError:
        return Fault("not_ascii")
    query_pairs = query_text.split("&") if query_text else []
    body_pairs = body_text.split("&") if body_text else []
    taken = _take_signature(query_pairs, body_pairs)
    return Parts(tuple(query_pairs), tuple(body_pairs), *taken)


def read(
    parts: Parts, grammars: Mapping[str, Grammar] | None, required: tuple[str, ...] = ()
) -> Form | Fault:
    """Read what `split` found.

    Args:
        parts: The pairs.
        grammars: What the endpoint takes, by exact name; no two names equal when case is folded, none
            accepting an empty value. None: any name with printable values, for endpoints that are recognised
            and refused.
        required: Names that must be there, judged last; an empty one is as good as none.

    Returns:
        The form, or its first fault.
    """
    values: dict[str, str] = {}
    if grammars is None:
        folded = {"signature"}
        fault = _read_any(parts.query, values, folded) or _read_any(parts.body, values, folded)
    else:
        fault = _read_known(parts.query, grammars, values) or _read_known(parts.body, grammars, values)
    if fault is not None:
        is_none = fault.reason == "empty_value" and fault.field in required
        return Fault("missing", fault.field) if is_none else fault
    for name in required:
        if name not in values:
            return Fault("missing", name)
    return Form(parts.query, parts.body, values, *parts[2:])


def parse(
    query: bytes, body: bytes, grammars: Mapping[str, Grammar] | None, required: tuple[str, ...] = ()
) -> Form | Fault:
    """Do both: `split` and `read`."""
    parts = split(query, body)
    return parts if isinstance(parts, Fault) else read(parts, grammars, required)


def _take_signature(query: list[str], body: list[str]) -> tuple[str | None, Part, int]:
    """Take the first `signature` out: its raw value, part and index. A second one stays, and is a fault."""
    if body and body[-1].startswith(_SIGNATURE):
        return body.pop()[_SIGNATURE_LENGTH:], "body", len(body)
    if query and query[-1].startswith(_SIGNATURE):
        return query.pop()[_SIGNATURE_LENGTH:], "query", len(query)
    for index, pair in enumerate(query):
        if pair.startswith(_SIGNATURE):
            del query[index]
            return pair[_SIGNATURE_LENGTH:], "query", index
    for index, pair in enumerate(body):
        if pair.startswith(_SIGNATURE):
            del body[index]
            return pair[_SIGNATURE_LENGTH:], "body", index
    return None, "query", -1


def _read_known(
    pairs: tuple[str, ...], grammars: Mapping[str, Grammar], values: dict[str, str]
) -> Fault | None:
    """Read the pairs of an endpoint whose parameters we know. The hot loop; reasons are found later."""
    for pair in pairs:
        name, _, raw = pair.partition("=")
        grammar = grammars.get(name)
        if grammar is None or name in values:
            return _explain_name(pair, values)
        if "%" in raw:
            decoded = _decode(raw)
            if type(decoded) is Fault:
                return Fault(decoded.reason, name)
            text = str(decoded)
        else:
            text = raw
        if not grammar(text):
            return _explain_value(pair)
        values[name] = text
    return None


def _read_any(pairs: tuple[str, ...], values: dict[str, str], folded: set[str]) -> Fault | None:
    """Read the pairs of an endpoint that is only recognised: any plain name, any printable value."""
    for pair in pairs:
        name, equals, raw = pair.partition("=")
        if not equals or not _plain(name) or name.lower() in folded:
            return _explain_name(pair, values)
        decoded = _decode(raw)
        if type(decoded) is Fault:
            return Fault(decoded.reason, name)
        if not any_text(str(decoded)):
            return Fault("bad_value", name)
        values[name] = str(decoded)
        folded.add(name.lower())
    return None


def percent_decode(text: str) -> str | None:
    """Decode the escapes of a raw text; None where they are none, or not those of UTF-8.

    Quoted-printable is the same with another sign, and is decoded in C: a form may be nothing but escapes.
    """
    if _BAD_ESCAPE.search(text):
        return None
    try:
        return binascii.a2b_qp(text.replace("=", "=3D").replace("%", "=")).decode("utf-8")
    except (UnicodeDecodeError, ValueError):
        return None


def _plain(name: str) -> bool:
    return name.isascii() and name.isalnum()


def _decode(raw: str) -> str | Fault:
    """Decode one raw value under rule 5."""
    fault = _raw_fault(raw)
    if fault is not None:
        return Fault(fault)
    if "%" not in raw:
        return raw
    if _BAD_ESCAPE.search(raw):
        return Fault("bad_escape")
    if _NEEDLESS_ESCAPE.search(raw):
        return Fault("needless_escape")
    text = percent_decode(raw)
    if text is None:
        return Fault("not_utf8")
    if _CONTROL.search(text):
        return Fault("control_character")
    return text


def _raw_fault(raw: str) -> str | None:
    if "+" in raw:
        return "plus_sign"
    if ";" in raw:
        return "semicolon"
    if "=" in raw:
        return "second_equals"
    return "bad_character" if _RAW_FORBIDDEN.search(raw) else None


def _explain_name(pair: str, values: Mapping[str, str]) -> Fault:
    """Say why a pair's name cannot pass; the hot loop only notices that it cannot."""
    name, equals, _ = pair.partition("=")
    if not pair:
        return Fault("empty_pair")
    if pair[0] in "{[":
        return Fault("json_body")
    if not _plain(name):
        return Fault("bad_name")
    if not equals:
        return Fault("no_equals", name)
    if name.lower() in {known.lower() for known in values} | {"signature"}:
        return Fault("duplicate", name)
    return Fault("unknown_parameter", name)


def _explain_value(pair: str) -> Fault:
    """Say why a value did not match its grammar."""
    name, equals, raw = pair.partition("=")
    if not equals:
        return Fault("no_equals", name)
    decoded = _decode(raw)
    if type(decoded) is Fault:
        return Fault(decoded.reason, name)
    return Fault("empty_value" if not raw else "bad_value", name)
