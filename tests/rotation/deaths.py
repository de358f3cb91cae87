"""Rotators that die, another that goes on, and what must be left at the end; shared by the crash matrices."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from broker.db import tables as t
from broker.model import Stage
from rotation.state import State
from tests.places import contents
from tests.rotation.place import Place

PROGRAM = Path(__file__).with_name("killed_rotator.py")
FAULTS: tuple[dict[str, Any] | None, ...] = (
    None,
    {"do": "lose-reply", "match": {"method": "POST", "path": "/sapi/v2/sub-account"}},
    {"do": "accept-not-apply", "match": {"method": "DELETE", "path": "/sapi/v1/sub-account"}},
    {"do": "lose-reply", "match": {"method": "DELETE", "path": "/sapi/v1/sub-account"}},
    {"do": "error", "status": 429, "code": -1003, "match": {"path": "/sapi/v1/sub-account"}, "times": 2},
)
Death = tuple[int, str]
"""Which effect, counted from 1, and whether before or after it."""


async def rotator(here: Place, point: int, when: str) -> tuple[int, str]:
    """Run a rotator process to its end; return its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), str(here.world.directory), str(point), when, stdout=asyncio.subprocess.PIPE
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


def release(here: Place) -> None:
    """Let the dead rotator's claim be over, as it would be a minute later."""
    with here.world.service.desk.database.write() as connection:
        connection.execute(t.ROTATIONS.update().values(claimed_until_us=0))


async def planned(here: Place, fault: int) -> None:
    """Let the exchange misbehave in one way, and put a rotation on record."""
    if (played := FAULTS[fault]) is not None:
        await here.world.paper.admin("POST", "faults", played)
    await asyncio.to_thread(here.runner().journal.plan, here.plan())


async def die_and_go_on(here: Place, deaths: Sequence[Death]) -> None:
    """Kill one rotator after the other, and let the last carry the rotation to its end."""
    for point, when in (*deaths, (0, "never")):
        code, said = await rotator(here, point, when)
        if code == 0:
            break
        assert code == -9, said
        release(here)
    assert code == 0
    assert said in {State.DONE.value, State.ABANDONED.value}, said


def nothing_is_left_over(here: Place) -> None:
    """One living key, created by one call, and no private half outside the store."""
    one_living_key(here)
    made = [row for row in here.world.executed() if row["action"] == "key-create"]
    assert len(made) <= 1, "a create was repeated"
    assert b"PRIVATE KEY" not in contents(here.world.directory)


def one_living_key(here: Place) -> None:
    """One key at the exchange, on record as the current one, with its secret; everything else is a tombstone."""
    known = {key.ref.version: key for key in here.world.service.keys.list("main")}
    (current,) = [key for key in known.values() if key.stage is Stage.CURRENT]
    assert [key.key_id for key in here.living()] == [current.venue_key_id], "not one living key that we know"
    assert here.world.service.desk.secrets.read(current.path)["secret"].reveal()
    assert {key.stage for key in known.values() if key is not current} == {Stage.TOMBSTONE}
