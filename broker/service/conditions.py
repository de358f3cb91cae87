"""Everything a person would call wrong, as one list: `status`, `ready` and `alerts list` are views of it.

Rules:
1. A condition is found in the record, or in what processes report (`reports`). Whoever shows or tells what is wrong
   asks here; nothing is wrong in one view only.
2. Each has a kind and a subject, which together name it while it stands, and the next step for a person.
3. What is right again is gone at the next look: nothing is remembered here.
4. What cannot be looked at is a condition of its own (`UNSEEN`) and hides no other. No secret store is asked here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from broker import spelled
from broker.db import findings as finding_store
from broker.db import meta
from broker.db import operators as operator_store
from broker.db.alerts import Alert
from broker.errors import Conflict
from broker.gate import Mode
from broker.model import KeyRef, KeyVersion, Stage, moment
from broker.service import again, rights, steps
from broker.service.accounts import Accounts
from broker.service.alerts import Alerts
from broker.service.credentials import Credentials
from broker.service.cuts import Cut, Cuts
from broker.service.desk import Desk
from broker.service.each import STEP, UNSEEN, each
from broker.service.keys import Keys
from broker.service.last_admin import living_admins
from broker.service.limits import mismatched
from broker.service.readiness import Ready
from broker.service.reconciled import refuse_unreconciled
from broker.service.reports import KEY_REFUSED, Reports
from clients.venue import Slot

LOOKED = "rotator_looked_us"
"""The fact that says when a rotator looked for what is wrong; it does so every few seconds."""

SILENT = "rotator-silent"
"""The kind of condition that no rotator looks."""

NO_ADMIN = "no-admin"
"""The kind of condition that nobody is left who may open anything."""

ROTATOR = "rotator"
"""Names the rotator, where it is missing."""

_SILENT_US = 120_000_000
_MOST_CUTS = 200
_CALLS_BY = frozenset({"consumer", "account", "grant"})
_SEVERAL = 3


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong. `account` is empty where it concerns more than one."""

    kind: str
    subject: str
    says: str
    step: str
    account: str = ""

    @property
    def name(self) -> tuple[str, str]:
        """Kind and subject."""
        return self.kind, self.subject


