"""kill -9 of the rotator, a process of its own, before and after every effect; another goes on where it stood.

The sample of `make test` takes a few points on both databases and both stores; `PORTCULLIS_LONG=1` takes all, with a
venue that fails, and a thousand seeded runs (`PORTCULLIS_DEATHS`, `PORTCULLIS_SEED`).
"""

import asyncio
import itertools
import json
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from rotation.decide import decide
from rotation.journal import Lost
from rotation.state import State, Tick
from tests.cli.started import wait_until
from tests.conftest import MIGRATED
from tests.long import LONG
from tests.places import NAMED, VAULT
from tests.rotation.deaths import (
    FAULTS,
    PROGRAM,
    Death,
    die_and_go_on,
    nothing_is_left_over,
    one_living_key,
    planned,
    release,
    rotator,
)
from tests.rotation.place import running_place, trading
from tests.services.vault.server import VaultServer

pytestmark = [pytest.mark.process, pytest.mark.sockets, pytest.mark.timeout(120)]
SAMPLE = ((1, "after", 0), (3, "before", 0), (3, "after", 0), (6, "after", 0), (9, "after", 2))
EVERY = tuple(itertools.product(range(1, 13), ("before", "after"), range(len(FAULTS))))
CASES = EVERY if LONG else SAMPLE
ON_VAULT = ((1, "after", 0), (3, "after", 1), (9, "after", 3))
RUNS, CHUNKS = int(os.environ.get("PORTCULLIS_DEATHS", "1000")), 50
SEED = int(os.environ.get("PORTCULLIS_SEED", "1"))
_NUMBERS = itertools.count(1)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize(("point", "when", "fault"), CASES)
async def test_a_killed_rotator_leaves_one_living_key_and_nothing_unknown(
    tmp_path: Path, kind: str, point: int, when: str, fault: int
) -> None:
    del kind
    await killed(tmp_path, point, when, fault)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize(("point", "when", "fault"), EVERY if LONG else ON_VAULT)
async def test_the_same_on_a_real_vault(
    tmp_path: Path, kind: str, keeper: None, point: int, when: str, fault: int
) -> None:
    del kind, keeper
    await killed(tmp_path, point, when, fault)


@pytest.mark.skipif(not LONG, reason="1,000 deaths take hours: make test-long")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("chunk", range(CHUNKS))
async def test_a_thousand_seeded_deaths(tmp_path: Path, request: pytest.FixtureRequest, chunk: int) -> None:
    """Any point, any fault, any pair of stores, and the next rotator dies too; what it was is in the test's name."""
    dice = random.Random(SEED + chunk)  # noqa: S311 - a seed, so that a failure can be repeated
    for number in range(RUNS // CHUNKS):
        directory = tmp_path / str(number)
        directory.mkdir()
        if dice.random() < 0.5:
            server = request.getfixturevalue("postgres_server")
            (directory / NAMED).write_text(server.database(f"deaths-{chunk}-{number}", MIGRATED))
        if dice.random() < 0.5:
            name_vault(request, directory, f"deaths-{chunk}-{number}")
        deaths = [
            (dice.randrange(1, 13), dice.choice(("before", "after"))) for _ in range(dice.randrange(1, 4))
        ]
        await killed(directory, *deaths[0], dice.randrange(len(FAULTS)), more=deaths[1:])


def name_vault(request: pytest.FixtureRequest, directory: Path, mount: str) -> None:
    """Let a folder keep its secrets in the tests' Vault."""
    vault: VaultServer = request.getfixturevalue("vault")
    vault.client().sys.enable_secrets_engine("kv", path=mount, options={"version": "2"})
    token = directory / "vault.token"
    token.write_text(vault.root)
    token.chmod(0o600)
    found = {"address": vault.address, "mount": mount, "token_file": str(token)}
    (directory / VAULT).write_text(json.dumps(found))


@pytest.fixture
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    name_vault(request, tmp_path, f"killed-{next(_NUMBERS)}")


async def killed(directory: Path, point: int, when: str, fault: int, more: Sequence[Death] = ()) -> None:
    """Kill a rotator at a point, and the next ones, let the last go on, and look at what is left."""
    async with running_place(directory) as here:
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        await planned(here, fault)
        async with trading(here.bot) as answers:
            await die_and_go_on(here, [(point, when), *more])
            assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        assert {status for status, _ in answers()} <= {200}, answers()
        nothing_is_left_over(here)


@pytest.mark.parametrize("effect", ["create", "delete"])
async def test_of_two_rotators_the_one_that_was_stopped_does_nothing_twice(
    tmp_path: Path, on_postgres: str, effect: str
) -> None:
    """SIGSTOP just before the request goes out, past the claim; another carries it on to its end; then SIGCONT."""
    del on_postgres
    async with running_place(tmp_path) as here:
        await planned(here, 0)
        first = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), str(here.world.directory), "0", f"stopped-before-{effect}",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await asyncio.to_thread(wait_until, lambda: _is_stopped(first.pid), "it stopped itself")
        release(here)
        try:
            code, said = await rotator(here, 0, "never")
            assert code == 0
            assert said == (State.ABANDONED if effect == "create" else State.DONE).value
            one_living_key(here)
            before = [row["action"] for row in here.world.executed() if row["action"].startswith("key-")]
        finally:
            first.send_signal(signal.SIGCONT)
        output, _ = await first.communicate()
        assert output.decode() == "lost", "its save was refused, and it did nothing more"
        after = [row["action"] for row in here.world.executed() if row["action"].startswith("key-")]
        assert after == before, "what it had signed died by its receive window"
        assert after.count("key-create") == (0 if effect == "create" else 1)
        assert after.count("key-delete") == (0 if effect == "create" else 1)
        one_living_key(here)


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


async def test_a_rotator_that_lost_its_claim_does_nothing_more(tmp_path: Path) -> None:
    """Two rotators: the first is paused past its claim, the second goes on; the first's next save is refused."""
    async with running_place(tmp_path) as here:
        rotation = here.plan()
        first, second = here.runner("first"), here.runner("second")
        first.journal.plan(rotation)
        held = first.journal.claim(first.now())
        assert held is not None
        assert second.journal.claim(second.now()) is None, "it is claimed"
        release(here)
        assert second.journal.claim(second.now()) is not None
        step_before = here.history(rotation.id)
        with pytest.raises(Lost):
            first.journal.save(held, decide(held.rotation, Tick(), first.now()), Tick(), first.now())
        assert here.history(rotation.id) == step_before


def test_the_sample_is_part_of_the_whole() -> None:
    assert set(SAMPLE) <= set(EVERY)
    assert len(EVERY) == 120
