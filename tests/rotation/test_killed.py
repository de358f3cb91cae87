"""kill -9 of the rotator, a process of its own, before and after every effect; another goes on where it stood.

The sample of `make test` takes a few points on both databases; `PORTCULLIS_LONG=1` takes all, with a venue that fails.
"""

import asyncio
import itertools
import sys
from pathlib import Path
from typing import Any

import pytest

from broker.db import tables as t
from broker.model import Stage
from rotation.decide import decide
from rotation.journal import Lost
from rotation.state import State, Tick
from tests.long import LONG
from tests.places import contents
from tests.rotation.place import Place, running_place, trading

pytestmark = [pytest.mark.process, pytest.mark.sockets, pytest.mark.timeout(120)]
PROGRAM = Path(__file__).with_name("killed_rotator.py")
FAULTS: tuple[dict[str, Any] | None, ...] = (
    None,
    {"do": "lose-reply", "match": {"method": "POST", "path": "/sapi/v2/sub-account"}},
    {"do": "accept-not-apply", "match": {"method": "DELETE", "path": "/sapi/v1/sub-account"}},
    {"do": "lose-reply", "match": {"method": "DELETE", "path": "/sapi/v1/sub-account"}},
    {"do": "error", "status": 429, "code": -1003, "match": {"path": "/sapi/v1/sub-account"}, "times": 2},
)
SAMPLE = ((1, "after", 0), (3, "before", 0), (3, "after", 0), (6, "after", 0), (9, "after", 2))
EVERY = tuple(itertools.product(range(1, 13), ("before", "after"), range(len(FAULTS))))
CASES = EVERY if LONG else SAMPLE


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


@pytest.mark.parametrize("kind", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize(("point", "when", "fault"), CASES)
async def test_a_killed_rotator_leaves_one_living_key_and_nothing_unknown(
    tmp_path: Path, kind: str, point: int, when: str, fault: int
) -> None:
    del kind
    async with running_place(tmp_path) as here:
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        if (played := FAULTS[fault]) is not None:
            await here.world.paper.admin("POST", "faults", played)
        planned = here.plan()
        here.runner().journal.plan(planned)
        async with trading(here.bot) as answers:
            code, said = await rotator(here, point, when)
            if code != 0:
                assert code == -9, said
                release(here)
                code, said = await rotator(here, 0, "never")
            assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        assert code == 0
        assert said in {State.DONE.value, State.ABANDONED.value}, said
        assert {status for status, _ in answers()} <= {200}, answers()
        known = {key.ref.version: key for key in here.world.service.keys.list("main")}
        (current,) = [key for key in known.values() if key.stage is Stage.CURRENT]
        assert [key.key_id for key in here.living()] == [current.venue_key_id], (
            "not one living key that we know"
        )
        assert here.world.service.desk.secrets.read(current.path)["secret"].reveal()
        assert {key.stage for key in known.values() if key is not current} == {Stage.TOMBSTONE}
        made = [row for row in here.world.executed() if row["action"] == "key-create"]
        assert len(made) <= 1, "a create was repeated"
        assert b"PRIVATE KEY" not in contents(tmp_path)


async def test_a_rotator_that_lost_its_claim_does_nothing_more(tmp_path: Path) -> None:
    """Two rotators: the first is paused past its claim, the second goes on; the first's next save is refused."""
    async with running_place(tmp_path) as here:
        planned = here.plan()
        first, second = here.runner("first"), here.runner("second")
        first.journal.plan(planned)
        held = first.journal.claim(first.now())
        assert held is not None
        assert second.journal.claim(second.now()) is None, "it is claimed"
        release(here)
        assert second.journal.claim(second.now()) is not None
        step_before = here.history(planned.id)
        with pytest.raises(Lost):
            first.journal.save(held, decide(held.rotation, Tick(), first.now()), Tick(), first.now())
        assert here.history(planned.id) == step_before


def test_the_sample_is_part_of_the_whole() -> None:
    assert set(SAMPLE) <= set(EVERY)
    assert len(EVERY) == 120
