"""How the gateway speaks Binance: find, open, verify, read, seal, refuse, understand. Pure; see `clients.wire.Wire`.

Rules:
1. Of a bot's bytes only these change: the key id and `signature`; the digits of `timestamp`, in the bot's
   unit; `recvWindow`, or its insertion directly after `timestamp`; absent client order ids, inserted there
   too.
   Order, parts and every other byte stay. `signature` goes back to the place it came from.
2. Headers are ours: key id, form type where there is a body, Accept, User-Agent, no compression. So a bot
   cannot ask for binary answers (`X-MBX-SBE`). `X-MBX-TIME-UNIT` passes where it is one that the venue documents,
   and is refused where it is not: a bot that misreads times must not be ours to make. Host and length are the
   connection's.
3. Public calls carry no credential, whatever the bot sent. Endpoints that want only a key are STREAM: their
   answers are bearers.
4. Times: 13 digits are milliseconds, 16 are microseconds; the receive window is milliseconds with up to three
   decimals on `/api`, whole milliseconds on `/sapi`.

Source: Binance spot REST docs, "Request Security" and "Timing security", state of 2026-07-21.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from clients.venue import (
    Action,
    Addressee,
    Credential,
    Malformed,
    Opened,
    Reading,
    Request,
    Security,
    Variant,
    Verifier,
)
from clients.venues.binance import answers, codes, intent, sign
from clients.venues.binance.endpoints import Endpoint, find
from clients.venues.binance.form import Fault, Form, Parts, read, split
from clients.wire import Answer, Refusal, RefusalKind, Sealed, Stamp, Wire

DEFAULT_WINDOW_US = 5_000_000
MAX_WINDOW_US = 60_000_000

_PUBLIC, _SIGNED = Security.PUBLIC, Security.SIGNED
_MILLISECOND_DIGITS, _MICROSECOND_DIGITS = 13, 16
_FAR_US = 2**62
"""Further away than any clock of ours; a 64-bit number."""
_US_PER_MS = 1000
_BODILESS = frozenset({"GET", "HEAD"})
_KEY_HEADER = b"X-MBX-APIKEY"
_PLAIN_HEADERS = (
    (b"Accept", b"application/json"),
    (b"User-Agent", b"portcullis"),
    (b"Accept-Encoding", b"identity"),
)
_TIME_UNIT, _TIME_UNIT_HEADER = b"x-mbx-time-unit", b"X-MBX-TIME-UNIT"
_TIME_UNITS = frozenset({b"MILLISECOND", b"MICROSECOND"})
_FORM_HEADER = (b"Content-Type", b"application/x-www-form-urlencoded")


_IDS = {
    "origClientOrderId": "orderId",
    "cancelOrigClientOrderId": "cancelOrderId",
    "listClientOrderId": "orderListId",
}
"""By what an existing order is named instead of its name."""


class BinanceWire:
    """The `Wire` of Binance spot and `/sapi`. Holds parsed asymmetric keys and nothing else."""

    name = codes.VENUE
    default_window_us = DEFAULT_WINDOW_US
    max_window_us = MAX_WINDOW_US

    def __init__(self) -> None:
        self._keys = sign.KeyRing()

    def __repr__(self) -> str:
        return f"BinanceWire({self._keys!r})"

    def passing(self, headers: Mapping[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
        """Pick the time unit."""
        unit = headers.get(_TIME_UNIT)
        return () if unit is None else ((_TIME_UNIT_HEADER, unit.strip().upper()),)

    def find(self, request: Request) -> Addressee:
        """Look the path up. What is in no table has to be signed, or is nothing we send."""
        row = find(request.method, request.path)
        if row is not None:
            return Addressee(request, row.name, row.action, row.security, row)
        bare = request.key_id is None and request.method == "GET"
        return Addressee(request, "unknown", Action.UNKNOWN, _PUBLIC if bare else _SIGNED)

    def open(self, addressee: Addressee) -> Opened | Malformed:
        """Take it apart: `form.split`."""
        request = addressee.request
        if request.body and request.method in _BODILESS:
            return Malformed("body_on_get", "", addressee.name)
        if request.headers and request.headers[0][1] not in _TIME_UNITS:
            return Malformed("time_unit", "", addressee.name)
        parts = split(request.query, request.body)
        if isinstance(parts, Fault):
            return Malformed(parts.reason, parts.field, addressee.name)
        if (parts.signature is None) is (addressee.security is _SIGNED):
            reason = "missing" if parts.signature is None else "unknown_parameter"
            return Malformed(reason, "signature", addressee.name)
        return Opened(addressee, parts)

    def read(self, opened: Opened) -> Reading | Malformed:
        """Parse once. The order of judgement: form, times, what it would do."""
        addressee, row = opened.addressee, opened.addressee.row
        if isinstance(row, Endpoint):
            form = read(_parts(opened), row.grammars, row.required)
        else:
            form, row = read(_parts(opened), None), None
        if isinstance(form, Fault):
            return Malformed(form.reason, form.field, addressee.name)
        timestamp_us = window_us = None
        if addressee.security is _SIGNED:
            times = _times(form)
            if isinstance(times, Fault):
                return Malformed(times.reason, times.field, addressee.name)
            timestamp_us, window_us = times
        judged = intent.judge(row, form)
        if isinstance(judged, Malformed):
            return judged
        return Reading(addressee.request, judged, addressee.security, form, timestamp_us, window_us)

    def client_id_slots(self, reading: Reading) -> tuple[str, ...]:
        """Name the absent client order ids, in the order `Stamp.client_order_ids` gives them."""
        return intent.client_id_names(reading.intent.endpoint, _form(reading).values)

    def verify(self, verifier: Verifier, opened: Opened) -> Variant | None:
        """Tell in which variant the signature verifies; None if in none."""
        parts = _parts(opened)
        if parts.signature is None:
            return None
        text, signature = parts.payload(), sign.from_the_wire(parts.signature)
        for variant in sign.variants(text):
            if self._keys.matches(verifier, sign.variant_text(text, variant).encode(), signature):
                return variant
        return None

    def signed_text(self, reading: Reading) -> str:
        """Return the text the client signed with its escapes undone: `%3A`, `%3a` and `:` are one."""
        return sign.variant_text(_form(reading).payload(), Variant.DECODED)

    def seal(self, credential: Credential, reading: Reading, stamp: Stamp) -> Sealed:
        """Write the stamp, swap key id and signature, keep every other byte.

        What is signed is the wire text, also for a client that signed it before encoding: since 2026-01-15 the
        venue takes no other (fact sheet, section 2.1).

        Raises:
            ValueError: The stamp names more client order ids than are absent, or the reading is not signed.
        """
        if reading.security is not _SIGNED:
            raise ValueError("only signed requests are sealed")
        form, request = _form(reading), reading.request
        query, body = _stamped(
            form, self.client_id_slots(reading), stamp, decimals=_takes_decimals(request.path)
        )
        pairs = query if form.signature_part == "query" else body
        at = _moved(form, pairs)
        if stamp.target_id is not None:
            _name_by_id((query, body), stamp.target_id)
        text = "&".join(query) + "&".join(body)  # as it goes over the wire, whatever the client signed
        signature = "signature=" + sign.on_the_wire(self._keys.sign(credential, text.encode()))
        pairs.insert(at, signature)
        return _sealed(request.method, request.path, query, body, credential.key_id, request.headers)

    def forward_public(self, reading: Reading) -> Sealed:
        """Forward a public call without any credential.

        Raises:
            ValueError: The reading is not of a public endpoint.
        """
        if reading.security is not _PUBLIC:
            raise ValueError("only public calls are forwarded without a signature")
        form, request = _form(reading), reading.request
        return _sealed(request.method, request.path, list(form.query), list(form.body), None, request.headers)

    def own_request(
        self,
        credential: Credential,
        method: str,
        path: str,
        params: Sequence[tuple[str, str]],
        stamp: Stamp,
        body: Sequence[tuple[str, str]] = (),
    ) -> Sealed:
        """Sign a request of our own; in the query, as the venue's own SDKs do, but for what must be in the body."""
        pairs = sign.signed_pairs(params)
        pairs.append(f"recvWindow={_window(stamp.window_us, decimals=_takes_decimals(path))}")
        pairs.append(f"timestamp={stamp.timestamp_us // _US_PER_MS}")
        form = sign.signed_pairs(body)
        signature = self._keys.sign(credential, ("&".join(pairs) + "&".join(form)).encode("ascii"))
        pairs.append("signature=" + sign.on_the_wire(signature))
        return _sealed(method, path, pairs, form, credential.key_id)

    def refusal(self, kind: RefusalKind, detail: str, *, retry_after_s: int | None = None) -> Refusal:
        """Say no in Binance's words; see `codes.refuse` for `detail`."""
        return codes.refuse(kind, detail, retry_after_s)

    def answer(self, reading: Reading, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Answer:
        """Understand an upstream answer; see `answers.understand`."""
        return answers.understand(reading, status, headers, body)

    def forget(self, key_id: str | None = None) -> None:
        """Drop parsed private keys of one key id, or all: call it where key material is wiped."""
        self._keys.forget(key_id)


def _form(reading: Reading) -> Form:
    if not isinstance(reading.form, Form):
        raise TypeError("this reading is of another venue")
    return reading.form


def _parts(opened: Opened) -> Parts:
    if not isinstance(opened.parts, Parts):
        raise TypeError("this request was opened by another venue")
    return opened.parts


def _takes_decimals(path: str) -> bool:
    return path.startswith("/api/")


def _times(form: Form) -> tuple[int, int] | Fault:
    """Return timestamp and receive window of a signed request, both in microseconds."""
    digits = form.values.get("timestamp")
    if digits is None:
        return Fault("missing", "timestamp")
    if not (digits.isascii() and digits.isdigit()):
        return Fault("bad_value", "timestamp")
    # a number of another length than both units have is too far from now in either: stale, as the venue says
    unit = 1 if len(digits) == _MICROSECOND_DIGITS else _US_PER_MS
    timestamp_us = min(int(digits) * unit, _FAR_US)
    window = form.values.get("recvWindow")
    if window is None:
        return timestamp_us, DEFAULT_WINDOW_US
    if window.isascii() and window.isdigit():
        window_us = int(window) * _US_PER_MS
    elif window.isascii() and window.replace(".", "", 1).isdigit():
        window_us = int(Decimal(window) * _US_PER_MS)
    else:
        return Fault("bad_value", "recvWindow")
    return (
        (timestamp_us, window_us) if window_us <= MAX_WINDOW_US else Fault("window_too_large", "recvWindow")
    )


def _window(window_us: int, *, decimals: bool) -> str:
    """Write a receive window in milliseconds, never longer than asked."""
    whole, rest = divmod(window_us, _US_PER_MS)
    return f"{whole}.{rest:03d}".rstrip("0") if rest and decimals else str(whole)


def _stamped(
    form: Form, slots: tuple[str, ...], stamp: Stamp, *, decimals: bool
) -> tuple[list[str], list[str]]:
    """Return both parts with the stamp written in, without `signature`."""
    if len(stamp.client_order_ids) > len(slots):
        raise ValueError("the stamp names more client order ids than are absent")
    values = form.values
    query, body = list(form.query), list(form.body)
    old = "timestamp=" + values["timestamp"]
    pairs = query if old in query else body
    at = pairs.index(old)
    unit = _US_PER_MS if len(values["timestamp"]) == _MILLISECOND_DIGITS else 1
    pairs[at] = f"timestamp={stamp.timestamp_us // unit}"
    window = "recvWindow=" + _window(stamp.window_us, decimals=decimals)
    extra = [f"{name}={value}" for name, value in zip(slots, stamp.client_order_ids, strict=False)]
    if "recvWindow" in values:
        old = "recvWindow=" + values["recvWindow"]
        part = query if old in query else body
        part[part.index(old)] = window
    else:
        extra.insert(0, window)
    if extra:
        pairs[at + 1 : at + 1] = extra
    return query, body


def _name_by_id(parts: tuple[list[str], list[str]], target_id: str) -> None:
    """Name an existing order by the venue's id instead of the name that led to it.

    Where both are sent, what the venue does with two that do not fit has changed before; one id leaves nothing open.
    """
    for pairs in parts:
        for at, pair in enumerate(pairs):
            id_name = _IDS.get(pair.partition("=")[0])
            if id_name is not None:
                pairs[at] = f"{id_name}={target_id}"


def _moved(form: Form, pairs: list[str]) -> int:
    """Return where `signature` goes back: before the same neighbour, or to the end."""
    kept = form.query if form.signature_part == "query" else form.body
    if form.signature_at >= len(kept):
        return len(pairs)
    neighbour = kept[form.signature_at].partition("=")[0] + "="
    return next(index for index, pair in enumerate(pairs) if pair.startswith(neighbour))


def _sealed(
    method: str,
    path: str,
    query: list[str],
    body: list[str],
    key_id: str | None,
    passing: tuple[tuple[bytes, bytes], ...] = (),
) -> Sealed:
    target = f"{path}?{'&'.join(query)}" if query else path
    headers: tuple[tuple[bytes, bytes], ...] = (*_PLAIN_HEADERS, *passing) if passing else _PLAIN_HEADERS
    if body:
        headers = (_FORM_HEADER, *headers)
    if key_id is not None:
        headers = ((_KEY_HEADER, key_id.encode("ascii")), *headers)
    return Sealed(method, target.encode("ascii"), "&".join(body).encode("ascii"), headers)


WIRE = BinanceWire()

if TYPE_CHECKING:
    _CONFORMS: Wire = WIRE
