"""How a bot is told no: in the venue's words, with our reason in a header, once, and written down.

Rules:
1. A request is answered once: a second refusal of it changes nothing.
2. What failed on our side is said as an outage, what the venue asked us to wait for as its own pause; neither is a
   no of the policy.
"""

import json

from broker.gateway.book import Book
from broker.gateway.clock import SystemClock
from broker.gateway.form import Headers, words_for
from broker.gateway.guard import Unanswered
from broker.gateway.job import Job
from broker.gateway.ledger import Ledger
from broker.gateway.limits import Pause
from clients.venue import Action, Malformed
from clients.wire import RefusalKind

_REASON = b"X-Portcullis-Reason"
_PLAIN = (b"Content-Type", b"application/json;charset=UTF-8")
_FORM_STATUS = {"method": 405, "body_too_large": 413, "head_too_large": 431, "too_many_headers": 431,
                "too_slow": 408, "foreign_host": 403, "expectation": 417, "unknown_mount": 404}  # fmt: skip


class Refusals:
    """Says no to bots."""

    def __init__(self, book: Book, ledger: Ledger, clock: SystemClock) -> None:
        self._book, self._ledger, self._clock = book, ledger, clock

    def refuse(
        self, job: Job, kind: RefusalKind, reason: str, detail: str = "", *, retry_after_s: int | None = None
    ) -> None:
        """Say no in the venue's words, with our reason in a header, and write it down."""
        if job.answered:
            return
        job.answered = True
        if kind is RefusalKind.NO_SUCH_ORDER and job.reading is not None:
            detail = "read" if job.reading.intent.action is Action.READ else ""
        if kind is RefusalKind.UNKNOWN_KEY:  # its text goes by the reason, whatever else is said of it
            detail = reason
        refusal = job.wire.refusal(kind, detail or reason, retry_after_s=retry_after_s)
        if job.held is None:
            job.whose = self._book.whose(job.request.key_id)
        try:
            self._ledger.refused(job, reason, refusal.status)
        finally:
            job.reply(refusal.status, (*refusal.headers, (_REASON, reason.encode("ascii"))), refusal.body)

    def malformed(self, job: Job, fault: Malformed) -> None:
        """Say that a request is not in a form that the venue and we read alike."""
        self.refuse(job, RefusalKind.MALFORMED, fault.reason, f"{fault.reason}:{fault.field}")

    def wait(self, job: Job, pause: Pause) -> None:
        """Pass the venue's own pause on, in its words."""
        if pause.banned:
            until_ms = self._clock.wall_us() // 1000 + pause.seconds * 1000
            self.refuse(job, RefusalKind.BANNED, "venue_banned", str(until_ms), retry_after_s=pause.seconds)
        else:
            self.refuse(job, RefusalKind.RATE, "venue_weight", retry_after_s=pause.seconds)

    def unanswered(self, job: Job, verdict: Unanswered) -> None:
        """Say that a fact could not be had: an outage, or the venue's own pause; never a no of the policy."""
        if verdict.pause is not None:
            self.wait(job, verdict.pause)
        else:
            self.refuse(job, RefusalKind.UNAVAILABLE, verdict.reason)

    def form(self, reason: str, peer: str) -> tuple[int, Headers, bytes]:
        """Answer a request that is not HTTP as we take it."""
        status = _FORM_STATUS.get(reason, 400)
        self._ledger.refused_form(reason, peer, status)
        body = json.dumps({"code": -1100, "msg": words_for(reason)}, separators=(",", ":")).encode("ascii")
        return status, (_PLAIN, (_REASON, reason.encode("ascii"))), body
