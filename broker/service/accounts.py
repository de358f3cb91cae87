"""Egresses and accounts."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from broker import spelled
from broker.audit.chain import Detail
from broker.db import Connection
from broker.db import accounts as store
from broker.errors import BrokerError, Conflict, Malformed, Problem
from broker.model import Account, new_id
from broker.service.audit import Audit
from broker.service.desk import VENUES, Desk, Page, check_name, missing, page
from broker.service.secrets import Secrets
from broker.stores.held import EGRESS_LOST, is_lost, why_lost
from clients.egress import Egress, Way
from clients.secret import Secret
from clients.venue import Environment

DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class EgressView:
    """An egress as operators see it: without its password."""

    name: str
    way: str
    addresses: tuple[str, ...]
    source: str | None
    proxy: str | None


class Accounts:
    """Use cases on egresses and accounts."""

    def __init__(self, desk: Desk, audit: Audit, secrets: Secrets) -> None:
        self._desk, self._audit, self._secrets = desk, audit, secrets

    # --- egress ---------------------------------------------------------------------------

    def create_egress(
        self, name: str, *, way: str = "direct", addresses: tuple[str, ...] = (), source: str | None = None,
        proxy_host: str | None = None, proxy_port: int | None = None, proxy_user: str | None = None,
        proxy_password: Secret | None = None,
    ) -> EgressView:  # fmt: skip
        """Name a way to the venues and the addresses they see; or give the password of one again that is lost.

        Raises:
            Malformed: A field cannot be used.
            Conflict: The name is taken.
        """
        check_name("name", name)
        try:
            for address in addresses:
                ip_address(address)
            Egress(name, addresses, Way(way), source, proxy_host, proxy_port, proxy_user, proxy_password)
        except ValueError as fault:
            raise Malformed("bad_egress", (Problem("egress", str(fault)),)) from None
        with self._desk.database.read() as connection:
            known = store.egress(connection, name)
        if known is not None:
            wanted = (way, addresses, source, proxy_host, proxy_port, proxy_user)
            if proxy_password is None or wanted != _fields(known) or not self._is_lost(known):
                raise Conflict(
                    "taken",
                    f"there is an egress {name!r} already, and it stays as it is; `portcullis egress list` shows it",
                )
        path = None if proxy_password is None else f"egress/{name}/{new_id('sec')}"
        if known is not None and path is not None and proxy_password is not None:
            self._keep_again(known, path, proxy_password)
            return EgressView(
                name, way, addresses, source, f"{proxy_host}:{proxy_port}" if proxy_host else None
            )
        with self._recording(name, path, proxy_password) as connection:
            store.add_egress(
                connection, name=name, way=way, addresses=json.dumps(list(addresses)), source=source,
                proxy_host=proxy_host, proxy_port=proxy_port, proxy_user=proxy_user, password_path=path,
                created_us=self._desk.clock.now_us(),
            )  # fmt: skip
            details: dict[str, Detail] = {"way": way, "addresses": list(addresses), "proxy": proxy_host}
            self._audit.record(connection, "egress.create", f"egress:{name}", details)
        return EgressView(name, way, addresses, source, f"{proxy_host}:{proxy_port}" if proxy_host else None)

    def _is_lost(self, row: Any) -> bool:
        """Tell whether the password of an egress is lost. One that is there again is no longer told as lost."""
        if row.password_path is None:
            return False
        lost = why_lost(self._desk.secrets, row.password_path, "password") is not None
        if not lost:
            self._desk.gone.pop(("egress", row.name), None)
        return lost

    def _keep_again(self, row: Any, path: str, password: Secret) -> None:
        """Keep the password of an egress whose password is lost, in a place of its own; all else stays as it is."""
        with self._secrets.written(path, {"password": password}, {"egress": row.name}) as connection:
            if not store.set_password(connection, row.name, path, row.password_path):
                raise Conflict("taken", f"the password of {row.name!r} was given again meanwhile")
            self._audit.record(connection, "egress.password", f"egress:{row.name}")
        self._desk.gone.pop(("egress", row.name), None)

    @contextmanager
    def _recording(self, name: str, path: str | None, password: Secret | None) -> Iterator[Connection]:
        if path is None or password is None:
            with self._desk.database.write() as connection:
                yield connection
            return
        if any(known.name == name for known in self.egresses()):
            raise Conflict("taken", f"there is an egress {name!r} already")
        with self._secrets.written(path, {"password": password}, {"egress": name}) as connection:
            yield connection

    def egresses(self) -> tuple[EgressView, ...]:
        """List every egress."""
        with self._desk.database.read() as connection:
            return tuple(
                EgressView(
                    row.name, row.way, tuple(json.loads(row.addresses)), row.source,
                    f"{row.proxy_host}:{row.proxy_port}" if row.proxy_host else None,
                )
                for row in store.egresses(connection)
            )  # fmt: skip

    def addresses(self, name: str) -> tuple[str, ...]:
        """Return the addresses that an egress declares. Asks no secret store: only who opens a connection has to.

        Raises:
            NotFound: No such egress.
        """
        with self._desk.database.read() as connection:
            row = store.egress(connection, name)
        if row is None and name != DIRECT:
            raise missing("egress", name)
        return () if row is None else tuple(json.loads(row.addresses))

    def egress(self, name: str) -> Egress:
        """Return an egress ready to open connections by, its password included.

        Raises:
            NotFound: No such egress.
            StoreUnavailable: The secret store cannot answer.
            Conflict: Its password is lost (`EGRESS_LOST`), which is no word on any key.
        """
        with self._desk.database.read() as connection:
            row = store.egress(connection, name)
        if row is None and name == DIRECT:
            return Egress(DIRECT, (), Way.DIRECT)  # recorded at its first use
        if row is None:
            raise missing("egress", name)
        password = None
        if row.password_path is not None:
            password = self._password(row)
        return Egress(
            row.name, tuple(json.loads(row.addresses)), Way(row.way), row.source, row.proxy_host,
            row.proxy_port, row.proxy_user, password,
        )  # fmt: skip

    def _password(self, row: Any) -> Secret:
        try:
            found = self._desk.secrets.read(row.password_path)["password"]
        except BrokerError as fault:
            if not is_lost(fault):
                raise
            self._desk.gone["egress", row.name] = row.password_path
            raise Conflict(
                EGRESS_LOST,
                f"the password of the proxy of egress {row.name} is lost ({fault.reason}): nothing is asked by it. "
                f"{_password_back(row)}",
            ) from None
        self._desk.gone.pop(("egress", row.name), None)
        return found

    def password_back(self, name: str, path: str) -> str | None:
        """Say how the password of an egress that lay at a path comes back; None where it has another one by now.

        Raises:
            NotFound: No such egress.
        """
        with self._desk.database.read() as connection:
            row = store.egress(connection, name)
        if row is None:
            raise missing("egress", name)
        return _password_back(row) if row.password_path == path else None

    # --- accounts -------------------------------------------------------------------------

    def create(self, name: str, *, venue: str, egress: str = DIRECT, upstream: str | None = None) -> Account:
        """Name an account at a venue. Its environment is the home's, for ever.

        Raises:
            Malformed: A field cannot be used.
            NotFound: No such egress.
            Conflict: The name is taken.
        """
        check_name("name", name)
        self.check_place(venue, upstream, "bad_account")
        now_us = self._desk.clock.now_us()
        with self._desk.database.write() as connection:
            self.ensure_egress(connection, egress)
            if store.account(connection, name) is not None:
                raise Conflict(
                    "taken", f"there is an account {name!r} already; `portcullis account list` shows it"
                )
            store.add_account(
                connection, name=name, venue=venue, environment=self._desk.home.environment.value, egress=egress,
                upstream=upstream, venue_uid=None, created_us=now_us,
            )  # fmt: skip
            self._audit.record(
                connection, "account.create", f"account:{name}", {"venue": venue, "egress": egress}
            )
        return self.get(name)

    def check_place(self, venue: str, upstream: str | None, reason: str) -> None:
        """Refuse a venue we do not speak, or hosts that this home's environment does not allow.

        Raises:
            Malformed: With `reason`.
        """
        environment, problems = self._desk.home.environment, []
        if venue not in VENUES:
            problems.append(Problem("venue", f"is one of {', '.join(VENUES)} in this release"))
        if environment is Environment.PAPER and (upstream is None or not _loopback(upstream)):
            problems.append(
                Problem("upstream", "is http://127.0.0.1:PORT of the paper exchange: this home is paper")
            )
        if environment is not Environment.PAPER and upstream is not None:
            problems.append(
                Problem("upstream", f"cannot be set: this home is {environment.value}, not paper")
            )
        if problems:
            raise Malformed(reason, tuple(problems))

    def ensure_egress(self, connection: Connection, name: str) -> None:
        """Make sure that a way out is there; `direct` is made at its first use.

        Raises:
            NotFound: No such egress.
        """
        if store.egress(connection, name) is not None:
            return
        if name != DIRECT:
            raise missing("egress", name)
        store.add_egress(
            connection, name=DIRECT, way="direct", addresses="[]", source=None, proxy_host=None,
            proxy_port=None, proxy_user=None, password_path=None, created_us=self._desk.clock.now_us(),
        )  # fmt: skip

    def get(self, name: str) -> Account:
        """Return one account.

        Raises:
            NotFound: No such account.
        """
        with self._desk.database.read() as connection:
            found = store.account(connection, name)
        if found is None:
            raise missing("account", name)
        return found

    def list(self, *, after: str = "", limit: int = 100) -> Page[Account]:
        """List accounts by name."""
        with self._desk.database.read() as connection:
            rows = store.accounts(connection, after, limit + 1)
        return page(rows, limit, lambda one: one.name)

    def move_upstream(self, name: str, upstream: str) -> None:
        """Tell where the paper exchange of an account listens now; in a paper home only."""
        if self._desk.home.environment is not Environment.PAPER or not _loopback(upstream):
            raise Malformed("bad_account", (Problem("upstream", "is for paper homes, on loopback"),))
        with self._desk.database.write() as connection:
            store.set_upstream(connection, name, upstream)
            self._audit.record(connection, "account.upstream", f"account:{name}", {"upstream": upstream})


def _fields(row: Any) -> tuple[object, ...]:
    """Return what an egress is, but for its name and password."""
    return (
        row.way, tuple(json.loads(row.addresses)), row.source, row.proxy_host, row.proxy_port, row.proxy_user,
    )  # fmt: skip


def _password_back(row: Any) -> str:
    proxy, user = spelled.word(f"{row.proxy_host}:{row.proxy_port}"), spelled.word(row.proxy_user or "")
    return (
        "Take it back in Vault, or put the secret store back from a backup that has it; else give it again: "
        f"portcullis egress create --name {row.name} --way {row.way} --proxy={proxy} --proxy-user={user}"
    ) + "".join(f" --address {one}" for one in json.loads(row.addresses))


def _loopback(url: str) -> bool:
    parts = urlsplit(url)
    try:
        return (
            parts.scheme == "http"
            and ip_address(parts.hostname or "").is_loopback
            and not parts.path.strip("/")
        )
    except ValueError:
        return False
