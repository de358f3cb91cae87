"""Where alerts go, and what is wrong now. The rotator finds out and tells; here both are read and channels chosen.

An address holds a token or a password: it lies in the secret store, and no answer shows it.
"""

import json

from broker.db import alerts as store
from broker.db import asks
from broker.db.alerts import Alert, Channel
from broker.db.asks import Ask
from broker.deeds import Deed
from broker.errors import Conflict, Malformed, Problem
from broker.model import new_id
from broker.service.audit import Audit, acting
from broker.service.desk import Desk, check_name, missing
from broker.service.rotations import Wish
from broker.service.secrets import Secrets
from clients.outbound import NotReachable, judge_channel
from clients.secret import Secret

HEARTBEAT = "heartbeat"
SCHEMES: dict[str, tuple[str, ...]] = {
    "telegram": ("tgram://",),
    "slack": ("slack://", "https://hooks.slack.com/"),
    "mail": ("mailtos://", "mailto://"),
    "discord": ("discord://", "https://discord.com/api/webhooks/"),
    "ntfy": ("ntfys://", "ntfy://"),
    "pagerduty": ("pagerduty://",),
    "webhook": ("jsons://", "json://"),
    HEARTBEAT: ("https://", "http://"),
}
"""What an address of each kind begins with, as Apprise writes it; a heartbeat is a URL that is asked every minute."""


class Alerts:
    """Use cases on alerts."""

    def __init__(self, desk: Desk, audit: Audit, secrets: Secrets) -> None:
        self._desk, self._audit, self._secrets = desk, audit, secrets

    def add(self, name: str, kind: str, address: Secret) -> Channel:
        """Name a place that alerts go to.

        Raises:
            Malformed: The kind is not known, or the address is none of that kind.
            Conflict: There is a channel of that name.
        """
        check_name("name", name)
        if kind not in SCHEMES:
            raise Malformed("bad_channel", (Problem("kind", f"is one of {', '.join(SCHEMES)}"),))
        if not address.reveal().lower().startswith(SCHEMES[kind]):
            raise Malformed(
                "bad_channel", (Problem("address", f"of {kind} begins with {' or '.join(SCHEMES[kind])}"),)
            )
        try:
            if kind == HEARTBEAT:
                self._desk.reach.judge(address.reveal())
            else:
                judge_channel(address.reveal(), self._desk.reach)
        except NotReachable as fault:
            raise Malformed("bad_channel", (Problem("address", str(fault)),)) from None
        made = Channel(name, kind, f"destinations/alerts/{name}/{new_id('sec')}", self._desk.clock.now_us())
        with self._desk.database.read() as connection:
            if store.is_taken(connection, name):
                raise Conflict(
                    "taken",
                    f"there is a channel {name!r}: portcullis alerts remove {name}, or choose another name",
                )
        with self._secrets.written(made.path, {"secret": address}, {"channel": name}) as connection:
            store.add_channel(connection, made)
            self._audit.record(connection, "alerts.add", f"channel:{name}", {"kind": kind})
        return made

    def test(self, name: str) -> Ask:
        """Ask the rotator to send a test.

        Raises:
            NotFound: No such channel.
        """
        self._get(name)
        one = Ask(
            new_id("ask"), "", Wish.TEST_ALERT.value, json.dumps({"channel": name}), acting.get(),
            self._desk.clock.now_us(),
        )  # fmt: skip
        with self._desk.database.write() as connection:
            asks.add(connection, one)
        return one

    def remove(self, name: str) -> Channel:
        """Tell it nothing any more.

        Raises:
            NotFound: No such channel.
            StoreUnavailable: A store cannot answer; by the reason `not_destroyed` it is off the record all the same.
        """
        found = self._get(name)
        self._desk.guard.refuse(Deed.FORGET)
        with self._desk.database.write() as connection:
            store.remove_channel(connection, name, self._desk.clock.now_us())
            self._audit.record(connection, "alerts.remove", f"channel:{name}")
        self._secrets.bury(found.path, f"the channel {name}")
        return found

    def channels(self) -> tuple[Channel, ...]:
        """List the channels by name."""
        with self._desk.database.read() as connection:
            return tuple(store.channels(connection))

    def standing(self) -> tuple[Alert, ...]:
        """List what is wrong now, oldest first."""
        with self._desk.database.read() as connection:
            return tuple(store.standing(connection))

    def _get(self, name: str) -> Channel:
        found = next((one for one in self.channels() if one.name == name), None)
        if found is None:
            raise missing("channel", name)
        return found
