"""Answers of the API as its own OpenAPI document describes them: empty ones, plain ones, long and hostile ones.

What a screen is tried with is made from the document, so a screen that reads a field which no answer has fails here.
"""

import functools
import json
import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import httpx

from broker.api.app import create_app
from broker.api.context import Context

AT = "2026-11-28T10:00:00.123456Z"
HOSTILE = "[/x] [bold]\x1b[31mred\x07 \u202eturned\udcff 日本 \N{PILE OF POO} \\"
LONG_NAME = ("a-very-long-name." * 4)[:64]
TODO = {
    "title": "make a key for main/trade at the exchange", "steps": ["Open the page.", "Label: rot_1"],
    "public_key": "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n", "then": "rotation answer rot_1",
}  # fmt: skip
_PROSE = {
    "reason",
    "note",
    "says",
    "holder",
    "what",
    "step",
    "failed",
    "do",
    "why",
    "subject",
    "meaning",
    "notes",
    "old",
    "new",
    "shows",
}
_AMOUNTS = {"day_used", "day_max", "notional"}


@dataclass(frozen=True)
class Style:
    """How answers are filled: how many of a list, whether what may be null is, what text says."""

    many: int
    null: bool
    name: str
    prose: str
    state: str = "done"
    truth: bool = True


EMPTY = Style(0, True, "x", "", truth=False)
PLAIN = Style(2, False, "main", "because it is time")
LONG = Style(3, False, LONG_NAME, "a sentence that goes on and on " * 9, state="stalled")
WEIRD = Style(2, False, HOSTILE, HOSTILE, state="no-such-state", truth=False)


@functools.cache
def document() -> dict[str, Any]:
    """Return the API's OpenAPI document."""
    context = cast("Context", SimpleNamespace(service=None, listen=lambda: None))
    return create_app(context).openapi()


def route(method: str, path: str) -> tuple[int, dict[str, Any]] | None:
    """Return the status and the schema of a route's success; None where there is no such route."""
    found = []
    for template, operations in document()["paths"].items():
        shape = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
        if re.fullmatch(shape, path) and method.lower() in operations:
            found.append((template.count("{"), operations[method.lower()]))
    if not found:
        return None
    operation = min(found, key=lambda one: one[0])[1]
    status = min(int(code) for code in operation["responses"] if code.startswith("2"))
    return status, operation["responses"][str(status)]["content"]["application/json"]["schema"]


def made(schema: dict[str, Any], style: Style, field: str = "") -> Any:
    """Return a value of a schema."""
    if "$ref" in schema:
        return made(document()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], style, field)
    if field == "next":
        return None
    if field == "todo":
        return None if style.null else TODO
    if "anyOf" in schema:
        options = schema["anyOf"]
        nothing = [one for one in options if one.get("type") == "null"]
        return (
            None
            if nothing and style.null
            else made(next(o for o in options if o not in nothing), style, field)
        )
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0 if style.truth else -1]
    match schema.get("type"):
        case "array":
            return [made(schema["items"], style, field) for _ in range(style.many)]
        case "object" if "properties" in schema:
            return {name: made(one, style, name) for name, one in schema["properties"].items()}
        case "object":
            return {}
        case "boolean":
            return style.truth
        case "integer":
            return 0 if style.null else 3
        case "number":
            return 0.0 if style.null else 12.5
        case "string" | None:
            return _text(schema, style, field)
    raise AssertionError(f"no example of {schema}")


def _text(schema: dict[str, Any], style: Style, field: str) -> str:
    if schema.get("format") == "date-time":
        return AT
    if field in _AMOUNTS:
        return "0" if style.null else "1234567.891"
    if field in {"state", "was"}:
        return style.state
    if field == "token":
        return "pt_0123456789"
    if field == "policy":
        return 'symbols = ["BTCUSDT"]'
    return style.prose if field in _PROSE else style.name


def answer(method: str, path: str, style: Style) -> tuple[int, Any] | None:
    """Return the status and the document of a route's answer."""
    found = route(method, path)
    return None if found is None else (found[0], made(found[1], style))


def example(name: str, /, style: Style = PLAIN, **changes: Any) -> dict[str, Any]:
    """Return an answer by the name of its model, with some fields as the test has them."""
    found = made({"$ref": f"#/components/schemas/{name}"}, style)
    assert set(changes) <= set(found), set(changes) - set(found)
    return found | changes


def transport(style: Style) -> httpx.MockTransport:
    """Return an API that answers every route from its document."""

    def handle(request: httpx.Request) -> httpx.Response:
        found = answer(request.method, request.url.path, style)
        if found is None:
            return httpx.Response(404, json={"reason": "not_found", "detail": "no such route"})
        return httpx.Response(found[0], content=json.dumps(found[1]).encode())

    return httpx.MockTransport(handle)
