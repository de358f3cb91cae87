"""The way of one request: key, signature, form, prepare; then, without waiting, judge, sign, write down, send.

Rules:
1. `_step` does everything that needs no waiting, in that order. What is missing it names; `_prepare` waits
   for it, a second in all, and calls `_step` again. Nothing judged before a wait counts after it. What leaves may wait
   as long again for a connection, where facts that hang used the second up.
2. Between the last look at the gates and the first byte there is no await. Who stood still looks after the broker was
   heard, not before (`pulse`).
3. A request is answered exactly once, and written down before it is sent; a refusal is written down too.
4. What fails here by our own fault is an empty 503, and nothing was sent; once it is written down, an empty
   504. Counters of what is on its way go down on every way out.
"""

import asyncio
import json
import logging
import time
from functools import partial
from itertools import count

from broker import lease
from broker.gate import Shut
from broker.gateway.aftermath import Aftermath
from broker.gateway.book import Book, Held
from broker.gateway.clock import SystemClock, fresh
from broker.gateway.crowd import Crowd
from broker.gateway.fetch import Fetcher
from broker.gateway.form import Headers, Inbound, Reply, words_for
from broker.gateway.guard import Unanswered, verdict_of
from broker.gateway.job import Job
from broker.gateway.ledger import Ledger
from broker.gateway.limits import STRANGERS, Need, Pause
from broker.gateway.mounts import Mounts
from broker.gateway.owners import Owners
from broker.gateway.replay import ReplayGuard
from broker.gateway.room import Limits
from broker.gateway.sent import orders_of
from broker.gateway.venue_line import Broken, Line
from broker.gateway.venue_view import VenueView
from broker.policy import Allow, Deny, Facts, evaluate
from broker.virtual_key import is_key_id, new_client_order_id
from clients.venue import (
    Action,
    Intent,
    Malformed,
    Reading,
    RefusalKind,
    Request,
    Sealed,
    Security,
    Stamp,
    Variant,
)

PREPARE_SECONDS = 1.0
_LOG = logging.getLogger("portcullis.gateway")
_READ, _RAW = Action.READ, Variant.RAW
_UNKNOWN = Intent(Action.UNKNOWN, "unknown", "unknown", certain=False)
_REASON = b"X-Portcullis-Reason"
_PLAIN = (b"Content-Type", b"application/json;charset=UTF-8")
_FORM_STATUS = {"method": 405, "body_too_large": 413, "head_too_large": 431, "too_many_headers": 431,
                "too_slow": 408, "foreign_host": 403, "expectation": 417, "unknown_mount": 404}  # fmt: skip

Missing = tuple[str, ...]


