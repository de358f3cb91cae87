"""The one judge before every deed; and that nothing touches an exchange, a key or a secret without asking it."""

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.deeds import NEVER_ASKED, UNREAD, Deed, Known, Needs, judge
from rotation.effects import DEEDS
from rotation.state import Do

ROOT = Path(__file__).parents[2]
CUT = frozenset({"cut_a"})


@pytest.mark.parametrize("deed", Deed)
def test_whoever_lost_the_homes_place_does_nothing_at_all(deed: Deed) -> None:
    no = judge(deed, Known("restored elsewhere", well=CUT))
    assert no is not None
    assert no.reason == "superseded"
    assert "restored elsewhere" in no.message


@pytest.mark.parametrize("deed", Deed)
def test_after_a_restore_only_what_was_compared_goes_on(deed: Deed) -> None:
    """What a person asks for once it was compared; what the program begins by itself once all is well."""
    closed, compared, well = (judge(deed, Known(closed=CUT, **more)) for more in _STAGES)
    assert (closed is None) is (deed.needs is Needs.LIVING)
    assert (compared is None) is (deed.needs is not Needs.WELL)
    assert well is None
    other = judge(deed, Known(closed=CUT | {"cut_b"}, compared=CUT, well=CUT))
    assert (other is None) is (deed.needs is Needs.LIVING), (
        "what was compared before the next closing counts no more"
    )
    assert judge(deed, Known(compared=CUT)) is None


_STAGES: tuple[dict[str, frozenset[str]], ...] = ({}, {"compared": CUT}, {"compared": CUT, "well": CUT})


@pytest.mark.parametrize("deed", Deed)
def test_a_fact_that_is_missing_is_no_yes_for_what_touches_something(deed: Deed) -> None:
    no = judge(deed, Known(away=NEVER_ASKED))
    assert (no is not None) is deed.asks
    doubtful = judge(deed, Known(doubt="the database went from timeline 1 to 2"))
    assert (doubtful is not None) is (deed.needs is not Needs.LIVING)


def test_what_makes_moves_hands_out_or_deletes_waits_for_a_store_that_is_away() -> None:
    waits = {
        Deed.MAKE,
        Deed.MOVE,
        Deed.DELETE,
        Deed.BURY,
        Deed.IMPORT,
        Deed.CHECKOUT,
        Deed.DELIVER,
        Deed.DELETE_ORPHAN,
    }
    assert all(one.asks and one.needs >= Needs.COMPARED for one in waits)


@pytest.mark.parametrize("deed", Deed)
def test_no_key_leaves_before_the_cuts_in_the_secret_store_were_taken_in(deed: Deed) -> None:
    no = judge(deed, Known(unread=UNREAD))
    assert (None if no is None else no.reason) == ("cuts_not_read" if deed.leaves else None)


def test_every_effect_of_a_rotation_is_a_deed() -> None:
    assert set(DEEDS) == set(Do)


# --- nothing goes past it -------------------------------------------------------------------------

