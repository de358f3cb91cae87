"""Which requests may wait: so many of each key, so many of strangers, and how many unknown keys at once. In memory.

Rules:
1. Exits of a key whose signature was checked always find room.
2. Strangers have a room of their own, a share of the connections (`room.py`), so that they never hold all of them.
3. Who is counted in is counted out, as who they were when they came.
"""

from collections import Counter

from broker.gateway.job import Job
from broker.gateway.limits import Need
from broker.gateway.room import Limits

_STRANGERS = ""


class Crowd:
    """The requests that wait."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: Counter[str | None] = Counter()
        self._shown: Counter[str | None] = Counter()

    @property
    def strangers(self) -> int:
        """How many wait before any signature on their connection was checked."""
        return self._waiting[_STRANGERS]

    @property
    def empty(self) -> bool:
        """Whether nobody waits."""
        return not self._waiting and not self._shown

    def is_full(self, job: Job) -> bool:
        """Tell whether too many wait already for this one to wait, too."""
        key = job.inbound.vouched
        if key:
            return job.need is not Need.EXIT and self._waiting[key] >= self._limits.waiting_of_a_key
        if job.request.key_id not in self._shown and len(self._shown) >= self._limits.new_keys:
            return True
        return self.strangers >= self._limits.waiting_strangers

    def enter(self, job: Job) -> None:
        """A request waits from here on."""
        job.waits_as = job.inbound.vouched
        self._waiting[job.waits_as] += 1
        if not job.waits_as:
            self._shown[job.request.key_id] += 1

    def leave(self, job: Job) -> None:
        """It waits no more."""
        _count_out(self._waiting, job.waits_as)
        if not job.waits_as:
            _count_out(self._shown, job.request.key_id)


def _count_out(counter: Counter[str | None], name: str | None) -> None:
    """Take one off; what is at nothing is forgotten."""
    counter[name] -= 1
    if not counter[name]:
        del counter[name]
