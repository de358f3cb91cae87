"""Reservations: released by the venue's word on exactly their order, never by a name, and in bounded time."""

import time
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.budget import Parts
from broker.gateway.owners import Owners
from broker.gateway.sent import Sent, fits
from broker.gateway.settlement import KEPT_US, SETTLING_US, Reservation, Settlement
from clients.wire import OrderState
from tests.pace import slowness

S = 1_000_000
PARTS: Parts = (("s", Decimal(100)),)
AT = 1_000 * S


def sent(
    number: int = 1, name: str = "a", *, grant: str = "g", at_us: int = AT, quantity: str | None = "2"
) -> Sent:
    size = None if quantity is None else Decimal(quantity)
    return Sent(number, grant, "acc", "X", name, "BUY", size, Decimal(5), at_us, at_us + 2 * S)


def state(
    executed: str | None = "0", *, final: bool = True, order_id: str = "1", name: str = "a", at_us: int | None = None,
    quantity: str = "2", price: str = "5",
) -> OrderState:  # fmt: skip
    done = None if executed is None else Decimal(executed)
    return OrderState(
        "X",
        order_id,
        name,
        final,
        None,
        done,
        side="BUY",
        quantity=Decimal(quantity),
        price=Decimal(price),
        created_us=at_us,
    )


class Place:
    """Owners and settlement as the gateway has them."""

    def __init__(self, most: int = 100) -> None:
        self.owners, self.settlement = Owners(), Settlement(most)
        self.owners.on_confirmed = self.settlement.confirmed

    def send(self, *orders: Sent, held_us: int = 0) -> Reservation:
        for one in orders:
            self.owners.waiting.add(one)
        real = tuple(one for one in orders if not one.is_list)
        quantity = real[0].quantity if len(real) == 1 else None
        first = orders[0]
        held = Reservation(
            first.number, first.grant, "acc", "X", PARTS, quantity, real, held_us=held_us, asked_us=held_us
        )
        self.settlement.hold(held)
        return held

    def tell(self, told: OrderState) -> tuple[str, Parts]:
        """The venue shows an order, to whoever asked."""
        self.owners.identify("acc", told)
        return self.settlement.settle("acc", told)


def test_a_final_state_releases_what_was_not_executed_and_only_once() -> None:
    place = Place()
    one = sent()
    place.send(one)
    place.owners.confirm(one, "1")
    assert place.tell(state("0.5", final=False)) == ("g", ())
    assert place.tell(state("0.5")) == ("g", (("s", Decimal(75)),))
    assert place.tell(state("0.5")) == ("", ())


def test_an_unknown_execution_releases_nothing_but_a_certain_zero_releases_all() -> None:
    for executed, quantity, released in ((None, "2", ()), ("0", None, PARTS), ("1", None, ())):
        place = Place()
        one = sent(quantity=quantity)
        place.send(one)
        place.owners.confirm(one, "1")
        assert place.tell(state(executed)) == ("g", released)


def test_a_list_releases_once_all_are_final_and_none_was_executed() -> None:
    for executed, released in (("0", PARTS), ("1", ()), (None, ())):
        place = Place()
        one, other = sent(name="a"), sent(name="b")
        place.send(sent(name="@l"), one, other)
        place.owners.confirm(one, "1")
        place.owners.confirm(other, "2")
        assert place.tell(state("0", order_id="1", name="a")) == ("g", ())
        assert place.tell(state("0", order_id="1", name="a")) == ("g", ()), (
            "the same order twice is one order"
        )
        assert place.tell(state(executed, order_id="2", name="b")) == ("g", released)


