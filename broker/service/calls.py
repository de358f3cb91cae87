"""The call log and the budget ledger: what gateways report, and what operators read."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TypeVar

from msgspec.structs import replace

from broker import budget
from broker.audit.chain import Detail
from broker.budget import WINDOW_US, Limit, Parts, Slice
from broker.calllog import Answered, Ask, parse
from broker.db import calls as store
from broker.db import early, fills, lately, taken, unheard
from broker.db import grants as grant_store
from broker.db import slices as ledger
from broker.db.lately import HeldAsOf
from broker.db.turns import Urgency
from broker.db.weighing import Fill, Rest
from broker.errors import Conflict, Malformed, Problem
from broker.model import Grant, moment, new_id
from broker.policy_facts import UNKNOWN, Stake
from broker.service.audit import Audit
from broker.service.call_seal import CallSeal
from broker.service.desk import Desk, Page, cursor_number, page
from broker.service.heirs import Heirs
from broker.service.limits import rules_of
from broker.service.money_clock import MoneyClock

FILTERS = ("grant", "consumer", "account", "decision", "endpoint", "outcome")
_END = (2**62, "~", 2**62)
_MOST_NAMED = 20
_BREATHES_EACH = 25
_BREATHES_S = 0.02
_BREATHS = 3
_KEEPING_S = 0.5
_NAMED_US = WINDOW_US
"""For so long a purchase of others of which nobody heard is asked about."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One row of the call log. No `outcome` means not known."""

    at: datetime
    gateway: str
    grant: str
    consumer: str
    account: str
    key: str
    method: str
    endpoint: str
    action: str
    symbol: str | None
    side: str | None
    notional: str | None
    decision: str
    reason: str | None
    status: int
    code: str | None
    outcome: str | None
    latency_us: int | None
    source: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What was sent under a name, as `link.frames.ClaimPart` has it."""

    grant: str
    name: str
    sent_us: int
    until_us: int
    side: str
    quantity: str
    price: str
    exact: bool
    boot: str


@dataclass(frozen=True, slots=True)
class Owned:
    """Whose an order is, and what else may be it. `gone`: it was a revoked grant's, and nobody stands for that."""

    grant: str | None
    claims: tuple[Claim, ...] = ()
    gone: bool = False


