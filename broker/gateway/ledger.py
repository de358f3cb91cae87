"""What the gateway writes down of each request: spool lines before anything is sent, and counts for `status`.

Rules:
1. Allowed requests are always written. Refusals of nobody in particular (bad form, unknown keys) are written up to
   `STRANGERS_A_SECOND` and counted beyond, lest a flood fill the disk; so are those of each grant that is only named,
   for to know a key id proves nothing, and those of who has proven to hold its key up to `PROVEN_A_SECOND`.
2. An order whose line cannot be written is not sent; a read, a cancel or an exit is. A cancel or an exit has its line
   once one can be written, with what came of it (`late`): the broker would know of neither. Until then the spool is
   marked where it reserved budget: who begins after us must not take our lines for all that we spent.
3. So has what is known of an order, before any other line; until then the lines that it is of stay (`spool`): the
   broker would have it as made, by nobody, and an order that never was as made for ever.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable

from broker.budget import Parts
from broker.calllog import Answered, Ask, Fills, Lists, write_line
from broker.gateway.book import Held
from broker.gateway.clock import SystemClock
from broker.gateway.doubts import line_of
from broker.gateway.job import Job
from broker.gateway.late import Late
from broker.gateway.owners import id_of, name_of
from broker.gateway.said import Said
from broker.gateway.sent import Sent
from broker.gateway.spool import Spool
from broker.policy import Allow
from clients.venue import Action, Intent

STRANGERS_A_SECOND, PROVEN_A_SECOND = 20, 200
_SAMPLES = 2048
_FOUND, _ABSENT = 200, 400
_STANDS_US = 60_000_000
"""For so long it is said that the spool cannot be written where nothing was to be written since."""

_LOG = logging.getLogger("portcullis.spool")


class Ledger:
    """The gateway's side of the call log."""

    def __init__(self, spool: Spool, clock: SystemClock, written: Callable[[], None]) -> None:
        self._spool, self._clock, self._written = spool, clock, written
        self._second, self._warned_us = 0, -_STANDS_US
        self._refused: Counter[tuple[str, int]] = Counter()
        self.requests = 0
        self.refusals = 0
        self.in_flight = 0
        self._added_us: deque[int] = deque(maxlen=_SAMPLES)
        self._late = late = Late()
        spool.owes = lambda: len(late) + late.dropped
        self.said, self._failed_us = Said(_LOG), 0

    def tell_late(self, told: Callable[[Fills, int], None]) -> None:
        """Have somebody told in which line is what an answer tells of orders, where that came late; 0: in none."""
        self._late.on_end = told

    @property
    def behind(self) -> bool:
        """Whether the call log is so far behind that it cannot take new risk in."""
        return self._spool.behind

    @property
    def unmarked(self) -> bool:
        """Whether budget was spent of which neither a line nor the spool's mark tells."""
        return not self._spool.tells

    def allowed(self, job: Job, held: Held | None, verdict: Allow) -> None:
        """Write down what is about to be sent.

        Raises:
            OSError: It could not be written, and it is an order.
        """
        self.requests += 1
        decision = "allow" if verdict.observed is None else "observe"
        line = self._ask(job, held, decision, verdict.observed, 0, verdict)
        try:
            self._write(line)
        except OSError as fault:
            job.seq = 0  # its number goes to another line: the answer must not be taken for that one's
            self._said(fault)
            reading = job.reading
            goes = verdict.leaving or verdict.only_sells
            if reading is None or not (goes or reading.intent.action is Action.READ):
                raise
            if goes:
                job.unwritten = self._late.ask(line, job.sent)
                self._spool.lacks(some=self._late.spent > 0)
        self.in_flight += 1

    def refused(self, job: Job, reason: str, status: int) -> None:
        """Write a refusal down."""
        self.requests += 1
        self.refusals += 1
        held, grant = job.held, _whose(job, job.held)[0]
        proven = held is not None and job.inbound.vouched == held.key_id
        if self._too_many(grant, PROVEN_A_SECOND if proven else STRANGERS_A_SECOND):
            return
        try:
            self._write(self._ask(job, job.held, "deny", reason, status, None))
        except OSError:
            return  # the refusal stands; only its record is lost

    def refused_form(self, reason: str, peer: str, status: int) -> None:
        """Write down a request that was not in form."""
        self.requests += 1
        self.refusals += 1
        if self._too_many("", STRANGERS_A_SECOND):
            return
        line = Ask(
            self._next(), self._clock.wall_us(), "", "", "", "", "", "form", "unknown", None, None,
            None, (), None, "deny", reason, status, (), peer, False,
        )  # fmt: skip
        try:
            self._write(line)
        except OSError:
            return

    def answered(
        self, job: Job, status: int, code: str | None, outcome: str,
        orders: tuple[tuple[str, str | None, str | None, bool], ...], released: Parts,
        fills: Fills = (), lists: Lists = (),
    ) -> int:  # fmt: skip
        """Write down what came back; return the number of its line, 0 where there is none, or none yet."""
        self.in_flight -= 1
        number = self._next()  # an ask that waited may have its line now
        unwritten = job.unwritten
        if unwritten is not None and unwritten.number:
            job.seq, unwritten = unwritten.number, None
        if not job.seq and unwritten is None:
            return 0
        now_ns = time.perf_counter_ns()
        line = Answered(
            number, job.seq, self._clock.wall_us(), status, code,
            (now_ns - job.sent_ns) // 1000, outcome, orders, released, *_owned(job), fills=fills,
            none_placed=job.none_placed, lists=lists,
        )  # fmt: skip
        whose = "" if job.held is None else job.held.lease.grant
        if unwritten is not None:
            self._late.answer(line, whose, unwritten)
            return 0
        write = job.reading is not None and job.reading.intent.action is not Action.READ
        return self._tell(line, whose, of_orders=write or bool(fills))

    def found(self, sent: Sent, fills: Fills = (), lists: Lists = ()) -> int:
        """Write down what was found of an order beside the answer to its request: its id, what it executed.

        Returns:
            The number of its line, 0 where there is none.
        """
        number = self._next()
        unwritten = self._late.ask_of(sent.number)
        asked = sent.asked or unwritten is not None
        if sent.known_as is None or not (asked or fills):
            return 0
        own = ((sent.symbol, sent.known_as, sent.name),) if asked else ()  # else it is on record already
        line = Answered(
            number, sent.asked, self._clock.wall_us(), _FOUND, None, 0, "done", (), (),
            sent.account, sent.grant, own, fills=fills, boot=sent.boot, lists=lists,
            gateway=sent.gateway,
        )  # fmt: skip
        if unwritten is not None:
            self._late.answer(line, sent.grant, unwritten)
            return 0
        return self._tell(line, sent.grant)

    def owned(self, account: str, symbol: str, known_as: str, grant: str) -> None:
        """Write down whose an order is of which it is not known which request it is of."""
        own = ((symbol, known_as, ""),)
        number, now_us = self._next(), self._clock.wall_us()
        self._tell(Answered(number, 0, now_us, _FOUND, None, 0, "done", (), (), account, grant, own), grant)

    def absent(self, sent: Sent) -> None:
        """Write down that the venue has none of the orders of a request whose answer never came."""
        number = self._next()
        unwritten = self._late.ask_of(sent.number)
        if not sent.asked and unwritten is None:
            return
        line = Answered(
            number, sent.asked, self._clock.wall_us(), _ABSENT, None, 0, "refused", (), (),
            boot=sent.boot, gateway=sent.gateway,
        )  # fmt: skip
        if unwritten is not None:
            self._late.answer(line, sent.grant, unwritten)
        else:
            self._tell(line, sent.grant)

    def catch_up(self) -> None:
        """Write what could not be written, if that can be now."""
        late = self._late
        try:
            late.write(self._write, self._spool.next)
        except OSError as fault:
            self._said(fault)
            return
        if late.dropped:
            _LOG.error(
                "%d call-log lines of exits and cancels are lost: while the spool could not be written there was no "
                "room for more", late.dropped,
            )  # fmt: skip
            late.dropped = 0
        self._spool.holds = False
        self._spool.lacks(some=self._late.spent > 0)
        if self._clock.boot_us() - self._failed_us > _STANDS_US:  # nothing was to be written since
            self.said.well("")

    def end(self) -> None:
        """Write what could not be written, for the last time; say what is lost."""
        self.catch_up()
        lost = len(self._late) + self._late.dropped
        if lost:
            _LOG.error(
                "%d call-log lines of exits, cancels and what came of them are lost: they cannot be written",
                lost,
            )

    def _said(self, fault: OSError) -> None:
        """Say that the spool cannot be written, once, and again where lines are lost by it."""
        self._failed_us, lost = self._clock.boot_us(), self._late.dropped
        more = f"; at least {1 << (lost.bit_length() - 1)} lines of exits are lost" if lost else ""
        why = fault.strerror or str(fault)
        self.said.say("", f"the spool cannot be written ({why}): only cancels and exits pass{more}")

    def _tell(self, line: Answered, whose: str, *, of_orders: bool = True) -> int:
        """Write down what came back; return the number of its line, 0 where it has none, or none yet."""
        try:
            self._write(line)
        except OSError as fault:
            self._said(fault)
            if of_orders:
                self._late.answer(line, whose)
                self._spool.holds = True
            return 0
        return line.seq

    def _next(self) -> int:
        """Return the number of the next line, behind what could not be written before."""
        if self._late:
            self.catch_up()
        return self._spool.next()

    def added(self, job: Job, came_ns: int) -> None:
        """Count the time that we added to a request."""
        self._added_us.append((job.sent_ns - job.started_ns + time.perf_counter_ns() - came_ns) // 1000)

    def latency_us(self) -> tuple[int, int]:
        """Return median and 99th percentile of the added time; -1 where nothing was measured."""
        if not self._added_us:
            return -1, -1
        ordered = sorted(self._added_us)
        return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]

    def _ask(
        self,
        job: Job,
        held: Held | None,
        decision: str,
        reason: str | None,
        status: int,
        verdict: Allow | None,
    ) -> Ask:
        reading = job.reading
        intent = None if reading is None else reading.intent
        first = intent.orders[0][0] if intent is not None and intent.orders else None
        job.seq = self._next()
        return Ask(
            job.seq,
            self._clock.wall_us(),
            *_whose(job, held),
            "" if held is None else held.key_text,
            job.request.method,
            job.addressee.name if intent is None else intent.endpoint,
            job.addressee.action.value if intent is None else intent.action.value,
            intent.symbols[0] if intent is not None and intent.symbols else None,
            None if first is None else first.side.value,
            None if verdict is None or not verdict.notional else str(verdict.notional),
            _names(job, intent),
            _target(intent),
            decision,
            reason,
            status,
            job.reserved,
            job.inbound.peer,
            verdict is not None and verdict.leaving,
            tuple(line_of(one) for one in job.sent),
            (job.sent[0].sent_us, job.sent[0].until_us) if job.sent else (0, 0),
            job.sent[0].base if job.sent else "",
            job.sent[0].quote if job.sent else "",
            _frees(job, intent),
        )

    def _write(self, entry: Ask | Answered) -> None:
        self._spool.write(write_line(entry))
        self.said.well("")
        self._written()

    def _too_many(self, grant: str, most: int) -> bool:
        """Tell whether this second has had enough of refusals of a grant, or of nobody in particular."""
        now_us = self._clock.boot_us()
        if now_us // 1_000_000 != self._second:
            self._second = now_us // 1_000_000
            self._refused.clear()
        self._refused[grant, most] += 1
        if self._refused[grant, most] <= most:
            return False
        if grant and now_us - self._warned_us >= _STANDS_US:
            self._warned_us = now_us
            _LOG.warning(
                "more than %d requests of grant %s were refused in a second: the rest is counted only",
                most,
                grant,
            )
        return True