def test_an_order_of_another_id_releases_nothing_whatever_its_name() -> None:
    """The example: the first order of a client id is read while a second of the same name lives."""
    place = Place()
    first, second = sent(1), sent(2, at_us=AT + 60 * S)
    place.send(first)
    place.owners.confirm(first, "1")
    assert place.tell(state("0", at_us=AT)) == ("g", PARTS)
    place.send(second)
    for at_us in (AT, AT + 60 * S):
        assert place.tell(state("0", order_id="1", at_us=at_us)) == ("", ()), "its answer is still on its way"
    place.owners.confirm(second, "2")
    assert place.tell(state("0", order_id="1", at_us=AT)) == ("", ())
    assert place.tell(state("1", order_id="2", at_us=AT + 60 * S)) == ("g", (("s", Decimal(50)),))


def test_an_order_without_an_id_is_known_by_all_that_was_sent_or_not_at_all() -> None:
    """Its answer never came: an older or newer order of the same name, another size or price is not it."""
    mine = sent()
    for other in (
        state(at_us=None), state(at_us=AT - S), state(at_us=AT + 3 * S), state(at_us=AT, quantity="1"),
        state(at_us=AT, quantity="3"), state(at_us=AT, price="6"),
    ):  # fmt: skip
        place = Place()
        place.send(sent())
        assert not fits(mine, other)
        assert place.tell(other) == ("", ()), other
    place = Place()
    place.send(mine)
    assert place.tell(state("1", at_us=AT + S)) == ("g", (("s", Decimal(50)),))


def test_two_namesakes_that_both_fit_release_neither() -> None:
    place = Place()
    place.send(sent(1))
    place.send(sent(2, grant="h", at_us=AT + S))
    assert place.tell(state("0", at_us=AT + S)) == ("", ())
    place.send(sent(3, at_us=AT + 60 * S))
    assert place.tell(state("0", order_id="3", at_us=AT + 60 * S)) == ("g", PARTS), "time tells it from them"


def test_an_order_is_absent_when_the_venue_said_so_twice_a_settling_time_apart() -> None:
    late = AT + 2 * S + SETTLING_US
    for asked, released in (
        ((late,), ()), ((late - 1, late), ()), ((late, late + SETTLING_US - 1), ()),
        ((late, late + SETTLING_US), PARTS), ((late, late + 1, late + SETTLING_US), PARTS),
    ):  # fmt: skip
        place = Place()
        one = sent()
        held = place.send(one)
        found: Parts = ()
        for at_us in asked:
            found += place.settlement.absent(held, one, at_us) or ()
        assert found == released, asked


def test_what_has_an_id_or_may_have_another_name_is_never_absent() -> None:
    place = Place()
    named, confirmed = sent(1, "n"), sent(2, "c")
    renamed, known = place.send(named), place.send(confirmed)
    place.owners.waiting.amended("acc", "X", "n")
    place.owners.confirm(confirmed, "2")
    for held, one in ((renamed, named), (known, confirmed)):
        for at_us in (AT + 60 * S, AT + 120 * S, AT + 180 * S):
            assert place.settlement.absent(held, one, at_us) is None
    assert place.tell(state("1", order_id="1", name="other", quantity="1", at_us=AT)) == (
        "g",
        (("s", Decimal(50)),),
    )


def test_a_list_of_which_one_order_was_found_is_not_absent() -> None:
    place = Place()
    one, other = sent(name="a"), sent(name="b")
    held = place.send(sent(name="@l"), one, other)
    place.tell(state("0", order_id="1", name="a", at_us=AT))
    for at_us in (AT + 60 * S, AT + 120 * S):
        assert place.settlement.absent(held, other, at_us) is None
    assert len(place.settlement) == 1


def test_every_grant_that_can_be_asked_about_gets_its_turn() -> None:
    """The example: five reservations of a grant without a lease stopped settlement for everybody."""
    place = Place()
    for number in range(1, 21):
        place.send(sent(number, f"a{number}", grant="busy"))
    for number in range(21, 31):
        place.send(sent(number, f"b{number}", grant="gone"))
    place.send(sent(40, "c", grant="small"))
    due = place.settlement.due(60 * S, 30 * S, 3, lambda held: held.grant != "gone")
    assert [held.grant for held in due] == ["busy", "small", "busy"]
    for held in due:
        place.settlement.asked(held, 60 * S)
    due = place.settlement.due(61 * S, 30 * S, 100, lambda held: held.grant != "gone")
    assert [held.number for held in due] == list(range(3, 21)), "what was asked about waits its time"


