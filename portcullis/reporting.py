"""A broker writes down every second what only it sees wrong: its host, its stores, its gateways.

So every other view knows it too, and the rotator tells people. What did not change is said again before it grows stale.
"""

import asyncio
import logging

from broker.api.context import Context
from broker.api.wrong import of_this_process
from broker.db.reports import Report
from broker.errors import BrokerError

EVERY_S = 1.0
AGAIN = 20
_LOG = logging.getLogger("portcullis.reporting")


class Reporting:
    """Reports for one broker, by a name of its own."""

    def __init__(self, context: Context, name: str) -> None:
        self._context, self._name = context, name
        self._said: list[Report] | None = None
        self._silent = 0

    def once(self) -> None:
        """Look, and write down what changed."""
        source = f"broker:{self._name}"
        found = [
            Report(source, one.kind, one.subject, one.says, one.step, one.account)
            for one in of_this_process(self._context)
        ]
        if found == self._said and self._silent < AGAIN:
            self._silent += 1
            return
        try:
            self._context.service.reports.of_broker(self._name, found)
        except BrokerError as fault:
            _LOG.error("what is wrong here could not be written down: %s", fault)
            return
        self._said, self._silent = found, 0

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await asyncio.to_thread(self.once)
            await asyncio.sleep(EVERY_S)
