"""That the password of a way out is lost is no word on a key: nothing was asked, and its secret is where it was."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from broker.db import meta
from broker.db import tables as t
from broker.service.host_guard import COMPARED
from broker.service.reconcile_facts import Surveyed
from broker.stores.held import EGRESS_LOST
from clients.venue import Credential, KeyFacts
from rotation.decide import decide
from rotation.effects import Effects
from rotation.state import Answer, Do, Effect, Reply, State
from rotation.sweeper import Sweeper
from rotation.venues import Venues
from tests.rotation.place import Place, now, running_place
from tests.rotation.test_by_name import planned

pytestmark = pytest.mark.sockets


def lose_password(here: Place, name: str) -> None:
    with here.world.service.desk.database.write() as connection:
        connection.execute(
            t.EGRESS.update()
            .where(t.EGRESS.c.name == name)
            .values(password_path=f"egress/{name}/sec_gone", proxy_host="127.0.0.1", proxy_port=1)
        )


@pytest.mark.parametrize("whose", ["manager", "account"])
async def test_it_is_waited_for_and_no_key_is_given_up(tmp_path: Path, whose: str) -> None:
    async with running_place(tmp_path) as here:
        service = here.world.service
        known = replace(await planned(here), new=1, new_key_id=here.old_key, stamp_us=1)
        (manager,) = service.managers.list()
        lose_password(here, manager.egress if whose == "manager" else service.accounts.get("main").egress)
        effects = Effects(service, Venues(service))
        for do in (Do.VERIFY, Do.DELETE, Do.PROBE, Do.READ_CLOCK, Do.FIND):
            reply = await asyncio.to_thread(effects.perform, known, Effect(do, 1))
            assert reply.answer is not Answer.REFUSED or "no_secret" not in reply.reason, do
            if do is Do.VERIFY or (whose == "manager" and do is not Do.PROBE):
                assert (reply.answer, reply.code) == (Answer.RETRY, EGRESS_LOST), do
                assert "portcullis egress create --name" in reply.says
        asked = replace(known, state=State.VERIFYING, asked=Effect(Do.VERIFY, 1), tries=known.limits.tries)
        step = decide(asked, Reply(Answer.RETRY, EGRESS_LOST), now())
        assert (step.rotation.state, step.rotation.tries) == (State.VERIFYING, asked.tries)
        sweeper = Sweeper(service, Venues(service), here.runner().journal)
        (trouble,) = await asyncio.to_thread(sweeper.sweep, now())
        assert "portcullis egress create --name" in trouble
        assert service.rotations.findings() == ()


async def test_a_comparison_was_none_and_sends_nobody_to_make_or_delete_a_key(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        service = here.world.service
        lose_password(here, "out")

        def ask(name: str, _: Credential) -> KeyFacts:
            service.accounts.egress(service.accounts.get(name).egress)
            raise AssertionError

        found = service.reconciliation.look(
            ask, lambda *_: Surveyed(), confirmed=("main",), old_host_off=True
        )
        with service.desk.database.read() as connection:
            assert meta.get(connection, COMPARED) is None, "nobody was asked about any key"
        (step,) = (one for one in found.blocking if "main/trade/1" in one.what)
        assert "the password of the proxy of egress out is lost" in step.what
        assert "portcullis egress create --name out" in step.what
        assert step.commands == ("portcullis reconcile", "portcullis reconcile --deleted main/trade/1")


async def test_a_gateway_that_is_served_no_lease_for_it_is_told_of(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        service = here.world.service
        await here.bot.ready()
        lose_password(here, "out")
        answer = await here.world.bot("other").call("GET", "/api/v3/openOrders", symbol="BTCUSDT")
        assert answer.status == 503
        assert service.desk.gone == {("egress", "out"): "egress/out/sec_gone"}