class Calls:
    """Use cases on calls and budgets."""

    def __init__(self, desk: Desk, seal: CallSeal, audit: Audit) -> None:
        self._desk, self._seal, self._audit = desk, seal, audit
        self._clock = MoneyClock(desk.spans)

    def ingest(self, gateway: str, boot: str, lines: Iterable[str], first: int = 0) -> tuple[int, ...]:
        """Take spool lines in; the same lines again change nothing.

        Args:
            gateway: Whose.
            boot: Of which start of it.
            lines: One after the other.
            first: The number of the first one, where what is taken in is to be noted; 0: it is not.

        Returns:
            The places of those that cannot be read or held, counted from 0: they are not in the log.
        """
        parsed = [parse(line) for line in self._breathing(lines)]
        found = [(place, line) for place, line in enumerate(parsed) if line is not None]
        lost = {place for place, line in enumerate(parsed) if line is None}
        last = first + len(parsed) - 1 if first else 0
        lost.update(self._take_in(gateway, boot, found, last, first))
        self._seal.touch(gateway, boot)
        return tuple(sorted(lost))

    def _breathing(self, lines: Iterable[T]) -> Iterator[T]:
        """Yield lines; between some of them urgent writes of the state go first, which share the interpreter.

        Not where one waits long, for another process: who waits for the log would wait as long.
        """
        turns, patience = self._desk.database.turns, _BREATHS
        for number, line in enumerate(lines):
            if patience and number % _BREATHES_EACH == 0 and not turns.let_urgent_pass(_BREATHES_S):
                patience -= 1
            yield line

    def _take_in(
        self, gateway: str, boot: str, found: Sequence[tuple[int, Ask | Answered]], last: int, first: int
    ) -> Iterator[int]:
        """Write lines; yield the places of those that fit no column: one of them must not keep the others out.

        `first`: the number of the line at place 0, `last` that of the last one that is looked at; 0: not to be noted.
        """
        if not found and not last:
            return
        try:
            with self._desk.database.log.write(Urgency.UPKEEP) as connection:
                store.add_lines(connection, gateway, boot, self._breathing(line for _, line in found))
                asks = (line for _, line in found if isinstance(line, Ask))
                ledger.spend_lost(connection, gateway, boot, asks, partial(self._clock.now_us, connection))
                taken.note(connection, gateway, boot, last)
        except (Malformed, Conflict, ValueError, ArithmeticError):
            if not found:
                raise
            if len(found) == 1:
                yield found[0][0]
                yield from self._take_in(gateway, boot, (), last, first)
                return
            half = len(found) // 2
            middle = first + found[half][0] - 1 if first else 0
            yield from self._take_in(gateway, boot, found[:half], middle, first)
            yield from self._take_in(gateway, boot, found[half:], last, first)

    def last_of(self, gateway: str, boot: str) -> int:
        """Return the number of the last call of a gateway's boot that is in the log; 0 where there is none."""
        with self._desk.database.log.read() as connection:
            return store.last_of(connection, gateway, boot)

    def unreadable(self, gateway: str, boot: str, numbers: tuple[int, ...]) -> None:
        """Put on record that lines of a gateway's boot are lost to the call log."""
        named = [str(number) for number in numbers[:_MOST_NAMED]]
        details: dict[str, Detail] = {"gateway": gateway, "boot": boot, "count": len(numbers), "lines": named}
        with self._desk.database.write(Urgency.UPKEEP) as connection:
            self._audit.record(connection, "calls.unreadable", f"gateway:{gateway}", details)

    def list(self, *, after: str = "", limit: int = 100, **filters: str) -> Page[Call]:
        """List calls, newest first.

        Raises:
            Malformed: An unknown filter or cursor.
        """
        for name in filters:
            if name not in FILTERS:
                raise Malformed(
                    "bad_filter", (Problem(name, f"is no filter; known are {', '.join(FILTERS)}"),)
                )
        before = _END
        if after:
            at_us, boot, seq = (*after.split("."), "", "", "")[:3]
            before = (cursor_number(at_us), boot, cursor_number(seq))
        with self._desk.database.log.read() as connection:
            found = store.page(connection, before, limit + 1, filters)
        shown = page(found, limit, lambda row: f"{row.at_us}.{row.boot}.{row.seq}")
        calls = tuple(
            Call(
                moment(row.at_us), row.gateway, row.grant, row.consumer, row.account, row.key, row.method,
                row.endpoint, row.action, row.symbol, row.side, row.notional, row.decision, row.reason,
                row.status, row.code, row.outcome, row.latency_us, row.source,
            )
            for row in shown.items
        )  # fmt: skip
        return Page(calls, shown.next)

    def whose(self, account: str, symbol: str, name: str) -> Owned:
        """Return whose an order is, by its id (`#`, `%`) or by a name (`@` before that of a list).

        Of a name that is who last had an order of it, and what was sent under it that has no id yet. Orders of a
        revoked grant are those of its consumer's next one on the account; where there is none they are nobody's.
        """
        with self._desk.database.read() as connection:
            heirs = Heirs.among(grant_store.grants(connection, account=account))
        with self._desk.database.log.read() as connection:
            if name.startswith(("#", "%")):
                rows, grant = [], store.owner(connection, account, symbol, name)
            else:
                rows = store.sent_as(connection, account, symbol, name)
                grant = next((row.grant for row in rows if row.known_as is not None), None)
        heir = None if grant is None else heirs.of(grant)
        claims = tuple(
            Claim(
                whose, row.name, row.sent_us, row.until_us, row.side, row.quantity, row.price,
                bool(row.exact), row.boot,
            )
            for row in rows
            if row.known_as is None and (whose := heirs.of(row.grant)) is not None
        )  # fmt: skip
        return Owned(heir, claims, gone=grant is not None and heir is None)

    def stake(
        self,
        account: str,
        grant: str,
        symbol: str,
        base: str,
        recent: Iterable[Fill] = (),
        replaces: str = "",
        boot: str = "",
        resting_after: str = "",
        gateway: str = "",
        rest: Iterable[Rest] = (),
        as_of: int = 0,
        held: HeldAsOf | None = None,
    ) -> Stake:
        """Return whose a base asset of an account is, as far as executed orders tell.

        What its own sent to give it through another gateway, or before this one was started anew, and of which nobody
        has heard since, counts as made, at most: that makes no definite no. It is named, and so is what others sent
        so that brings it.

        Args:
            account: Of the asset.
            grant: Who asks.
            symbol: The pair it is to be sold in.
            base: The asset.
            recent: Orders as the gateway knows them.
            replaces: The venue's id of the order that the sale replaces.
            boot: Of the gateway that asks.
            resting_after: Behind which of the orders that may still execute to name some.
            gateway: That asks.
            rest: What the orders come to that are not among the recent ones, beyond what is on record of them.
            as_of: Up to which line of that gateway's boot the record was known: `rest` counts as of that line only.
            held: When the holdings were asked for that are to be judged by.
        """
        with self._desk.database.read() as connection:
            on_account = grant_store.grants(connection, account=account)
        consumer = next((one.consumer for one in on_account if one.id == grant), None)
        heirs = Heirs.among(on_account)
        whose = heirs.whose(grant, consumer)
        with self._desk.database.log.read() as connection:
            upto = taken.upto(connection, gateway, boot)
            beyond = rest if upto == as_of else ()
            # first what nobody heard of: what is heard meanwhile counts twice, and not never
            pairs = {symbol, *fills.pairs_of(connection, account, base)}
            gave = unheard.unanswered_sales(connection, account, base, pairs, whose.own, boot)
            since_us = self._desk.clock.now_us() - _NAMED_US
            named, further = unheard.named(
                connection, account, base, pairs, whose.own, whose.gone, boot, since_us
            )
            sold = lately.sold(connection, account, base, pairs, gateway, held) if held else lately.NOTHING
            found = fills.stake(connection, account, whose, symbol, base, recent, replaces, beyond)
            resting, more = fills.resting_after(connection, account, base, resting_after)
        stake = found.less(found.own if gave is None else gave)
        others = UNKNOWN if further else stake.others  # of these nobody finds out before those that are named
        return replace(
            stake, resting=resting, more=more, upto=upto, others=others + sold.amount,
            sure=found.sure and gave == 0 and not further and not sold.any,
            unheard=tuple(one._replace(grant=heirs.of(one.grant) or one.grant) for one in named),
        )  # fmt: skip

    def went_through(self, account: str, consumer: str, gateways: Iterable[str]) -> bool:
        """Tell whether a consumer used one of these gateways lately, as far as the record tells."""
        since_us = self._desk.clock.now_us() - WINDOW_US
        with self._desk.database.log.read() as connection:
            return store.went_through(connection, account, consumer, frozenset(gateways), since_us)

    # --- budgets --------------------------------------------------------------------------

    def keep_time(self) -> None:
        """Write down how far the clock of the limits has come: after a reboot it goes on from there.

        Raises:
            StoreUnavailable: The log store is busy or away; it is done the next time.
        """
        with self._desk.database.log.write(Urgency.UPKEEP, patience_s=_KEEPING_S) as connection:
            self._clock.kept_us(connection)

    def lend(
        self,
        grant_id: str,
        gateway: str,
        boot: str,
        wanted: Decimal = budget.ZERO,
        patience_s: float | None = None,
        *,
        ahead: bool = False,
    ) -> Slice | None:
        """Lend a gateway the next slice of what a grant's limits leave; None where one is used up.

        Args:
            grant_id: Whose limit.
            gateway: Who gets the slice.
            boot: As which process.
            wanted: What one request needs, where it is more than a usual slice.
            patience_s: How long somebody waits for it: what is lent later nobody takes.
            ahead: Nobody needs it yet: only what others can spare.

        Raises:
            StoreUnavailable: The log store cannot answer, in that time; nothing was lent.
        """
        with self._desk.database.read() as connection:
            grant = grant_store.grant(connection, grant_id)
            rules = None if grant is None else rules_of(connection, grant)
        if grant is None or rules is None or not rules.limits:
            return None
        with self._desk.database.log.write(patience_s=patience_s) as connection:
            now_us = self._clock.kept_us(connection)
            lent = ledger.slices_under(connection, rules.limits, now_us - WINDOW_US)
            amount = budget.lendable(rules, lent, now_us, wanted)
            if amount <= 0 or (ahead and not budget.may_spare(rules, lent, now_us, amount)):
                return None
            loan = Slice(
                new_id("slc"), amount, now_us, grant=grant_id, account=grant.account, consumer=grant.consumer,
                asset=rules.asset, rules=rules.number,
            )  # fmt: skip
            ledger.lend(connection, loan, gateway, boot)
            return loan

    def is_owed(self, grant_id: str, slices: Iterable[str]) -> bool:
        """Tell whether one of some slices was lent under a grant's limits: what it gives back leaves more of them.

        Raises:
            StoreUnavailable: The log store cannot answer.
        """
        with self._desk.database.read() as connection:
            grant = grant_store.grant(connection, grant_id)
            rules = None if grant is None else rules_of(connection, grant)
        if rules is None or not rules.limits:
            return False
        with self._desk.database.log.read() as connection:
            return ledger.any_under(connection, rules.limits, slices)

    def used(self, grant_id: str) -> Decimal:
        """Return how much of a grant's rolling limit is lent or spent."""
        with self._desk.database.log.read() as connection:
            now_us = self._clock.now_us(connection)
            return budget.used(ledger.slices(connection, grant_id, now_us - WINDOW_US), now_us)

    def shared_limits(self, grant: Grant) -> tuple[tuple[Limit, Decimal], ...]:
        """Return the limits of a grant's account and consumer, and how much of each is lent or spent by all of them."""
        with self._desk.database.read() as connection:
            rules = rules_of(connection, grant)
        limits = tuple(limit for limit in rules.limits if limit.shared)
        if not limits:
            return ()
        with self._desk.database.log.read() as connection:
            now_us = self._clock.now_us(connection)
            lent = ledger.slices_under(connection, limits, now_us - WINDOW_US)
        return tuple((limit, budget.taken(limit, rules.asset, lent, now_us)) for limit in limits)

    def close_slices(self, gateway: str, parts: Parts) -> None:
        """Take slices back, each with what is left of it."""
        with self._desk.database.log.write() as connection:
            ledger.give_back(connection, gateway, parts, self._clock.now_us(connection))

    def release(self, gateway: str, parts: Parts) -> None:
        """Take back reservations of slices that were closed before."""
        with self._desk.database.log.write() as connection:
            ledger.give_back(connection, gateway, parts, None)

    def close_boot(self, gateway: str, boot: str, *, whole: bool = True) -> None:
        """Close the slices of an earlier boot of a gateway; where lines of it are lost, all of them as spent."""
        with self._desk.database.log.write(Urgency.UPKEEP) as connection:
            ledger.close_boot(connection, gateway, boot, self._clock.now_us(connection), whole=whole)
            taken.forget(connection, gateway, boot)
            early.over(connection, gateway, boot)
