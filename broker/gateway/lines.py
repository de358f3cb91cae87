"""Who may have a line to the venue, and who has to wait. Pure.

Rules:
1. Exits may use every line. Orders leave an eighth to them. Reads have half of all lines, never more.
2. Reads of strangers, whose signature nobody has checked on that connection, have an eighth of all; the reads of
   one key three eighths, its orders half, its exits three quarters, with the facts that they are judged by. So nobody
   alone can use up what others need.
3. Who has to wait waits in line: exits first, then orders, then reads.
"""

from collections import Counter

from broker.gateway.limits import Need

OURS = "ours"
"""Whose lines those are that we ask on for our own sake."""

ORDER = (Need.EXIT, Need.RISK, Need.READ)
_RANK = {need: rank for rank, need in enumerate(ORDER)}


class Shares:
    """What is in use of one pool, by need and key."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._for_exits = max(1, most // 8)
        self._reads = max(1, most // 2)
        self._strangers = max(1, most // 8)
        self._of_a_key = {
            Need.READ: max(1, most * 3 // 8), Need.RISK: max(1, most // 2), Need.EXIT: max(1, most * 3 // 4)
        }  # fmt: skip
        self.used = 0
        """How many lines carry a request, or are held for one."""

        self._used: Counter[Need] = Counter()
        self._keys: Counter[tuple[Need, str]] = Counter()

    def free(self, need: Need, key: str) -> bool:
        """Tell whether one more may be used so.

        Args:
            need: What for.
            key: Whose key's signature was checked; empty for strangers.
        """
        if self.used >= self.most - (0 if need is Need.EXIT else self._for_exits):
            return False
        if need is Need.READ and self._used[need] >= self._reads:
            return False
        return not self.used_up(need, key)

    def used_up(self, need: Need, key: str) -> bool:
        """Tell whether a key uses all that it may."""
        most = self._of_a_key[need] if key or need is not Need.READ else self._strangers
        return self._keys[need, key] >= most

    def enter(self, need: Need, key: str) -> None:
        """One more is used."""
        self.used += 1
        self._used[need] += 1
        self._keys[need, key] += 1

    def leave(self, need: Need, key: str) -> None:
        """One is not used any more."""
        self.used -= 1
        self._used[need] -= 1
        self._keys[need, key] -= 1
        if self._keys[need, key] <= 0:
            del self._keys[need, key]


def before(need: Need, other: Need) -> bool:
    """Tell whether who waits for `need` goes before, or with, somebody who comes for `other`."""
    return _RANK[need] <= _RANK[other]
