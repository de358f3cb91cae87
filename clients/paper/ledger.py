"""Accounts and keys of the paper exchange: what they hold and may do. No I/O, no clock."""

from dataclasses import dataclass, field
from decimal import Decimal

from clients.paper.errors import NO_BALANCE, rejected
from clients.secret import Secret
from clients.venue import KeyType

ZERO = Decimal(0)


@dataclass(slots=True)
class Balance:
    """One asset of one account."""

    free: Decimal = ZERO
    locked: Decimal = ZERO


@dataclass(slots=True)
class Account:
    """A master or sub-account. `uid` is the venue's number for it."""

    email: str
    uid: int
    master: bool = False
    balances: dict[str, Balance] = field(default_factory=dict)
    withdrawals: list[dict[str, object]] = field(default_factory=list)
    transfers: list[dict[str, object]] = field(default_factory=list)

    def balance(self, asset: str) -> Balance:
        """Return the balance of an asset, made where there is none yet."""
        return self.balances.setdefault(asset, Balance())

    def lock(self, asset: str, amount: Decimal) -> None:
        """Bind an amount in an order."""
        held = self.balance(asset)
        if held.free < amount:
            raise rejected(NO_BALANCE)
        held.free -= amount
        held.locked += amount

    def unlock(self, asset: str, amount: Decimal) -> None:
        """Free what an order no longer needs."""
        held = self.balance(asset)
        held.locked -= amount
        held.free += amount


@dataclass(slots=True)
class PaperKey:
    """One API key. `flags` are the permissions of `apiRestrictions`; `ips` empty means any address."""

    key_id: str
    account: str
    key_type: KeyType
    flags: dict[str, bool]
    ips: tuple[str, ...] = ()
    label: str = ""
    created_us: int = 0
    secret: Secret | None = field(default=None, repr=False)
    public_key: str | None = None
    deleted: bool = False

    def may(self, flag: str) -> bool:
        """Tell whether a permission is on."""
        return self.flags.get(flag, False)
