"""No key gets a number that the secret store knows already: a database that was put back has forgotten it."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from broker.model import KeyRef, Stage
from clients.secret import Secret
from clients.venue import Credential, KeyFacts, KeyType, Slot
from rotation.making import _fresh_private, _public_of
from rotation.state import State
from tests.rotation.place import ACCOUNT_ADDRESS, EMAIL, Place, running_place

pytestmark = pytest.mark.sockets


def forgotten(here: Place, version: int, secret: Secret, *, destroyed: bool = False) -> str:
    """What a rotation that the database forgot left in the secret store."""
    path, secrets = KeyRef("main", Slot.TRADE, version).path, here.world.service.desk.secrets
    labels = {"account": "main", "slot": "trade", "version": str(version), "rotation": "rot_forgotten"}
    secrets.write(path, {"secret": secret}, labels)
    if destroyed:
        secrets.destroy(path)
    return path


@pytest.mark.parametrize("destroyed", [False, True])
async def test_a_rotation_passes_numbers_over_that_the_secret_store_knows(
    tmp_path: Path, *, destroyed: bool
) -> None:
    """It took the private half over that lay there, or ended at a path that was written before."""
    async with running_place(tmp_path) as here:
        stale = _fresh_private()
        forgotten(here, 2, stale, destroyed=destroyed)
        forgotten(here, 7, _fresh_private())
        done = await here.rotate()
        assert (done.state, done.new) == (State.DONE, 8)
        (living,) = here.living()
        assert (living.public_key or "").strip() != _public_of(stale).strip()
        keys = {one.ref.version: one.stage for one in here.world.service.keys.list("main")}
        assert keys == {1: Stage.TOMBSTONE, 8: Stage.CURRENT}
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200


@pytest.mark.parametrize("key_type", [KeyType.ED25519, KeyType.HMAC])
async def test_a_rotation_that_was_planned_makes_no_key_where_another_ones_secret_lies(
    tmp_path: Path, key_type: KeyType
) -> None:
    """While the store is away its number cannot be looked up: that is done before the exchange is asked for a key."""
    async with running_place(tmp_path) as here:
        planned = replace(here.plan(), key_type=key_type)
        path = forgotten(here, planned.new, _fresh_private())
        runner, before = here.runner(), {key.key_id for key in here.living()}
        await asyncio.to_thread(runner.journal.plan, planned)
        ended = await here.carried_out(planned.id, runner)
        assert ended.state is State.ABANDONED
        assert f"the key of rot_forgotten at {path}" in ended.reason
        assert "takes the next number that is free" in ended.reason
        assert {key.key_id for key in here.living()} == before
        assert here.world.service.desk.secrets.metadata(path)["rotation"] == "rot_forgotten"
        again = await here.rotate()
        assert (again.state, again.new) == (State.DONE, planned.new + 1)


@pytest.mark.parametrize("destroyed", [False, True])
async def test_an_import_passes_numbers_over_and_says_so(tmp_path: Path, *, destroyed: bool) -> None:
    """It ended at a path that was written before, each time, with a pending key on record."""
    async with running_place(tmp_path) as here:
        service, paper = here.world.service, here.world.paper
        forgotten(here, 3, Secret("planted-of-before"), destroyed=destroyed)
        real = paper.key(EMAIL, ips=(ACCOUNT_ADDRESS,))
        assert real.secret is not None
        facts = KeyFacts(True, True, False, False, True, str(paper.exchange.accounts[EMAIL].uid))
        made = service.keys.import_key(
            "main",
            slot=Slot.TRADE,
            credential=Credential(real.key_id, real.secret, KeyType.HMAC),
            facts=facts,
        )
        assert (made.ref.version, made.stage) == (4, Stage.CURRENT)
        records = [
            one.entry for one in service.audit.list(limit=20).items if one.entry.action == "key.import"
        ]
        assert "numbers 2 to 3" in json.loads(records[0].details)["passed_over"]
        here.plays = ("beside the current one",)