def test_beyond_what_is_kept_budget_stays_spent_and_it_is_counted() -> None:
    place = Place(most=2)
    for number in (1, 2, 3):
        place.send(sent(number, f"n{number}"))
    assert (len(place.settlement), place.settlement.unkept) == (2, 1)
    assert place.settlement.refused(3) == ()
    place.send(sent(4, "n4"), held_us=KEPT_US)
    assert (len(place.settlement), place.settlement.unkept) == (1, 1), "what no longer counts makes room"


def test_beyond_what_is_kept_who_holds_most_makes_room() -> None:
    place = Place(most=4)
    for number in (1, 2, 3, 4):
        place.send(sent(number, f"n{number}", grant="many"))
    for number in (5, 6):
        place.send(sent(number, f"n{number}", grant="few"))
    assert (len(place.settlement), place.settlement.unkept) == (4, 2)
    assert all(place.settlement.refused(number) for number in (5, 6)), "what few hold is settled"
    assert place.settlement.refused(1) == place.settlement.refused(2) == (), "what many hold stays spent"


def test_asking_what_is_due_does_not_walk_all_that_is_held() -> None:
    place = Place(most=20_000)
    for number in range(20_000):
        place.send(sent(number, f"n{number}", grant=f"g{number % 7}"))
    best = 1.0
    for _ in range(5):
        began = time.thread_time()
        place.settlement.due(60 * S, 30 * S, 100, lambda _: True)
        best = min(best, (time.thread_time() - began) / slowness())
    assert best < 0.005


# --- laws -------------------------------------------------------------------------------------

NAMES = st.sampled_from(["x", "y"])
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("send"), NAMES, st.sampled_from(["g", "h"]), st.booleans()),
        st.tuples(st.just("manual"), NAMES),
        st.tuples(st.just("end"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("show"), st.integers(0, 9)),
        st.tuples(st.just("amend"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.integers(0, 30)),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(MOVES)
def test_never_released_while_an_order_lives_and_never_owned_by_another(
    moves: list[tuple[object, ...]],
) -> None:
    """Lost replies, namesakes, manual orders, amendments, reads in any order: what is released was over."""
    place = Place()
    now, orders, living, holds = AT, [], {}, []
    for move in moves:
        now += 100_000
        match move:
            case ("send", str(name), str(grant), bool(lost)):
                one = sent(len(orders) + 1, name, grant=grant, at_us=now)
                holds.append((one, place.send(one), str(len(orders))))
                orders.append([name, now, grant])
                living[str(len(orders) - 1)] = True
                if not lost:
                    place.owners.confirm(one, str(len(orders) - 1))
            case ("manual", str(name)):  # within the same seconds the same order by hand cannot be told apart
                now += 3 * S
                orders.append([name, now, "nobody"])
                living[str(len(orders) - 1)] = True
                now += 3 * S
            case ("end", int(index), bool()) if index < len(orders):
                living[str(index)] = False
            case ("amend", int(index)) if index < len(orders):
                place.owners.waiting.amended("acc", "X", str(orders[index][0]))
                orders[index][0] = "renamed"
            case ("wait", int(seconds)):
                now += seconds * S
            case ("show", int(index)) if index < len(orders):
                name, at_us, _ = orders[index]
                place.tell(
                    state("0", final=not living[str(index)], order_id=str(index), name=str(name), at_us=at_us)
                )
            case _:
                continue
        for _, held, order_id in holds:
            if living[order_id]:
                assert held.number in place.settlement._held, "released while it lives"
        for order_id, (_, _, grant) in enumerate(orders):
            owner = place.owners.find("acc", "X", f"#{order_id}")
            assert owner in {None, grant}
