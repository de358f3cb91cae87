"""Order rate of grants, and request weight of venues. Pure, in memory.

Rules:
1. Order rate: at most so many new orders in any window of so many seconds. Exits do not count.
2. Weight is what the venue counts per address and minute: the larger of our sum and what its answers say. An answer
   to what was sent in the last minute, or while clocks may disagree on which it is, says nothing of this one.
3. A fifth of the weight is kept for writes and exits: reads stop first, with the venue's own 429.
4. A real 429 or 418 stops reads and new risk until the venue's `Retry-After` is over, because each further call
   brings the ban nearer, or makes it longer. Cancels and exits are always tried.
5. Calls of our own ask like those of bots, by what they are for (`Need`): what nobody waits for is a read, the facts
   of an order share its fate. Without the `Permit` of `admit` nothing of ours can be sent (`upstream.Pool.ask`).
6. Exits themselves are always tried. The facts they are judged by are asked for in spite of a pause or a used up
   minute only by and by (`MOST_IN_PAUSE`, then one a second): else whoever has a key and sells what is not there
   could get the address banned. Each virtual key has that for itself: nobody's exits use up what another's need. All
   together ask as much as three, each in its turn (`turns`): the venue counts by address, not by bot. Who has to wait
   is told for how long that is, not for how long the venue bans. What is not asked for refuses no exit that the venue
   itself would bound. Half of it is for questions that were not asked in the last `LATELY_US`: who asks one again and
   again has the others still.
7. Calls without a signature have half of a minute's weight at most: who has no key of ours uses up no bot's reads.
8. `/sapi` counts each endpoint by itself, so its 429 stops that pool alone.
9. `now_us` is wall time for the sake of the venue's minutes, but of a clock that nobody sets (`VenueView.now_us`): a
   pause is over when it is over.
"""

from collections import OrderedDict, deque
from enum import Enum
from typing import NamedTuple

from broker.gateway.turns import Turns
from broker.policy_document import MOST_ORDERS, Rate

MINUTE_US = 60_000_000
MOST_IN_PAUSE = 20
LATELY_US = 5_000_000
MOST_ASKERS, MOST_QUESTIONS = 1_000, 100
"""For how many keys, and questions of each, is remembered what they asked in a pause."""

UNSURE_US = 1_000_000
"""For so long after a minute began the venue's clock may still be in the last one."""

TURNED_AWAY = "turned_away"
"""Why a fact could not be had, and how an answer is told: the venue, or what is before it, serves nobody from here."""

STRANGERS = "strangers"
"""What calls use whose connection no signature vouches for: counted beside the pool that they are of."""

_POOLS = {"ip": 6000, "sapi-ip": 12_000, "sapi-uid": 180_000, STRANGERS: 3750}
_FOR_READS, _FOR_RISK = 0.8, 0.95
_BANNED = 418
_DEFAULT_PAUSE_S = 60.0
_GENERAL = "ip"


class Need(Enum):
    """What a call is for.

    READ: a bot's read, and whatever we ask for our own sake (warm prices, settlement, a canary). RISK: an order that
    opens something, and the facts it is judged by. EXIT: cancels and exits, and their facts.
    """

    READ = "read"
    RISK = "risk"
    EXIT = "exit"


class Pause(NamedTuple):
    """A call has to wait for so many seconds; `banned`: the venue banned the address and says 418 to all."""

    seconds: int
    banned: bool = False


class Permit:
    """Leave to send one call of our own. Only `WeightMeter.admit` makes one."""

    __slots__ = ()


_PERMIT = Permit()


class OrderRate:
    """New orders of one grant. They are kept whatever the rate of then was: a narrower one counts them too."""

    def __init__(self) -> None:
        self._at: deque[int] = deque(maxlen=MOST_ORDERS)

    def free(self, rate: Rate | None, count: int, now_us: int) -> bool:
        """Tell whether so many more may follow now."""
        if rate is None:
            return True
        before = rate.orders - count
        if before < 0 or len(self._at) <= before:
            return before >= 0
        return self._at[-before - 1] <= now_us - rate.seconds * 1_000_000

    def take(self, count: int, now_us: int) -> None:
        """Count some."""
        self._at.extend([now_us] * count)