GUARDED = {
    # what touches: where the guard stands before it
    "broker/service/keys.py import_key": "broker/service/keys.py import_key",
    "broker/service/checkouts.py open": "broker/service/checkouts.py open",
    "broker/service/checkouts.py paste": "broker/service/checkouts.py paste",
    "broker/service/secrets.py written": "broker/service/secrets.py written",
    "broker/service/secrets.py _destroy": "broker/service/secrets.py tidy",
    "broker/service/rotations.py ask": "broker/service/rotations.py ask",
    "broker/service/destinations.py remove": "broker/service/destinations.py remove",
    "broker/service/alerts.py remove": "broker/service/alerts.py remove",
    "broker/service/managers.py assign": "broker/service/managers.py assign",
    "broker/service/managers.py release": "broker/service/managers.py release",
    "broker/authority/leases.py _material": "broker/authority/leases.py renew",
    "broker/authority/leases.py _verifier": "broker/authority/leases.py renew",
    "broker/authority/cutover.py _prepared": "broker/authority/cutover.py follow",
    "rotation/making.py _prepare_store": "rotation/effects.py perform",
    "rotation/making.py _store": "rotation/effects.py perform",
    "rotation/making.py create": "rotation/effects.py perform",
    "rotation/moving.py _moved": "rotation/moving.py _moved",
    "rotation/staying.py _served": "rotation/effects.py perform",
    "rotation/burial.py delete": "rotation/effects.py perform",
    "rotation/burial.py entomb": "rotation/burial.py entomb",
    "rotation/burial.py clear": "rotation/burial.py clear",
    "rotation/burial.py _destroy": "rotation/effects.py perform",
    "rotation/comparing.py _asked": "rotation/effects.py perform",
    "rotation/reach.py credential": "rotation/effects.py perform",
    "rotation/sweeper.py _retire": "rotation/sweeper.py _retire",
    "rotation/sweeper.py _permissions": "rotation/sweeper.py sweep",
    "rotation/returned.py _see_to": "rotation/returned.py _see_to",
    "rotation/planner.py _start": "rotation/planner.py _start",
    "rotation/plan.py enrol_standby": "rotation/journal.py plan",
    "rotation/asks.py _carry_out": "rotation/asks.py _carry_out",
    "rotation/asks.py _start": "rotation/asks.py _carry_out",
    "rotation/asks.py _empty": "rotation/asks.py _empty",
    "rotation/asks.py _answer": "rotation/asks.py _carry_out",
    "rotation/asks.py _brought": "rotation/asks.py _carry_out",
    "rotation/destinations/delivery.py _step": "rotation/destinations/delivery.py _step",
    "rotation/venues.py create": "rotation/venues.py _asked",
    "rotation/venues.py delete": "rotation/venues.py _asked",
}
"""Every place that touches one, and where the guard is asked on the only way to it."""

LEAVES = {
    "broker/service/checkouts.py open": "CHECKOUT",
    "broker/service/checkouts.py paste": "CHECKOUT",
    "broker/authority/leases.py _send": "stands",
    "broker/authority/cutover.py _move": "goes",
    "broker/authority/cutover.py _try": "goes",
    "rotation/moving.py _moved": "MOVE",
    "rotation/destinations/delivery.py _step": "DELIVER",
}
"""Every way by which a real key leaves: what is asked there, a deed by which a key leaves or whether it may go."""

GOES = {"broker/authority/leases.py stands": "goes", "broker/authority/sending.py goes": "mirror"}
"""What the ways to a gateway ask, down to what the mirror says."""

_HANDS_ON = {"Material", "HandedOut", "Parcel", "move_current"}
"""What a key leaves in, and what makes gateways ask for another one."""

_BEHIND = {
    "broker/authority/leases.py _material",
    "broker/authority/cutover.py _prepared",
    "broker/service/keys.py import_key",
    "rotation/destinations/rounds.py _is_begun",
}
"""Where it is read behind one of those; a person brings it; what a file of ours holds is compared with it."""

READS = {
    "broker/api/listing.py heard": "the question whether the venue serves a key: it changes nothing",
    "broker/service/accounts.py _password": "the password of a way out; it goes to no exchange key",
    "broker/service/managers.py credential": "used by rotation.venues and by questions that change nothing",
    "broker/service/credentials.py _step": "the seed of an operator's codes",
    "broker/service/reconcile.py _one": "the question of a restored home: it changes nothing",
    "broker/service/secrets.py written": "reads back what it wrote",
    "rotation/proving.py _signs": "a question that changes nothing: whether our secret signs for a key that was named",
    "broker/service/keys.py _is_kept": "whether it is there; it goes nowhere",
    "broker/service/keys.py _has": "whether it is the one that was given; it goes nowhere",
    "rotation/destinations/rounds.py _looked": "compared with what a file of ours holds; it goes nowhere",
    "rotation/destinations/delivery.py _secret": "signs what is delivered, behind _step",
    "rotation/alerts/telling.py _address": "where people are told",
    "rotation/budget.py create": "counts, behind rotation.venues",
    "rotation/budget.py delete": "counts, behind rotation.venues",
    "portcullis/demo.py _account": "a paper home",
}
"""Places that read a secret and hand no key out, and those that are behind another place of the list."""

_RECEIVERS = {
    "secrets": {"read", "write", "destroy"},
    "_secrets": {"bury"},
    "admin": {"create", "delete"},
    "_admin": {"create", "delete"},
    "cutovers": {"move_current"},
    "at_work": {"deliver"},
    "_journal": {"plan", "begin"},
    "journal": {"plan", "begin"},
    "store": {"assign", "unassign"},
}
_STAGES_CHANGE = {"set_stage"}
_TREES = ("broker/service", "broker/authority", "broker/api", "rotation", "portcullis")
_APART = {"portcullis/backup.py", "portcullis/store_move.py", "portcullis/cli/storage_work.py"}
"""They work on a store of their own: see `test_commands_in_place`."""


