"""What a broker does for its secret store and audit trail every few seconds, and what operators hear of it.

Rules:
1. The way to the store is kept open, and the mirror of the gates merged; a failure of either is tried again.
2. That the store went away is logged once, that it is back once; `status` says it in red all the while.
3. With real keys somebody is to be told what goes wrong: a broker whose alerts go nowhere says so.
"""

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime

from broker.api.context import Hazard
from broker.errors import BrokerError
from broker.service import Service
from broker.service.alerts import HEARTBEAT
from clients.venue import Environment

EVERY_S = 5.0
_LOG = logging.getLogger("portcullis.upkeep")


class Upkeep:
    """Looks after the secret store."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._away_since: datetime | None = None
        self._why = ""
        self._untold = False

    def once(self) -> None:
        """Look after it once, and note how it fares."""
        self._sign()
        self._settle()
        self._learn()
        self._tidy()
        try:
            self._service.desk.secrets.maintain()
            self._service.mirror.merge()
            self._service.secrets.tidy()
            self._service.operators.tidy()
            self._untold = self._tells_nobody()
        except BrokerError as fault:
            if self._away_since is None:
                self._away_since = self._service.desk.clock.now()
                _LOG.error("the secret store is away (%s): %s", fault.reason, fault)
            self._why = str(fault)
            return
        if self._away_since is not None:
            _LOG.warning("the secret store is back; it was away since %s", self._away_since.isoformat())
            self._away_since = None

    def _tells_nobody(self) -> bool:
        live = self._service.desk.home.environment is Environment.LIVE
        return live and not any(one.kind != HEARTBEAT for one in self._service.alerts.channels())

    def _settle(self) -> None:
        """Keep the write-ahead logs short, so that no writer has to, and room for a cut."""
        try:
            self._service.desk.database.settle()
            self._service.desk.database.log.settle()
            self._service.desk.database.reserve.keep()
        except BrokerError as fault:
            _LOG.error("the write-ahead log could not be copied back: %s", fault)

    def _learn(self) -> None:
        """Know who may cut while the database cannot say it."""
        try:
            self._service.operators.learn()
        except BrokerError as fault:
            _LOG.error("who has a token could not be read: %s", fault)

    def _tidy(self) -> None:
        """Take away what of the log can no longer matter."""
        try:
            self._service.retention.tidy()
        except BrokerError as fault:
            _LOG.warning("old rows of the log stay for now: %s", fault)

    def _sign(self, *, at_once: bool = False) -> None:
        try:
            self._service.call_seal.seal(at_once=at_once)
            self._service.audit.checkpoint(at_once=at_once)
        except BrokerError as fault:
            _LOG.error("no checkpoint of the audit trail could be signed: %s", fault)

    def end(self) -> None:
        """Sign how far the audit trail has come before we end."""
        self._sign(at_once=True)

    async def run(self) -> None:
        """Look after it until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await asyncio.to_thread(self.once)

    def hazards(self) -> Iterable[Hazard]:
        """Return what is unsafe about it."""
        if self._service.mirror.superseded:
            yield Hazard(
                f"NOTHING IS SERVED: {self._service.mirror.superseded}",
                "RB-03, and do not start it again",
                "superseded",
            )
        for name, why in self._service.audit.unanchored().items():
            yield Hazard(
                f"the audit trail is not anchored at {name}: {why}",
                "mend it: docs/guides/operator.md",
                f"anchor {name}",
            )
        if self._untold:
            yield Hazard(
                "alerts go nowhere: nobody hears of a rotation that stalls or a key we do not know",
                "portcullis alerts add telegram (or slack, mail, ...)",
                "no channel",
            )
        if self._away_since is None:
            return
        goes_on = (
            "running bots go on, new ones and thaws wait"
            if self._service.desk.secrets.may_serve_on()
            else "for too long: NO BOT IS SERVED"
        )
        yield Hazard(
            f"the secret store is away since {self._away_since:%H:%M:%S} UTC; {goes_on}. {self._why}",
            "RB-03",
            "secret store",
        )
