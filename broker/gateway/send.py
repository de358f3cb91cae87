"""The last step: reserve, stamp, sign, write down, write out. Nothing here waits.

Rules:
1. Between the last look at the gates and the first byte there is no await; nothing after the spool can refuse.
2. What fails before the line is written down was not sent, and nothing stays reserved. What fails after it is an
   unknown outcome: an empty 504. Counters of what is on its way go down on every way out.
3. It is stamped with the instant as of which it was judged: of a process that is stopped in between, and goes on after
   its lease, or after a cut, the venue takes nothing any more.
"""

import logging
import time
from functools import partial
from itertools import count

from broker.gateway.aftermath import Aftermath
from broker.gateway.alike import Coming
from broker.gateway.book import Book, Held
from broker.gateway.clock import SystemClock
from broker.gateway.fetch import Fetcher
from broker.gateway.job import Job
from broker.gateway.ledger import Ledger
from broker.gateway.limits import STRANGERS
from broker.gateway.refusals import Refusals
from broker.gateway.replay import ReplayGuard
from broker.gateway.sent import note_pair, orders_of
from broker.gateway.spool import SpoolGone
from broker.gateway.venue_line import Broken, Done, Line
from broker.gateway.venue_view import VenueView
from broker.policy import Allow
from broker.virtual_key import new_client_order_id
from clients.wire import RefusalKind, Sealed, Stamp

_LOG = logging.getLogger("portcullis.gateway")


class Sender:
    """Sends what was allowed."""

    def __init__(
        self, book: Book, fetcher: Fetcher, ledger: Ledger, aftermath: Aftermath, replays: ReplayGuard,
        clock: SystemClock, refusals: Refusals,
    ) -> None:  # fmt: skip
        self._book, self._fetcher, self._ledger, self._aftermath = book, fetcher, ledger, aftermath
        self._replays, self._clock, self._refusals = replays, clock, refusals
        self._numbers = count(1)

    def send(self, job: Job, held: Held, verdict: Allow, window_us: int, boot_us: int) -> None:
        """Reserve, stamp, sign, write down, send. Nothing here waits; nothing after the spool can refuse."""
        reading, view, line = job.reading, job.view, job.line
        assert reading is not None and view is not None  # noqa: S101, PT018 - narrows for the type checker
        credential = self._book.material.get(held.key_text)
        if credential is None or line is None or job.variant is None:
            self._refusals.refuse(job, RefusalKind.UNAVAILABLE, "no_material")
            return
        standing, intent = held.standing, reading.intent
        reserved = standing.purse.reserve(verdict.reserve, boot_us) if verdict.reserve else ()
        if reserved is None:
            self._refusals.refuse(job, RefusalKind.ORDER, "day_notional")
            return
        slots = job.wire.client_id_slots(reading)
        ids = tuple(new_client_order_id() for _ in slots)
        stamp = Stamp(view.venue_us_at(boot_us), window_us, ids, job.target_id)
        try:
            sealed = job.wire.seal(credential, reading, stamp)
            job.reserved, job.client_order_ids, job.verdict = reserved, ids, verdict
            if intent.orders:
                number = next(self._numbers)
                job.sent = orders_of(intent, slots, ids, number, held.lease.grant, held.account, stamp)
                note_pair(
                    job.sent,
                    view.pairs.get(job.sent[0].symbol) if job.sent else None,
                    held.policy.reference_asset,
                )
            self._ledger.allowed(job, held, verdict)
        except Exception as fault:  # noqa: BLE001 - nothing was sent, so nothing stays reserved
            standing.purse.release(reserved)
            # the refusal's own line tells of nothing that was reserved or sent
            job.reserved, job.client_order_ids, job.verdict, job.sent = (), (), None, ()
            reason = (
                "spool_gone"
                if isinstance(fault, SpoolGone)
                else "spool"
                if isinstance(fault, OSError)
                else "cannot_sign"
            )
            self._refusals.refuse(job, RefusalKind.UNAVAILABLE, reason)
            return
        if reserved and self._ledger.unmarked:
            self._fetcher.give_back(held)
        job.answered, job.real_key_id = True, credential.key_id
        job.flight = self._book.flights.leaves(held.key_text, held.lease.chain)
        try:
            self._leave(job, held, verdict, boot_us)
            self._write(job, view, line, sealed, partial(self._aftermath.come, job))
        except Exception:  # noqa: BLE001 - what was counted in is counted out, and the bot gets an answer
            self._broke(job)
            return
        if standing.slice_usual and standing.purse.wants(standing.slice_usual, boot_us):
            self._fetcher.refill(held)

    def send_public(self, job: Job, view: VenueView, line: Line) -> None:
        """Send a call that needs no key."""
        reading = job.reading
        assert reading is not None  # noqa: S101 - narrows for the type checker
        sealed = job.wire.forward_public(reading)
        self._ledger.allowed(job, None, Allow())
        job.answered = True
        try:
            now_us = view.now_us()
            view.meter.spend(reading.intent.weight_pool, reading.intent.weight, now_us)
            if not job.inbound.vouched:
                view.meter.spend(STRANGERS, reading.intent.weight, now_us)
            done: Done = partial(self._aftermath.come, job)
            if reading.intent.listing:
                done = view.pool.alike.first(sealed, done)
            self._write(job, view, line, sealed, done)
        except Exception:  # noqa: BLE001 - what was counted in is counted out, and the bot gets an answer
            view.pool.alike.never_left(sealed)
            self._broke(job)

    def share(self, job: Job, view: VenueView, coming: Coming) -> None:
        """Wait for a listing that the venue was asked for already."""
        self._ledger.allowed(job, None, Allow())
        job.answered = True
        job.sent_ns, job.shared_ns = time.perf_counter_ns(), coming.sent_ns
        view.pool.alike.join(coming, partial(self._aftermath.come, job))

    def _leave(self, job: Job, held: Held, verdict: Allow, boot_us: int) -> None:
        """Count a request that is about to leave."""
        reading, view, standing = job.reading, job.view, held.standing
        assert reading is not None and view is not None  # noqa: S101, PT018 - narrows for the type checker
        intent = reading.intent
        held.used_us = boot_us
        if job.replay is not None:
            behind_us = min(
                self._clock.wall_us(), view.venue_us()
            )  # by whichever clock it is fresh for longer
            self._replays.remember(
                job.replay, job.replay.stamp_us + (reading.window_us or 0) - behind_us, boot_us
            )
        if job.cancels is not None and job.target_id is not None:
            self._replays.cancelled(job.cancels, job.target_id, held.lease.grant)
        if verdict.counts:
            count = sum(len(group) for group in intent.orders)
            standing.rate.take(count, boot_us)
        view.meter.spend(intent.weight_pool, intent.weight, view.now_us())
        self._aftermath.leaves(job, held, verdict, boot_us)

    def _write(self, job: Job, view: VenueView, line: Line, sealed: Sealed, done: Done) -> None:
        """Write the request; from here on the line gives itself back, with the answer or without."""
        job.sent_ns = time.perf_counter_ns()
        view.pool.send(line, sealed, done)
        job.line = None

    def _broke(self, job: Job) -> None:
        """An error of ours between the verdict and the first byte: what left is not known, and nothing stays open."""
        _LOG.error(
            "internal error while a request was being sent; its outcome counts as unknown", exc_info=False
        )
        if job.line is not None:
            job.line.close()
            let_go(job)
        self._aftermath.come(job, Broken("internal_error"))


def let_go(job: Job) -> None:
    """Give a connection back that was taken for a request and not used."""
    line, job.line = job.line, None
    if line is not None and job.view is not None:
        job.view.pool.give_back(line)
