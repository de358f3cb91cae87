"""Carries rotations on: claim, decide, save, perform, decide, save. The only place where the parts meet.

Rules:
1. What is decided is saved before it is done. A save that is lost, or fails, stops the run: nothing is performed.
2. A rotation that was left in the middle of an effect is told so (`Restarted`) before anything else.
3. Where the guard lets nothing be done (`broker.deeds`), nothing is claimed; a save that it refuses is lost.
4. One rotation is carried on as far as it goes at once; where it has to wait, it is given back.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from broker.errors import BrokerError
from broker.model import KeyRef
from rotation.carrying import carried
from rotation.decide import decide
from rotation.effects import Effects
from rotation.journal import Claimed, Journal, Lost
from rotation.state import Event, Restarted, Rotation, State, Tick

_MOST_STEPS = 200
_LOG = logging.getLogger("portcullis.rotation")


@dataclass(frozen=True, slots=True)
class Runner:
    """Carries rotations on. `now` is aware UTC, passed in."""

    journal: Journal
    effects: Effects
    now: Callable[[], datetime]

    def once(self) -> Rotation | None:
        """Carry one rotation on that is due; None where there is none, or it was lost to another rotator.

        Raises:
            StoreUnavailable: The database cannot answer; nothing was performed that is not on record.
        """
        if self.effects.denied() is not None:
            return None
        claimed = self.journal.claim(self.now())
        if claimed is None:
            return None
        event: Event = Tick() if claimed.rotation.asked is None else Restarted()
        try:
            return self.carry_on(claimed, event)
        except Lost:
            _LOG.warning("another rotator works on %s", claimed.rotation.id)
            return None

    def carry_on(self, claimed: Claimed, event: Event) -> Rotation:
        """Carry a rotation on from an event, until it has to wait or is over.

        Raises:
            Lost: Somebody else works on it now.
            StoreUnavailable: The database cannot answer.
        """
        for _ in range(_MOST_STEPS):
            now = self.now()
            step = decide(carried(claimed.rotation, self.journal.spans.now()), event, now)
            rests = step.rotation.over or step.rotation.paused or step.rotation.due_at > now
            claimed = self.journal.save(claimed, step, event, now, goes_on=not rests)
            rotation = claimed.rotation
            if step.effect is not None:
                event = self.effects.perform(rotation, step.effect)
                continue
            if rotation.over:
                self._end(rotation)
                return rotation
            if rests:
                return rotation
            event = Tick()
        return claimed.rotation

    def _end(self, rotation: Rotation) -> None:
        if rotation.state in {State.ABANDONED, State.HALTED}:
            try:
                self.effects.burial.clear(KeyRef(rotation.account, rotation.slot, rotation.new))
            except BrokerError as fault:  # `Remains` does it later
                _LOG.warning("what %s prepared is not cleared away yet: %s", rotation.id, fault)
        _LOG.info("%s of %s is %s: %s", rotation.id, rotation.account, rotation.state.value, rotation.reason)
