"""What a gateway knows of virtual keys that have no lease here: where they stand, and what was said of them. No I/O.

Rules:
1. Where a virtual key stands (its account, consumer, grant ...) is known without a lease: who is in the scope of a cut
   that we know of is told so, and the broker is not asked.
2. Key ids that were refused are remembered for a short while, so that a dead bot does not ask the broker on each of its
   calls; those of a cut are remembered until the cut's gates say otherwise.
"""

from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping

from broker import gate
from broker.gate import Gate, Mode
from broker.link import frames
from broker.model import EVERYTHING

REFUSED_US = 1_000_000
MOST_REFUSED = 10_000
_WHOSE = {"grant", "consumer", "account"}

Gates = Mapping[str, Gate]


class Unleased:
    """Virtual keys by their ids."""

    def __init__(self) -> None:
        self.stands: dict[str, tuple[str, ...]] = {}
        self._wiped: dict[str, str] = {}
        self._left: dict[str, str] = {}
        """Key versions of the last leases, by virtual keys that have none now."""
        self._refused: OrderedDict[str, tuple[frames.LeaseRefused, int]] = OrderedDict()

    def stand(self, scopes: dict[str, tuple[str, ...]], leased: Container[str]) -> None:
        """Take in where every key stands that this gateway serves; those that are leased stay known."""
        kept = {key: known for key, known in self.stands.items() if key in leased}
        self.stands = scopes | kept
        self._wiped = {key: scope for key, scope in self._wiped.items() if key in self.stands}
        self._left = {key: version for key, version in self._left.items() if key in self.stands}

    def lease(self, key_id: str, key: str, chain: tuple[str, ...]) -> None:
        """A key has a lease: remember where it stands for ever, which is all but the key version."""
        self.stands[key_id] = tuple(scope for scope in chain if scope != f"key-version:{key}")
        self._wiped.pop(key_id, None)
        self._left.pop(key_id, None)
        self.forget(key_id)

    def leave(self, key_id: str, key: str) -> None:
        """The lease of a key is over: its key version may be wiped after that."""
        self._left[key_id] = key

    def wipe(self, key: str, key_ids: Iterable[str]) -> None:
        """The key version of these keys' leases is wiped, and of those whose last lease was on it."""
        left = (key_id for key_id, version in self._left.items() if version == key)
        self._wiped.update(dict.fromkeys((*key_ids, *left), f"key-version:{key}"))

    def refuse(self, frame: frames.LeaseRefused, now_us: int) -> None:
        """Remember that the broker gives no lease on a key id."""
        self._refused[frame.key_id] = (frame, now_us)
        self._refused.move_to_end(frame.key_id)
        if len(self._refused) > MOST_REFUSED:
            self._refused.popitem(last=False)

    def forget(self, key_id: str | None = None) -> None:
        """Forget what was refused, of one key or of all."""
        if key_id is None:
            self._refused.clear()
        else:
            self._refused.pop(key_id, None)

    def refused(self, gates: Gates, key_id: str, now_us: int) -> str | None:
        """Return the reason of a recent refusal, if there is one; `cut` where we know that it is."""
        if gate.mode_of(gates, self.stands.get(key_id, (EVERYTHING,))) is Mode.CLOSED:
            return "cut"
        entry = self._refused.get(key_id)
        if entry is None:
            return None
        frame, at_us = entry
        if frame.reason == "cut":
            known = gates.get(frame.scope)
            return frame.reason if known is not None and known.mode is Mode.CLOSED else None
        return frame.reason if now_us - at_us < REFUSED_US else None

    def was_cut(self, gates: Gates, key_id: str) -> bool:
        """Tell whether the key version of its last lease was wiped and is closed.

        Another version may be current by now: only for where nobody says so.
        """
        scope = self._wiped.get(key_id)
        return scope is not None and gate.mode_of(gates, (scope,)) is Mode.CLOSED

    def whose(self, key_id: str) -> tuple[str, str, str] | None:
        """Return grant, consumer and account of a key that was refused a lease, or had one, for the call log."""
        entry = self._refused.get(key_id)
        if entry is not None and entry[0].grant:
            return entry[0].grant, entry[0].consumer, entry[0].account
        named = dict(scope.partition(":")[::2] for scope in self.stands.get(key_id, ()))
        return (named["grant"], named["consumer"], named["account"]) if named.keys() >= _WHOSE else None
