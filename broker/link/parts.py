"""What frames are made of: values that mean nothing alone. Pure; see `frames` for the rules."""

from dataclasses import dataclass, field
from decimal import Decimal

from clients.secret import Secret


@dataclass(frozen=True, slots=True)
class GateState:
    """One gate: closers are pairs of id and mode."""

    scope: str
    epoch: int
    closers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ClosingPart:
    """A cut that is in force before it is on record; see `broker.gates`."""

    cut: str
    mode: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mount:
    """First path segment -> venue. `upstream` is a base URL on loopback in a paper home, else empty."""

    name: str
    venue: str
    environment: str
    upstream: str = ""


@dataclass(frozen=True, slots=True)
class VerifierPart:
    """What virtual signatures are checked with: a shared secret, or the bot's public key."""

    key_type: str
    secret: Secret | None = field(default=None, repr=False)
    public_key: str | None = None


@dataclass(frozen=True, slots=True)
class EgressPart:
    """The way to the venue, as `clients.egress.Egress` has it."""

    name: str
    addresses: tuple[str, ...] = ()
    way: str = "direct"
    source: str | None = None
    proxy_host: str | None = None
    proxy_port: int | None = None
    proxy_user: str | None = field(default=None, repr=False)
    proxy_password: Secret | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SlicePart:
    """A budget slice lent to the gateway; one of older `rules` than those in force there is given back unused."""

    id: str
    amount: Decimal
    rules: int = 0


@dataclass(frozen=True, slots=True)
class ClaimPart:
    """What was sent under a client order id, and has no id of the venue yet: times are the venue's, in microseconds.

    `quantity` and `price` are text, empty where the order has none; `exact`: the venue takes the quantity as sent.
    `boot` is that of the gateway that sent it.
    """

    grant: str
    name: str
    sent_us: int
    until_us: int
    side: str = ""
    quantity: str = ""
    price: str = ""
    exact: bool = True
    boot: str = ""


@dataclass(frozen=True, slots=True)
class UnheardPart:
    """An order that was sent in line `seq` of a boot of a gateway, and of which no answer told.

    The rest is as in `ClaimPart`; `grant` is who stands for its sender. `base` is what its pair trades, `quote` what it
    is quoted in where that is counted.
    """

    gateway: str
    boot: str
    seq: int
    grant: str
    symbol: str
    name: str
    side: str
    quantity: str
    price: str
    exact: bool
    sent_us: int
    until_us: int
    base: str = ""
    quote: str = ""


@dataclass(frozen=True, slots=True)
class Successor:
    """A lease that goes on under new epochs, in the order of its chain. Its end does not move."""

    lease: str
    epochs: tuple[int, ...]
