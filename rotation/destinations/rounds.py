"""Files that said a while ago that they hold a key are looked at once more, right before the old key may go.

Rules:
1. A round begins once nobody else is waited for. A file that said so shortly before, or since, is not looked at again,
   so that a round of many slow files comes to its end over several turns; one that lasts too long begins anew.
2. All looks of one turn share its time, whatever the number of files: a turn goes on as long as answers come, and no
   longer than its share of the claim. What is left is waited for, and looked at in the next turn.
3. One that holds another key is brought its key again. What fails unforeseen is logged, and waited for.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from broker.db import destinations as store
from broker.db.destinations import Delivery
from broker.destination import Destination, FileSettings
from broker.errors import BrokerError
from broker.model import KeyVersion
from broker.service.desk import Desk
from clients.secret import Secret
from rotation.destinations.errands import WAIT_S, Errands, Found
from rotation.destinations.parcel import NotDelivered, Parcel, Place
from rotation.fence import Fence

TURN_S = 15.0
"""After this no further destination is begun with in one turn: far below a rotator's claim (`rotation.journal`)."""

_FRESH_US = 10_000_000
"""So long before a round a file is believed to hold what it held."""

_LONGEST_US = 300_000_000
"""A round that lasts longer begins anew: what was seen at its begin is old by then."""

_GLANCE_S = 0.05
_AWAITED = "its file is looked at once more, and does not answer yet"
_LOG = logging.getLogger("portcullis.rotation")


@dataclass(frozen=True, slots=True)
class _File:
    place: Destination
    known: Delivery


class Rounds:
    """The rounds of one rotator, by rotation and version."""

    def __init__(
        self,
        desk: Desk,
        now_us: Callable[[], int],
        errands: Errands,
        at_work: Callable[[Destination], Place],
    ) -> None:
        self._desk, self._now_us, self._errands, self._at_work = desk, now_us, errands, at_work
        self._began: dict[tuple[str, int], int] = {}

    def end(self, rotation: str, version: int) -> None:
        """Forget a round: somebody is waited for again, or nobody any more."""
        self._began.pop((rotation, version), None)

    def look(
        self, fence: Fence, places: Iterable[Destination], key: KeyVersion, ends_s: float
    ) -> dict[str, str]:
        """Look at the files among these that a key was brought to; return which are waited for, and why.

        Args:
            fence: Of the rotation.
            places: All of them confirmed, or waived.
            key: What they hold.
            ends_s: When the turn is over, on the monotonic clock.

        Raises:
            Lost: Somebody else carries the rotation on; nothing more was changed.
        """
        began_us = self._round(fence.rotation, key.ref.version)
        left = deque(self._due(fence.rotation, places, key, began_us))
        waited = {one.place.name: _AWAITED for one in left}
        if left:
            waited |= self._looked(fence, left, key, began_us, ends_s)
        waited = {name: why for name, why in waited.items() if why}
        if not waited or any(why is not _AWAITED for why in waited.values()):
            self.end(fence.rotation, key.ref.version)
        return waited

    def _round(self, rotation: str, version: int) -> int:
        """Return when the round at hand began. Other workers begin and end theirs meanwhile."""
        now_us = self._now_us()
        for one, at_us in tuple(self._began.items()):
            if not 0 <= now_us - at_us <= _LONGEST_US:
                self._began.pop(one, None)
        return self._began.setdefault((rotation, version), now_us)

    def _due(
        self, rotation: str, places: Iterable[Destination], key: KeyVersion, began_us: int
    ) -> Iterable[_File]:
        """Return the files that are to be looked at; those that were looked at longest ago first."""
        found, now_us = [], self._now_us()
        with self._desk.database.read() as connection:
            for place in places:
                known = store.delivery(connection, rotation, place.name, key.ref.version)
                said_us = known.confirmed_us
                if not isinstance(place.settings, FileSettings) or said_us is None:
                    continue
                if known.waived_by is None and not began_us - _FRESH_US <= said_us <= now_us:
                    found.append(_File(place, known))
        return sorted(found, key=lambda one: one.known.confirmed_us or 0)

    def _looked(
        self, fence: Fence, left: deque[_File], key: KeyVersion, began_us: int, ends_s: float
    ) -> dict[str, str]:
        """Look at as many as the turn has time for; return what each is waited for, empty where it holds the key."""
        about, said = ("again", fence.rotation, key.ref.version, began_us), dict[str, str]()
        try:
            secret = self._desk.secrets.read(key.path)["secret"]
        except BrokerError as fault:
            return {one.place.name: str(fault) for one in left}
        begun, quiet_s = list[_File](), time.monotonic() + WAIT_S
        while (left or begun) and time.monotonic() < min(ends_s, quiet_s):
            while left and self._is_begun(left[0].place, about, key, secret):
                begun.append(left.popleft())
            if not begun:
                left.rotate(-1)  # an earlier call there is on its way; the others need not wait for it
            for one in tuple(begun):
                found = self._errands.collect(one.place.name, about, _GLANCE_S if one is begun[0] else 0.0)
                if found is not None:
                    begun.remove(one)
                    said[one.place.name] = self._taken_in(fence, one, found, began_us)
                    quiet_s = time.monotonic() + WAIT_S
            if not begun and left:
                time.sleep(min(_GLANCE_S, max(0.0, ends_s - time.monotonic())))
        return said

    def _is_begun(self, place: Destination, about: object, key: KeyVersion, secret: Secret) -> bool:
        """Send somebody to look; False where nobody can go there now."""
        if self._errands.is_on_its_way(place.name, about):
            return True
        parcel = Parcel("", key.ref, "", key.venue_key_id, key.key_type, secret, _brings_nothing)

        def work() -> Found:
            return Found(delivered=False, awaited=self._at_work(place).confirm(parcel))

        return not self._errands.begin(place.name, place.kind.value, about, work)

    def _taken_in(self, fence: Fence, one: _File, found: Found, began_us: int) -> str:
        """Put on record what was found at a file; return what is waited for."""
        match found.fault:
            case None:
                self._save(fence, replace(one.known, confirmed_us=began_us))
                return found.awaited
            case NotDelivered() as fault:
                gone = replace(one.known, delivered_us=None, confirmed_us=None, says=str(fault))
                self._save(fence, replace(gone, next_us=self._now_us()))
                return str(fault)
            case Exception() as fault:  # one file must not stop the others; its text may quote
                name = type(fault).__name__
                _LOG.critical("the destination %s failed unforeseen: %s", one.place.name, name)
                return f"failed unforeseen ({name})"
            case fault:
                raise fault

    @staticmethod
    def _save(fence: Fence, one: Delivery) -> None:
        with fence.writing() as connection:
            store.save(connection, one)


def _brings_nothing() -> None:
    raise RuntimeError("who looks at a file brings no key")