class Conditions:
    """Looks for what is wrong."""

    def __init__(
        self, desk: Desk, accounts: Accounts, keys: Keys, cuts: Cuts, credentials: Credentials, ready: Ready,
        reports: Reports, alerts: Alerts,
    ) -> None:  # fmt: skip
        self._desk, self._accounts, self._keys, self._cuts = desk, accounts, keys, cuts
        self._credentials, self._ready, self._reports, self._alerts = credentials, ready, reports, alerts
        self._began_us = desk.clock.now_us()
        self._looked: str | None = None
        self._looked_us = self._asked_us = desk.spans.sure_us()
        """When the rotator looked last, and when that was asked, by a clock that nobody sets."""

    def look(self, here: Iterable[Condition] = ()) -> tuple[Condition, ...]:
        """Return everything that is wrong.

        Args:
            here: What the asking process sees of itself, which may not be reported yet.

        Raises:
            StoreUnavailable: The database cannot answer, so nothing can be said.
        """
        keys = self._keys.list()
        found: dict[tuple[str, str], Condition] = {}
        for one in (
            *here,
            *conditions_of({
                "cuts": self._of_cuts,
                "what processes report": lambda: self._of_reports(keys),
                "keys": lambda: self._of_keys(keys),
                "what is ready for a leak": self._of_readiness,
                "findings of the sweep": self._of_findings,
                "limits of grants": self._of_limits,
                "what keys may do": self._of_rights,
                "operators": self._of_operators,
                "channels of alerts": self._of_channels,
                "the rotator": self._of_the_rotator,
            }),
        ):  # fmt: skip
            found.setdefault(one.name, one)
        return self._possible(found.values())

    def everything(self, here: Iterable[Condition] = ()) -> tuple[Condition, ...]:
        """Return what is wrong, with what only the rotator finds: it writes that down with its alerts."""
        found = {one.name: one for one in self.look(here)}
        for alert in self._alerts.standing():
            name = (alert.kind, alert.subject)
            if name not in found and alert.kind in ROTATORS:
                found[name] = Condition(alert.kind, alert.subject, alert.says, alert.step)
        return self._possible(found.values())

    def _possible(self, found: Iterable[Condition]) -> tuple[Condition, ...]:
        """Return conditions with steps that are not refused while everything is closed by itself."""
        if not steps.waits(self._desk.guard):
            return tuple(found)
        return tuple(replace(one, step=steps.possible(one.step)) for one in found)

    def _of_cuts(self) -> Iterator[Condition]:
        listed = self._cuts.list(open_only=True, limit=_MOST_CUTS).items
        first = self._cuts.of_everything(
            _MOST_CUTS
        )  # whatever came since: nobody sees for it what is narrower
        shown = {cut.id: cut for cut in (*first, *listed)}
        for cut in shown.values():
            word = "CUT OFF" if cut.mode is Mode.CLOSED else "HALTED"
            says = (
                f"{_named(cut)} {word} since {cut.opened_at:%Y-%m-%d %H:%M} UTC by {cut.actor}: {cut.reason}"
            )
            step = f"{_look(cut)}, then portcullis {spelled.thaw(cut.id)}"
            try:
                refuse_unreconciled(self._desk, cut.id)
            except Conflict:
                step = f"portcullis reconcile, then portcullis {spelled.thaw(cut.id)}"
            yield Condition("cut", cut.id, says, step, _account_of(cut))
        if more := self._cuts.others_open(shown):
            yield Condition("cut", "others", f"{more} more cuts are in force", "portcullis cuts")

    def _of_reports(self, keys: Sequence[KeyVersion]) -> Iterator[Condition]:
        in_use = {str(key.ref) for key in keys if key.stage is Stage.CURRENT}
        for one in self._reports.standing():
            step = one.step
            if one.kind == KEY_REFUSED:
                key = one.subject.rpartition("/")[0]
                if key not in in_use:
                    continue  # it was replaced, or is being retired: that it is refused is as it should be
                rotate = self._ready.rotate(one.account, KeyRef.parse(key).slot)
                step = f"look at its address list and permissions at the exchange; else {rotate}"
            yield Condition(one.kind, one.subject, one.says, step, one.account)

    def _of_readiness(self) -> Iterator[Condition]:
        for account in self._ready.look():
            for red in account.red:
                if red.kind:
                    yield Condition(
                        red.kind,
                        red.subject or account.account,
                        f"{account.account}: {red.what}",
                        red.step,
                        account.account,
                    )

    def _of_keys(self, keys: Sequence[KeyVersion]) -> Iterator[Condition]:
        """Yield what is dangerous about any key that lives; those in use are looked at by `ready` too."""
        for key in keys:
            if key.stage is Stage.TOMBSTONE:
                continue
            if key.can_withdraw is not False:
                yield Condition(
                    "withdraws", str(key.ref), f"key {key.ref} may withdraw: whoever gets it can empty the account",
                    f"untick withdrawals for this key at the exchange; or {self._rotate(key)}", key.ref.account,
                )  # fmt: skip
            if key.ip_restricted is not True:
                yield Condition(
                    "any-address", str(key.ref),
                    f"key {key.ref} works from any address: a thief can use it from anywhere",
                    f"bind it at the exchange to the addresses of the account's egress; or {self._rotate(key)}",
                    key.ref.account,
                )  # fmt: skip

    def _rotate(self, key: KeyVersion) -> str:
        return self._ready.rotate(key.ref.account, key.ref.slot)

    def _of_findings(self) -> Iterator[Condition]:
        with self._desk.database.read() as connection:
            found = finding_store.standing(connection)
        for one in found:
            shown = f"{one.key_id[:8]}...{one.key_id[-4:]}"
            yield Condition(
                "key", f"{one.account}/{shown}/{one.what}", f"{one.account}: {one.says}", one.step,
                one.account,
            )  # fmt: skip

    def _of_limits(self) -> Iterator[Condition]:
        with self._desk.database.read() as connection:
            found = list(mismatched(connection))
        for grant, observes, why in found:
            what = "every order would be refused" if observes else "no order passes but exits"
            yield Condition(
                "limits", grant.id, f"grant {grant.id} of {grant.consumer}: {what}, because {why}",
                f"portcullis grant policy {grant.id} --policy FILE", grant.account,
            )  # fmt: skip

    def _of_rights(self) -> Iterator[Condition]:
        with self._desk.database.read() as connection:
            found = list(rights.short(connection))
        for grant, key in found:
            yield Condition(
                "rights", grant.id, f"grant {grant.id} of {grant.consumer}: {rights.lacks(key)}",
                self._ready.rotate(grant.account, Slot.TRADE), grant.account,
            )  # fmt: skip

    def _of_operators(self) -> Iterator[Condition]:
        with self._desk.database.read() as connection:
            rows = operator_store.listing(connection)
        if rows and not living_admins(rows):
            yield Condition(
                NO_ADMIN, "operators",
                "no admin is left: nobody may reconcile, thaw, make an operator or open anything; cuts can be made",
                "on the broker's host: portcullis operator recover --name NAME",
            )  # fmt: skip
        for name in self._credentials.admins_without_codes():
            yield Condition(
                "no-codes", name,
                f"{name} may open things and has no password and codes: whoever has that token can take them",
                f"portcullis operator enrol --name {name}",
            )  # fmt: skip

    def _of_channels(self) -> Iterator[Condition]:
        for channel in self._alerts.channels():
            if channel.failed:
                yield Condition(
                    "channel", channel.name, f"alerts do not reach {channel.name}: {channel.failed}",
                    f"portcullis alerts test {channel.name}",
                )  # fmt: skip

    def _of_the_rotator(self) -> Iterator[Condition]:
        """Yield that it looks at nothing any more: then what it found last still stands here, and nobody is told."""
        with self._desk.database.read() as connection:
            looked = meta.get(connection, LOOKED)
        if looked is None or self._since_us(looked) < _SILENT_US:
            return
        yield Condition(
            SILENT, "rotator",
            f"the rotator looks at nothing since {moment(int(looked)):%Y-%m-%d %H:%M} UTC: no key is rotated "
            "or deleted, and no alert goes out",
            "look into its log, and end its process; it is started again by itself",
        )  # fmt: skip

    def _since_us(self, looked: str) -> int:
        """Return for how long the rotator has not looked: what the wall clock says, as far as that is not too much."""
        sure_us, now_us = self._desk.spans.sure_us(), self._desk.clock.now_us()
        if looked != self._looked:
            most_us = now_us - self._began_us if self._looked is None else sure_us - self._asked_us
            self._looked_us = sure_us - max(0, min(now_us - int(looked), most_us))
            self._looked = looked
        self._asked_us = sure_us
        return sure_us - self._looked_us


