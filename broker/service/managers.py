"""Manager keys: taken in once the venue has said what they may do, and given sub-accounts to look after.

Rules:
1. A manager key makes keys, so it is the most dangerous one there is: bound to addresses, and never able to withdraw,
   without an exception.
2. An account is put under a sub-account only if the venue lists the account's own keys there: nobody can be told to
   look after somebody else's. A key that is dead is listed nowhere: see `broker.service.whose`. Which manager key looks
   after the sub-account that an account has is no question of whose.
3. No account goes to another sub-account while a key of its is rotated: that the list there has no such key would prove
   that none was made, or that one is dead.
4. An account is released from its manager key whatever that one lists, also while everything is closed: else a manager
   key that is lost, or a sub-account that is gone or another's, keeps it for ever. Nothing is called dead by that, and
   no word on its list counts any more: a person looks the account up, and says so anew.
5. Its secret is read by whoever makes keys; nothing here gives it out but `credential`.
"""

from collections.abc import Callable
from dataclasses import replace

from broker.db import Connection, findings, rotations
from broker.db import accounts as account_store
from broker.db import managers as store
from broker.deeds import Deed
from broker.errors import Conflict, Malformed, Problem
from broker.model import Account, KeyVersion, Manager, moment, new_id
from broker.service.accounts import Accounts
from broker.service.audit import Audit
from broker.service.declared import forget
from broker.service.desk import Desk, check_name, missing
from broker.service.secrets import Secrets
from broker.service.whose import Heard, absent, refuse_strange, seen_twice
from clients.keys import VenueKey
from clients.venue import Credential, KeyFacts


class Managers:
    """Use cases on manager keys."""

    def __init__(self, desk: Desk, audit: Audit, secrets: Secrets, accounts: Accounts) -> None:
        self._desk, self._audit, self._secrets, self._accounts = desk, audit, secrets, accounts

    def draft(self, name: str, *, venue: str, egress: str, upstream: str | None, key: Credential) -> Manager:
        """Return what would be recorded, so that the venue can be asked first.

        Raises:
            Malformed: A field cannot be used.
        """
        check_name("name", name)
        self._accounts.check_place(venue, upstream, "bad_manager")
        now_us = self._desk.clock.now_us()
        return Manager(
            name, venue, self._desk.home.environment, egress, key.key_id, key.key_type,
            f"managers/{name}/{new_id('sec')}", moment(now_us), upstream,
        )  # fmt: skip

    def take(self, draft: Manager, key: Credential, facts: KeyFacts) -> Manager:
        """Take a manager key in.

        Args:
            draft: Of `draft`.
            key: The key itself.
            facts: What the venue says it may do.

        Raises:
            Conflict: It may do too much or too little, or the name is taken; nothing was stored.
            StoreUnavailable: A store cannot answer.
        """
        _check(facts)
        self._desk.guard.ensure(Deed.IMPORT_MANAGER)
        with self._desk.database.write() as connection:
            self._accounts.ensure_egress(connection, draft.egress)
            if store.get(connection, draft.name) is not None:
                raise Conflict("taken", f"there is a manager key {draft.name!r} already")
        labels = {"manager": draft.name, "venue": draft.venue, "venue_key_id": key.key_id,
                  "key_type": key.key_type.value}  # fmt: skip
        with self._secrets.written(draft.path, {"secret": key.secret}, labels) as connection:
            store.add(connection, draft, self._desk.clock.now_us())
            self._audit.record(
                connection, "manager.import", f"manager:{draft.name}", {"venue_key_id": key.key_id}
            )
        return draft

    def get(self, name: str) -> Manager:
        """Return one.

        Raises:
            NotFound: No such manager key.
        """
        with self._desk.database.read() as connection:
            found = store.get(connection, name)
        if found is None:
            raise missing("manager", name)
        return found

    def list(self) -> tuple[Manager, ...]:
        """List manager keys by name."""
        with self._desk.database.read() as connection:
            return store.every(connection)

    def managed(self) -> tuple[Account, ...]:
        """List the accounts whose keys the program can make and delete."""
        with self._desk.database.read() as connection:
            return store.managed(connection)

    def credential(self, manager: Manager) -> Credential:
        """Return the key itself; in Vault only the rotator's role may."""
        values = self._desk.secrets.read(manager.path)
        return Credential(manager.venue_key_id, values["secret"], manager.key_type)

    def assign(
        self, account: str, manager: str, subaccount: str, listed: Callable[[], tuple[VenueKey, ...]],
        heard: Callable[[KeyVersion], Heard] = lambda _: Heard.NOTHING,
    ) -> Account:  # fmt: skip
        """Put an account under a manager key.

        Args:
            account: Name of the account.
            manager: Name of the manager key.
            subaccount: How the venue calls the sub-account.
            listed: Asks the venue for the keys of that sub-account.
            heard: Asks the venue with a key that the list does not have.

        Raises:
            NotFound: No such account or manager key.
            Conflict: They are at different venues, another account is this sub-account, the venue does not list
                this account's keys there, or one of them is rotated in another sub-account.
            VenueError: The venue could not be asked.
        """
        known, wanted = self._accounts.get(account), self.get(manager)
        if known.venue != wanted.venue or known.upstream != wanted.upstream:
            raise Conflict("other_venue", f"{manager} is a manager key of another exchange than {account}")
        self._desk.guard.ensure(Deed.MANAGE)
        there = {key.key_id for key in listed()}
        with self._desk.database.read() as connection:
            lacked = absent(connection, account, there)
        told, now = {key.ref: heard(key) for key in lacked}, self._desk.spans.now()
        with self._desk.database.write() as connection:
            twice = seen_twice(connection, account, f"{manager}: {subaccount}", there, told, now)
        with self._desk.database.write() as connection:
            self._desk.guard.fence(connection, Deed.MANAGE)
            _refuse_rotating(connection, account, subaccount)
            other = store.of_subaccount(connection, known.venue, subaccount)
            if other is not None and other.name != account:
                raise Conflict(
                    "taken",
                    f"{other.name} is {subaccount} already. Where that is not its own, release it first: portcullis "
                    f"account release {other.name}; where both are one sub-account, {account} is managed by hand, and "
                    f"released where it is under a manager key: portcullis account release {account}",
                )
            before = account_store.account(connection, account)
            if before is None or before.subaccount != subaccount:
                refuse_strange(connection, account, subaccount, there, told, twice, now)
                findings.begin(
                    connection, account, "", self._desk.clock.now_us()
                )  # a sweep on its way saw the other
            store.assign(connection, account, manager, subaccount)
            self._audit.record(
                connection,
                "account.manage",
                f"account:{account}",
                {"manager": manager, "subaccount": subaccount},
            )
        return replace(known, manager=manager, subaccount=subaccount)

    def release(self, account: str) -> Account:
        """Take an account off its manager key: from now on a person makes its keys, and says which there are.

        Raises:
            NotFound: No such account.
            Conflict: One of its keys is being rotated; nothing was changed.
            Withheld: Another host has this home's place.
        """
        known = self._accounts.get(account)
        self._desk.guard.ensure(Deed.MANAGE)
        with self._desk.database.write() as connection:
            self._desk.guard.fence(connection, Deed.MANAGE)
            _refuse_rotating(connection, account, None)
            before = account_store.account(connection, account)
            if before is None or before.manager is None:
                return known
            store.unassign(connection, account)
            findings.released(connection, account, self._desk.clock.now_us())
            forget(connection, account)
            self._audit.record(
                connection, "account.release", f"account:{account}",
                {"manager": before.manager, "subaccount": before.subaccount},
            )  # fmt: skip
        return replace(known, manager=None, subaccount=None)

    def follow(self, before: str, after: str) -> None:
        """Tell where the paper exchange listens now."""
        with self._desk.database.write() as connection:
            store.set_upstream(connection, before, after)


