"""What may have been done with an asset that nobody here saw, and what is whose of it at worst then. Pure."""

from decimal import Decimal
from typing import NamedTuple

from msgspec import structs

from broker.gateway.bought import BUY
from broker.gateway.fills import UNKNOWN
from broker.gateway.sent import Sent
from broker.policy_facts import ZERO, Stake


class Asset(NamedTuple):
    """Of what is asked, on behalf of which grant and key, for a request in which pair, and beside which order."""

    account: str
    base: str
    grant: str
    key_id: str
    symbol: str = ""
    replaces: str = ""
    consumer: str = ""


class Doubt(NamedTuple):
    """What followed orders may have done that nobody knows.

    Attributes:
        any: Whether something is not known that could matter.
        others: How much more others may have of the asset.
        replaced: Whether the order that is replaced may be over, or what ends with it.
        offered: What they offer, where that is more than they free.
        own: How much less may be one's own.
    """

    any: bool = False
    others: Decimal = ZERO
    replaced: bool = False
    offered: Decimal = ZERO
    own: Decimal = ZERO

    def of(self, stake: Stake) -> Stake:
        """Return it as it is at worst."""
        if self.replaced:
            stake = structs.replace(stake.less(max(stake.freed, self.offered)), freed=ZERO)
        stake = stake.less(self.own) if self.own else stake
        if not self.others:
            return stake
        return structs.replace(stake, others=stake.others + self.others, doubted=stake.doubted + self.others)

    def beside(self, later: "Doubt") -> "Doubt":
        """Return what was in doubt before something was learnt that nobody counted, or is after it."""
        replaced, offered = self.replaced or later.replaced, max(self.offered, later.offered)
        return Doubt(True, max(self.others, later.others), replaced, offered, max(self.own, later.own))


UNREAD = Doubt(any=True, others=UNKNOWN, replaced=True, own=UNKNOWN)
"""What was done before this gateway was started may not be read yet: nobody knows what is whose (`recall`)."""


def pays(sent: Sent, asset: Asset) -> bool:
    """Tell whether an order moves an asset as what its pair is quoted in."""
    return bool(sent.quote) and sent.quote == asset.base


def brings(sent: Sent, asset: Asset) -> bool:
    """Tell whether an order brings an asset where it is executed; else it gives it."""
    return (sent.side == BUY) is not pays(sent, asset)


def is_replaced(sent: Sent, asset: Asset) -> bool:
    """Tell whether it is the order that a request replaces."""
    return bool(asset.replaces) and (sent.symbol, sent.order_id) == (asset.symbol, asset.replaces)


def moves(sent: Sent, asset: Asset) -> bool:
    """Tell whether an own sale is on its way that replaces an order: what that binds, it sells."""
    sale = sent.moved
    under_way = sale is not None and not sale.refused and (sale.unsure or sale.landed_us is None)
    old = None if sale is None or sale.asset != asset.base else sale.old
    return under_way and old is not None and old.grant == asset.grant
