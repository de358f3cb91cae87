"""Tells people what is wrong: grouped, once, again after a while, and when it is right again.

Rules:
1. What is new waits a few seconds, so that what comes together is told together, in as few messages as its service
   takes (`round`); what stops everybody does not wait.
   What stands is told again every four hours, and what is right again once: by a look that saw everything.
2. An alert counts as told when one channel took a message with it: two rotators may tell it twice, never none. A
   channel that fails is shown in `alerts list`, and tried again: what stands and another channel took is told to it
   within a minute of its working again.
3. No message holds a secret: it is made of what operators read anyway. Addresses never leave `Secret` but to be asked.
4. A heartbeat URL is asked every minute, so that somebody else notices when we are dead.
5. Channels are told beside one another, and heartbeats beside them: one that drips keeps nothing from the others, and
   the next look not for long. One message is on its way to a channel at a time; what stands and one missed meanwhile
   it is told as soon as it is free.
6. Nothing is sent to an address that is not public, but where the home's setting allows it (`clients.outbound`).
"""

import functools
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta

from broker.db import alerts as store
from broker.db import meta
from broker.db.alerts import Alert, Channel
from broker.db.turns import Urgency
from broker.errors import BrokerError
from broker.model import moment
from broker.service import Service
from broker.service.alerts import HEARTBEAT
from broker.service.conditions import LOOKED, SILENT, is_urgent
from broker.service.each import UNSEEN, may_stand
from broker.stores.held import is_lost
from clients.outbound import NotReachable
from clients.outbound_http import NotAnswered, OutboundClient
from clients.secret import Secret
from rotation.alerts.answers import Answer
from rotation.alerts.conditions import all_that_is_wrong
from rotation.alerts.known import Known
from rotation.alerts.round import Round
from rotation.alerts.sending import Message, by_apprise
from rotation.alerts.wording import Entry, entry, in_order, right_again

TOGETHER_US = 5_000_000
AGAIN_US = round(timedelta(hours=4).total_seconds() * 1_000_000)
BEAT_US = 60_000_000
CATCH_UP_US = 60_000_000
_PATIENCE_S, _GLANCE_S = 10.0, 0.05
WAIT_S, REST_S = 10.0, 5.0
"""For so long a look waits for what it sends, and for the others once one was taken. What is slower goes on beside the
next look."""

_LOG = logging.getLogger("portcullis.alerts")
Send = Callable[[str, Message], Answer]
"""Sends a message to an address."""

_Names = frozenset[tuple[str, str]]


