"""What a person said and nothing proves is called dead nowhere: not in a list, a figure, an answer or a refusal."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.api.figures import figures
from broker.db import checkouts as checkout_store
from broker.db.checkouts import Checkout
from broker.errors import Conflict
from broker.model import Death, KeyRef
from broker.service import reconcile_held
from broker.service.reconcile_facts import Facts, OpenRotation
from clients.secret import Secret
from clients.venue import Credential, KeyFacts, KeyType, Slot
from portcullis.cli.destinations import _ends
from portcullis.cli.rotation_answers import Checkout as Shown
from rotation.alerts.conditions import conditions
from rotation.journal import Journal
from rotation.plan import draw_up_retirement
from rotation.returned import Returned
from tests.rotation.place import BY_HAND, Place, now, running_place
from tests.rotation.test_assisted import running_alone
from tests.rotation.test_by_name import declared, ends_by_word

pytestmark = pytest.mark.sockets
OLD = KeyRef("main", Slot.TRADE, 1)


def left(here: Place) -> None:
    """The first key is in Ann's hands, and was asked back."""
    (grant,) = here.world.service.grants.list().items
    out = Checkout("out_1", grant.id, OLD, "me", "Ann", "tax", now() - timedelta(hours=3), now(), now())
    with here.world.service.desk.database.write() as connection:
        checkout_store.restore(connection, replace(out, closed_at=now() - timedelta(hours=2)))


def looked(here: Place) -> tuple[str, ...]:
    service = here.world.service
    return Returned(service, Journal(service.desk.database, service.audit, "plan")).look(now())


def told(here: Place) -> dict[str, str]:
    """Return the steps for a checkout, by the view that tells of it."""
    service = here.world.service
    wrong = {
        "status": [(one.kind, one.says, one.step) for one in service.conditions.look()],
        "alerts": [(one.kind, one.says, one.step) for one in conditions(service, now())],
        "ready": [(red.kind, red.what, red.step) for one in service.ready.look() for red in one.red],
    }
    return {
        view: f"{says} | {step}"
        for view, ones in wrong.items()
        for kind, says, step in ones
        if kind == "checkout"
    }


def out_in_figures(here: Place) -> float:
    lines = figures(here.world.service).decode().splitlines()
    return float(next(line for line in lines if line.startswith("portcullis_checkouts_open ")).split()[1])


def in_the_list(here: Place) -> str:
    (one,) = here.world.service.checkouts.list()
    return str(_ends(Shown(one.id, str(one.ref), one.holder, one.reason, one.opened_at, one.ends_at, one.closed_at,
                           one.rotation, one.dead_at, None if one.death is None else one.death.value)))  # fmt: skip


async def test_a_key_that_left_and_was_ended_by_a_word_is_told_of_until_it_was_looked_up_again(
    tmp_path: Path,
) -> None:
    async with running_alone(tmp_path) as here:
        left(here)
        _, old = await ends_by_word(here)
        (trouble,) = looked(here)
        assert "stated, not proven" in trouble
        (one,) = here.world.service.checkouts.list()
        assert (one.dead_at, one.death) == (None, Death.STATED)
        assert in_the_list(here) == "a person's word, not proven"
        assert out_in_figures(here) == 1
        views = told(here)
        assert set(views) == {"status", "alerts", "ready"}
        for said in views.values():
            assert "stated, not proven" in said
            assert said.endswith("portcullis reconcile --deleted main/trade/1")
        here.world.paper.exchange.keys[old].deleted = True
        declared(here, "main/trade/1")
        assert told(here) == {}
        assert out_in_figures(here) == 0
        assert looked(here) == ()
        (one,) = here.world.service.checkouts.list()
        assert (one.dead_at, one.death) == (None, Death.CONFIRMED), "and nobody proved it"
        assert in_the_list(here) == "a person's word, twice, not proven"


async def test_of_a_key_that_a_word_ended_nobody_hears_that_it_is_dead(tmp_path: Path) -> None:
    async with running_alone(tmp_path) as here:
        _, old = await ends_by_word(here)
        service = here.world.service
        with pytest.raises(Conflict, match="stated, not proven") as refused:
            draw_up_retirement(service, OLD, "retire", now())
        assert "portcullis reconcile --deleted main/trade/1" in str(refused.value)
        held = OpenRotation(
            "rot_1", "main", "trade", False, "restored", "draining", "main/trade/1", "main/trade/2"
        )
        deaths = {str(key.ref): key.death for key in service.keys.list()}
        (step,) = reconcile_held.held(Facts(rotations=(held,), deaths=deaths))
        assert "main/trade/1 is deleted by a person's word: stated, not proven" in step.what
        facts = KeyFacts(True, True, False, False, True, service.accounts.get("main").venue_uid or "")
        credential = Credential(old, Secret("x" * 64), KeyType.HMAC)
        with pytest.raises(Conflict, match="it may live"):
            service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=facts)
        here.world.paper.exchange.keys[old].deleted = True


async def test_a_key_that_was_proven_dead_is_dead_everywhere(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        left(here)
        await here.rotate()
        assert looked(here) == ()
        (one,) = here.world.service.checkouts.list()
        assert one.dead_at is not None
        assert (in_the_list(here), told(here), out_in_figures(here)) == ("dead", {}, 0)


async def test_who_imports_a_dead_key_takes_its_death_back(tmp_path: Path) -> None:
    """The exchange answered for it: whoever had it may trade on, and is told of again."""
    async with running_place(tmp_path) as here:
        here.plays = (BY_HAND,)
        left(here)
        await here.rotate()
        looked(here)
        service = here.world.service
        facts = KeyFacts(True, True, False, False, True, service.accounts.get("main").venue_uid or "")
        credential = Credential(here.old_key, Secret("x" * 64), KeyType.HMAC)
        with pytest.raises(Conflict, match="it may live"):
            service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=facts)
        (one,) = service.checkouts.list()
        assert (one.dead_at, one.death) == (None, Death.UNPROVEN)
        assert in_the_list(here) == "ended, not proven dead"
        views, step = told(here), "portcullis reconcile --deleted main/trade/1"
        assert set(views) == {"status", "alerts", "ready"}
        for said in views.values():
            assert said.endswith(step)
            assert "person's word" not in said
        assert [one.step for one in service.conditions.look() if one.kind == "key"] == [step]
        declared(here, "main/trade/1")
        (one,) = service.checkouts.list()
        assert one.death is Death.STATED, "a person said it once"
        assert set(told(here)) == {"status", "alerts", "ready"}
        assert "key" not in {one.kind for one in service.conditions.look()}
        declared(here, "main/trade/1")
        assert told(here) == {}


async def test_a_key_that_left_and_is_not_on_record_is_not_dead_for_that(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        (grant,) = here.world.service.grants.list().items
        gone = Checkout(
            "out_1", grant.id, KeyRef("main", Slot.TRADE, 7), "me", "Ann", "tax", now(), now(), now()
        )
        with here.world.service.desk.database.write() as connection:
            checkout_store.restore(connection, gone)
        (trouble,) = looked(here)
        assert "nothing says that it is dead" in trouble
        (one,) = here.world.service.checkouts.list()
        assert (one.dead_at, one.death) == (None, None)
        assert "not on record" in in_the_list(here)
        assert "Delete it at the exchange" in told(here)["status"]
