"""What processes find wrong that the record does not show, written down so that every view and the rotator know it.

Rules:
1. A gateway's word on a key stands until the same gateway was served with it, or the key is no longer in use: that it
   fell silent proves nothing.
2. All else a process reports is what it sees now; what it no longer says is right again, and what a broker has not said
   for a minute counts for nothing: it may be gone.
3. A pause of a venue ends by itself. It is told as so long from now: a gateway's host has a wall clock of its own.
4. What ends by itself is counted as `broker.steady` says: who sets a clock ends nothing early.
"""

from collections.abc import Iterable
from dataclasses import replace

from broker.db import reports as store
from broker.db.reports import Report
from broker.link.frames import KeyWord, Trouble
from broker.model import KeyRef
from broker.service.desk import Desk

KEY_REFUSED = "key-refused"
SILENT_US = 60_000_000
_AWAY = {
    "venue-turns-away": "what is asked",
    "orders-turned-away": "every order and cancel",
}
_WORDS = {
    -2015: "its address list, its permissions or the key itself",
    -2014: "the key's id",
    -2008: "it knows no such key",
    -1022: "its signature: the secret is not the key's",
}


class Reports:
    """Use cases on reports."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def of_gateway(self, gateway: str, keys: Iterable[KeyWord], troubles: Iterable[Trouble]) -> None:
        """Take in what a gateway says of its keys and its ways to the venues."""
        source, now = f"gateway:{gateway}", self._desk.spans.now()
        with self._desk.database.write() as connection:
            for word in keys:
                subject = f"{word.key}/{'write' if word.write else 'read'}"
                if word.code:
                    store.say(connection, [_refused(source, word, subject)], now)
                else:
                    store.take_back(connection, source, KEY_REFUSED, subject)
            told = [_troubled(source, one, now.wall_us) for one in troubles]
            store.only(connection, source, told, now, but=KEY_REFUSED)

    def of_broker(self, name: str, ones: Iterable[Report]) -> None:
        """Take in what a broker sees now."""
        with self._desk.database.write() as connection:
            store.only(connection, f"broker:{name}", ones, self._desk.spans.now())

    def standing(self) -> tuple[Report, ...]:
        """Return what is reported and still counts."""
        with self._desk.database.read() as connection:
            found = store.standing(connection)
        return tuple(one for one in found if self._counts(one))

    def _counts(self, one: Report) -> bool:
        if one.until_us and self._left_us(one) <= 0:
            return False
        if not one.source.startswith("broker:"):
            return True
        return self._desk.spans.left_us(f"silent {one.name}", one.lasting(SILENT_US)) >= 0

    def _left_us(self, one: Report) -> int:
        return self._desk.spans.left_us(one.name, one.lasting(one.until_us - one.at_us))

    def pause_left_us(self, egress: str) -> int:
        """Return for how long a gateway was asked to wait behind an egress; 0 where none was."""
        return max(
            (
                self._left_us(one)
                for one in self.standing()
                if one.kind in {"venue-banned", "venue-pause"} and one.subject.endswith(f"/{egress}")
            ),
            default=0,
        )


def _refused(source: str, word: KeyWord, subject: str) -> Report:
    account = KeyRef.parse(word.key).account
    loses = "no order of its bots goes through" if word.write else "nothing that its bots ask is answered"
    why = _WORDS.get(word.code, "the key")
    says = f"the exchange REFUSES the key {word.key} in use ({word.code}: {why}): {loses}"
    return Report(source, KEY_REFUSED, subject, says, "", account)


def _troubled(source: str, one: Trouble, now_us: int) -> Report:
    if one.left_us:
        one = replace(one, until_us=now_us + one.left_us)
    gateway = source.partition(":")[2]
    subject = f"{gateway}/{one.subject}"
    account = ""
    if one.kind == "account-blocked":
        subject = account = one.subject
        says = f"the exchange lets the account {account} trade nothing (canTrade is false), whatever its keys may"
        step = "look at the account at the exchange, and ask its support"
    elif one.kind == "spool":
        says = f"the gateway {gateway} cannot do with the files of its spool what it has to: {one.detail}"
        step = "RB-04"
    elif one.kind == "clock":
        says = f"the clock of {gateway} is {one.detail} off the exchange's"
        step = "set the host's clock, and keep it set (timedatectl set-ntp true)"
    elif one.kind == "venue-banned":
        says = f"the exchange BANNED the address of egress {one.subject}: only cancels and exits are tried"
        step = "wait it out; see who asked so much: portcullis calls"
    elif one.kind == "venue-silent":
        says = (
            f"the exchange does not answer by egress {one.subject}: it cannot be reached, or says nothing but "
            "errors of its own; no order of its bots goes through"
        )
        step = "look at the exchange's status page, and at the way there: network, names, proxy"
    elif one.kind == "orders-unanswered":
        says = (
            f"the exchange answers no order by egress {one.subject}, or with errors of its own: whether they were "
            "placed is not known"
        )
        step = "look at the exchange's status page; see which orders: portcullis calls"
    elif one.kind in _AWAY:
        says = (
            f"{_AWAY[one.kind]} by egress {one.subject} is turned away with HTTP {one.detail}, by the exchange or by "
            "what stands before it. A 451 may mean that it serves nobody in the region of that address, a 403 or a "
            "page of HTML that its firewall (WAF) holds the address for an attacker; which, nobody here knows"
        )
        step = "see from where that egress leaves, and who asked so much: portcullis calls; ask the exchange's support"
    else:
        says = f"the exchange asks egress {one.subject} to ask less: reads wait"
        step = "see who asked so much: portcullis calls"
    return Report(source, one.kind, subject, says, step, account, one.until_us)
