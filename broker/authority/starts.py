"""Starts of gateways that nobody can tell anything, and may serve on: stopped, cut off, met by another broker.

By the holds on record, which each heartbeat reads; those that another history of the record forgot are kept in mind
until they have run out.
"""

from collections.abc import Iterable, Mapping

from broker.authority.link import Link
from broker.db.cutovers import Hold
from broker.model import KeyRef
from broker.service import Desk

LANDED_SECONDS = 20.0
"""A gateway gives up on an answer of the venue after 12 s: then its outcome is unknown, and the flight over."""

Start = tuple[str, str]
"""Gateway and boot."""


class Starts:
    """Who was met, who is gone, and who may still hold a lease."""

    def __init__(self, desk: Desk, links: Mapping[str, Link]) -> None:
        self._desk, self._links = desk, links
        self._gone: dict[str, int] = {}
        self._holds: dict[Start, int] = {}
        self._forgotten: dict[Start, int] = {}
        self._over: set[Start] = set()
        self._met: dict[str, str] = {}
        self._starts: set[Start] = set()
        self._accounts: dict[Start, set[str]] = {}

    def gone(self, gateway: str, boot: str) -> None:
        """A gateway's link has ended: what it had sent to the venue nobody will tell us."""
        self._met[gateway] = boot
        self._starts.add((gateway, boot))
        self._gone[gateway] = self._desk.clock.boot_us()

    def hold(self, holds: Iterable[Hold]) -> None:
        """Take in who may use a key until when, as it is on record: starts of gateways that we never met, too."""
        ahead_us, now_us = self._desk.clock.now_us(), self._desk.clock.boot_us()
        ahead_us -= now_us
        self._forgotten = {
            start: until_us for start, until_us in self._forgotten.items() if until_us > now_us
        }
        self._holds = dict(self._forgotten)
        for one in holds:
            start = (one.gateway, one.boot)
            self._accounts.setdefault(start, set()).add(KeyRef.parse(one.key).account)
            self._holds[start] = max(self._holds.get(start, 0), one.until_us - ahead_us)
        self._over &= self._holds.keys()
        self._accounts = {start: of for start, of in self._accounts.items() if start in self._holds}

    def remember(self) -> None:
        """Another history begins, which may have forgotten holds: keep in mind those that are known."""
        self._forgotten = dict(self._holds)

    def over(self, gateway: str, boot: str) -> None:
        """One start of a gateway serves nothing any more: it said so, or its process is dead."""
        self._over.add((gateway, boot))
        self._holds.setdefault((gateway, boot), 0)

    def dead(self, gateway: str) -> None:
        """The process of a gateway that we met last is dead."""
        boot = self._met.get(gateway)
        if boot is not None:
            self.over(gateway, boot)

    def out_of_reach(self) -> tuple[tuple[str, int], ...]:
        """Return the starts of gateways that may serve on and cannot be told, each with for how many seconds."""
        return tuple((gateway, seconds) for gateway, _, seconds in self._out_of_reach())

    def unheard(self) -> tuple[str, ...]:
        """Return the gateways of whose last requests nothing is known: gone lately, or never met since we began."""
        strangers = {name for name, boot, _ in self._out_of_reach() if (name, boot) not in self._starts}
        return tuple(sorted({*self._lately_gone(), *strangers}))

    def strangers(self, account: str) -> tuple[Start, ...]:
        """Return the starts that may serve an account on, and were never met since we began."""
        found = ((gateway, boot) for gateway, boot, _ in self._out_of_reach())
        return tuple(
            one for one in found if one not in self._starts and account in self._accounts.get(one, ())
        )

    def _lately_gone(self) -> tuple[str, ...]:
        """Return the gateways whose last requests the venue may still be answering."""
        since_us = self._desk.clock.boot_us() - round(LANDED_SECONDS * 1_000_000)
        self._gone = {name: at_us for name, at_us in self._gone.items() if at_us > since_us}
        return tuple(self._gone)

    def _out_of_reach(self) -> list[tuple[str, str, int]]:
        now_us = self._desk.clock.boot_us()
        met = self._over | {(link.gateway, link.boot) for link in list(self._links.values())}
        return [
            (gateway, boot, -(-(until_us - now_us) // 1_000_000))
            for (gateway, boot), until_us in list(self._holds.items())
            if (gateway, boot) not in met and until_us > now_us
        ]
