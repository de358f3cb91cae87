"""Who asks: the lease of the presented key, its signature, the form, freshness and replay, in that order.

Rules:
1. Nobody's form is read who did not sign it, and none of a path that goes nowhere for this grant.
2. Without a lease it is said why there is none; who is in scope of a cut that we know of is told so first.
3. What was signed alike was let through once: that is looked at before a request waits, and again before it leaves.
"""

from broker.gate import Shut
from broker.gateway.book import Book, Held
from broker.gateway.clock import SystemClock, fresh
from broker.gateway.job import Job, Missing
from broker.gateway.mounts import Mounts
from broker.gateway.refusals import Refusals
from broker.gateway.replay import ReplayGuard
from broker.policy import Deny, Facts, evaluate
from broker.virtual_key import is_key_id
from clients.venue import Action, Intent, Malformed, Reading, Security, Variant
from clients.wire import RefusalKind

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
        if not fresh(stamp, window, wall, offset):
            self._refusals.refuse(job, RefusalKind.STALE, "stale")
            return False
        intent = reading.intent
        named = intent.target is not None and not intent.target.all_open
        if intent.action is not Action.READ and not (intent.action is Action.CANCEL and named):
            if self._replays.too_old(stamp, offset, wall, self._clock.boot_us()):
                self._refusals.refuse(job, RefusalKind.STALE, "before_start")
                return False
            text = job.wire.signed_text(reading)
            job.replay = self._replays.entry(held.lease.grant, text, stamp)
            return self.first(job)
        return True

    def first(self, job: Job) -> bool:
        """Check that nothing signed alike was let through; refuse where it was."""
        if job.replay is not None and self._replays.passed(job.replay):
            self._refusals.refuse(job, RefusalKind.STALE, "replay")
            return False
        return True