def _whose(job: Job, held: Held | None) -> tuple[str, str, str]:
    if held is not None:
        return held.lease.grant, held.consumer, held.account
    return job.whose or ("", "", "")


def _owned(job: Job) -> tuple[str, str, tuple[tuple[str, str, str], ...]]:
    """Return account, grant and orders of a request whose orders have ids by now."""
    own = tuple((one.symbol, one.known_as, one.name) for one in job.sent if one.known_as is not None)
    return (job.sent[0].account, job.sent[0].grant, own) if own else ("", "", ())


def _names(job: Job, intent: Intent | None) -> tuple[str, ...]:
    """Return every client order id of the request, given or stamped."""
    if intent is None or not intent.orders:
        return job.client_order_ids
    given = tuple(
        order.client_order_id
        for group in intent.orders
        for order in group
        if order.client_order_id is not None
    )
    return given + job.client_order_ids


def _frees(job: Job, intent: Intent | None) -> str:
    """Return the id of the order that has to be cancelled before anything is placed; empty where it is not known."""
    target = None if intent is None else intent.target
    if intent is None or target is None or target.is_list or intent.persists or not job.sent:
        return ""
    return target.order_id or job.target_id or ""


def _target(intent: Intent | None) -> str | None:
    if intent is None or intent.target is None or intent.target.all_open:
        return None
    target = intent.target
    return id_of(target) or name_of(target)
