"""The way of one request: who asks (`authenticate`), prepare; then, without waiting, judge and send (`send`).

Rules:
1. `_step` does everything that needs no waiting, in that order. What is missing it names; `_prepare` waits
   for it, a second in all, and calls `_step` again. Nothing judged before a wait counts after it. What leaves may wait
   as long again for what is our own (a connection, a lease, the broker's word), where facts that hang used it up.
2. Between the last look at the gates and the first byte there is no await. Who stood still looks after the broker was
   heard, not before (`pulse`).
3. A request is answered exactly once, and written down before it is sent; a refusal is written down too. Where nothing
   can be written, reads, cancels and exits go out all the same, and are written down later (`ledger`).
4. What fails here by our own fault is an empty 503, and nothing was sent.
"""

import asyncio
import contextlib
import logging
import time

from broker import lease
from broker.gate import Shut
from broker.gateway.authenticate import Authenticator
from broker.gateway.book import Book
from broker.gateway.clock import SystemClock
from broker.gateway.crowd import Crowd
from broker.gateway.fetch import NO_ANSWER, Fetcher
from broker.gateway.form import Headers, Inbound, Reply
from broker.gateway.guard import Unanswered, lags, lapsed, verdict_of
from broker.gateway.job import Failure, Job, Missing
from broker.gateway.ledger import Ledger
from broker.gateway.limits import STRANGERS, Need, Pause
from broker.gateway.mounts import Mounts
from broker.gateway.owners import Owners
from broker.gateway.refusals import Refusals
from broker.gateway.send import Sender, let_go
from broker.gateway.venue_line import Line
from broker.gateway.venue_view import VenueView
from broker.gateway.waits import Wait
from broker.policy import Allow, Deny
from broker.virtual_key import is_key_id
from clients.venue import Action, Intent, Malformed, Request, Security
from clients.wire import RefusalKind

PREPARE_SECONDS = 1.0
_LOG = logging.getLogger("portcullis.gateway")
_READ = Action.READ
_OWN = ("link", "lease", "line")


