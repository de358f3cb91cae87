"""Who sent what is in doubt, and who stands for them now: as the broker tells it of a name. Pure.

Rules:
1. A grant that was revoked since may have another that stands for it, and the broker alone knows which. It says it with
   each request that it has on record under a name (`ClaimPart`): a request of ours is known there by its start and by
   the time it carries. What it does not tell is left as we know it.
2. Of what was sent from here we know more than the broker, which may not have heard yet that it was refused: of other
   gateways', and of earlier starts' that were not taken in, its word is all there is.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from decimal import Decimal

from broker.gateway.sent import Sent
from broker.link.frames import ClaimPart

_Request = tuple[str, str, int, int]


class Claims:
    """What the broker has on record of a name, beside what this gateway sent."""

    def __init__(self, boot: str, claims: Iterable[ClaimPart] = ()) -> None:
        self._boot, self._claims = boot, tuple(claims)
        self._stands: dict[_Request, set[str]] = defaultdict(set)
        for one in self._claims:
            self._stands[one.boot, one.name, one.sent_us, one.until_us].add(one.grant)

    def stands_for(self, sent: Sent) -> str:
        """Return who stands for the grant that sent something (rule 1)."""
        told = self._stands.get((sent.boot or self._boot, sent.name, sent.sent_us, sent.until_us), ())
        return next(iter(told)) if len(told) == 1 else sent.grant

    def beside(self, account: str, symbol: str, ours: Collection[Sent]) -> tuple[Sent, ...]:
        """Return what was sent elsewhere, by who stands for its sender (rule 2)."""
        here = {self._boot, *(one.boot for one in ours if one.boot and not one.gateway)}
        told = {(one.boot, one.name, one.sent_us, one.until_us) for one in ours if one.gateway}
        return tuple(
            _as_sent(account, symbol, one)
            for one in self._claims
            if one.boot not in here and (one.boot, one.name, one.sent_us, one.until_us) not in told
        )


def _as_sent(account: str, symbol: str, claim: ClaimPart) -> Sent:
    """Read what another gateway, or an earlier start of this one, sent under a name."""
    return Sent(
        0, claim.grant, account, symbol, claim.name, claim.side,
        Decimal(claim.quantity) if claim.quantity else None, Decimal(claim.price or "0"),
        claim.sent_us, claim.until_us, exact=claim.exact, boot=claim.boot,
    )  # fmt: skip
