"""Secrets and the records they belong to, written in an order that a crash cannot spoil.

Order: the path is recorded as an intent -> the secret store is written and read back -> one transaction records
the owner and ends the intent. A crash before the last step leaves a secret that nobody was ever given: `tidy`
destroys it. So there is no secret without a record, and no record without its secret. What lies in the inbox the broker
can neither read back nor destroy: that is the rotator's.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from broker.db import Connection
from broker.db import intents as store
from broker.deeds import Deed
from broker.errors import Conflict, NotFound, StoreUnavailable
from broker.service.audit import Audit
from broker.service.desk import Desk
from broker.service.host_guard import INSTANCE
from broker.service.rounds import Rounds
from clients.secret import Secret

INBOX = "inbox/"
SETTLED_US = 300_000_000
"""An intent that is older than this is nobody's work in progress any more."""


class Secrets:
    """Writes secrets beside their records."""

    def __init__(self, desk: Desk, audit: Audit) -> None:
        self._desk, self._audit = desk, audit
        self._rounds = {False: Rounds(), True: Rounds()}  # not the inbox, and the inbox

    @contextmanager
    def written(
        self, path: str, values: Mapping[str, Secret], metadata: Mapping[str, str]
    ) -> Iterator[Connection]:
        """Write a secret, and record its owner in the transaction this yields.

        Raises:
            StoreUnavailable: A store cannot answer; what was written is destroyed later.
            Conflict: It took so long that it was given up; or another host took this home's place.
        """
        self._desk.guard.ensure(Deed.ISSUE)
        with self._desk.database.write() as connection:
            store.add(connection, path, self._desk.clock.now_us())
        self._desk.secrets.write(path, values, metadata)
        if dict(self._desk.secrets.read(path)) != dict(values):
            raise StoreUnavailable("read_back", "the secret store did not give back what was written")
        with self._desk.database.write() as connection:
            if not store.end(connection, path):
                raise Conflict("given_up", "this took too long and was given up; do it again")
            yield connection

    def tidy(self, *, inbox: bool = False) -> tuple[str, ...]:
        """Destroy secrets whose owner was never recorded, in the inbox or elsewhere; return their paths.

        Raises:
            BrokerError: One of them could not be destroyed: see `rounds`.
        """
        if self._desk.guard.allows(Deed.TIDY) is not None:
            return ()
        before_us = self._desk.clock.now_us() - SETTLED_US
        with self._desk.database.read() as connection:
            paths = store.older_than(connection, before_us)
        done = list[str]()

        def work(path: str) -> bool:
            if tidied := self._tidied(path):
                done.append(path)
            return tidied

        ours = [path for path in paths if path.startswith(INBOX) is inbox]
        self._rounds[inbox].go(ours, work, self._desk.clock.boot_us, self._answers)
        return tuple(done)

    def bury(self, path: str, whose: str) -> None:
        """Destroy the secret of what was taken off the record just now.

        Raises:
            StoreUnavailable: It still lies there; whose it was is gone all the same, and the reason says so.
        """
        try:
            self._destroy(path)
        except StoreUnavailable as fault:
            raise StoreUnavailable(
                "not_destroyed",
                f"{whose} is gone, but its secret still lies in the secret store at {path}: {fault}",
            ) from None

    def _tidied(self, path: str) -> bool:
        with self._desk.database.write() as connection:
            if not store.give_up(connection, path):
                return False  # recorded after all, or done by another broker
        self._destroy(path)
        with self._desk.database.write() as connection:
            store.forget(connection, path)
            self._audit.record(connection, "secret.destroy", path, {"why": "nobody was ever given it"})
        return True

    def _answers(self) -> None:
        self._desk.secrets.mirror.read(INSTANCE)

    def _destroy(self, path: str) -> None:
        try:
            self._desk.secrets.destroy(path)
        except NotFound:
            return  # it was never written
