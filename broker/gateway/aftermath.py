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
from broker.gateway.depth import Taking
from broker.gateway.job import Job
from broker.gateway.ledger import Ledger
from broker.gateway.limits import TURNED_AWAY
from broker.gateway.link import LinkClient
from broker.gateway.moves import Moves
from broker.gateway.owners import Owners, id_of
from broker.gateway.replay import Entry
from broker.gateway.reported import Placed, paid_at_most, tells_all
from broker.gateway.sales import Sale
from broker.gateway.sent import Sent
from broker.gateway.settlement import Reservation, Settlement
from broker.gateway.venue_line import Broken, Reply
from broker.gateway.venue_view import VenueView
from broker.gateway.wellbeing import Wellbeing
from broker.paid import paid_in
from broker.policy import Allow
from broker.policy_book import takes, takes_at_once
from broker.policy_facts import ZERO
from clients.venue import Action, Intent, OrderRef, Side, Variant
from clients.venues.binance.codes import turned_away
from clients.wire import Answer, OrderState, RefusalKind

_PASS = (b"content-type", b"content-encoding", b"retry-after", b"date", b"x-mbx-uuid", b"x-mbx-traceid")
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
        self._moves = Moves(owners, book.recent, settlement)
        self._amendments = count(1)
        self.on_cancelled: Callable[[Entry, str, str], None] = lambda _entry, _target_id, _grant: None
        self.on_landed: Callable[[Sent], None] = lambda _: None

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
        last = None if job.view is None else job.view.quotes(boot_us).get(symbol)
        for sent in job.sent:
            sent.asked, sent.flying = job.seq, True
            sent.market = None if last is None else last.price
            self._owners.waiting.add(sent)
        if job.view is not None:
            job.view.uses(symbol, boot_us)
            if verdict.sells and pair is not None and job.account is not None:
                old = self._moves.old(held, intent, symbol)
                job.sale = job.account.sells(pair.base, verdict.sells, old, grant=held.lease.grant)
                self._moves.begin(job.sale, symbol)
                held.standing.stakes.sells(job.sale)
            if not intent.dry_run:
                self._pays(job, held, intent)
                self._takes(job, job.view, symbol, boot_us, beyond=verdict.beyond)
        # whose an asset is follows from all orders of a shared account, where no limit counts them too
        if job.sent and (job.reserved or not held.sole):
            self._follow(job, held, boot_us)

    def _pays(self, job: Job, held: Held, intent: Intent) -> None:
        """Count what a purchase pays at most as sold, where that is no money; of alternatives one is filled."""
        buys = [one for one in job.sent if one.quote and one.side == Side.BUY.value and not one.waits]
        amount = max((paid_at_most(one) or ZERO for one in buys), default=ZERO)
        if amount and job.account is not None:
            symbol = buys[0].symbol
            old = self._moves.old(held, intent, symbol, paid_in(symbol))
            job.pays = job.account.sells(buys[0].quote, amount, old, at_most=True, grant=held.lease.grant)
            self._moves.begin(job.pays, symbol)
            held.standing.stakes.sells(job.pays)

    def _takes(self, job: Job, view: VenueView, symbol: str, boot_us: int, *, beyond: bool) -> None:
        """Note what a request may take from each side of the book."""
        orders = () if job.reading is None else job.reading.intent.orders
        whose = "" if job.held is None else job.held.consumer
        last = view.quotes(boot_us).get(symbol)
        market = None if last is None else last.price
        if gives := takes(orders, Side.SELL, market):
            job.gives = job.sale or Sale("", ZERO, boot_us)
            at_once, is_there = takes_at_once(orders, Side.SELL), _is_there(job, boot_us)
            view.bids.takes(symbol, Taking(job.gives, gives, whose, at_once, is_there, beyond))
        if buys := takes(orders, Side.BUY, market):
            job.buy = Sale("", ZERO, boot_us)
            view.asks.takes(symbol, Taking(job.buy, buys, whose, takes_at_once(orders, Side.BUY)))

    def _follow(self, job: Job, held: Held, boot_us: int) -> None:
        """Ask about the orders of a request until they are final."""
        orders = tuple(sent for sent in job.sent if not sent.is_list)
        quantity = orders[0].quantity if len(orders) == 1 else None
        self._settlement.hold(
            Reservation(
                job.sent[0].number, held.lease.grant, held.account, orders[0].symbol, job.reserved, quantity, orders,
                held_us=boot_us, asked_us=boot_us, sale=job.sale, pays=job.pays, consumer=held.consumer,
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
                self.on_landed(sent)

    def _come(self, job: Job, result: Reply | Broken) -> None:
        came_ns = time.perf_counter_ns()
        reading, view = job.reading, job.view
        if reading is None or view is None:
            raise RuntimeError("what was sent had no reading or no venue")
        if isinstance(result, Broken):
            for one in _given(job):
                one.unsure = True
                if job.account is not None:
                    job.account.landed(one)
            if job.gives is not None:  # who leaves may look again at once; a purchase may still come
                view.bids.landed(job.gives, took_place=True)
            self._in_doubt(job)
            refusal = job.wire.refusal(RefusalKind.UNKNOWN_OUTCOME, result.reason)
            self._ledger.answered(job, refusal.status, None, "unknown", (), ())
            job.reply(refusal.status, ((_REASON, b"unknown_outcome"),), b"")
            return
        asked_ns = job.shared_ns or job.sent_ns
        view.heed(result, (came_ns - asked_ns) // 1000, reading.intent.weight_pool)
        answer = job.wire.answer(reading, result.status, result.headers, result.body)
        for one in _given(job):
            one.unsure = answer.unknown
        released = self._settled(job, answer)
        self._in_doubt(job)
        took_place = not (answer.refused or job.none_placed)
        for one in _given(job):
            if job.account is not None:
                job.account.landed(one, took_place=took_place)
        if job.gives is not None:
            view.bids.landed(job.gives, took_place=took_place)
        if job.buy is not None and not answer.unknown:
            view.asks.landed(job.buy, took_place=took_place)
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
        line = self._ledger.answered(
            job,
            result.status,
            answer.code,
            outcome,
            orders,
            released,
            fills,
            self._book.recent.lists_of(fills),
        )
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
        self._cancelled(job, held, answer)
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

    def _cancelled(self, job: Job, held: Held, answer: Answer) -> None:
        """Remember which order, or list, a cancel by name was of."""
        target = None if job.reading is None else job.reading.intent.target
        if job.cancels is None or target is None:
            return
        for state in answer.orders:
            known = state.list_id if target.is_list else state.order_id
            if known is not None and (target.is_list or state.client_order_id == target.client_order_id):
                self.on_cancelled(job.cancels, known, held.lease.grant)
                return

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
            orders[0].rested = tells_all(state)
        if state.list_id is not None and job.sent[0].is_list and job.sent[0].order_id is None:
            self._owners.confirm(job.sent[0], state.list_id)

    def _amended(self, held: Held, state: OrderState) -> None:
        """An order goes by another name now; whose it is does not change."""
        known = f"#{state.order_id}"
        grant = self._owners.find(held.account, state.symbol, known)
        if grant is not None and state.client_order_id is not None:
            self._owners.bear(held.account, state.symbol, state.client_order_id, known, grant, renamed=True)

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
        elif turned_away(status, result.headers, body):
            if status < _REDIRECT:  # a page in the place of an answer, told as a yes
                refusal = job.wire.refusal(RefusalKind.UNAVAILABLE, TURNED_AWAY)
                status, headers, body = refusal.status, refusal.headers, refusal.body
            headers = (*headers, (_REASON, TURNED_AWAY.encode("ascii")))
        elif _REASON in result.headers:
            headers = (*headers, (_REASON, result.headers[_REASON]))
        job.reply(status, headers, body)


def _is_there(job: Job, boot_us: int) -> bool:
    """Tell whether what a request sells is free as far as is known now, and it waits for no cancel.

    Else the venue may refuse it.
    """
    account, sale = job.account, job.sale
    if account is None or sale is None or job.reading is None or job.reading.intent.target is not None:
        return False
    return account.known(boot_us) and account.free(sale.asset) >= ZERO  # behind this very sale


def _placing(job: Job) -> Placed:
    money = "" if job.held is None else job.held.policy.reference_asset
    return Placed(job.sent, ZERO if job.verdict is None else job.verdict.sells, money)


def _given(job: Job) -> tuple[Sale, ...]:
    return tuple(one for one in (job.sale, job.pays) if one is not None)


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
