"""Tells one channel what it has to hear, in as many messages as that takes, and not in more than it bears.

Rules:
1. The most urgent is in the first message. An entry counts as told as soon as a message with it was taken.
2. A message that the service refuses may be too long for it, or hold one entry that it minds: it is sent again with
   half of them, down to one. One that is refused alone is tried bare, last: it keeps no other back.
3. A round has five messages. What is more than they hold is counted at the end of the last one, and told by that.
   In a minute a channel is sent fifteen, refused ones among them: what floods us gets nobody banned.
4. A service that does not answer is left alone until the next round; one that answers and takes nothing, for a minute.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rotation.alerts.answers import Answer, Fault
from rotation.alerts.known import Known
from rotation.alerts.sending import Message
from rotation.alerts.wording import Entry, bare

MOST_MESSAGES = 5
_MOST_ALONE = 3
"""So many that are refused alone, and nothing taken: it is not the entries."""


@dataclass
class Round:
    """One round of one channel.

    `send`: sends a message. `told`: is told what was taken. `sent`: how many messages went out, taken or not.
    `left`: not all was sent, and nothing is wrong. `why`: what went wrong, if anything did.
    """

    send: Callable[[Message], Answer]
    known: Known
    title: str
    now_us: int
    told: Callable[[Sequence[Entry]], None]
    sent: int = 0
    left: bool = False
    why: str = ""
    _taken: int = 0
    _refused: list[Entry] = field(default_factory=list)

    def tell(self, entries: Sequence[Entry]) -> None:
        """Tell all of it, those that were refused before at the end."""
        whole = [one for one in entries if not self.known.is_refused(one)]
        self._refused = [
            one for one in entries if self.known.is_refused(one) and self.known.may_try(one, self.now_us)
        ]
        if self._in_messages(whole):
            self._one_by_one()
        if not self.why and self.known.still_refused:
            what = f"{count} alerts" if (count := self.known.still_refused) > 1 else "1 alert"
            self.why = (
                f"the service answered {self.known.code} and refuses {what}, each sent alone; it takes others"
            )

    def _in_messages(self, entries: list[Entry]) -> bool:
        """Send these, as many at once as are taken; tell whether the service answers."""
        alone = 0
        while entries:
            if self.known.left(self.now_us) < 1:
                self.left = True
                return False
            last = self._taken + 1 == MOST_MESSAGES or self.known.left(self.now_us) == 1
            answer = self._send(entries, self.known.most, last=last)
            if answer.fault is None:
                self._took(entries if last else entries[: answer.count])
                entries = [] if last else entries[answer.count :]
            elif answer.fault is not Fault.MESSAGE:
                self._stop(answer)
                return False
            elif answer.count > 1:
                self.known.most = max(1, answer.count // 2)
            else:
                self.known.refused(entries[0], answer.code, self.now_us)
                self._refused.append(entries.pop(0))
                alone += 1
                if alone == _MOST_ALONE and not self._taken and entries:
                    self._stop(answer)
                    return False
        return True

    def _one_by_one(self) -> None:
        """Send what was refused, bare."""
        for one in self._refused:
            if self.known.left(self.now_us) < 1:
                self.left = True
                return
            answer = self._send([bare(one)], 1, last=False)
            if answer.fault is None:
                self._took([one])
            elif answer.fault is not Fault.MESSAGE:
                self._stop(answer)
                return
            elif one.right:
                self.known.give_up(one)  # nobody waits to hear it
                self.told([one])
            else:
                self.known.refused(one, answer.code, self.now_us)
                self.why = "" if self._taken else answer.why

    def _send(self, entries: Sequence[Entry], most: int, *, last: bool) -> Answer:
        self.known.sends(self.now_us)
        self.sent += 1
        title = f"{self.title}, continued" if self._taken else self.title
        return self.send(Message(title, [(one.says, one.step) for one in entries], most, last))

    def _took(self, entries: Sequence[Entry]) -> None:
        self._taken += 1
        self.known.took(entries, self.now_us)
        self.told(entries)

    def _stop(self, answer: Answer) -> None:
        """Leave a service alone that takes nothing; one that does not answer is tried by the next round."""
        self.why = answer.why
        if answer.fault in {Fault.MESSAGE, Fault.ADDRESS, Fault.OFTEN}:
            self.known.rest(self.now_us)
