"""What is told of an alert, in which order, and how much of it one message holds."""

import pytest

from broker.db.alerts import Alert
from rotation.alerts import wording
from rotation.alerts.answers import Fault, of_http, of_mail
from rotation.alerts.known import MOST_A_MINUTE, Known
from rotation.alerts.packing import SHORTENED, packed
from rotation.alerts.wording import bare, entry, in_order


def alert(kind: str, number: int, *, told: bool = False) -> Alert:
    return Alert(kind, str(number), f"{kind} {number}", "portcullis status", number, number if told else None)


def test_what_stops_everybody_is_first_and_no_kind_hides_another() -> None:
    cuts = [alert("cut", number) for number in range(50)]
    again = [alert("stalled", 1, told=True)]
    ones = in_order([*cuts, *again, alert("key", 60), alert("gateway-silent", 70)])
    assert [one.kind for one in ones[:4]] == ["gateway-silent", "key", "cut", "cut"]
    assert ones[-1].kind == "stalled", "it is known already"
    assert len(ones) == 53


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("room", [300, 301, 350, 400, 1000])
def test_a_message_is_never_longer_than_its_room(room: int, last: bool) -> None:
    for sign in ("a", "\u00e4", "\u20ac", "\U0001f511"):
        entries = [(f"- {sign * (30 * number)}", "  next: portcullis status") for number in range(20, 0, -1)]
        for begin in range(20):
            text, count = packed(entries[begin:], room, 200, last=last)
            left = 20 - begin - count
            assert len(text.encode()) <= room
            assert count >= 1
            assert text.endswith(f"- and {left} more: portcullis alerts list") is (last and left > 0)


def test_what_is_left_out_is_said_and_the_step_stays() -> None:
    text, count = packed([("- " + "x" * 900, "  next: portcullis status")], 200, 1, last=False)
    says, step = text.splitlines()
    assert count == 1
    assert says.endswith(SHORTENED)
    assert step == "  next: portcullis status"
    (says, step) = (one := entry(Alert("key", "a", "y" * 5000, "portcullis sweep show"))).says, one.step
    assert says.endswith(SHORTENED)
    assert len(says) < 1100
    assert step == "  next: portcullis sweep show"


def test_an_entry_without_its_own_words_has_nothing_that_could_be_minded() -> None:
    one = bare(entry(Alert("key", "a", "main: \u2620 <b>*_`[x](y)@everyone \u202e" + "z" * 500, "x")))
    assert one.says.isascii()
    assert not set("<>*`[]@\\") & set(one.says)
    assert one.says.startswith("- main: ?")
    assert one.says.endswith(wording.REFUSED)
    assert one.step == ""


@pytest.mark.parametrize(
    ("code", "http", "mail"),
    [
        (200, Fault.MESSAGE, None), (302, Fault.ADDRESS, None), (400, Fault.MESSAGE, None), (401, Fault.ADDRESS, None),
        (404, Fault.ADDRESS, None), (413, Fault.MESSAGE, None), (429, Fault.OFTEN, None), (451, Fault.MESSAGE, Fault.SERVICE),
        (500, Fault.SERVICE, Fault.MESSAGE), (535, Fault.SERVICE, Fault.ADDRESS), (552, Fault.SERVICE, Fault.MESSAGE),
    ],
)  # fmt: skip
def test_whose_fault_it_is_follows_from_the_code(code: int, http: Fault, mail: Fault | None) -> None:
    assert of_http(code) is http
    assert mail is None or of_mail(code) is mail


def test_a_channel_is_sent_so_many_messages_a_minute_whatever_the_clock_does() -> None:
    known = Known()
    for _ in range(MOST_A_MINUTE):
        known.sends(100_000_000)
    assert known.left(100_000_000) == 0
    assert known.left(159_999_999) == 0
    assert known.left(160_000_000) == MOST_A_MINUTE
    for _ in range(MOST_A_MINUTE):
        known.sends(200_000_000)
    assert known.left(5) == MOST_A_MINUTE, "a clock that was set back is no reason to be silent"


def test_what_is_refused_is_tried_less_and_less_often() -> None:
    known, one, now_us = Known(), entry(alert("key", 1)), 0
    waits = []
    for _ in range(9):
        known.refused(one, 400, now_us)
        wait_us = next(
            minutes for minutes in range(1, 100) if known.may_try(one, now_us + minutes * 60_000_000)
        )
        waits.append(wait_us)
        now_us += wait_us * 60_000_000
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    known.took([one], now_us)
    assert not known.is_refused(one)