class Forwarder:
    """Answers bots' requests."""

    def __init__(
        self, book: Book, mounts: Mounts, owners: Owners, fetcher: Fetcher, ledger: Ledger, clock: SystemClock,
        crowd: Crowd, refusals: Refusals, authenticator: Authenticator, sender: Sender,
    ) -> None:  # fmt: skip
        self._book, self._mounts, self._owners = book, mounts, owners
        self._fetcher, self._ledger, self._clock = fetcher, ledger, clock
        self._refusals, self._authenticator, self._sender = refusals, authenticator, sender
        self.crowd = crowd
        self._preparing: dict[asyncio.Task[None], Job] = {}

    # --- in -------------------------------------------------------------------------------

    def handle(self, inbound: Inbound, reply: Reply) -> None:
        """Answer one request, now or later."""
        started = time.perf_counter_ns()
        found = self._mounts.find(inbound.path)
        if found is None:
            reply(*self._refusals.form("unknown_mount", inbound.peer))
            return
        mount, path = found  # the path as everything behind here knows it: there is one spelling of it
        key = inbound.headers.get(mount.key_header)
        request = Request(
            *(inbound.method, path, inbound.query, inbound.body, None if not key else key.decode("ascii")),
            mount.wire.passing(inbound.headers),
        )
        job = Job(inbound, reply, started, mount.wire, request, mount.wire.find(request))
        missing: Missing = ()
        try:
            missing = self._step(job, final=False)
        except Exception:  # noqa: BLE001 - any bug of ours is an outage, never a way through
            self._failed(job)
        if not job.answered and missing and self.crowd.is_full(job):
            self._refusals.refuse(job, RefusalKind.UNAVAILABLE, "busy", retry_after_s=1)
        if job.answered:
            let_go(job)
        elif missing:
            task = asyncio.ensure_future(self._prepare(job, missing))
            self.crowd.enter(job)
            self._preparing[task] = job
            task.add_done_callback(self._prepared)

    def _prepared(self, task: "asyncio.Task[None]") -> None:
        self.crowd.leave(self._preparing.pop(task))

    def refuse_form(self, reason: str, peer: str) -> tuple[int, Headers, bytes]:
        """See `form.Handler`."""
        return self._refusals.form(reason, peer)

    def _failed(self, job: Job) -> None:
        # no traceback: its frames could show values of a request; type and place are enough to find the bug
        _LOG.error("internal error while judging a request; it was refused", exc_info=False)
        if not job.answered:
            self._refusals.refuse(job, RefusalKind.UNAVAILABLE, "internal_error")

    async def _prepare(self, job: Job, missing: Missing) -> None:
        """Wait for what is missing, a second in all; then judge with what there is."""
        try:
            await self._gather(job, missing)
            if not job.answered:
                await self._last(job)
        except Exception:  # noqa: BLE001 - as in handle
            self._failed(job)
        finally:
            self._fetcher.acting.done(job.words)
            let_go(job)

    async def _gather(self, job: Job, missing: Missing) -> None:
        try:
            async with Wait(PREPARE_SECONDS).runs():
                while missing and not job.answered:
                    asked = [name for name in missing if name not in job.asked]
                    if not asked:
                        return
                    job.asked.update(asked)
                    if job.line is not None and asked != ["line"]:
                        let_go(job)  # others may use it meanwhile
                        job.asked.discard("line")
                    await self._fetcher.fetch_all(job, asked)
                    missing = self._step(job, final=False)
        except TimeoutError:
            return

    async def _last(self, job: Job) -> None:
        """Judge by what is there. Facts that hang must not use up the time in which an exit gets what is our own.

        What of that was asked for, and had no answer before the time was over, is asked for once more. Facts have half
        as long before that: what grew too old, and whose the asset is where the venue is slow.
        """
        wait = Wait(PREPARE_SECONDS)
        job.asked.difference_update([name for name in _OWN if job.failed.get(name) is NO_ANSWER])
        if job.need is Need.EXIT:
            old = lapsed(job, self._clock.boot_us())
            job.again.update(old)
            if "stake" not in old and job.failed.get("stake") is NO_ANSWER and not self._passes(job):
                old = (*old, "stake")  # its answer is waited for on
            if old:
                await self._fetch_within(Wait(PREPARE_SECONDS / 2), job, old)
        while missing := self._step(job, final=True):
            job.asked.update(missing)
            await self._fetch_within(wait, job, missing)  # it was asked for: the next step ends without it

    async def _fetch_within(self, wait: Wait, job: Job, names: Missing) -> None:
        with contextlib.suppress(TimeoutError):
            async with wait.runs():
                await self._fetcher.fetch_all(job, names)

    def _age(self, job: Job, boot_us: int, *, final: bool) -> None:
        """Let what grew too old be asked for once more; after that it could not be had.

        Whose an asset is, who has a connection does not ask for: others would take its place meanwhile.
        """
        names = lapsed(job, boot_us)
        if "stake" not in names and self._hides(job):
            names = (*names, "stake")
        for name in names:
            if final or name in job.again or (name == "stake" and job.line is not None):
                job.failed[name] = Failure("too_old")
            else:
                job.again.add(name)
                job.asked.discard(name)
                job.failed.pop(name, None)
                job.staked = job.staked and name != "stake"
        self._at_worst(job, boot_us)

    def _at_worst(self, job: Job, boot_us: int) -> None:
        failed = job.told and "stake" in job.failed
        late = failed and (lags(job, boot_us) or self._fetcher.hides(job))
        job.worst = self._fetcher.worst(job) if late else None

    def _hides(self, job: Job) -> bool:
        return "stake" in job.asked and "stake" not in job.failed and self._fetcher.hides(job)

    def _passes(self, job: Job) -> bool:
        """Tell whether it passes by what is there."""
        held, reading = job.held, job.reading
        mode = None if held is None else self._book.judge(held)
        if held is None or reading is None or mode is None or isinstance(mode, Shut):
            return False
        now_us = self._clock.boot_us()
        self._at_worst(job, now_us)
        return isinstance(
            verdict_of(held, job, reading.intent, mode, self._owners, now_us, final=True), Allow
        )

    def _line(self, job: Job, view: VenueView) -> Line | None:
        """Return an open connection: the one that was waited for, if it did not end meanwhile."""
        if job.line is not None and not job.line.usable:
            let_go(job)
        return job.line or view.pool.ready(job.need, job.inbound.vouched)

    def _no_line(self, job: Job, view: VenueView) -> None:
        """Say why there is no connection: the venue cannot be reached, or all that this request may use are in use."""
        failure = job.failed.get("line")
        if (failure is not None and failure.reason == "busy") or view.pool.crowded(
            job.need, job.inbound.vouched
        ):
            self._refusals.refuse(job, RefusalKind.UNAVAILABLE, "busy", retry_after_s=1)
        else:
            self._refusals.refuse(job, RefusalKind.UNAVAILABLE, "venue_unreachable")

    # --- judge ----------------------------------------------------------------------------

    def _step(self, job: Job, *, final: bool) -> Missing:
        """Do everything that needs no waiting; return what is missing, or nothing where it is answered."""
        if job.addressee.security is Security.PUBLIC:
            return self._step_public(job, final=final)
        over = final and job.need is not Need.EXIT  # what leaves waits once more for what is our own
        missing, held = self._authenticator.lease(job, final=over)
        if held is None:
            return missing
        mode = self._book.judge(held)
        if isinstance(mode, Shut):
            if mode.reason == "cut":
                self._refusals.refuse(job, RefusalKind.UNKNOWN_KEY, "cut")
            elif over or "lease" in job.asked:
                self._refusals.refuse(job, RefusalKind.UNAVAILABLE, "lease_void")
            else:
                return ("lease",)
            return ()
        if job.variant is None:
            if not self._authenticator.verified(job, held):
                return ()
            self._fetcher.sends(held)
        reading = job.reading
        assert reading is not None  # noqa: S101 - narrows for the type checker
        boot_us = self._clock.boot_us()
        if self._fetcher.behind(boot_us):
            if not over and "link" not in job.asked:
                return ("link",)
            self._refusals.refuse(job, RefusalKind.UNAVAILABLE, "link_behind")
            return ()
        self._age(job, boot_us, final=final)
        verdict = verdict_of(held, job, reading.intent, mode, self._owners, boot_us, final=final)
        if not isinstance(verdict, Allow):
            if isinstance(verdict, Deny) and verdict.missing:
                job.wanted = verdict.wanted
                return verdict.missing
            if lease.only_exits(held.lease, boot_us) and not over and "lease" not in job.asked:
                return ("lease",)  # with one it is judged by more than whether it is an exit
            self._refuse(job, verdict)
            return ()
        view = job.view
        if view is None:
            self._refusals.refuse(job, RefusalKind.UNAVAILABLE, "no_venue")
            return ()
        if not view.is_timed() and "clock" not in job.asked and not final:
            return ("clock",)
        left = lease.left_us(held.lease, boot_us, leaving=verdict.leaving)
        window = lease.window_us(reading.window_us or lease.LONGEST_WINDOW_US, left)
        if window is None:
            if not over and "lease" not in job.asked:
                return ("lease",)
            self._refusals.refuse(job, RefusalKind.UNAVAILABLE, "lease_over")
            return ()
        pause = self._pause(job, verdict)
        if pause is not None:
            self._refusals.wait(job, pause)
            return ()
        if self._ledger.behind and _is_risk(reading.intent, verdict):
            self._refusals.refuse(job, RefusalKind.UNAVAILABLE, "log_behind")
            return ()
        line = self._line(job, view)
        if line is None:
            leaves = verdict.leaving or verdict.only_sells
            if "line" in job.asked or (final and not leaves):
                self._no_line(job, view)
                return ()
            return ("line",)
        job.line = line
        if self._authenticator.first(job):  # the same may have left while this one waited
            self._sender.send(job, held, verdict, window, boot_us)
        return ()

    def _refuse(self, job: Job, verdict: Deny | Unanswered) -> None:
        if isinstance(verdict, Unanswered):
            self._refusals.unanswered(job, verdict)
        else:
            self._refusals.refuse(job, verdict.kind, verdict.reason, verdict.detail)

    def _pause(self, job: Job, verdict: Allow) -> Pause | None:
        """Return for how long the venue's weight makes this request wait."""
        reading, view = job.reading, job.view
        assert reading is not None and view is not None  # noqa: S101, PT018 - narrows for the type checker
        now_us = view.now_us()
        if reading.intent.action is _READ:
            return view.meter.pause(Need.READ, reading.intent.weight_pool, reading.intent.weight, now_us)
        if verdict.beyond:  # it may not be there: the venue would refuse it, and count it
            failure = job.failed.get("holdings")
            told = view.meter.told_to_wait(reading.intent.weight_pool, now_us)
            return told or (None if failure is None else failure.pause)
        if verdict.leaving or verdict.only_sells:
            return None
        return view.meter.told_to_wait(reading.intent.weight_pool, now_us)

    def _strangers_pause(self, job: Job, view: VenueView) -> Pause | None:
        """Return for how long those wait who have shown no key of ours on this connection."""
        reading = job.reading
        if reading is None or job.inbound.vouched:
            return None
        return view.meter.pause(Need.READ, STRANGERS, reading.intent.weight, view.now_us())

    def _step_public(self, job: Job, *, final: bool) -> Missing:
        """Forward a public call without any credential; a key that was cut gets nothing, not even this."""
        key_id = job.request.key_id
        held = None if key_id is None else self._book.by_key.get(key_id)
        if held is not None and isinstance(shut := self._book.judge(held), Shut) and shut.reason == "cut":
            self._refusals.refuse(job, RefusalKind.UNKNOWN_KEY, "cut")
            return ()
        if held is None and key_id is not None and is_key_id(key_id):
            asked = final or "lease" in job.asked
            reason = self._authenticator.no_lease(key_id, asked=asked)
            if reason in {"cut", "revoked"}:
                self._refusals.refuse(job, RefusalKind.UNKNOWN_KEY, reason)
                return ()
            if reason is None and not asked:
                return ("lease",)
        if job.addressee.action is not _READ:
            self._refusals.refuse(job, RefusalKind.ENDPOINT, "unknown_endpoint")
            return ()
        if job.reading is None:
            opened = job.wire.open(job.addressee)
            found = opened if isinstance(opened, Malformed) else job.wire.read(opened)
            if isinstance(found, Malformed):
                self._refusals.malformed(job, found)
                return ()
            job.reading = found
        if job.view is None:
            self._mounts.equip_public(job, held)
        view = job.view
        if view is None:
            self._refusals.refuse(job, RefusalKind.UNAVAILABLE, "no_venue")
            return ()
        pause = self._pause(job, Allow()) or self._strangers_pause(job, view)
        if pause is not None:
            self._refusals.wait(job, pause)
            return ()
        if job.reading.intent.listing and self._share(job, view):
            return ()
        line = self._line(job, view)
        if line is None:
            if final or "line" in job.asked:
                self._no_line(job, view)
                return ()
            return ("line",)
        job.line = line
        self._sender.send_public(job, view, line)
        return ()

    def _share(self, job: Job, view: VenueView) -> bool:
        """Have a listing wait for the answer that is on its way to another one; tell whether there is any."""
        assert job.reading is not None  # noqa: S101 - narrows for the type checker
        coming = view.pool.alike.coming(job.wire.forward_public(job.reading))
        if coming is None:
            return False
        self._sender.share(job, view, coming)
        return True


def _is_risk(intent: Intent, verdict: Allow) -> bool:
    """Tell whether a request may leave somebody with more than before: what waits first where the log is behind."""
    return intent.action not in {_READ, Action.CANCEL} and not verdict.leaving and not verdict.only_sells
