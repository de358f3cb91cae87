"""Performs one effect and answers with one `Reply`. It makes no choices: what follows, `decide` says.

Rules:
1. Every effect but CREATE and DELETE is safe to repeat. What those two are signed with says `rotation.stamp`.
2. A venue's error carries what it knows: REFUSED, RETRY or UNKNOWN. A store that cannot answer is RETRY, but for
   a CREATE that was asked of the venue: that is UNKNOWN. That a manager key's secret is lost is RETRY, too,
   and that the password of a way out is.
3. Before each the one guard is asked (`broker.deeds`); a no is RETRY: nothing was done, and it is asked again later.
4. What fails unforeseen is UNKNOWN: tries and deadlines count it, and a human is paged in the end.
5. What it writes, it writes only while its claim stands (`rotation.fence`). Who lost it does nothing more (`Lost`).
"""

import logging
import traceback
from collections.abc import Callable

from broker.deeds import Deed, No
from broker.errors import BrokerError, StoreUnavailable, Withheld
from broker.service import Service
from broker.stores.held import EGRESS_LOST, is_lost
from clients.errors import Outcome, VenueError
from rotation.burial import Burial
from rotation.journal import Lost
from rotation.making import Making
from rotation.moving import Moving
from rotation.reach import Reach
from rotation.state import MANAGER_LOST, ONCE, STALE, TOO_LATE, Answer, Do, Effect, Reply, Rotation
from rotation.venues import Venues

_LOG = logging.getLogger("portcullis.rotation")
_ANSWERS = {Outcome.REFUSED: Answer.REFUSED, Outcome.RETRY: Answer.RETRY, Outcome.UNKNOWN: Answer.UNKNOWN}
_LATE = {
    STALE: (
        "the exchange says that it was not signed in time (-1021), though it was signed by the exchange's own clock "
        "right before it was sent: the way there takes longer than {window_s} s, or the exchange's clocks differ. "
        "Nothing was done"
    ),
    TOO_LATE: (
        "it took too long to look at what has to be so before it is sent: the exchange, the secret store or the "
        "database is slow, or this process stood still. Nothing was sent"
    ),
}
"""What is told of a create or delete that came too late."""

DEEDS: dict[Do, Deed] = {
    Do.PREPARE: Deed.MAKE, Do.READ_CLOCK: Deed.LOOK, Do.CREATE: Deed.MAKE, Do.FIND: Deed.LOOK, Do.VERIFY: Deed.LOOK,
    Do.CANARY: Deed.MOVE, Do.MOVE: Deed.MOVE, Do.MOVE_BACK: Deed.MOVE, Do.DRAIN: Deed.LOOK, Do.DELETE: Deed.DELETE,
    Do.PROBE: Deed.LOOK, Do.ENTOMB: Deed.BURY, Do.ASK_CREATE: Deed.LOOK, Do.ASK_DELETE: Deed.LOOK,
}  # fmt: skip
"""What the guard is asked before each."""


class Effects:
    """What a rotation can do in the world."""

    def __init__(self, service: Service, venues: Venues) -> None:
        self._guard = service.desk.guard
        self._reach = reach = Reach(service, venues)
        making, moving, self.burial = Making(reach), Moving(reach), Burial(reach)
        self.deliveries = moving.deliveries
        self._do: dict[Do, Callable[[Rotation, int], Reply]] = {
            Do.PREPARE: making.prepare,
            Do.READ_CLOCK: making.read_clock,
            Do.CREATE: making.create,
            Do.FIND: making.find,
            Do.VERIFY: making.verify,
            Do.CANARY: moving.canary,
            Do.MOVE: moving.move,
            Do.MOVE_BACK: moving.move_back,
            Do.DRAIN: moving.drain,
            Do.DELETE: self.burial.delete,
            Do.PROBE: self.burial.probe,
            Do.ENTOMB: self.burial.entomb,
            Do.ASK_CREATE: making.asked,
            Do.ASK_DELETE: self.burial.ask_delete,
        }

    def denied(self) -> No | None:
        """Say why no rotation is carried on now; None where one may be."""
        return self._guard.allows(Deed.MAKE)

    def perform(self, rotation: Rotation, effect: Effect) -> Reply:
        """Do one thing. Blocks.

        Raises:
            Lost: Somebody else works on this rotation; nothing more was changed.
        """
        version = rotation.new if effect.version is None else effect.version
        try:
            self._guard.ensure(DEEDS[effect.do])
            self._reach.fence(rotation).ensure()
        except (StoreUnavailable, Withheld) as fault:
            return Reply(Answer.RETRY, fault.reason)
        try:
            return self._do[effect.do](rotation, version)
        except Lost:
            raise
        except VenueError as fault:
            return Reply(_ANSWERS[fault.outcome], _said(rotation, effect, fault))
        except (StoreUnavailable, Withheld) as fault:
            if is_lost(fault):  # waiting brings it back as little as one that is nowhere
                return Reply(Answer.REFUSED, f"{fault.reason}: {fault}")
            return Reply(Answer.RETRY, fault.reason)
        except BrokerError as fault:
            if fault.reason in {MANAGER_LOST, EGRESS_LOST}:  # nothing was asked: no word on any other key
                return Reply(Answer.RETRY, f"{fault.reason}: {fault}")
            return Reply(Answer.REFUSED, f"{fault.reason}: {fault}")
        except Exception as fault:  # noqa: BLE001 - its text may quote what must not be said
            where = traceback.extract_tb(fault.__traceback__)[-1]
            name = type(fault).__name__
            _LOG.critical(
                "%s failed unforeseen: %s at %s:%s", effect.do.value, name, where.name, where.lineno
            )
            return Reply(Answer.UNKNOWN, f"failed unforeseen ({name})")


def _said(rotation: Rotation, effect: Effect, fault: VenueError) -> str:
    """Say what a venue's error means; that of a key of ours names which key that was."""
    by_manager = not rotation.by_hand and effect.do in {Do.PREPARE, Do.CREATE, Do.FIND, Do.DELETE}
    if fault.reason == "key_refused" and by_manager:
        return (
            "the exchange refuses the manager key (key_refused): look at its permissions and addresses there"
        )
    if effect.do in ONCE and (words := _LATE.get(fault.reason)) is not None:
        window_s = int(rotation.limits.window_for.total_seconds()) - 1
        return f"{fault.reason}: {words.format(window_s=window_s)}"
    return fault.reason
