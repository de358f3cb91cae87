"""What a broker does for its secret store and audit trail every few seconds, and what operators hear of it.

Rules:
1. The way to the store is kept open, and the mirror of the gates merged; a failure of either is tried again.
2. That the store went away is logged once, that it is back once; `status` says it in red all the while. It is away
   where it does not answer: paths of it that cannot be cleared away, however many, are told by their names.
3. A disk that is as good as full is told before nothing can be written there.
4. A part that fails as nobody foresaw is told for as long as it does.
5. With real keys somebody is to be told what goes wrong: a broker whose alerts go nowhere says so.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

from broker.api.context import Hazard
from broker.db import faults
from broker.errors import BrokerError, StoreUnavailable
from broker.service import Service
from broker.service.alerts import HEARTBEAT
from broker.service.rounds import SOME_PATHS
from clients.venue import Environment

EVERY_S = 5.0
_LOG = logging.getLogger("portcullis.upkeep")


class Upkeep:
    """Looks after the secret store."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._away_since: datetime | None = None
        self._why = self._stuck = self._apart = ""
        self._untold = self._short = False
        self._back, self._compared = "", False
        self._failed: dict[str, str] = {}
        """Parts that failed as nobody foresaw, and how."""

    def once(self) -> None:
        """Look after it once, and note how it fares. One part that fails as nobody foresaw keeps no other back.

        What takes old rows away comes last: nothing waits for it, and it may read for long.
        """
        for part in (
            self._service.cuts.closing.wake, self._note_cuts, self._sign, self._settle, self._learn, self._look,
            self._keep_time, self._keep_store, self._tidy,
        ):  # fmt: skip
            what = getattr(part, "__name__", "a part").strip("_").replace("_", " ")
            try:
                part()
            except Exception as fault:  # noqa: BLE001 - whatever it is, the others go on; its text may quote
                name = self._failed[what] = type(fault).__name__
                _LOG.critical("upkeep (%s) failed unforeseen: %s", what, name)
            else:
                self._failed.pop(what, None)

    def _note_cuts(self) -> None:
        """Have the secret store know of cuts that the database does not take; the parts that follow may wait for it."""
        with suppress(BrokerError):  # `_keep_store` tells of it
            self._service.mirror.note_closings()

    def _keep_time(self) -> None:
        with suppress(BrokerError):  # a log store that is away says so elsewhere
            self._service.calls.keep_time()

    def _keep_store(self) -> None:
        """Keep the way to the secret store open, and bring the mirror of the gates together with the record."""
        try:
            self._service.desk.secrets.maintain()
            self._merge()
            self._clear_away()
            self._service.operators.tidy()
            self._untold = self._tells_nobody()
            back = self._service.mirror.put_back()
            self._back, self._compared = back, bool(back) and self._service.mirror.compared(back)
        except BrokerError as fault:
            if faults.is_ours(fault.reason):
                return  # it is the database that is away, which `_learn` says
            if self._away_since is None:
                self._away_since = self._service.desk.clock.now()
                _LOG.error("the secret store is away (%s): %s", fault.reason, fault)
            self._why = str(fault)
            return
        if self._away_since is not None:
            _LOG.warning("the secret store is back; it was away since %s", self._away_since.isoformat())
            self._away_since = None

    def _merge(self) -> None:
        """Bring mirror and record together; documents that fail in a store that answers keep nothing back."""
        before, self._apart = self._apart, ""
        try:
            self._service.mirror.merge()
        except StoreUnavailable as fault:
            if fault.reason != SOME_PATHS:
                raise
            self._apart = str(fault)
            if self._apart != before:
                _LOG.error("documents of cuts cannot be read or written: %s", fault)

    def _clear_away(self) -> None:
        """Destroy what nobody was given; paths that fail in a store that answers keep nothing back."""
        before, self._stuck = self._stuck, ""
        try:
            self._service.secrets.tidy()
        except StoreUnavailable as fault:
            if fault.reason != SOME_PATHS:
                raise
            self._stuck = str(fault)
            if self._stuck != before:
                _LOG.error("what nobody was given stays in the secret store for now: %s", fault)

    def _tells_nobody(self) -> bool:
        live = self._service.desk.home.environment is Environment.LIVE
        return live and not any(one.kind != HEARTBEAT for one in self._service.alerts.channels())

    def _settle(self) -> None:
        """Keep the write-ahead logs short, so that no writer has to, and room for a cut."""
        try:
            self._service.desk.database.settle()
            self._service.desk.database.log.settle()
        except BrokerError as fault:
            _LOG.error("the write-ahead log could not be copied back: %s", fault)
        reserve = self._service.desk.database.reserve
        reserve.keep()
        self._short = reserve.is_short()

    def _learn(self) -> None:
        """Know who may cut, and what is cut, while the database cannot say it."""
        before = self._service.operators.away
        try:
            self._service.operators.learn()
            self._service.cuts.learn()
        except BrokerError as fault:
            _LOG.error("the database is away, who has a token and what is cut cannot be read: %s", fault)
            return
        if before is not None:
            _LOG.warning("the database is back; it was away since %s", before[0].isoformat())

    def _look(self) -> None:
        """Count the ten minutes of what is announced from now, where they were counted on another host before."""
        try:
            self._service.openings.look()
        except BrokerError as fault:
            _LOG.warning("what is announced could not be looked at: %s", fault)

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
                "do not start it again: RB-14",
                "superseded",
            )
        if self._back:
            waits = (
                "compared with the exchanges: what a person asks for is done, and what is due begins by itself only "
                "once nothing is left to do"
                if self._compared
                else "no key is made, moved, handed out or deleted before the record was compared"
            )
            yield Hazard(
                f"THE SECRET STORE WAS PUT BACK ({self._back}): {waits}; secrets of keys in use may be gone",
                "portcullis reconcile, then RB-15",
                "store put back",
            )
        if self._short:
            yield Hazard(
                "the disk of the home is as good as full: little is left beside the room that is kept for a cut, or "
                "not even that; soon no order can be written down, and no lease goes on",
                "make room on it: df, and RB-02",
                "disk",
            )
        for name, why in self._service.audit.unanchored().items():
            yield Hazard(
                f"the audit trail is not anchored at {name}: {why}",
                "mend it: docs/guides/people.md",
                f"anchor {name}",
            )
        for what, name in sorted(self._failed.items()):
            served = (
                ""
                if self._service.desk.guard.lets_go
                else "; no key leaves, and NO BOT IS SERVED before it does"
            )
            yield Hazard(
                f"what the broker does every few seconds fails unforeseen ({what}: {name}){served}",
                "look into its log, and tell those who make it: docs/guides/on-call.md",
                f"upkeep {what}",
            )
        if self._untold:
            yield Hazard(
                "alerts go nowhere: nobody hears of a rotation that stalls or a key we do not know. "
                "Telegram is one place, `portcullis alerts add --help` names the others",
                "portcullis alerts add telegram",
                "no channel",
            )
        if self._away_since is None:
            if self._apart:
                served = (
                    "their cuts hold"
                    if self._service.desk.guard.lets_go
                    else "what is on no record may be a cut: NO BOT IS SERVED"
                )
                yield Hazard(
                    "the secret store answers, and documents of cuts in it cannot be read or written; "
                    f"{served}. {self._apart}",
                    "look at what is named, and at our rights there: RB-03",
                    "cut documents",
                )
            if self._stuck:
                yield Hazard(
                    "what nobody was given still lies in the secret store, which answers otherwise: "
                    f"{self._stuck}",
                    "look at what is named, and at our rights there: RB-03",
                    "secret left",
                )
            return
        if not self._service.desk.guard.lets_go:
            goes_on = "no key leaves before the cuts in it were taken in: NO BOT IS SERVED"
        elif self._service.desk.secrets.may_serve_on():
            goes_on = "running bots go on, new ones and thaws wait"
        else:
            goes_on = "for too long: NO BOT IS SERVED"
        yield Hazard(
            f"the secret store is away since {self._away_since:%H:%M:%S} UTC; {goes_on}. {self._why}",
            "RB-03",
            "secret store",
        )
