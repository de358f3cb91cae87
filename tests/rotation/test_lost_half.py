"""A private half that is lost before its key was made: nothing was made, and another number is taken."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from broker.model import KeyRef
from clients.venue import KeyType, Slot
from rotation.effects import Effects
from rotation.state import Answer, Do, Effect
from rotation.venues import Venues
from tests.losing import lose
from tests.rotation.place import running_place
from tests.rotation.test_by_name import planned

pytestmark = pytest.mark.sockets


@pytest.mark.parametrize("how", ["tampered", "vault_deleted", "incomplete"])
async def test_a_lost_half_is_no_key_and_no_dead_end(tmp_path: Path, how: str) -> None:
    async with running_place(tmp_path) as here:
        service = here.world.service
        known = replace(await planned(here), key_type=KeyType.ED25519)
        effects = Effects(service, Venues(service))
        prepare = Effect(Do.PREPARE, known.new)
        assert (await asyncio.to_thread(effects.perform, known, prepare)).answer is Answer.OK
        lose(service.desk.secrets, KeyRef("main", Slot.TRADE, known.new).path, how)
        reply = await asyncio.to_thread(effects.perform, known, prepare)
        assert reply.answer is Answer.REFUSED
        assert "Nothing was made. Start it anew: it takes the next number that is free" in reply.reason
