"""How the gateway speaks a venue: what goes out, what comes back, and how a no is said.

`Wire` is one module or object per venue. Nothing here does I/O, reads a clock or knows a venue by name; the values of
`venue` are what requests are before they go out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from clients.venue import Addressee, Credential, Malformed, Opened, Reading, Request, Variant, Verifier


class Stamp(Struct, frozen=True, gc=False):
    """What the gateway writes into a request before signing it.

    `target_id` is the venue's id of the existing order or list that the request names: it stands instead of the name.
    """

    timestamp_us: int
    window_us: int
    client_order_ids: tuple[str, ...] = ()
    target_id: str | None = None


class Sealed(Struct, frozen=True, gc=False):
    """A request ready for the venue: origin-form target with query, body, headers (name, value)."""

    method: str
    target: bytes
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


class RefusalKind(StrEnum):
    """How a refusal is said; each venue has its native words and codes for each."""

    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    STALE = "stale"
    MALFORMED = "malformed"
    ENDPOINT = "endpoint"
    SYMBOL = "symbol"
    ORDER = "order"
    NO_SUCH_ORDER = "no_such_order"
    RATE = "rate"
    BANNED = "banned"
    ORDER_RATE = "order_rate"
    UNAVAILABLE = "unavailable"
    UNKNOWN_OUTCOME = "unknown_outcome"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A venue-native answer made here. An empty body with 502, 503 or 504 means an outage of ours."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class OrderState(Struct, frozen=True, gc=False):
    """What an answer of the venue says about one order.

    `final` orders can no longer execute. `executed_quote` is what they did execute, in quote asset. `of_cancel`: it
    is one that the request ended, not one that it placed. `created_us` is when the venue took it, microseconds since
    the epoch: told where an order is asked for. `list_id` is the order list it belongs to. `waits`: it is not in the
    book yet and binds nothing, because another order of its list has to be filled first. `fees` are what its
    executions cost, by asset, where the answer tells of each of them. `trigger` is the price that starts it.
    """

    symbol: str
    order_id: str | None
    client_order_id: str | None
    final: bool
    executed_quote: Decimal | None = None
    executed_base: Decimal | None = None
    rejected: bool = False
    of_cancel: bool = False
    list_id: str | None = None
    side: str | None = None
    quantity: Decimal | None = None
    price: Decimal | None = None
    created_us: int | None = None
    waits: bool = False
    fees: tuple[tuple[str, Decimal], ...] | None = None
    trigger: Decimal | None = None


class Answer(Struct, frozen=True, gc=False):
    """What an upstream answer means: a definite no, orders it tells of, and pauses the venue asks for.

    `refused` is a definite "nothing was done"; `unknown` means it may have executed. Neither: done.
    """

    refused: bool
    unknown: bool
    code: str | None = None
    orders: tuple[OrderState, ...] = ()
    retry_after_s: float | None = None
    used_weight: int | None = None


class Wire(Protocol):
    """How the gateway speaks one venue. Pure: no I/O, no clock. One module or object per venue."""

    name: str
    default_window_us: int
    max_window_us: int

    def passing(self, headers: Mapping[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
        """Pick the headers, by lower-case name, that mean something to the venue and pass to it."""
        ...

    def find(self, request: Request) -> Addressee:
        """Tell what a request is addressed to, before anything else of it is looked at."""
        ...

    def open(self, addressee: Addressee) -> Opened | Malformed:
        """Take a request apart as far as checking its signature needs."""
        ...

    def verify(self, verifier: Verifier, opened: Opened) -> Variant | None:
        """Tell in which encoding variant the signature verifies; None if in none. Constant-time compare."""
        ...

    def read(self, opened: Opened) -> Reading | Malformed:
        """Parse once: intent, times, and the form that `seal` works on."""
        ...

    def signed_text(self, reading: Reading) -> str:
        """Return the text the client signed, in the one spelling that replays are recognised by."""
        ...

    def client_id_slots(self, reading: Reading) -> tuple[str, ...]:
        """Name the absent client order ids, in the order `Stamp.client_order_ids` gives them."""
        ...

    def forget(self, key_id: str | None = None) -> None:
        """Drop parsed private keys of one key id, or all: called where key material is wiped."""
        ...

    def seal(self, credential: Credential, reading: Reading, stamp: Stamp) -> Sealed:
        """Swap key id and signature, write the stamp, keep every other byte."""
        ...

    def forward_public(self, reading: Reading) -> Sealed:
        """Forward a public call without any credential."""
        ...

    def own_request(
        self, credential: Credential, method: str, path: str, params: Sequence[tuple[str, str]], stamp: Stamp
    ) -> Sealed:
        """Sign a request of the gateway's own (order state, holdings)."""
        ...

    def refusal(self, kind: RefusalKind, detail: str, *, retry_after_s: int | None = None) -> Refusal:
        """Say no in the venue's own words, so that client libraries raise their natural exception."""
        ...

    def answer(self, reading: Reading, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Answer:
        """Understand an upstream answer to a write, or its rate-limit headers for a read."""
        ...
