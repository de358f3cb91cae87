"""Binance's error codes, both ways, as tables.

Rules:
1. Out: a refusal of ours is said with the code and HTTP status that makes client libraries raise their
   natural, final exception. `-2015` is never used: ccxt takes it for a temporary ban and tries again.
2. An outage of ours is an empty body with 503 or 504; a JSON body there would be taken for a final answer.
3. Free text is ASCII, short, and free of the words that client libraries search for.
4. In: an HTTP 5xx, 3xx, 408, `-1006` or `-1007` means it may have executed. Any other code is a definite no,
   except that a cancelReplace may say both (`-2021`); `answers.py` reads its data. Of a bot's order it is one only
   where it is the venue's own code, and neither `-1000` nor `-1001` (`order_in_doubt`).
5. `-2015` alone never proves a key dead: a wrong address or a ban says the same.

Sources: Binance spot REST docs, errors.md and rest-api.md "HTTP Return Codes", state of 2026-07-21; what
client libraries make of them: measured with ccxt 4.5.90, python-binance 1.0.37, official SDKs, 2026-11-22.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType

from clients.errors import VenueAmbiguous, VenueError, VenueRefused, VenueUnavailable
from clients.wire import Refusal, RefusalKind

VENUE = "binance"

_JSON = (b"Content-Type", b"application/json;charset=UTF-8")
_LONGEST_TEXT = 160
_TOO_MANY_REQUESTS = 429
_BANNED = 418
_REQUEST_TIMEOUT = 408
_SERVER_ERROR = 500
_REDIRECT, _REFUSED = 300, 400
_TURNED_AWAY, _REGION = 403, 451

# --- out: how we say no -----------------------------------------------------------------------

STALE_TEXT = "Timestamp for this request is outside of the recvWindow."
EARLY_TEXT = "Timestamp for this request was 1000ms ahead of the server's time."

# kind: (HTTP status, code, fixed text or "" for free text)
_REFUSALS: Mapping[RefusalKind, tuple[int, int, str]] = MappingProxyType(
    {
        RefusalKind.UNKNOWN_KEY: (401, -2014, "API-key format invalid."),
        RefusalKind.BAD_SIGNATURE: (400, -1022, "Signature for this request is not valid."),
        RefusalKind.STALE: (400, -1021, STALE_TEXT),
        RefusalKind.ENDPOINT: (403, -1002, "You don't have permission."),  # exact: ccxt's PermissionDenied
        RefusalKind.SYMBOL: (400, -1121, "Invalid symbol."),
        RefusalKind.ORDER: (400, -2010, ""),
        RefusalKind.NO_SUCH_ORDER: (400, -2011, "Unknown order sent."),
        RefusalKind.RATE: (
            *(429, -1003),
            "Too much request weight used; please use WebSocket Streams for live updates.",
        ),
        RefusalKind.BANNED: (
            *(418, -1003),
            "Way too much request weight used; IP banned until {}. Please use WebSocket Streams to avoid bans.",
        ),
        RefusalKind.ORDER_RATE: (400, -1015, "Too many new orders; current limit is set by policy."),
    }
)
_OUTAGES = MappingProxyType({RefusalKind.UNAVAILABLE: 503, RefusalKind.UNKNOWN_OUTCOME: 504})

_WAITS = frozenset({RefusalKind.RATE, RefusalKind.BANNED})

ORDER_TEXT = "Order refused by policy."
NO_SUCH_ORDER_READ = "read"
"""Detail of a NO_SUCH_ORDER refusal that answers a question about an order, not a cancel."""

# Words ccxt, hummingbot or freqtrade search for in texts, each changing what the bot does next.
_TRAPS = (
    *("LOT_SIZE", "PRICE_FILTER", "MAX_POSITION"),
    *(
        "has no operation privilege",
        "Order does not exist",
        "Unknown order",
        "Rest API trading is not enabled",
    ),
    *("Price * QTY is zero or less", "insufficient balance", "immediately match", "immediately trigger"),
    *("You don't have permission", "Timestamp for this request", "API-key", "Signature for this"),
    *("This order type is not possible", "under maintenance"),
)
_TRAPS_FOLDED = tuple(trap.casefold() for trap in _TRAPS)

# What becomes of a key is said in the text, because that is what a bot's user reads; class and code stay the venue's.
_KEY_TEXTS: Mapping[str, str] = MappingProxyType(
    {
        "cut": "Cut off by Portcullis: nothing was sent, and nothing will be until an operator thaws this key.",
        "halted": "Halted by Portcullis: reads, cancels and exits pass; new risk does not until an operator thaws.",
        "revoked": "This virtual key was replaced or withdrawn at Portcullis; use the one that took its place.",
        "no_key": "Portcullis found no key: send the virtual key's id in the header X-MBX-APIKEY.",
        "unknown_key": "Portcullis does not know this key: bots use a virtual key here, never one of the exchange.",
    }
)

# Malformed reason: (code, text with the parameter's name). The texts end in what to do.
_MALFORMED: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "missing": (-1102, "Mandatory parameter '{}' was not sent, was empty/null, or malformed."),
        "duplicate": (-1101, "Duplicate values for parameter '{}' detected."),
        "unknown_parameter": (-1104, "Not all sent parameters were read; parameter '{}' is not known here."),
        "empty_value": (-1105, "Parameter '{}' was empty."),
        "unexpected": (-1106, "Parameter '{}' sent when not required."),
        "ambiguous": (-1106, "Parameter '{}' sent when not required: it names again what another one names."),
        "bad_value": (
            -1100,
            "Illegal characters found in parameter '{}': send the plain form the venue documents.",
        ),
        "window_too_large": (-1131, "recvWindow must be less than 60000"),
        "too_many_parameters": (-1101, "Too many parameters: Portcullis takes 128 in a request."),
        "form_too_large": (-1101, "Too many parameters: Portcullis takes 16 KiB of them in a request."),
        "not_ascii": (
            -1100,
            "Illegal characters found in the request: percent-encode what is not ASCII, as UTF-8.",
        ),
        "body_on_get": (-1100, "A GET carries its parameters in the query string, not in a body."),
        "json_body": (-1100, "The body is JSON: send the parameters as a form, name=value joined by '&'."),
        "empty_pair": (
            -1100,
            "Illegal characters found in the request: '&' with nothing before or behind it.",
        ),
        "bad_name": (-1100, "Illegal characters found in a parameter's name: letters and digits only."),
        "no_equals": (-1100, "Illegal characters found in parameter '{}': its '=' is missing."),
        "second_equals": (
            -1100,
            "Illegal characters found in parameter '{}': percent-encode a '=' in it as %3D.",
        ),
        "plus_sign": (
            -1100,
            "Illegal characters found in parameter '{}': percent-encode blanks as %20, '+' as %2B.",
        ),
        "semicolon": (-1100, "Illegal characters found in parameter '{}': percent-encode ';' as %3B."),
        "bad_character": (
            -1100,
            "Illegal characters found in parameter '{}': percent-encode reserved characters.",
        ),
        "bad_escape": (
            -1100,
            "Illegal characters found in parameter '{}': '%' without two hex digits behind it.",
        ),
        "needless_escape": (
            -1100,
            "Illegal characters found in parameter '{}': send letters and digits unescaped.",
        ),
        "not_utf8": (-1100, "Illegal characters found in parameter '{}': its escapes are not UTF-8."),
        "control_character": (-1100, "Illegal characters found in parameter '{}': a control character."),
        "time_unit": (-1100, "X-MBX-TIME-UNIT must be MILLISECOND or MICROSECOND."),
    }
)
_MALFORMED_DEFAULT = (-1102, "Mandatory parameter '{}' was not sent, was empty/null, or malformed.")


def refuse(kind: RefusalKind, detail: str = "", retry_after_s: int | None = None) -> Refusal:
    """Say no as Binance would.

    Args:
        kind: What kind of no.
        detail: ORDER: free text for the bot's log. MALFORMED: `reason` or `reason:field` of the `Malformed`.
            UNKNOWN_KEY: our reason. NO_SUCH_ORDER: `read` for a query, anything else for a cancel.
            BANNED: the end of the ban, in milliseconds since the epoch. Elsewhere unused.
        retry_after_s: Whole seconds for `Retry-After`; RATE and BANNED have 1 where None is given.
    """
    if kind in _OUTAGES:
        pause = () if retry_after_s is None else ((b"Retry-After", b"%d" % retry_after_s),)
        return Refusal(_OUTAGES[kind], b"", pause)
    if kind is RefusalKind.MALFORMED:
        status = 400
        code, text = _malformed(detail)
    elif kind is RefusalKind.NO_SUCH_ORDER and detail == NO_SUCH_ORDER_READ:
        status, code, text = 400, -2013, "Order does not exist."
    else:
        status, code, text = _REFUSALS[kind]
    if kind is RefusalKind.UNKNOWN_KEY:
        text = _KEY_TEXTS.get(detail, text)
    headers: tuple[tuple[bytes, bytes], ...] = (_JSON,)
    if kind in _WAITS or retry_after_s is not None:
        headers = (_JSON, (b"Retry-After", b"%d" % (1 if retry_after_s is None else retry_after_s)))
    if kind is RefusalKind.BANNED:
        text = text.format(detail if detail.isdecimal() else "the end of Retry-After")
    body = json.dumps({"code": code, "msg": text or _free(detail)}, separators=(",", ":"))
    return Refusal(status, body.encode("ascii"), headers)


def _malformed(detail: str) -> tuple[int, str]:
    reason, _, field = detail.partition(":")
    code, text = _MALFORMED.get(reason, _MALFORMED_DEFAULT)
    known = field if field.isascii() and field.isalnum() and len(field) <= 40 else "request"  # noqa: PLR2004
    return code, text.format(known)


def _free(detail: str) -> str:
    """Return free text that no client library mistakes for one of the venue's own."""
    text = "".join(letter if " " <= letter <= "~" else " " for letter in detail)[:_LONGEST_TEXT].strip()
    folded = text.casefold()
    return ORDER_TEXT if not text or any(trap in folded for trap in _TRAPS_FOLDED) else text


