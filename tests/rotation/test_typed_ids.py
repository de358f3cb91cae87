"""Who swaps the id of a key and its secret types the secret where an id belongs: it is on no record, whatever comes of it."""

import asyncio
from pathlib import Path

import pytest

from broker.db import tables as t
from broker.errors import NotFound
from broker.service.rotations import Wish
from rotation.state import State
from tests.places import contents
from tests.rotation.place import EMAIL, Place, running_place
from tests.rotation.test_asks import asks, outcome
from tests.rotation.test_assisted import begun, person_makes, reached, running_alone
from tests.rotation.test_slips import said, stands

pytestmark = pytest.mark.sockets
PASTED = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"


def asked_of(here: Place) -> str:
    """Return what the record has of asks, in clear."""
    with here.world.service.desk.database.read() as connection:
        return str([tuple(row) for row in connection.execute(t.ROTATION_ASKS.select())])


async def test_a_secret_that_was_resumed_with_is_on_no_record(tmp_path: Path) -> None:
    """It lay in clear in the database, and in each of its backups, while no rotator ran, and after the refusal as well."""
    async with running_place(tmp_path) as here:
        rotation = stands(here, state=State.STALLED, stalled_from=State.RECONCILING, runbook="RB-07")
        ask = here.world.service.rotations.ask(rotation, Wish.RESUME, {"key_id": PASTED})
        assert PASTED.encode() not in contents(tmp_path), "while nobody has carried it out"
        work = asks(here)
        while (answer := outcome(here, ask)) is None:
            await asyncio.to_thread(work.once)
            await asyncio.sleep(0.02)
        assert answer.startswith("not_ours: ")
        assert PASTED not in answer
        assert PASTED.encode() not in contents(tmp_path)
        assert "vmPUZE6m...Eh8A" in asked_of(here), "who typed it knows it again"
        (brought,) = here.world.service.desk.secrets.paths("inbox/")
        with pytest.raises(NotFound):
            here.world.service.desk.secrets.read(brought)


async def test_a_secret_that_was_answered_with_is_on_no_record(tmp_path: Path) -> None:
    async with running_alone(tmp_path) as here:
        rotation = await begun(here)
        answer = await said(here, rotation, Wish.ANSWER, key_id=PASTED)
        assert answer.startswith("venue_"), answer
        assert PASTED.encode() not in contents(tmp_path)
        made = person_makes(here, dict(here.world.service.rotations.get(rotation).todo))
        assert await said(here, rotation, Wish.ANSWER, key_id=made) == "", "the right one is taken"
        await reached(here, rotation, State.RETIRING_OLD)


async def test_an_id_of_an_ask_from_before_is_taken_as_it_lies(tmp_path: Path) -> None:
    """An older broker put it on record itself."""
    async with running_place(tmp_path) as here:
        rotation = stands(here, state=State.STALLED, stalled_from=State.RECONCILING, runbook="RB-07")
        made = here.world.paper.key(EMAIL)
        made.label = rotation
        ask = here.world.service.rotations.ask(rotation, Wish.RESUME, {})
        with here.world.service.desk.database.write() as connection:
            body = f'{{"key_id": "{made.key_id}"}}'
            connection.execute(
                t.ROTATION_ASKS.update().where(t.ROTATION_ASKS.c.id == ask.id).values(body=body)
            )
        work = asks(here)
        while (answer := outcome(here, ask)) is None:
            await asyncio.to_thread(work.once)
            await asyncio.sleep(0.02)
        assert answer == ""
