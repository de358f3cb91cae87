"""Who asks: the lease of the presented key, its signature, the form, freshness and replay, in that order.

Rules:
1. Nobody's form is read who did not sign it, and none of a path that goes nowhere for this grant.
2. Without a lease it is said why there is none; who is in scope of a cut that we know of is told so first.
3. What was signed alike was let through once: that is looked at before a request waits, and again before it leaves.
4. Who sends again what was let through, because its answer was lost, hears that the outcome is unknown, however late
   it comes: a definite no would have the bot sign a second order. Of what came before our start we know as little.
5. What was signed for a read is no write (`replay`, rule 7), not even a cancel of a named order. A read that
   there is no room to remember does not pass (rule 8 there); no write is ever refused for that.
6. A lease that is given anew while a request waits has it checked once more. What was found out for the grant stays:
   which order a name led to, and whose that is, are known together, or neither is.
"""

from msgspec.structs import replace

from broker.gate import Shut
from broker.gateway.book import Book, Held
from broker.gateway.clock import SystemClock, fresh
from broker.gateway.job import Job, Missing
from broker.gateway.mounts import Mounts
from broker.gateway.refusals import Refusals
from broker.gateway.replay import BUCKET_S, Entry, ReplayGuard
from broker.policy import Deny, Facts, evaluate
from broker.virtual_key import is_key_id
from clients.venue import Action, Intent, Malformed, Reading, Security, Variant
from clients.wire import RefusalKind

_SENT_AGAIN_US = 60_000_000
"""What is older was not sent again by a library that waited for an answer: its clock is wrong. So is that of who signs
what is further ahead."""

_UNKNOWN = Intent(Action.UNKNOWN, "unknown", "unknown", certain=False)


