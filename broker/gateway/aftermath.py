"""What follows once a request has left: the answer rewritten and passed on, owners, budget, holdings, log.

Rules:
1. An answer that did not come whole, or a 2xx to a write that cannot be read, is an empty 504, and its outcome
   is unknown: nothing is released.
2. The real key's id never reaches a bot: it is replaced by the bot's own.
3. Only named headers pass.
4. Whose order it is is recorded once the venue took it; ids that we stamped, before.
"""

import time
from collections.abc import Callable

from broker.budget import Parts
from broker.gateway.book import Book, Held
from broker.gateway.job import Job, Reservation
from broker.gateway.ledger import Ledger
from broker.gateway.link import LinkClient
from broker.gateway.owners import Owners
from broker.gateway.settlement import Settlement
from broker.gateway.upstream import Broken, Reply
from broker.policy import Allow
from clients.venue import Action, Answer, RefusalKind

_PASS = (b"content-type", b"retry-after", b"date", b"x-mbx-uuid", b"x-mbx-traceid")
_PASS_PREFIXES = (b"x-mbx-used-weight", b"x-mbx-order-count", b"x-sapi-used")
_REASON = b"X-Portcullis-Reason"
_REDIRECT, _BAD = 300, 400
_STALE = "-1021"


class Aftermath:
    """Takes answers in."""

    def __init__(
        self, book: Book, owners: Owners, settlement: Settlement, ledger: Ledger, link: LinkClient,
        measure: Callable[[Job], None],
    ) -> None:  # fmt: skip
        self._book, self._owners, self._settlement = book, owners, settlement
        self._ledger, self._link, self._measure = ledger, link, measure

    def leaves(self, job: Job, held: Held, verdict: Allow, boot_us: int) -> None:
        """A request is about to leave: record its orders, hold its budget, count its sale."""
        reading = job.reading
        if reading is None or not reading.intent.orders:
            return
        intent = reading.intent
        symbol = intent.symbols[0] if intent.symbols else ""
        names = self._names(job)
        for name in job.client_order_ids:
            self._owners.record(held.account, symbol, name, held.lease.grant)
        if job.view is not None:
            job.view.uses(symbol, boot_us)
            pair = job.view.pairs.get(symbol)
            if verdict.sells and pair is not None and job.account is not None:
                job.account.sells(pair.base, verdict.sells, boot_us)
                job.sold_us = boot_us
        if job.reserved:
            single = intent.orders[0][0] if len(intent.orders) == 1 and len(intent.orders[0]) == 1 else None
            self._settlement.hold(
                Reservation(
                    held.lease.grant,
                    held.account,
                    symbol,
                    job.reserved,
                    None if single is None else single.quantity,
                    None if single is not None else self._members(job),
                    asked_us=boot_us,
                ),
                names,
            )

    def come(self, job: Job, result: Reply | Broken) -> None:
        """The answer is there, or it never will be."""
        came_ns = time.perf_counter_ns()
        self._link.landed(job.key_text)
        reading, view = job.reading, job.view
        if reading is None or view is None:
            return
        if isinstance(result, Broken):
            refusal = job.wire.refusal(RefusalKind.UNKNOWN_OUTCOME, result.reason)
            self._own(job, certain=False)
            self._ledger.answered(job, refusal.status, None, "unknown", (), ())
            job.reply(refusal.status, ((_REASON, b"unknown_outcome"),), b"")
            return
        view.heed(result, (came_ns - job.sent_ns) // 1000, reading.intent.weight_pool)
        answer = job.wire.answer(reading, result.status, result.headers, result.body)
        released = self._settled(job, answer)
        write = reading.intent.action is not Action.READ
        outcome = "refused" if answer.refused else "unknown" if answer.unknown and write else "done"
        orders = tuple(
            (state.symbol, state.order_id, state.client_order_id, state.final) for state in answer.orders
        )
        self._ledger.answered(job, result.status, answer.code, outcome, orders, released)
        if answer.code == _STALE:
            view.clock.distrust()
            self._measure(job)
        self._pass_on(job, result, unknown=outcome == "unknown")
        self._ledger.added(job, came_ns)

    def _settled(self, job: Job, answer: Answer) -> Parts:
        """Record owners, release budget and holdings by what the answer says; return what was released."""
        held, reading = job.held, job.reading
        if held is None or reading is None:
            return ()
        released: Parts = ()
        placed = bool(reading.intent.orders)
        if placed and not answer.refused:
            self._own(job, certain=not answer.unknown)
        amended = reading.intent.action is Action.AMEND
        for state in answer.orders:
            if amended and state.client_order_id is not None:
                self._owners.record(held.account, state.symbol, state.client_order_id, held.lease.grant)
            if placed and state.order_id is not None and self._ours(job, state.client_order_id):
                self._owners.record(held.account, state.symbol, f"#{state.order_id}", held.lease.grant)
            if state.rejected and state.order_id is None and job.reserved:
                left = self._settlement.drop(held.account, state.symbol, self._names(job))
                released += self._release(held.lease.grant, left)
                continue
            grant, parts = self._settlement.settle(held.account, state)
            released += self._release(grant, parts)
        if answer.refused and placed:
            if job.reserved:
                left = self._settlement.drop(held.account, reading.intent.symbols[0], self._names(job))
                released += self._release(held.lease.grant, left)
            self._unsold(job)
        return released

    def _own(self, job: Job, *, certain: bool) -> None:
        """Record orders under the ids the bot gave, now that the venue took them.

        Not earlier: a bot that sends another's id gets a refusal, and must not own that order for having asked.
        """
        held, symbols = job.held, () if job.reading is None else job.reading.intent.symbols
        if held is None or not symbols:
            return
        for name in self._names(job):
            if certain or not self._owners.find(held.account, symbols[0], name):
                self._owners.record(held.account, symbols[0], name, held.lease.grant)

    def _names(self, job: Job) -> tuple[str, ...]:
        intent = None if job.reading is None else job.reading.intent
        given = () if intent is None else tuple(
            order.client_order_id
            for group in intent.orders
            for order in group
            if order.client_order_id is not None
        )  # fmt: skip
        return given + job.client_order_ids

    def _members(self, job: Job) -> set[str]:
        """Return the client order ids of a list's orders, without the list's own."""
        reading = job.reading
        if reading is None:
            return set()
        slots = job.wire.client_id_slots(reading)
        stamped = {
            name for slot, name in zip(slots, job.client_order_ids, strict=False) if "list" not in slot
        }
        given = set(self._names(job)) - set(job.client_order_ids)
        return given | stamped

    def _ours(self, job: Job, client_order_id: str | None) -> bool:
        """Tell whether an order in the answer is one that this request placed, not the one it replaced."""
        names = self._names(job)
        return client_order_id in names or not names

    def _release(self, grant: str, parts: Parts) -> Parts:
        if parts:
            standing = self._book.standing.get(grant)
            self._link.give_back(parts if standing is None else standing.purse.release(parts))
        return parts

    def _unsold(self, job: Job) -> None:
        if job.verdict is None or not job.verdict.sells or job.view is None or job.account is None:
            return
        intent = None if job.reading is None else job.reading.intent
        pair = None if intent is None or not intent.symbols else job.view.pairs.get(intent.symbols[0])
        if pair is not None:
            job.account.unsold(pair.base, job.verdict.sells, job.sold_us)

    def _pass_on(self, job: Job, result: Reply, *, unknown: bool) -> None:
        status, body = result.status, result.body
        if unknown and status < _REDIRECT:  # passed on, it would be an order without an id
            refusal = job.wire.refusal(RefusalKind.UNKNOWN_OUTCOME, "unreadable")
            job.reply(refusal.status, ((_REASON, b"unknown_outcome"),), b"")
            return
        if _REDIRECT <= status < _BAD:
            refusal = job.wire.refusal(
                RefusalKind.UNKNOWN_OUTCOME if unknown else RefusalKind.UNAVAILABLE, "redirect"
            )
            job.reply(refusal.status, ((_REASON, b"redirect"),), b"")
            return
        if job.real_key_id and job.held is not None:
            real = job.real_key_id.encode("ascii")
            if real in body:
                body = body.replace(real, job.held.key_id.encode("ascii"))
        headers = tuple(
            (name, value)
            for name, value in result.headers.items()
            if name in _PASS or name.startswith(_PASS_PREFIXES)
        )
        if unknown:
            headers = (*headers, (_REASON, b"unknown_outcome"))
        job.reply(status, headers, body)
