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
    """A master or sub-account. `uid` is the venue's number for it; `wallets` are those beside spot."""

    email: str
    uid: int
    master: bool = False
    balances: dict[str, Balance] = field(default_factory=dict)
    withdrawals: list[dict[str, object]] = field(default_factory=list)
    transfers: list[dict[str, object]] = field(default_factory=list)
    deposits: list[dict[str, object]] = field(default_factory=list)
    created_us: int = 0
    can_trade: bool = True
    wallets: dict[str, dict[str, Decimal]] = field(default_factory=dict)

    def balance(self, asset: str) -> Balance:
        """Return the balance of an asset, made where there is none yet."""
        return self.balances.setdefault(asset, Balance())

    def wallet(self, name: str) -> dict[str, Decimal]:
        """Return what another wallet than spot holds, by asset."""
        return self.wallets.setdefault(name, {})

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
    """One API key. `flags` are the permissions of `apiRestrictions`; `ips` empty means any address.

    `deleted_us` is 0 where the deletion counts at once.
    """

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
    deleted_us: int = 0

    def dead(self, now_us: int, delay_us: int = 0) -> bool:
        """Tell whether it is deleted, and so for longer than the venue takes to notice."""
        return self.deleted and now_us >= self.deleted_us + delay_us

    def may(self, flag: str) -> bool:
        """Tell whether a permission is on."""
        return self.flags.get(flag, False)