class Authenticator:
    """Finds out who asks; refuses whoever it is not."""

    def __init__(
        self, book: Book, mounts: Mounts, replays: ReplayGuard, clock: SystemClock, refusals: Refusals
    ) -> None:
        self._book, self._mounts, self._replays = book, mounts, replays
        self._clock, self._refusals = clock, refusals

    def lease(self, job: Job, *, final: bool) -> tuple[Missing, Held | None]:
        """Find the lease of the presented key; refuse, or name it missing, where there is none."""
        key_id = job.request.key_id
        if key_id is None:
            self._refusals.refuse(job, RefusalKind.UNKNOWN_KEY, "no_key")
            return (), None
        held = self._book.by_key.get(key_id)
        if held is not None:
            if job.held is not held:
                job.variant = None  # another lease may have another verifier
                if job.held is not None and _whose(job.held) != _whose(held):
                    job.forget_grant()
                self._mounts.equip(job, held)
            return (), held
        if (
            job.held is not None
            and isinstance(shut := self._book.judge(job.held), Shut)
            and shut.reason == "cut"
        ):
            self._refusals.refuse(
                job, RefusalKind.UNKNOWN_KEY, "cut"
            )  # its lease was taken away while it waited
            return (), None
        if not is_key_id(key_id):
            self._refusals.refuse(job, RefusalKind.UNKNOWN_KEY, "unknown_key")
            return (), None
        asked = final or "lease" in job.asked
        reason = self.no_lease(key_id, asked=asked)
        if reason is None and not asked:
            return ("lease",), None
        if reason is None or reason in {"unavailable", "no_key"}:
            self._refusals.refuse(job, RefusalKind.UNAVAILABLE, reason or "no_lease")
        else:
            self._refusals.refuse(job, RefusalKind.UNKNOWN_KEY, reason)
        return (), None

    def no_lease(self, key_id: str, *, asked: bool) -> str | None:
        """Return why a key has no lease, as far as is known; what nobody could say, the last key version says."""
        reason = self._book.refused(key_id, self._clock.boot_us())
        unsaid = asked if reason is None else reason in {"unavailable", "no_key"}
        return "cut" if unsaid and self._book.was_cut(key_id) else reason

    def verified(self, job: Job, held: Held) -> bool:
        """Check endpoint, signature, form, freshness and replay, in that order; refuse where one fails.

        Nobody's form is read who did not sign it, and none of a path that goes nowhere for this grant.
        """
        if job.addressee.row is None:
            verdict = evaluate(held.policy, _UNKNOWN, Facts(), job.request.path, job.request.method)
            if isinstance(verdict, Deny):
                self._refusals.refuse(job, verdict.kind, verdict.reason, verdict.detail)
                return False
        opened = job.wire.open(job.addressee)
        if isinstance(opened, Malformed):
            self._refusals.malformed(job, opened)
            return False
        variant = Variant.RAW
        if job.addressee.security is Security.SIGNED:
            found = job.wire.verify(held.verifier, opened)
            if found is None:
                self._refusals.refuse(job, RefusalKind.BAD_SIGNATURE, "bad_signature")
                return False
            variant = found
            job.inbound.vouched = held.key_id
        reading = job.wire.read(opened)
        if isinstance(reading, Malformed):
            self._refusals.malformed(job, reading)
            return False
        job.reading = reading
        if job.addressee.security is Security.SIGNED and not self._timely(job, held, reading):
            return False
        job.variant = variant
        return True

    def _timely(self, job: Job, held: Held, reading: Reading) -> bool:
        """Check freshness and replay; refuse where one fails."""
        wall = self._clock.wall_us()
        offset = 0 if job.view is None else job.view.venue_us() - wall
        stamp, window = reading.timestamp_us or 0, reading.window_us or 0
        intent = reading.intent
        named = intent.target is not None and not intent.target.all_open
        once = intent.action is not Action.READ and not (intent.action is Action.CANCEL and named)
        timely = fresh(stamp, window, wall, offset)
        entry = self._replays.entry(held.lease.grant, job.wire.signed_text(reading), stamp)
        kept = True
        if intent.action is Action.READ and (timely or abs(wall - stamp) < _SENT_AGAIN_US):
            lives_us = stamp + window - wall + max(0, -offset)  # by whichever clock it is fresh for longer
            kept = self._replays.read(entry, lives_us, self._clock.boot_us())
        if once:
            job.replay = entry
            if not self.first(job):
                return False
            before = self._replays.too_old(stamp, offset, wall, self._clock.boot_us())
            if before and (timely or wall - stamp < _SENT_AGAIN_US):
                self._refusals.refuse(job, RefusalKind.UNKNOWN_OUTCOME, "before_start")
                return False
        other = timely and intent.action is not Action.READ and self._replays.was_read(entry)
        if other or not timely:
            self._refusals.refuse(job, RefusalKind.STALE, "signed_for_a_read" if other else "stale")
            return False
        if not kept:
            self._refusals.refuse(job, RefusalKind.RATE, "too_many_reads", retry_after_s=BUCKET_S)
            return False
        if not once and intent.action is Action.CANCEL:
            self._again(job, entry, reading)
        return True

    def _again(self, job: Job, entry: Entry, reading: Reading) -> None:
        """Take a cancel by name that was let through before for one of the order that it was of then."""
        target = reading.intent.target
        if target is None or target.order_id is not None:
            return
        job.cancels = entry
        ended = self._replays.ended_by(entry)
        if ended is None:
            return  # what the name led to stays, if that was found out before
        if ended != job.target_id:
            job.forget_order()
            job.target_id = ended
        named = replace(target, order_id=ended, client_order_id=None)
        job.reading = replace(reading, intent=replace(reading.intent, target=named))

    def first(self, job: Job) -> bool:
        """Check that nothing signed alike was let through; where it was, nobody here knows what came of it."""
        if job.replay is not None and self._replays.passed(job.replay):
            self._refusals.refuse(job, RefusalKind.UNKNOWN_OUTCOME, "replay")
            return False
        return True


def _whose(held: Held) -> tuple[str, str]:
    return held.lease.grant, held.account
