"""Values every venue speaks in.

What lives here: what a key is and may do, a request as it arrived (`Request`), what it would do
(`Intent`), what our reading of it found (`Reading`). How the gateway speaks a venue is in `wire`.
Nothing here does I/O, reads a clock or knows a venue by name.

Rules:
1. Bytes are the product: `Request` keeps the exact wire bytes; parsers add, they never replace.
2. What a parser is not certain of is `Malformed` or `Action.UNKNOWN`; neither is ever let through as a write.
3. Money and quantities are `Decimal`; instants on the wire are integer microseconds since the epoch.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

from clients.secret import Secret


class Environment(StrEnum):
    """Which world an account belongs to; fixed for an account and a home for ever."""

    PAPER = "paper"
    TESTNET = "testnet"
    LIVE = "live"


class Slot(StrEnum):
    """What a key of an account is for."""

    TRADE = "trade"
    READ = "read"
    STANDBY = "standby"
    RESPONDER = "responder"


class KeyType(StrEnum):
    """How a key signs."""

    HMAC = "hmac"
    RSA = "rsa"
    ED25519 = "ed25519"


@dataclass(frozen=True, slots=True)
class Credential:
    """A key as a venue knows it. `secret` is the HMAC secret, or a PKCS#8 PEM private key."""

    key_id: str
    secret: Secret = field(repr=False)
    key_type: KeyType
    passphrase: Secret | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Verifier:
    """What is needed to check a virtual signature: the shared HMAC secret, or the bot's public key.

    Exactly one of `secret` and `public_key` (SPKI PEM) is set.
    """

    key_type: KeyType
    secret: Secret | None = field(default=None, repr=False)
    public_key: str | None = None

    def __post_init__(self) -> None:
        if (self.secret is None) == (self.public_key is None):
            raise ValueError("a Verifier has either a secret or a public key")
        if (self.key_type is KeyType.HMAC) != (self.secret is not None):
            raise ValueError("HMAC verifies with a secret, RSA and Ed25519 with a public key")


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What a venue says a key may do, asked with the key itself.

    `ip_restricted` tells that a list is bound; most venues do not return the list.
    """

    can_read: bool
    can_trade: bool
    can_withdraw: bool
    can_transfer: bool
    ip_restricted: bool
    account_uid: str
    created_at_ms: int | None = None
    extra: tuple[str, ...] = ()


# --- requests ---------------------------------------------------------------------------------


class Action(StrEnum):
    """What a request would do. UNKNOWN is refused; it is never a guess."""

    READ = "read"
    PLACE = "place"
    AMEND = "amend"
    CANCEL = "cancel"
    LEVERAGE = "leverage"
    SETTING = "setting"
    STREAM = "stream"
    TRANSFER = "transfer"
    WITHDRAW = "withdraw"
    KEY_ADMIN = "key-admin"
    UNKNOWN = "unknown"


class Security(StrEnum):
    """What an endpoint asks of its caller."""

    PUBLIC = "public"
    KEY = "key"
    SIGNED = "signed"


class Side(StrEnum):
    """Side of an order."""

    BUY = "BUY"
    SELL = "SELL"


class Order(Struct, frozen=True, gc=False):
    """One order a request would place. Quantities in base asset, `quote_quantity` in quote asset.

    `price` is the limit, `trigger` the stop or activation price; both in quote asset per base unit.
    `market` means it may execute at any price. `starts` is the price at which an order that waits for another starts
    to work, `after_sale` that the other one sells. `drifts`: the market may stand above all these prices, and above
    that of now, when it executes. `rises`: it waits until the market has risen to its trigger; False: until it has
    fallen there; None: for neither. `trails`: it begins to follow the market at its trigger, or at once.
    """

    symbol: str
    side: Side
    market: bool
    quantity: Decimal | None = None
    quote_quantity: Decimal | None = None
    price: Decimal | None = None
    trigger: Decimal | None = None
    client_order_id: str | None = None
    reduce_only: bool = False
    starts: Decimal | None = None
    after_sale: bool = False
    drifts: bool = False
    rises: bool | None = None
    trails: bool = False


class OrderRef(Struct, frozen=True, gc=False):
    """An existing order (or order list) that a request names.

    `all_open` means every open order of `symbol` (None: of the account).
    """

    symbol: str | None
    order_id: str | None = None
    client_order_id: str | None = None
    is_list: bool = False
    all_open: bool = False


class Intent(Struct, frozen=True, gc=False):
    """What one request would do at the venue.

    `orders` is a tuple of groups; the orders of one group are alternatives (one cancels the other), so a
    group's notional is its largest member's. `endpoint` is our stable name, as in `spot.order.place`; `group`
    the allow-list group it belongs to, as in `trade`. `weight` is the venue's documented request weight.
    `certain` is False where the parser recognised the endpoint but cannot size what it does. `shrinks` is
    True for an amend that the venue allows only to reduce. `dry_run`: validated by the venue, never executed.
    `weight_pool` is what the venue counts the weight against; `ip` is its general pool, others stand alone.
    `listing`: of the whole market, and not of this instant, so that who asks meanwhile may have the same answer.
    `persists`: it places although what it replaces was not cancelled.
    """

    action: Action
    endpoint: str
    group: str
    weight: int = 1
    symbols: tuple[str, ...] = ()
    orders: tuple[tuple[Order, ...], ...] = ()
    target: OrderRef | None = None
    account_wide: bool = False
    certain: bool = True
    shrinks: bool = False
    dry_run: bool = False
    weight_pool: str = "ip"
    list_client_id: str | None = None
    listing: bool = False
    persists: bool = False


@dataclass(frozen=True, slots=True)
class Malformed:
    """A request no reader can be sure of. `reason` is a short stable code, `field` the parameter's name."""

    reason: str
    field: str = ""
    endpoint: str = "unknown"


class Request(Struct, frozen=True, gc=False):
    """A request as it arrived, mount stripped. `path` is the raw path, `query` excludes the question mark.

    `headers` are those that mean something to the venue; all others end here.
    """

    method: str
    path: str
    query: bytes
    body: bytes
    key_id: str | None
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Addressee(Struct, frozen=True, gc=False):
    """What a request is addressed to, by method and path alone: nothing else of it was looked at.

    `name` is that of `Intent.endpoint`. `row` is the venue module's own; None where the path is in no table.
    """

    request: Request
    name: str
    action: Action
    security: Security
    row: object = None


class Variant(StrEnum):
    """Which text the client signed: the wire bytes, those percent-decoded, or with `+` as blank too."""

    RAW = "raw"
    DECODED = "decoded"
    DECODED_PLUS = "decoded+"


class Reading(Struct, frozen=True, gc=False):
    """All that one pass over a request found.

    `form` is the venue module's own parse, opaque to others. Times are the bot's: microseconds since the
    epoch, and the receive window in microseconds (the venue's default where the bot gave none); both None on
    unsigned requests. `signed_text` is what replays are recognised by.
    """

    request: Request
    intent: Intent
    security: Security
    form: object
    timestamp_us: int | None = None
    window_us: int | None = None


class Opened(Struct, frozen=True, gc=False):
    """A request taken apart, its form not read yet. `parts` is the venue module's own."""

    addressee: Addressee
    parts: object


@dataclass(frozen=True, slots=True)
class SymbolInfo:
    """A tradable pair, as the venue lists it."""

    symbol: str
    base: str
    quote: str