class Telling:
    """Tells."""

    def __init__(
        self,
        service: Service,
        now_us: Callable[[], int],
        send: Send | None = None,
        *,
        stands_in: bool = False,
    ) -> None:
        """Tell for a rotator; `stands_in`: for one that tells nothing, and is missed on."""
        self._service, self._now_us, self._stands_in = service, now_us, stands_in
        self._send = send or functools.partial(by_apprise, reach=service.desk.reach)
        self._right: list[Alert] = []
        self._lock = threading.Lock()
        self._addresses: dict[str, Secret] = {}
        self._on_way: dict[str, _Names] = {}
        self._known: defaultdict[str, Known] = defaultdict(Known)
        self._standing: _Names = frozenset()
        self._missed: set[str] = set()
        self._beaten_us = -BEAT_US
        self._caught_up_us = -CATCH_UP_US

    def look(self) -> None:
        """Find out what is wrong, and tell what has to be told.

        Raises:
            StoreUnavailable: The database cannot answer.
        """
        now_us, database = self._now_us(), self._service.desk.database
        now, ends_s = moment(now_us), time.monotonic() + WAIT_S
        wrong = all_that_is_wrong(self._service, now)
        if not self._stands_in:  # a look that fails is none: that the rotator is silent is told then
            wrong = [one for one in wrong if one.kind != SILENT]
            with database.write(Urgency.UPKEEP) as connection:
                meta.put(connection, LOOKED, str(now_us))
        unseen = [one.subject for one in wrong if one.kind == UNSEEN]
        with database.write() as connection:
            right = store.change(connection, wrong, now_us, lambda kind: may_stand(kind, unseen))
            standing = store.standing(connection)
        with self._lock:
            self._right += right
            right = list(self._right)
        self._standing = frozenset((one.kind, one.subject) for one in standing)
        waiting = [one for one in standing if one.sent_us is None]
        due = [one for one in standing if one.sent_us is None or one.sent_us + AGAIN_US <= now_us]
        settled = (
            not waiting
            or any(map(is_urgent, waiting))
            or not 0 <= now_us - min(one.opened_us for one in waiting) < TOGETHER_US
        )
        sending = self._beat(now_us)
        if (due or right) and settled:
            sending += self._tell(due, right, now_us)
        sending += self._catch_up([one for one in standing if one.sent_us is not None], now_us)
        _wait(sending, ends_s)

    def test(self, name: str) -> str:
        """Send a channel a test; return why it did not go, empty where it did."""
        channel = next((one for one in self._service.alerts.channels() if one.name == name), None)
        if channel is None:
            return f"there is no channel {name}"
        message = Message(
            self._title("test"),
            [("This is a test. What is wrong comes here, and that it is right again.", "")],
        )

        def testing(address: str) -> str:
            return self._send(address, message).why

        return self._at(channel, self._ask if channel.kind == HEARTBEAT else testing) or ""

    def _tell(self, due: Sequence[Alert], right: Sequence[Alert], now_us: int) -> list[threading.Thread]:
        """Tell every channel; the first that takes an alert makes it told."""
        entries = [*map(entry, in_order(due)), *map(right_again, right)]
        title = self._title(f"{len(due)} to see to" if due else "right again")

        def told(ones: Sequence[Entry]) -> None:
            with self._service.desk.database.write() as connection:
                store.sent(connection, [one.alert for one in ones if not one.right], now_us)
            over = [one.alert for one in ones if one.right]
            with self._lock:
                self._right = [one for one in self._right if one not in over]

        return [
            began
            for channel in self._channels()
            for began in self._begin(channel, title, entries, now_us, told)
        ]

    def _catch_up(self, told: Sequence[Alert], now_us: int) -> list[threading.Thread]:
        """Tell a channel that failed, or was busy, what stands and others were told of."""
        if not told:
            return []
        with self._lock:
            missed = self._missed - self._on_way.keys()
            self._missed -= missed
        due = not 0 <= now_us - self._caught_up_us < CATCH_UP_US
        if due:
            self._caught_up_us = now_us
        begun = []
        for channel in self._channels():
            known, fails = self._known[channel.path], due and bool(channel.failed)
            owed = [one for one in told if known.owes(one)] if channel.name in missed or fails else []
            if fails and not known.still_refused:
                owed = owed or list(told)  # whether it works is only known by what it takes
            if owed:
                title = self._title(f"{len(told)} to see to")
                begun += self._begin(channel, title, [*map(entry, in_order(owed))], now_us, lambda _: None)
        return begun

    def _channels(self) -> list[Channel]:
        return [one for one in self._service.alerts.channels() if one.kind != HEARTBEAT]

    def _title(self, what: str) -> str:
        home = self._service.desk.home
        return f"[Portcullis {home.environment.value.upper()} {home.instance}] {what}"

    def _begin(
        self,
        channel: Channel,
        title: str,
        entries: Sequence[Entry],
        now_us: int,
        told: Callable[[Sequence[Entry]], None],
    ) -> list[threading.Thread]:
        """Tell a channel beside us, unless it is busy or left alone; return who is at it."""
        if self._known[channel.path].rests(now_us):
            return []  # it failed: so what it misses is caught up
        standing, right = self._standing, frozenset(one.name for one in entries if one.right)

        def telling() -> None:
            known = self._known[channel.path]
            known.forget(standing, right)

            def round_of(address: str) -> str | None:
                one = Round(functools.partial(self._send, address), known, title, now_us, told)
                one.tell(entries)
                if one.left:
                    with self._lock:
                        self._missed.add(channel.name)
                return one.why if one.sent or one.why else None

            self._at(channel, round_of)

        return self._beside(channel, frozenset(one.name for one in entries), telling)

    def _beside(self, channel: Channel, what: _Names, work: Callable[[], object]) -> list[threading.Thread]:
        """Do something for a channel beside us, unless it is busy; return who is at it."""

        def working() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._on_way.pop(channel.name, None)

        if not self._is_free(channel, what):
            return []
        try:
            return [_began(working)]
        except RuntimeError:
            _LOG.error("no thread can be had to tell the channel %s", channel.name)
            with self._lock:
                del self._on_way[channel.name]
                self._missed.add(channel.name)
            return []

    def _is_free(self, channel: Channel, what: _Names) -> bool:
        """Take a channel; one that is busy with something else misses this."""
        with self._lock:
            before = self._on_way.get(channel.name)
            if before is None:
                self._on_way[channel.name] = what
            elif not what <= before:
                self._missed.add(channel.name)
            return before is None

    def _at(self, channel: Channel, work: Callable[[str], str | None]) -> str | None:
        """Do something at a channel's address; return why it failed, None where nothing was found out."""
        why: str | None
        try:
            why = work(self._address(channel).reveal())
        except BrokerError as fault:
            why = fault.reason
        except NotReachable as fault:
            why = f"nothing is sent there: its address {fault}"
        except Exception as fault:  # noqa: BLE001 - a failure like any other: shown and caught up; its text may quote
            why = f"it failed unforeseen ({type(fault).__name__})"
        if why is not None and why != channel.failed:
            with self._service.desk.database.write() as connection:
                store.failed(connection, channel.name, why)
        if why:
            _LOG.error("the channel %s of alerts failed: %s", channel.name, why)
        return why

    def _address(self, channel: Channel) -> Secret:
        """Return where a channel is; one that was read before is known while the store is away: it never changes."""
        try:
            found = self._service.desk.secrets.read(channel.path)["secret"]
        except BrokerError as fault:
            if is_lost(fault) or channel.path not in self._addresses:
                raise
            return self._addresses[channel.path]
        self._addresses[channel.path] = found
        return found

    def _beat(self, now_us: int) -> list[threading.Thread]:
        """Have every heartbeat asked that is due; return who is at it."""
        if 0 <= now_us - self._beaten_us < BEAT_US:  # set back: asked anew
            return []
        self._beaten_us = now_us
        if not self._service.desk.guard.serves:
            return []  # whoever watches asks whether the host lives that serves
        begun = []
        for one in self._service.alerts.channels():
            if one.kind == HEARTBEAT:
                begun += self._beside(one, frozenset(), functools.partial(self._at, one, self._ask))
        return begun

    def _ask(self, url: str) -> str:
        try:
            with OutboundClient(self._service.desk.reach, _PATIENCE_S) as client:
                answer = client.send("GET", url)
        except NotReachable as fault:
            return f"it is not asked: its URL {fault}"
        except NotAnswered as fault:
            return f"it does not answer ({fault})"
        return "" if answer.is_success else f"it answered {answer.status_code}"


def _began(work: Callable[[], object]) -> threading.Thread:
    """Begin something beside us; what fails in it is said by its type, because its text may quote."""

    def working() -> None:
        try:
            work()
        except BrokerError as fault:
            _LOG.error("an alert could not be sent: %s", fault)
        except Exception as fault:  # noqa: BLE001 - one channel must not stop the others
            _LOG.critical("an alert failed unforeseen: %s", type(fault).__name__)

    thread = threading.Thread(target=working, name="alert", daemon=True)
    thread.start()
    return thread


def _wait(threads: Sequence[threading.Thread], ends_s: float) -> None:
    """Wait for these, not longer than until then; nor for long once the first of them is done."""
    left = list(threads)
    while left and time.monotonic() < ends_s:
        left[0].join(_GLANCE_S)
        going_on = [one for one in left if one.is_alive()]
        if len(going_on) < len(left):
            ends_s = min(ends_s, time.monotonic() + REST_S)
        left = going_on
