"""What follows once a request has left: the answer rewritten and passed on, owners, budget, holdings, log.

Rules:
1. An answer that did not come whole, or a 2xx to a write that cannot be read, is an empty 504, and its outcome
   is unknown: nothing is released.
2. The real key's id never reaches a bot: it is replaced by the bot's own.
3. Only named headers pass.
4. What is on its way is counted out whatever the answer says, and the bot is answered once.
5. Whose order it is is recorded by the venue's id of it, from the answer to the request that placed it. A dry run
   places nothing, so it owns nothing.
6. That the venue refuses the real key is told to the bot as that, in a header and in the text: its own key is good.
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from itertools import count

from broker.budget import Parts
from broker.gateway.book import Book, Held
from broker.gateway.fills import Placed
from broker.gateway.job import Job
from broker.gateway.ledger import Ledger
from broker.gateway.link import LinkClient
from broker.gateway.owners import Owners, id_of
from broker.gateway.settlement import Reservation, Settlement
from broker.gateway.venue_line import Broken, Reply
from broker.gateway.wellbeing import Wellbeing
from broker.policy import Allow
from broker.policy_facts import ZERO
from clients.venue import Action, OrderRef, Variant
from clients.wire import Answer, OrderState, RefusalKind

_PASS = (b"content-type", b"retry-after", b"date", b"x-mbx-uuid", b"x-mbx-traceid")
_PASS_PREFIXES = (b"x-mbx-used-weight", b"x-mbx-order-count", b"x-sapi-used")
_REASON = b"X-Portcullis-Reason"
_REDIRECT, _BAD = 300, 400
_GATEWAY_TIMEOUT = 504
_LOG = logging.getLogger("portcullis.gateway")
_STALE = "-1021"
_REFUSED_KEY = (
    " (The exchange said this of the real key that Portcullis holds, not of yours: tell the operator.)"
)


class Aftermath:
    """Takes answers in."""

    def __init__(
        self, book: Book, owners: Owners, settlement: Settlement, ledger: Ledger, link: LinkClient,
        measure: Callable[[Job], None], wellbeing: Wellbeing,
    ) -> None:  # fmt: skip
        self._book, self._owners, self._settlement = book, owners, settlement
        self._ledger, self._link, self._measure = ledger, link, measure
        self._wellbeing = wellbeing
        self._amendments = count(1)

    def leaves(self, job: Job, held: Held, verdict: Allow, boot_us: int) -> None:
        """A request is about to leave: note its orders, hold its budget, count its sale."""
        reading = job.reading
        if reading is None:
            return
        intent = reading.intent
        symbol = intent.symbols[0] if intent.symbols else ""
        if intent.action is Action.AMEND and intent.target is not None:
            job.amends = next(self._amendments)
            self._renames(held.account, symbol, intent.target, job.amends)
        if not intent.orders:
            return
        pair = None if job.view is None else job.view.pairs.get(symbol)
        for sent in job.sent:
            sent.asked, sent.base = job.seq, "" if pair is None else pair.base
            sent.flying = True
            self._owners.waiting.add(sent)
        if job.view is not None:
            job.view.uses(symbol, boot_us)
            if verdict.sells and pair is not None and job.account is not None:
                job.sale = job.account.sells(pair.base, verdict.sells)
                held.standing.stakes.sells(job.sale)
                quote = job.view.quotes(boot_us).get(symbol)
                prices = [order.price for group in intent.orders for order in group]
                if quote is None or any(price is None or price <= quote.price for price in prices):
                    job.view.sells(symbol, job.sale)
        # whose an asset is follows from all orders of a shared account, where no limit counts them too
        if job.sent and (job.reserved or not held.sole):
            self._follow(job, held, boot_us)

    def _follow(self, job: Job, held: Held, boot_us: int) -> None:
        """Ask about the orders of a request until they are final."""
        orders = tuple(sent for sent in job.sent if not sent.is_list)
        quantity = orders[0].quantity if len(orders) == 1 else None
        self._settlement.hold(
            Reservation(
                job.sent[0].number, held.lease.grant, held.account, orders[0].symbol, job.reserved, quantity, orders,
                held_us=boot_us, asked_us=boot_us, sale=job.sale,
            )
        )  # fmt: skip

    def _in_doubt(self, job: Job) -> None:
        """Find out what became of a request whose answer does not tell: on record it would count as made for ever."""
        untold = not job.none_placed and any(one.order_id is None for one in job.sent if not one.is_list)
        if untold and job.held is not None and not self._settlement.holds(job.sent[0].number):
            self._follow(job, job.held, job.held.used_us)

    def _renames(self, account: str, symbol: str, target: OrderRef, number: int) -> None:
        """An amendment gives an order another name: what has no id yet may not be found under its own any more."""
        known = id_of(target)
        if known is None:
            self._owners.waiting.amended(account, symbol, target.client_order_id, number)
        elif self._owners.find(account, symbol, known) is None:
            self._owners.waiting.amended(account, symbol, None)

    def come(self, job: Job, result: Reply | Broken) -> None:
        """The answer is there, or it never will be. Taken in once, and counted out whatever it says."""
        if job.landed:
            return
        job.landed = True
        in_flight = self._ledger.in_flight
        try:
            self._link.landed(job.flight)
            self._come(job, result)
        except Exception:  # noqa: BLE001 - an answer that we cannot digest is one that did not come
            _LOG.error(
                "internal error while an answer was taken in; its outcome counts as unknown", exc_info=False
            )
            if self._ledger.in_flight == in_flight:
                self._ledger.answered(job, _GATEWAY_TIMEOUT, None, "unknown", (), ())
            self._in_doubt(job)
            job.reply(_GATEWAY_TIMEOUT, ((_REASON, b"unknown_outcome"),), b"")
        finally:
            self._owners.waiting.amendment_over(job.amends)
            for sent in job.sent:
                sent.flying = False

    def _come(self, job: Job, result: Reply | Broken) -> None:
        came_ns = time.perf_counter_ns()
        reading, view = job.reading, job.view
        if reading is None or view is None:
            raise RuntimeError("what was sent had no reading or no venue")
        if isinstance(result, Broken):
            if job.sale is not None and job.account is not None:
                job.account.landed(job.sale)
                job.sale.unsure = True
            self._in_doubt(job)
            refusal = job.wire.refusal(RefusalKind.UNKNOWN_OUTCOME, result.reason)
            self._ledger.answered(job, refusal.status, None, "unknown", (), ())
            job.reply(refusal.status, ((_REASON, b"unknown_outcome"),), b"")
            return
        view.heed(result, (came_ns - job.sent_ns) // 1000, reading.intent.weight_pool)
        answer = job.wire.answer(reading, result.status, result.headers, result.body)
        if job.sale is not None:
            job.sale.unsure = answer.unknown
        released = self._settled(job, answer)
        self._in_doubt(job)
        if job.sale is not None and job.account is not None:
            job.account.landed(job.sale, took_place=not (answer.refused or job.none_placed))
        # a read that only the policy names has no row in the table, and changes nothing all the same
        write = reading.intent.action is not Action.READ and reading.request.method != "GET"
        outcome = "refused" if answer.refused else "unknown" if answer.unknown and write else "done"
        orders = tuple(
            (state.symbol, state.order_id, state.client_order_id, state.final) for state in answer.orders
        )
        fills = (
            ()
            if job.held is None
            else self._book.recent.take(
                job.held.account, job.held.lease.grant, _placing(job), answer, view.pairs, self._owners.find
            )
        )
        line = self._ledger.answered(job, result.status, answer.code, outcome, orders, released, fills)
        self._book.recent.written(fills, line)
        if answer.code == _STALE:
            view.clock.distrust()
            self._measure(job)
        if job.real_key_id and self._wellbeing.heard(
            job.real_key_id, result.status, None if answer.code is None else int(answer.code),
            group=reading.intent.group, write=write, as_signed=job.variant is Variant.RAW,
        ):  # fmt: skip
            result = _told(result)
        self._pass_on(job, result, unknown=outcome == "unknown")
        self._ledger.added(job, came_ns)

    def _settled(self, job: Job, answer: Answer) -> Parts:
        """Record owners, release budget and holdings by what the answer says; return what was released."""
        held, reading = job.held, job.reading
        if held is None or reading is None:
            return ()
        released: Parts = ()
        for state in answer.orders:
            if state.rejected and state.order_id is None:
                released += self._refused(job, held)
                continue
            if job.sent and not state.of_cancel:
                self._placed(job, state)
            elif reading.intent.action is Action.AMEND:
                self._amended(held, state)
            self._owners.identify(held.account, state)
            grant, parts = self._settlement.settle(held.account, state)
            released += self._release(grant, parts)
        if answer.refused and reading.intent.orders:
            released += self._refused(job, held)
        if job.amends and (answer.refused or self._are_known(held, answer.orders)):
            self._owners.waiting.not_amended(job.amends)
        return released

    def _are_known(self, held: Held, orders: Sequence[OrderState]) -> bool:
        """Tell whether all that an amendment was of are orders that are known by their ids."""
        return bool(orders) and all(
            self._owners.is_confirmed(held.account, one.symbol, f"#{one.order_id}") for one in orders
        )

    def _refused(self, job: Job, held: Held) -> Parts:
        """The venue placed none of a request's orders."""
        job.none_placed = bool(job.sent)
        for sent in job.sent:
            self._owners.waiting.remove(sent)
        return (
            self._release(held.lease.grant, self._settlement.refused(job.sent[0].number)) if job.sent else ()
        )

    def _placed(self, job: Job, state: OrderState) -> None:
        """The venue gave an order of this very request its id, and its list one."""
        orders = [sent for sent in job.sent if not sent.is_list]
        if len(orders) > 1:
            orders = [sent for sent in orders if sent.name == state.client_order_id]
        if len(orders) == 1 and orders[0].order_id is None and state.order_id is not None:
            self._owners.confirm(orders[0], state.order_id)
        if state.list_id is not None and job.sent[0].is_list and job.sent[0].order_id is None:
            self._owners.confirm(job.sent[0], state.list_id)

    def _amended(self, held: Held, state: OrderState) -> None:
        """An order goes by another name now; whose it is does not change."""
        known = f"#{state.order_id}"
        grant = self._owners.find(held.account, state.symbol, known)
        if grant is not None and state.client_order_id is not None:
            self._owners.bear(held.account, state.symbol, state.client_order_id, known, grant)

    def _release(self, grant: str, parts: Parts) -> Parts:
        if parts:
            standing = self._book.standing.get(grant)
            self._link.give_back(parts if standing is None else standing.purse.release(parts))
        return parts

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
        elif _REASON in result.headers:
            headers = (*headers, (_REASON, result.headers[_REASON]))
        job.reply(status, headers, body)


def _placing(job: Job) -> Placed:
    return Placed(job.sent, ZERO if job.verdict is None else job.verdict.sells)


def _told(reply: Reply) -> Reply:
    """Say in an answer that it is the real key which the venue refuses; its code stays, for libraries go by that."""
    headers = {**reply.headers, _REASON: b"venue_refuses_key"}
    body = reply.body
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if isinstance(document, dict) and isinstance(document.get("msg"), str):
        document["msg"] += _REFUSED_KEY
        body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    return Reply(reply.status, headers, body)
