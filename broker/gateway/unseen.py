"""What may have been done with an asset that nobody here saw, and what is whose of it at worst then. Values only."""

from decimal import Decimal
from typing import NamedTuple

from msgspec import structs

from broker.gateway.fills import UNKNOWN
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