# --- in: what an answer means -----------------------------------------------------------------

UNKNOWN_CODES = frozenset({-1006, -1007})
"""UNEXPECTED_RESP and TIMEOUT: "execution status unknown"."""

_UNSAID = frozenset({-1000, -1001})
"""UNKNOWN and DISCONNECTED, an error inside the venue: neither says that an order was not taken, and bots report orders
that were filled after it (c9s/bbgo issue 1590)."""

_NEVER_TAKEN = frozenset({403, 418, 429})
"""Turned away at the door, whatever the body is: a firewall, a ban, a limit."""

REPLACE_PARTLY_FAILED = -2021
REPLACE_FAILED = -2022
KEY_UNKNOWN_CODES = frozenset({-2008, -2014})
KEY_REFUSED_CODES = frozenset({-1002, -2015, -1099})

_REASONS: Mapping[int, str] = MappingProxyType(
    {
        -1002: "not_permitted",
        -1003: "rate_limited",
        -1015: "order_rate_limited",
        -1016: "shutting_down",
        -1020: "unsupported",
        -1021: "stale_timestamp",
        -1022: "bad_signature",
        -1099: "not_permitted",
        -1102: "missing_parameter",
        -1121: "bad_symbol",
        -1131: "window_too_large",
        -2008: "unknown_key",
        -2010: "order_rejected",
        -2011: "cancel_rejected",
        -2013: "no_such_order",
        -2014: "bad_key_format",
        -2015: "key_refused",
    }
)
_RETRY_CODES = frozenset({-1001, -1003, -1008, -1015, -1021})
"""Nothing was done and the same call may succeed later. -1001 and -1008 only below HTTP 500, where not even a
write is in doubt."""