def _receiver(call: ast.Call) -> tuple[str, str] | None:
    function = call.func
    if not isinstance(function, ast.Attribute):
        return None
    value = function.value
    name = value.attr if isinstance(value, ast.Attribute) else value.id if isinstance(value, ast.Name) else ""
    return name, function.attr


def _functions() -> Iterator[tuple[str, ast.AST]]:
    for path in itertools.chain.from_iterable((ROOT / tree).rglob("*.py") for tree in _TREES):
        name = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name} {node.name}", node


def _touching() -> set[str]:
    found = set()
    for where, node in _functions():
        for call in (one for one in ast.walk(node) if isinstance(one, ast.Call)):
            name = _receiver(call)
            if name is not None and (name[1] in _RECEIVERS.get(name[0], ()) or name[1] in _STAGES_CHANGE):
                found.add(where)
    return found


def test_whatever_touches_an_exchange_a_key_or_a_secret_is_behind_the_guard() -> None:
    """Who adds such a place names here where the guard is asked before it."""
    found = {one for one in _touching() if one.split()[0] not in _APART}
    assert found - set(GUARDED) - set(READS) == set()
    assert (set(READS) | set(GUARDED)) - found == set(), "gone"


def test_the_guard_is_asked_where_it_is_said_to_be() -> None:
    bodies = dict(_functions())
    for place in set(GUARDED.values()):
        assert place in bodies, place
        attributes = {
            (_receiver(call) or ("", "")) for call in ast.walk(bodies[place]) if isinstance(call, ast.Call)
        }
        asked = {name for name in attributes if name[0] in {"guard", "_guard"}}
        serves = any(
            isinstance(one, ast.Attribute) and one.attr == "serves" for one in ast.walk(bodies[place])
        )
        assert asked or serves, f"{place} asks nobody"


def _says(node: ast.AST) -> set[str]:
    """Return the names of what is called in a function."""
    calls = [one.func for one in ast.walk(node) if isinstance(one, ast.Call)]
    return {one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "") for one in calls}


def test_every_way_by_which_a_key_leaves_asks_whether_the_cuts_were_taken_in() -> None:
    """Who adds one names it here: a checkout that looked at the record alone let a key go that was cut."""
    bodies = dict(_functions())
    found = {where for where, node in bodies.items() if _says(node) & _HANDS_ON}
    assert found - set(LEAVES) == _BEHIND
    for where, asks in (LEAVES | GOES).items():
        asked = [
            one.value
            for one in ast.walk(bodies[where])
            if isinstance(one, ast.Attribute) and one.attr == asks
        ]
        assert asked, f"{where} does not ask"
        if where.startswith("rotation/") or "checkouts" in where:
            assert Deed[asks].leaves, where
    assert Deed.LEASE.leaves


def test_whoever_hands_a_key_on_looks_at_all_of_it_for_the_last_time() -> None:
    """What was judged before a wait counts no more after it: of gates alone that was so."""
    bodies = dict(_functions())
    found = {where for where, node in bodies.items() if _says(node) & {"HandedOut", "Parcel"}} - _BEHIND
    assert found == {where for where, asks in LEAVES.items() if asks in {"CHECKOUT", "DELIVER"}}
    for where in found:
        names = {one.id for one in ast.walk(bodies[where]) if isinstance(one, ast.Name)}
        assert "last_look" in names, f"{where} does not look"


def test_whoever_puts_on_record_that_a_key_goes_to_a_gateway_looks_after_that() -> None:
    """Its turn and the commit were waited for."""
    found = [
        (where, calls)
        for where, node in _functions()
        if (calls := [_receiver(one) for one in ast.walk(node) if isinstance(one, ast.Call)])
        and any(isinstance(one, ast.Constant) and one.value == "key.send" for one in ast.walk(node))
    ]
    assert {where.split()[1] for where, _ in found} == {"_hold", "_held", "_sent"}
    assert all(("_sending", "look") in calls for _, calls in found)