class Forwarder:
    """Answers bots' requests."""

    def __init__(
        self,
        book: Book,
        mounts: Mounts,
        owners: Owners,
        fetcher: Fetcher,
        ledger: Ledger,
        aftermath: Aftermath,
        guard: ReplayGuard,
        clock: SystemClock,
        limits: Limits,
    ) -> None:
        self._book, self._mounts, self._owners = book, mounts, owners
        self._fetcher, self._ledger, self._aftermath = fetcher, ledger, aftermath
        self._replays, self._clock = guard, clock
        self._preparing: dict[asyncio.Task[None], Job] = {}
        self.crowd = Crowd(limits)
        self._numbers = count(1)

    # --- in -------------------------------------------------------------------------------

    def handle(self, inbound: Inbound, reply: Reply) -> None:
        """Answer one request, now or later."""
        started = time.perf_counter_ns()
        found = self._mounts.find(inbound.path)
        if found is None:
            reply(*self.refuse_form("unknown_mount", inbound.peer))
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
            self.refuse(job, RefusalKind.UNAVAILABLE, "busy", retry_after_s=1)
        if job.answered:
            self._let_go(job)
        elif missing:
            task = asyncio.ensure_future(self._prepare(job, missing))
            self.crowd.enter(job)
            self._preparing[task] = job
            task.add_done_callback(self._prepared)

    def _prepared(self, task: "asyncio.Task[None]") -> None:
        self.crowd.leave(self._preparing.pop(task))

    def refuse_form(self, reason: str, peer: str) -> tuple[int, Headers, bytes]:
        """Answer a request that is not HTTP as we take it."""
        status = _FORM_STATUS.get(reason, 400)
        self._ledger.refused_form(reason, peer, status)
        body = json.dumps({"code": -1100, "msg": words_for(reason)}, separators=(",", ":")).encode("ascii")
        return status, (_PLAIN, (_REASON, reason.encode("ascii"))), body

    def _failed(self, job: Job) -> None:
        # no traceback: its frames could show values of a request; type and place are enough to find the bug
        _LOG.error("internal error while judging a request; it was refused", exc_info=False)
        if not job.answered:
            self.refuse(job, RefusalKind.UNAVAILABLE, "internal_error")

    async def _prepare(self, job: Job, missing: Missing) -> None:
        """Wait for what is missing, a second in all; then judge with what there is."""
        try:
            await self._gather(job, missing)
            if not job.answered and self._step(job, final=True):
                await self._last_line(job)
        except Exception:  # noqa: BLE001 - as in handle
            self._failed(job)
        finally:
            self._let_go(job)

    async def _gather(self, job: Job, missing: Missing) -> None:
        try:
            async with asyncio.timeout(PREPARE_SECONDS):
                while missing and not job.answered:
                    asked = [name for name in missing if name not in job.asked]
                    if not asked:
                        return
                    job.asked.update(asked)
                    if job.line is not None and asked != ["line"]:
                        self._let_go(job)  # others may use it meanwhile
                        job.asked.discard("line")
                    await self._fetcher.fetch_all(job, asked)
                    missing = self._step(job, final=False)
        except TimeoutError:
            return

    async def _last_line(self, job: Job) -> None:
        """Wait for a connection alone: facts that hang must not use up the time in which an exit could get one."""
        job.asked.add("line")
        try:
            async with asyncio.timeout(PREPARE_SECONDS):
                await self._fetcher.fetch_all(job, ["line"])
        except TimeoutError:
            pass
        self._step(job, final=True)

    def _let_go(self, job: Job) -> None:
        """Give a connection back that was taken for this request and not used."""
        line, job.line = job.line, None
        if line is not None and job.view is not None:
            job.view.pool.give_back(line)

    def _line(self, job: Job, view: VenueView) -> Line | None:
        """Return an open connection: the one that was waited for, if it did not end meanwhile."""
        if job.line is not None and not job.line.usable:
            self._let_go(job)
        return job.line or view.pool.ready(job.need, job.inbound.vouched)

    # --- judge ----------------------------------------------------------------------------

    def _step(self, job: Job, *, final: bool) -> Missing:
        """Do everything that needs no waiting; return what is missing, or nothing where it is answered."""
        if job.addressee.security is Security.PUBLIC:
            return self._step_public(job, final=final)
        missing, held = self._lease(job, final=final)
        if held is None:
            return missing
        mode = self._book.judge(held)
        if isinstance(mode, Shut):
            if mode.reason == "cut":
                self.refuse(job, RefusalKind.UNKNOWN_KEY, "cut")
            elif final or "lease" in job.asked:
                self.refuse(job, RefusalKind.UNAVAILABLE, "lease_void")
            else:
                return ("lease",)
            return ()
        if job.variant is None and not self._verified(job, held):
            return ()
        reading = job.reading
        assert reading is not None  # noqa: S101 - narrows for the type checker
        boot_us = self._clock.boot_us()
        if self._fetcher.behind(boot_us):
            if not final and "link" not in job.asked:
                return ("link",)
            self.refuse(job, RefusalKind.UNAVAILABLE, "link_behind")
            return ()
        verdict = verdict_of(held, job, reading.intent, mode, self._owners, boot_us, final=final)
        if isinstance(verdict, Deny):
            if verdict.missing:
                job.wanted = verdict.wanted
                return verdict.missing
            self.refuse(job, verdict.kind, verdict.reason, verdict.detail)
            return ()
        if isinstance(verdict, Unanswered):
            self._unanswered(job, verdict)
            return ()
        view = job.view
        if view is None:
            self.refuse(job, RefusalKind.UNAVAILABLE, "no_venue")
            return ()
        if not view.clock.known and "clock" not in job.asked and not final:
            return ("clock",)
        left = lease.left_us(held.lease, boot_us, leaving=verdict.leaving or verdict.only_sells)
        window = lease.window_us(reading.window_us or lease.LONGEST_WINDOW_US, left)
        if window is None:
            if not final and "lease" not in job.asked:
                return ("lease",)
            self.refuse(job, RefusalKind.UNAVAILABLE, "lease_over")
            return ()
        pause = self._pause(job, verdict)
        if pause is not None:
            self._wait(job, pause)
            return ()
        if self._ledger.behind and _is_risk(reading.intent, verdict):
            self.refuse(job, RefusalKind.UNAVAILABLE, "log_behind")
            return ()
        line = self._line(job, view)
        if line is None:
            leaves = verdict.leaving or verdict.only_sells
            if "line" in job.asked or (final and not leaves):
                self.refuse(job, RefusalKind.UNAVAILABLE, "venue_unreachable")
                return ()
            return ("line",)
        job.line = line
        if self._first(job):  # the same may have left while this one waited
            self._send(job, held, verdict, window, boot_us)
        return ()

    def _lease(self, job: Job, *, final: bool) -> tuple[Missing, Held | None]:
        """Find the lease of the presented key; refuse, or name it missing, where there is none."""
        key_id = job.request.key_id
        if key_id is None:
            self.refuse(job, RefusalKind.UNKNOWN_KEY, "no_key")
            return (), None
        held = self._book.by_key.get(key_id)
        if held is not None:
            if job.held is not held:
                job.variant = None  # another lease may have another verifier
                self._mounts.equip(job, held)
            return (), held
        if (
            job.held is not None
            and isinstance(shut := self._book.judge(job.held), Shut)
            and shut.reason == "cut"
        ):
            self.refuse(job, RefusalKind.UNKNOWN_KEY, "cut")  # its lease was taken away while it waited
            return (), None
        if not is_key_id(key_id):
            self.refuse(job, RefusalKind.UNKNOWN_KEY, "unknown_key")
            return (), None
        asked = final or "lease" in job.asked
        reason = self._no_lease(key_id, asked=asked)
        if reason is None and not asked:
            return ("lease",), None
        if reason is None or reason in {"unavailable", "no_key"}:
            self.refuse(job, RefusalKind.UNAVAILABLE, reason or "no_lease")
        else:
            self.refuse(job, RefusalKind.UNKNOWN_KEY, reason)
        return (), None

    def _no_lease(self, key_id: str, *, asked: bool) -> str | None:
        """Return why a key has no lease, as far as is known; what nobody could say, the last key version says."""
        reason = self._book.refused(key_id, self._clock.boot_us())
        unsaid = asked if reason is None else reason in {"unavailable", "no_key"}
        return "cut" if unsaid and self._book.was_cut(key_id) else reason

    def _verified(self, job: Job, held: Held) -> bool:
        """Check endpoint, signature, form, freshness and replay, in that order; refuse where one fails.

        Nobody's form is read who did not sign it, and none of a path that goes nowhere for this grant.
        """
        if job.addressee.row is None:
            verdict = evaluate(held.policy, _UNKNOWN, Facts(), job.request.path, job.request.method)
            if isinstance(verdict, Deny):
                self.refuse(job, verdict.kind, verdict.reason, verdict.detail)
                return False
        opened = job.wire.open(job.addressee)
        if isinstance(opened, Malformed):
            return self._malformed(job, opened)
        variant = _RAW
        if job.addressee.security is Security.SIGNED:
            found = job.wire.verify(held.verifier, opened)
            if found is None:
                self.refuse(job, RefusalKind.BAD_SIGNATURE, "bad_signature")
                return False
            variant = found
            job.inbound.vouched = held.key_id
        reading = job.wire.read(opened)
        if isinstance(reading, Malformed):
            return self._malformed(job, reading)
        job.reading = reading
        if job.addressee.security is Security.SIGNED and not self._timely(job, held, reading):
            return False
        job.variant = variant
        return True

    def _malformed(self, job: Job, fault: Malformed) -> bool:
        self.refuse(job, RefusalKind.MALFORMED, fault.reason, f"{fault.reason}:{fault.field}")
        return False

    def _timely(self, job: Job, held: Held, reading: Reading) -> bool:
        """Check freshness and replay; refuse where one fails."""
        wall, offset = self._clock.wall_us(), 0 if job.view is None else job.view.clock.offset_us
        stamp, window = reading.timestamp_us or 0, reading.window_us or 0
        if not fresh(stamp, window, wall, offset):
            self.refuse(job, RefusalKind.STALE, "stale")
            return False
        intent = reading.intent
        named = intent.target is not None and not intent.target.all_open
        if intent.action is not _READ and not (intent.action is Action.CANCEL and named):
            if self._replays.too_old(stamp, offset, wall, self._clock.boot_us()):
                self.refuse(job, RefusalKind.STALE, "before_start")
                return False
            text = job.wire.signed_text(reading)
            job.replay = self._replays.entry(held.lease.grant, text)
            return self._first(job)
        return True

    def _first(self, job: Job) -> bool:
        """Check that nothing signed alike was let through; refuse where it was."""
        if job.replay is not None and self._replays.passed(job.replay):
            self.refuse(job, RefusalKind.STALE, "replay")
            return False
        return True

    def _pause(self, job: Job, verdict: Allow) -> Pause | None:
        """Return for how long the venue's weight makes this request wait."""
        reading, view = job.reading, job.view
        assert reading is not None and view is not None  # noqa: S101, PT018 - narrows for the type checker
        wall = self._clock.wall_us()
        if reading.intent.action is _READ:
            return view.meter.pause(Need.READ, reading.intent.weight_pool, reading.intent.weight, wall)
        if verdict.leaving or verdict.only_sells:
            return None
        return view.meter.told_to_wait(reading.intent.weight_pool, wall)

    def _strangers_pause(self, job: Job, view: VenueView) -> Pause | None:
        """Return for how long those wait who have shown no key of ours on this connection."""
        reading = job.reading
        if reading is None or job.inbound.vouched:
            return None
        return view.meter.pause(Need.READ, STRANGERS, reading.intent.weight, self._clock.wall_us())

    def _wait(self, job: Job, pause: Pause) -> None:
        """Pass the venue's own pause on, in its words."""
        if pause.banned:
            until_ms = self._clock.wall_us() // 1000 + pause.seconds * 1000
            self.refuse(job, RefusalKind.BANNED, "venue_banned", str(until_ms), retry_after_s=pause.seconds)
        else:
            self.refuse(job, RefusalKind.RATE, "venue_weight", retry_after_s=pause.seconds)

    def _unanswered(self, job: Job, verdict: Unanswered) -> None:
        """Say that a fact could not be had: an outage, or the venue's own pause; never a no of the policy."""
        if verdict.pause is not None:
            self._wait(job, verdict.pause)
        else:
            self.refuse(job, RefusalKind.UNAVAILABLE, verdict.reason)

    def _step_public(self, job: Job, *, final: bool) -> Missing:
        """Forward a public call without any credential; a key that was cut gets nothing, not even this."""
        key_id = job.request.key_id
        held = None if key_id is None else self._book.by_key.get(key_id)
        if held is not None and isinstance(shut := self._book.judge(held), Shut) and shut.reason == "cut":
            self.refuse(job, RefusalKind.UNKNOWN_KEY, "cut")
            return ()
        if held is None and key_id is not None and is_key_id(key_id):
            asked = final or "lease" in job.asked
            reason = self._no_lease(key_id, asked=asked)
            if reason in {"cut", "revoked"}:
                self.refuse(job, RefusalKind.UNKNOWN_KEY, reason)
                return ()
            if reason is None and not asked:
                return ("lease",)
        if job.addressee.action is not _READ:
            self.refuse(job, RefusalKind.ENDPOINT, "unknown_endpoint")
            return ()
        if job.reading is None:
            opened = job.wire.open(job.addressee)
            found = opened if isinstance(opened, Malformed) else job.wire.read(opened)
            if isinstance(found, Malformed):
                self._malformed(job, found)
                return ()
            job.reading = found
        reading = job.reading
        if job.view is None:
            self._mounts.equip_public(job, held)
        view = job.view
        if view is None:
            self.refuse(job, RefusalKind.UNAVAILABLE, "no_venue")
            return ()
        pause = self._pause(job, Allow()) or self._strangers_pause(job, view)
        if pause is not None:
            self._wait(job, pause)
            return ()
        line = self._line(job, view)
        if line is None:
            if final or "line" in job.asked:
                self.refuse(job, RefusalKind.UNAVAILABLE, "venue_unreachable")
                return ()
            return ("line",)
        job.line = line
        sealed = job.wire.forward_public(reading)
        self._ledger.allowed(job, None, Allow())
        job.answered = True
        try:
            wall = self._clock.wall_us()
            view.meter.spend(reading.intent.weight_pool, reading.intent.weight, wall)
            if not job.inbound.vouched:
                view.meter.spend(STRANGERS, reading.intent.weight, wall)
            self._write(job, view, line, sealed)
        except Exception:  # noqa: BLE001 - what was counted in is counted out, and the bot gets an answer
            self._broke(job)
        return ()

    # --- send -----------------------------------------------------------------------------

    def _send(self, job: Job, held: Held, verdict: Allow, window_us: int, boot_us: int) -> None:
        """Reserve, stamp, sign, write down, send. Nothing here waits; nothing after the spool can refuse."""
        reading, view, line = job.reading, job.view, job.line
        assert reading is not None and view is not None  # noqa: S101, PT018 - narrows for the type checker
        credential = self._book.material.get(held.key_text)
        if credential is None or line is None or job.variant is None:
            self.refuse(job, RefusalKind.UNAVAILABLE, "no_material")
            return
        standing, intent = held.standing, reading.intent
        reserved = standing.purse.reserve(verdict.reserve, boot_us) if verdict.reserve else ()
        if reserved is None:
            self.refuse(job, RefusalKind.ORDER, "day_notional")
            return
        slots = job.wire.client_id_slots(reading)
        ids = tuple(new_client_order_id() for _ in slots)
        wall = self._clock.wall_us()
        stamp = Stamp(wall + view.clock.offset_us, window_us, ids)
        try:
            sealed = job.wire.seal(credential, reading, stamp)
            job.reserved, job.client_order_ids, job.verdict = reserved, ids, verdict
            if intent.orders:
                number = next(self._numbers)
                job.sent = orders_of(intent, slots, ids, number, held.lease.grant, held.account, stamp)
            self._ledger.allowed(job, held, verdict)
        except Exception as fault:  # noqa: BLE001 - nothing was sent, so nothing stays reserved
            standing.purse.release(reserved)
            reason = "spool" if isinstance(fault, OSError) else "cannot_sign"
            self.refuse(job, RefusalKind.UNAVAILABLE, reason)
            return
        job.answered, job.real_key_id = True, credential.key_id
        job.flight = self._book.flights.leaves(held.key_text, held.lease.chain)
        try:
            self._leave(job, held, verdict, boot_us, wall)
            self._write(job, view, line, sealed)
        except Exception:  # noqa: BLE001 - what was counted in is counted out, and the bot gets an answer
            self._broke(job)
            return
        if standing.slice_usual and standing.purse.wants(standing.slice_usual, boot_us):
            self._fetcher.refill(held)

    def _leave(self, job: Job, held: Held, verdict: Allow, boot_us: int, wall: int) -> None:
        """Count a request that is about to leave."""
        reading, view, standing = job.reading, job.view, held.standing
        assert reading is not None and view is not None  # noqa: S101, PT018 - narrows for the type checker
        intent = reading.intent
        held.used_us = boot_us
        if job.replay is not None:
            self._replays.remember(job.replay, reading.timestamp_us or wall, reading.window_us or 0, wall)
        if verdict.counts:
            count = sum(len(group) for group in intent.orders)
            standing.rate.take(count, boot_us)
        view.meter.spend(intent.weight_pool, intent.weight, wall)
        self._aftermath.leaves(job, held, verdict, boot_us)

    def _write(self, job: Job, view: VenueView, line: Line, sealed: Sealed) -> None:
        """Write the request; from here on the line gives itself back, with the answer or without."""
        job.sent_ns = time.perf_counter_ns()
        view.pool.send(line, sealed, partial(self._aftermath.come, job))
        job.line = None

    def _broke(self, job: Job) -> None:
        """An error of ours between the verdict and the first byte: what left is not known, and nothing stays open."""
        _LOG.error(
            "internal error while a request was being sent; its outcome counts as unknown", exc_info=False
        )
        if job.line is not None:
            job.line.close()
            self._let_go(job)
        self._aftermath.come(job, Broken("internal_error"))

    def refuse(
        self, job: Job, kind: RefusalKind, reason: str, detail: str = "", *, retry_after_s: int | None = None
    ) -> None:
        """Say no in the venue's words, with our reason in a header, and write it down."""
        if job.answered:
            return
        job.answered = True
        if kind is RefusalKind.NO_SUCH_ORDER and job.reading is not None:
            detail = "read" if job.reading.intent.action is _READ else ""
        refusal = job.wire.refusal(kind, detail or reason, retry_after_s=retry_after_s)
        if job.held is None:
            job.whose = self._book.whose(job.request.key_id)
        try:
            self._ledger.refused(job, reason, refusal.status)
        finally:
            job.reply(refusal.status, (*refusal.headers, (_REASON, reason.encode("ascii"))), refusal.body)


def _is_risk(intent: Intent, verdict: Allow) -> bool:
    """Tell whether a request may leave somebody with more than before: what waits first where the log is behind."""
    return intent.action not in {_READ, Action.CANCEL} and not verdict.leaving and not verdict.only_sells