def conditions_of(sources: Mapping[str, Callable[[], Iterable[Condition]]]) -> Iterator[Condition]:
    """Yield what every source finds, and which of them could not be looked at."""
    return each(sources, lambda what, says: Condition(UNSEEN, what, says, STEP))


ROTATORS = frozenset(
    {
        *("stalled", "waits", "slow", "given-up", "overdue", "expiring", "checkout", "refused-orders"),
        *("restarts", "withheld", UNSEEN),
    }
)
"""Kinds that the rotator finds by itself, and which stand in its list of alerts."""


QUIET = frozenset({"no-key", "no-standby", "no-addresses", "channel"})
"""Kinds that every view shows and no phone rings for: what was never set up is no news, nor is a phone that is off."""


_URGENT = frozenset({"gateway-silent", "no-gateway", SILENT})


_SERIOUS = frozenset({"key", "withdraws", "checkout", "withheld", "unsafe", NO_ADMIN})


def is_serious(one: Alert) -> bool:
    """Tell whether something is told before other things that came with it: somebody else may have a key."""
    return one.kind in _SERIOUS


def is_urgent(one: Alert) -> bool:
    """Tell whether people are told at once, and not with what else comes in the same seconds."""
    return one.kind in _URGENT or (one.kind, one.subject) == ("unsafe", ROTATOR)


def as_alert(one: Condition) -> Alert:
    """Return a condition as it is told."""
    return Alert(one.kind, one.subject, one.says, one.step)


def _look(cut: Cut) -> str:
    """Return what comes before a thaw: doing again what was forgotten, or a look at what its bots asked for."""
    first = again.command_in(cut.actor, cut.reason)
    if first is not None:
        return first
    kind, _, name = next(iter(sorted(cut.scopes))).partition(":")
    only = f" {spelled.option(f'--{kind}', name)}" if kind in _CALLS_BY and len(cut.scopes) == 1 else ""
    return f"portcullis calls{only}"


def _named(cut: Cut) -> str:
    scopes = sorted(cut.scopes)
    return ", ".join(scopes[:_SEVERAL]) + (
        f" and {len(scopes) - _SEVERAL} more" if len(scopes) > _SEVERAL else ""
    )


def _account_of(cut: Cut) -> str:
    (scope, *more) = cut.scopes
    return scope.partition(":")[2] if not more and scope.startswith("account:") else ""