def _refuse_rotating(connection: Connection, account: str, subaccount: str | None) -> None:
    """Refuse to take an account elsewhere, or off its manager key (None), while a key of its is rotated (rule 3)."""
    account_store.hold(connection, account)
    known = account_store.account(connection, account)
    if known is None or known.subaccount in {None, subaccount}:
        return
    going_on = next((row for row in rotations.every_open(connection) if row.account == account), None)
    if going_on is not None:
        raise Conflict(
            "rotating",
            f"{going_on.id} rotates {account}/{going_on.slot} in {known.subaccount}, and is {going_on.state}: what "
            "became of its keys is asked there. Wait for its end, or end it "
            f"(portcullis rotation show {going_on.id} says how). Nothing was changed",
        )


def _check(facts: KeyFacts) -> None:
    """Refuse a manager key that may do too much, or too little."""
    if facts.can_withdraw:
        raise Conflict(
            "can_withdraw",
            "this key can WITHDRAW, and a manager key never may; nothing was stored. Untick it at the exchange",
        )
    if not facts.ip_restricted:
        raise Conflict(
            "any_address",
            "this key works from ANY address, and a manager key never may; nothing was stored. Bind it at the "
            "exchange to the addresses of its egress",
        )
    if not (facts.can_read and facts.can_trade):
        raise Conflict(
            "lacks_rights",
            "a manager key needs reading, and spot and margin trading: without them the exchange lets it make no "
            "keys. Tick both at the exchange; nothing else is needed",
        )


def bad_subaccount(text: str, account: str) -> Malformed:
    """Return the refusal of a sub-account the venue does not list."""
    message = (
        f"the exchange lists no sub-account {text[:80]!r} under that manager key; where {account} has none any more, "
        f"or under none that you have, release it: portcullis account release {account}"
    )
    return Malformed("bad_subaccount", (Problem("subaccount", message),))
