"""Who stands for revoked grants: their orders, and what they bought. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from broker.db.weighing import Whose
from broker.model import Grant


@dataclass(frozen=True, slots=True)
class Heirs:
    """Who stands for the revoked grants of an account: what one left is its consumer's next grant's, and no other's.

    That is the one which was made next of those that live, so it does not change with each that is made; where none
    was made after it, the one that was made last before.
    """

    revoked: Mapping[str, str | None]
    living: Mapping[str, tuple[str, ...]]

    @classmethod
    def among(cls, grants: Iterable[Grant]) -> "Heirs":
        """Read an account's grants: who stands for each revoked one, and living ones by consumers."""
        living: dict[str, tuple[str, ...]] = {}
        before: dict[str, list[str]] = {}
        revoked: dict[str, str | None] = {}
        for one in sorted(grants, key=lambda one: one.created_at):
            if one.revoked_at is not None:
                revoked[one.id] = next(reversed(living.get(one.consumer, ())), None)
                before.setdefault(one.consumer, []).append(one.id)
                continue
            living[one.consumer] = (*living.get(one.consumer, ()), one.id)
            revoked.update(dict.fromkeys(before.pop(one.consumer, ()), one.id))
        return cls(revoked, living)

    def of(self, grant: str) -> str | None:
        """Return who stands for a grant: itself while it lives; None where nobody does."""
        return self.revoked.get(grant, grant)

    def whose(self, grant: str, consumer: str | None) -> Whose:
        """Return whose orders count as whose for a grant that asks."""
        left = frozenset(name for name, heir in self.revoked.items() if heir == grant)
        return Whose(
            left | {grant},
            frozenset(name for name, heir in self.revoked.items() if heir is None),
            {name: heir for name, heir in self.revoked.items() if heir is not None},
            left,
            frozenset(self.living.get(consumer or "", ())) - {grant},
        )
