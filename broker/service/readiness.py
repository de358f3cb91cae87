"""Is each account ready for a leak: who can delete its key, what it switches to, how old and how bound the key is.

A red fact comes with the command that mends it. Pure but for reading the record.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.db import findings as finding_store
from broker.db import schedules as schedule_store
from broker.db.findings import Finding
from broker.model import Account, KeyVersion, Schedule, Stage
from broker.service.accounts import Accounts
from broker.service.desk import Desk
from broker.service.keys import Keys
from clients.venue import Slot

OVERDUE = timedelta(days=1)
_MOST = 500


@dataclass(frozen=True, slots=True)
class Red:
    """What is not ready, and the command that mends it."""

    what: str
    step: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """One account. `age_for` None: it has no trade key. `deletes` is `machine` or `you`."""

    account: str
    venue: str
    deletes: str
    standby: bool
    age_for: timedelta | None
    bound: bool | None
    addresses: tuple[str, ...]
    red: tuple[Red, ...]


class Ready:
    """Looks at every account."""

    def __init__(self, desk: Desk, accounts: Accounts, keys: Keys) -> None:
        self._desk, self._accounts, self._keys = desk, accounts, keys

    def look(self) -> tuple[Readiness, ...]:
        """Return every account's state by name."""
        with self._desk.database.read() as connection:
            found = finding_store.standing(connection)
            schedules = {(one.account, one.slot): one for one in schedule_store.every(connection)}
        addresses = {one.name: one.addresses for one in self._accounts.egresses()}
        keys = [key for key in self._keys.list() if key.stage is Stage.CURRENT]
        after, ready = "", []
        while True:
            page = self._accounts.list(after=after, limit=_MOST)
            for account in page.items:
                own = [key for key in keys if key.ref.account == account.name]
                ready.append(
                    _one(
                        account, own, schedules.get((account.name, Slot.TRADE)), addresses.get(account.egress, ()),
                        [one for one in found if one.account == account.name], self._desk.clock.now(),
                    )
                )  # fmt: skip
            if page.next is None:
                return tuple(ready)
            after = page.next


def _one(
    account: Account, keys: Sequence[KeyVersion], schedule: Schedule | None, addresses: tuple[str, ...],
    found: Sequence[Finding], now: datetime,
) -> Readiness:  # fmt: skip
    trade = next((key for key in keys if key.ref.slot is Slot.TRADE), None)
    standby = any(key.ref.slot is Slot.STANDBY for key in keys)
    by_hand = account.manager is None
    return Readiness(
        account.name, account.venue, "you" if by_hand else "machine", standby,
        None if trade is None else now - trade.created_at, None if trade is None else trade.ip_restricted,
        addresses, tuple(_red(account, trade, schedule, addresses, found, now, bare=by_hand and not standby)),
    )  # fmt: skip


def _red(
    account: Account, trade: KeyVersion | None, schedule: Schedule | None, addresses: tuple[str, ...],
    found: Sequence[Finding], now: datetime, *, bare: bool,
) -> Iterator[Red]:  # fmt: skip
    name = account.name
    if trade is None:
        yield Red("it has no key in use: no bot of it can trade", f"portcullis key import --account {name}")
        return
    if trade.ip_restricted is False:
        yield Red("its key works from ANY address", f"portcullis rotation start --account {name} --wait")
    if trade.can_withdraw:
        yield Red("its key can WITHDRAW", f"portcullis rotation start --account {name} --wait")
    if not addresses:
        yield Red(
            f"its egress {account.egress} declares no addresses: no new key can be bound",
            "portcullis egress create --name NAME --address ADDRESS, and an account on it",
        )
    if bare:
        yield Red(
            "no standby key: in an incident there is nothing to switch to",
            f"portcullis rotation start --account {name} --slot standby",
        )
    if schedule is not None and schedule.next_at is not None and schedule.next_at + OVERDUE < now:
        yield Red(
            f"its rotation is overdue since {schedule.next_at:%Y-%m-%d}: {schedule.why}",
            f"portcullis rotation start --account {name} --wait",
        )
    if found:
        yield Red(
            f"{len(found)} finding{'s' if len(found) > 1 else ''} of the sweep", "portcullis sweep show"
        )