def outcome_unknown(status: int, code: int | None) -> bool:
    """Tell whether a request with this answer may have executed."""
    return (
        status >= _SERVER_ERROR
        or _REDIRECT <= status < _REFUSED
        or status == _REQUEST_TIMEOUT
        or code in UNKNOWN_CODES
    )


def order_in_doubt(status: int, code: int | None) -> bool:
    """Tell whether an order with this error answer may be in the book: only the venue's own code says no."""
    if status >= _REFUSED and code is None:
        return status not in _NEVER_TAKEN
    return outcome_unknown(status, code) or code in _UNSAID


def turned_away(status: int, headers: Mapping[bytes, bytes], body: bytes) -> bool:
    """Tell whether an answer says that nobody from here is served, and is none of the venue's own to this request.

    A page of HTML in the place of an answer, a 403 without a code of the venue (a firewall before it), a 451 (its
    region rule, with code 0). Which of them it is, and why, nobody here knows.

    Source: Binance spot REST docs, rest-api.md "HTTP Return Codes" (403: WAF), state of 2026-07-21; 451 with code 0 and
    202 with HTML as users of client libraries report them.
    """
    if status == _REGION:
        return True
    if status >= _REDIRECT and status != _TURNED_AWAY:
        return False
    if body[:64].lstrip()[:1] == b"<" or headers.get(b"content-type", b"")[:9].lower() == b"text/html":
        return True
    if status != _TURNED_AWAY or headers.get(b"content-encoding", b"identity") != b"identity":
        return False
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return True
    return not isinstance(document, dict) or not document.get("code")


def to_error(endpoint: str, status: int, code: int | None, *, write: bool) -> VenueError:
    """Translate an error answer for the control plane. The venue's text is left out: it may quote parameters.

    Args:
        endpoint: Our stable name.
        status: HTTP status, 300 or above.
        code: The venue's code, if the body carried one.
        write: Whether the call could change something; a failed read may always be tried again.
    """
    words = None if code is None else str(code)
    if outcome_unknown(status, code):
        if write:
            return VenueAmbiguous(VENUE, endpoint, "outcome_unknown", status=status, code=words)
        return VenueUnavailable(VENUE, endpoint, "server_error", status=status, code=words)
    if status in {_TOO_MANY_REQUESTS, _BANNED} or code in _RETRY_CODES:
        reason = _REASONS.get(code or 0, "rate_limited" if status in {429, 418} else "try_again")
        return VenueUnavailable(VENUE, endpoint, reason, status=status, code=words)
    return VenueRefused(VENUE, endpoint, _REASONS.get(code or 0, "refused"), status=status, code=words)
