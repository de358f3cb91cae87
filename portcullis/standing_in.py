"""Who tells people what is wrong while no rotator does: it is dead, stopped, or hangs, and that is what is to be told.

The broker tells for as long, and no longer: two who tell may tell the same thing twice.
"""

import asyncio
import logging
from collections.abc import Callable

from broker.errors import BrokerError
from broker.service import Service
from rotation.alerts.telling import Telling

EVERY_S = 1.0
_LOG = logging.getLogger("portcullis.alerts")


class StandIn:
    """Tells while `is_needed` says so."""

    def __init__(self, service: Service, is_needed: Callable[[], bool]) -> None:
        self._is_needed = is_needed
        self._telling = Telling(service, service.desk.clock.now_us, stands_in=True)

    async def run(self) -> None:
        """Look every second, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            if self._is_needed():
                await asyncio.to_thread(self.once)

    def once(self) -> None:
        """Tell what has to be told."""
        try:
            self._telling.look()
        except BrokerError as fault:
            _LOG.error("what is wrong could not be told in the rotator's place: %s", fault)
