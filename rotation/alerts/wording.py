"""What is told of an alert: plain text, an entry of two lines. Pure.

Rules:
1. What others wrote in an entry (a reason, a label at the exchange) is shown and changes nothing around it: line ends,
   controls, and what turns or hides writing are spelled out. So no text makes another entry, or stands before its own.
2. The most urgent comes first, and what nobody was told of before what is told again. Of what is alike in that, the
   first of each kind comes before any second: a flood of one kind hides no other.
3. No entry crowds out the others: what is long is shortened, with a word that says so. The next step stays.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from broker import spelled
from broker.db.alerts import Alert
from broker.service.conditions import is_serious, is_urgent
from rotation.alerts.packing import LIST, cut

REFUSED = f"... (not in its own words, which were refused: {LIST})"

_MOST_SAYS, _MOST_STEP, _MOST_BARE = 1000, 500, 160
_BARE = frozenset(" .,:/-_()")


@dataclass(frozen=True, slots=True)
class Entry:
    """One alert as it is told. `right`: it is right again; `name`: what it is called while it stands."""

    alert: Alert
    says: str
    step: str = ""
    right: bool = False

    @property
    def name(self) -> tuple[str, str]:
        """Kind and subject."""
        return self.alert.kind, self.alert.subject


def entry(alert: Alert) -> Entry:
    """Return what is told of something that is wrong."""
    says, step = (spelled.shown(one) for one in (alert.says, alert.step))
    return Entry(alert, f"- {cut(says, _MOST_SAYS)}", f"  next: {cut(step, _MOST_STEP)}")


def right_again(alert: Alert) -> Entry:
    """Return what is told of something that is right again."""
    return Entry(alert, f"+ right again: {cut(spelled.shown(alert.says), _MOST_SAYS)}", right=True)


def bare(one: Entry) -> Entry:
    """Return an entry that was refused, in letters that nobody can mind."""
    plain = "".join(
        sign if sign.isascii() and (sign.isalnum() or sign in _BARE) else "?" for sign in one.says[2:]
    )
    return Entry(one.alert, f"{one.says[:2]}{plain[:_MOST_BARE]}{REFUSED}", right=one.right)


def in_order(alerts: Sequence[Alert]) -> list[Alert]:
    """Return alerts as they are told: no kind hides another, because the first of each comes before any second."""
    seen = Counter[tuple[bool, bool, str]]()
    placed = []
    for one in sorted(alerts, key=lambda one: one.opened_us):
        rank = not is_urgent(one), one.sent_us is not None
        placed.append((*rank, seen[*rank, one.kind], not is_serious(one), one))
        seen[*rank, one.kind] += 1
    return [one for *_, one in sorted(placed, key=lambda place: place[:-1])]