class _Trickle:
    """What one key's exits may still ask in spite of a pause: a few facts at once, then one a second."""

    __slots__ = ("_asked_us", "_filled_us", "_left")

    def __init__(self, now_us: int) -> None:
        self._left, self._filled_us = MOST_IN_PAUSE, now_us
        self._asked_us: dict[str, int] = {}

    def refill(self, now_us: int) -> None:
        """Add what came since."""
        more = (now_us - self._filled_us) // 1_000_000
        if more > 0:
            self._left = min(MOST_IN_PAUSE, self._left + more)
            self._filled_us = now_us

    def leaves_half(self) -> bool:
        """Tell whether half of it is left when one more was asked."""
        return self._left > MOST_IN_PAUSE // 2

    def may(self, now_us: int, question: str) -> bool:
        """Tell whether one may be asked."""
        lately = question in self._asked_us and now_us - self._asked_us[question] < LATELY_US
        return self._left > (MOST_IN_PAUSE // 2 if lately else 0)

    def take(self, now_us: int, question: str) -> None:
        """Count one."""
        self._left -= 1
        if question:
            if len(self._asked_us) >= MOST_QUESTIONS:
                self._asked_us = {one: at for one, at in self._asked_us.items() if now_us - at < LATELY_US}
            self._asked_us[question] = now_us


class WeightMeter:
    """Request weight behind one egress at one venue."""

    def __init__(self) -> None:
        self._minute = -1
        self._used: dict[str, int] = {}
        self._reads_from_us: dict[str, int] = {}
        self._banned_until_us = 0
        self._trickles: OrderedDict[str, _Trickle] = OrderedDict()
        self._turns = Turns()

    def _turn(self, now_us: int) -> None:
        minute = now_us // MINUTE_US
        if minute != self._minute:
            self._minute = minute
            self._used.clear()

    def pause(self, need: Need, pool: str, weight: int, now_us: int) -> Pause | None:
        """Return how long a call has to wait; None where it may go now. An exit may always go."""
        if need is Need.EXIT:
            return None
        asked = self.told_to_wait(pool, now_us)
        if asked is not None:
            return asked
        self._turn(now_us)
        share = _FOR_READS if need is Need.READ else _FOR_RISK
        if self._used.get(pool, 0) + weight <= _POOLS.get(pool.partition(":")[0], 6000) * share:
            return None
        return Pause(_seconds(MINUTE_US - now_us % MINUTE_US))

    def admit(
        self, need: Need, pool: str, weight: int, now_us: int, question: str = "", whose: str = ""
    ) -> Permit | Pause:
        """Let one call of our own pass and count it, or tell how long it has to wait.

        `question` is what is asked of whom, `whose` the virtual key on behalf of which: each has its share of what
        passes in a pause.
        """
        pause = self.pause(Need.RISK if need is Need.EXIT else need, pool, weight, now_us)
        if pause is not None:
            wait_s = self._wait_s(now_us, question, whose) if need is Need.EXIT else pause.seconds
            if wait_s:
                return Pause(wait_s) if wait_s < pause.seconds else pause
        self.spend(pool, weight, now_us)
        return _PERMIT

    def leaves_room(self, pool: str, weight: int, now_us: int, whose: str = "") -> bool:
        """Tell whether what only helps to judge an exit may be asked, and leaves exits the facts that they need."""
        if self.pause(Need.RISK, pool, weight, now_us) is None:
            return True
        return self._trickle(whose, now_us).leaves_half() and self._turns.has_room(now_us)

    def _wait_s(self, now_us: int, question: str, whose: str) -> int:
        """Count a fact of an exit, if it may be asked for now: 0; else tell for how many seconds it has to wait."""
        trickle = self._trickle(whose, now_us)
        if not trickle.may(now_us, question):
            return 1
        wait_s = self._turns.take(whose, now_us)
        if not wait_s:
            trickle.take(now_us, question)
        return wait_s

    def _trickle(self, whose: str, now_us: int) -> _Trickle:
        """Return what may still be asked on behalf of a key; who has asked nothing for longest is forgotten first."""
        found = self._trickles.get(whose)
        if found is None:
            found = self._trickles[whose] = _Trickle(now_us)
            if len(self._trickles) > MOST_ASKERS:
                self._trickles.popitem(last=False)
        self._trickles.move_to_end(whose)
        found.refill(now_us)
        return found

    def banned(self, now_us: int) -> Pause | None:
        """Return how long the venue bans the address; None where it does not."""
        if now_us >= self._banned_until_us:
            return None
        return Pause(_seconds(self._banned_until_us - now_us), banned=True)

    def told_to_wait(self, pool: str, now_us: int) -> Pause | None:
        """Return how long the venue itself asked to wait with new orders; None where they may go."""
        until_us = self._reads_from_us.get(pool, 0)
        return self.banned(now_us) or (Pause(_seconds(until_us - now_us)) if now_us < until_us else None)

    def read_pause_s(self, pool: str, weight: int, now_us: int) -> int | None:
        """Return for how many seconds a read has to wait; None where it may go."""
        pause = self.pause(Need.READ, pool, weight, now_us)
        return None if pause is None else pause.seconds

    def order_pause_s(self, now_us: int) -> int | None:
        """Return for how many seconds a new order has to wait; None where it may go."""
        pause = self.told_to_wait(_GENERAL, now_us)
        return None if pause is None else pause.seconds

    def spend(self, pool: str, weight: int, now_us: int) -> None:
        """Count what is being sent."""
        self._turn(now_us)
        self._used[pool] = self._used.get(pool, 0) + weight

    def told(self, used: int, sent_us: int, now_us: int) -> None:
        """Take in what an answer says of the general pool: others may be behind our address."""
        self._turn(now_us)
        if sent_us // MINUTE_US != self._minute or sent_us % MINUTE_US < UNSURE_US:
            return
        self._used[_GENERAL] = max(self._used.get(_GENERAL, 0), used)

    def refused(self, status: int, retry_after_s: float | None, now_us: int, pool: str = _GENERAL) -> None:
        """Take in a 429 or 418 of the venue. A later word never shortens an earlier one."""
        pause_s = _DEFAULT_PAUSE_S if retry_after_s is None else max(retry_after_s, 1.0)
        until_us = now_us + int(pause_s * 1_000_000)
        if status == _BANNED:
            self._banned_until_us = max(self._banned_until_us, until_us)
        self._reads_from_us[pool] = max(self._reads_from_us.get(pool, 0), until_us)

    def left_us(self, now_us: int) -> int:
        """Return for how long the venue asks everybody behind this address to wait; 0 where it does not."""
        return max(0, max(self._banned_until_us, self._reads_from_us.get(_GENERAL, 0)) - now_us)


def _seconds(left_us: int) -> int:
    return left_us // 1_000_000 + 1
