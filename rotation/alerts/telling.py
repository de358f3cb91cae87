"""Tells people what is wrong: grouped, once, again after a while, and when it is right again.

Rules:
1. What is new waits a few seconds, so that what comes together is one message. What stands is told again every four
   hours, and what is right again once.
2. An alert counts as told when one channel took it: two rotators may tell it twice, never none. A channel that fails
   is shown in `alerts list`, and tried again: what stands and another channel took is told to it within a minute
   of its working again.
3. No message holds a secret: it is made of what operators read anyway. Addresses never leave `Secret` but to be asked.
4. A heartbeat URL is asked every minute, so that somebody else notices when we are dead.
5. Nothing is sent to an address that is not public, but where the home's setting allows it (`clients.outbound`).
"""

import functools
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta

import httpx

from broker.db import alerts as store
from broker.db import meta
from broker.db.alerts import Alert, Channel
from broker.db.turns import Urgency
from broker.errors import BrokerError
from broker.model import moment
from broker.service import Service
from broker.service.alerts import HEARTBEAT
from broker.service.conditions import LOOKED
from clients.outbound import NotReachable
from clients.outbound_http import OutboundClient
from rotation.alerts.conditions import all_that_is_wrong
from rotation.alerts.sending import by_apprise

TOGETHER_US = 5_000_000
AGAIN_US = round(timedelta(hours=4).total_seconds() * 1_000_000)
BEAT_US = 60_000_000
CATCH_UP_US = 60_000_000
_MOST_LINES = 30
_PATIENCE_S = 10.0
_NOT_TAKEN = "it was not taken: its host does not answer, or its address is wrong"
_LOG = logging.getLogger("portcullis.alerts")
Send = Callable[[str, str, str], bool]
"""Address, title, body: whether it was taken."""


class Telling:
    """Tells."""

    def __init__(self, service: Service, now_us: Callable[[], int], send: Send | None = None) -> None:
        self._service, self._now_us = service, now_us
        self._send = send or functools.partial(by_apprise, reach=service.desk.reach)
        self._right: list[Alert] = []
        self._beaten_us = -BEAT_US
        self._caught_up_us = -CATCH_UP_US

    def look(self) -> None:
        """Find out what is wrong, and tell what has to be told.

        Raises:
            StoreUnavailable: The database cannot answer.
        """
        now_us, database = self._now_us(), self._service.desk.database
        now = moment(now_us)
        with database.write(Urgency.UPKEEP) as connection:
            meta.put(connection, LOOKED, str(now_us))
        wrong = all_that_is_wrong(self._service, now)
        with database.write() as connection:
            self._right += store.change(connection, wrong, now_us)
            standing = store.standing(connection)
        waiting = [one for one in standing if one.sent_us is None]
        due = [one for one in standing if one.sent_us is None or one.sent_us + AGAIN_US <= now_us]
        settled = not waiting or min(one.opened_us for one in waiting) + TOGETHER_US <= now_us
        if (due or self._right) and settled and self._tell(due, self._right):
            self._right = []
            with database.write() as connection:
                store.sent(connection, due, now_us)
        self._catch_up([one for one in standing if one.sent_us is not None], now_us)
        self._beat(now_us)

    def test(self, name: str) -> str:
        """Send a channel a test; return why it did not go, empty where it did."""
        channel = next((one for one in self._service.alerts.channels() if one.name == name), None)
        if channel is None:
            return f"there is no channel {name}"
        text = "This is a test. What is wrong comes here, and that it is right again."
        return self._to(channel, self._title("test"), text)

    def _tell(self, due: Sequence[Alert], right: Sequence[Alert]) -> bool:
        lines = [*_lines(due), *(f"+ right again: {one.says}" for one in right[:_MOST_LINES])]
        title = self._title(f"{len(due)} to see to" if due else "right again")
        failed = [self._to(channel, title, "\n".join(lines)) for channel in self._channels()]
        return "" in failed

    def _catch_up(self, told: Sequence[Alert], now_us: int) -> None:
        """Tell a channel that failed what stands and others were told of."""
        if not told or now_us - self._caught_up_us < CATCH_UP_US:
            return
        self._caught_up_us = now_us
        for channel in self._channels():
            if channel.failed:
                self._to(channel, self._title(f"{len(told)} to see to"), "\n".join(_lines(told)))

    def _channels(self) -> list[Channel]:
        return [one for one in self._service.alerts.channels() if one.kind != HEARTBEAT]

    def _title(self, what: str) -> str:
        home = self._service.desk.home
        return f"[Portcullis {home.environment.value.upper()} {home.instance}] {what}"

    def _to(self, channel: Channel, title: str, body: str) -> str:
        """Send to one channel; return why it did not go."""
        try:
            address = self._service.desk.secrets.read(channel.path)["secret"].reveal()
            if channel.kind == HEARTBEAT:
                why = self._ask(address)
            else:
                why = "" if self._send(address, title, body) else _NOT_TAKEN
        except BrokerError as fault:
            why = fault.reason
        except NotReachable as fault:
            why = f"nothing is sent there: its address {fault}"
        if why != channel.failed:
            with self._service.desk.database.write() as connection:
                store.failed(connection, channel.name, why)
        if why:
            _LOG.error("the channel %s of alerts failed: %s", channel.name, why)
        return why

    def _beat(self, now_us: int) -> None:
        if now_us - self._beaten_us < BEAT_US:
            return
        self._beaten_us = now_us
        for channel in self._service.alerts.channels():
            if channel.kind == HEARTBEAT:
                self._to(channel, "", "")

    def _ask(self, url: str) -> str:
        try:
            with OutboundClient(self._service.desk.reach, _PATIENCE_S) as client:
                answer = client.send("GET", url)
        except NotReachable as fault:
            return f"it is not asked: its URL {fault}"
        except httpx.HTTPError as fault:
            return f"it does not answer ({type(fault).__name__})"
        return "" if answer.is_success else f"it answered {answer.status_code}"


def _lines(ones: Sequence[Alert]) -> list[str]:
    """Write alerts down, each with what to do; what is too many is counted."""
    lines = [f"- {one.says}\n  next: {one.step}" for one in ones[:_MOST_LINES]]
    if len(ones) > _MOST_LINES:
        lines.append(f"- and {len(ones) - _MOST_LINES} more: portcullis alerts list")
    return lines
