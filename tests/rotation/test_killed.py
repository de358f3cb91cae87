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
import traceback
from collections.abc import Sequence
from pathlib import Path

import pytest

from rotation.decide import decide
from rotation.journal import Lost
from rotation.state import TERMINAL, State, Tick
from tests.cli.started import wait_until
from tests.conftest import MIGRATED
from tests.long import LONG
from tests.places import NAMED, VAULT
from tests.rotation.deaths import (
    DEATHS,
    EFFECTS,
    MATRIX,
    NEVER,
    SCENARIOS,
    dealt,
    die_and_go_on,
    nothing_is_left_over,
    one_living_key,
    planned,
    release,
    rotator,
)
from tests.rotation.forked import rotating
from tests.rotation.place import Place, running_place, trading
from tests.services.vault.server import VaultServer

pytestmark = [pytest.mark.process, pytest.mark.sockets, pytest.mark.timeout(600)]
SAMPLE = (
    ("straight", "after:preparing:prepare"),
    ("straight", "before:creating:create"),
    ("straight", "after:creating:create"),
    ("straight", "after:cutting-over:move"),
    ("bad-key", "before:discarding-new:delete"),
    ("taken-back", "after:rolling-back:move-back"),
    ("leaked-in-doubt", "before:halting:find"),
)
ON_VAULT = (
    ("straight", "after:preparing:prepare"),
    ("create-lost", "after:reconciling:find"),
    ("straight", "before:retiring-old:entomb"),
)
RUNS, CHUNKS = int(os.environ.get("PORTCULLIS_DEATHS", "1000")), 50
SEED = int(os.environ.get("PORTCULLIS_SEED", "1"))

_NUMBERS = itertools.count(1)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize(("scenario", "death"), MATRIX if LONG else SAMPLE)
async def test_a_killed_rotator_leaves_one_living_key_and_nothing_unknown(
    tmp_path: Path, kind: str, scenario: str, death: str
) -> None:
    del kind
    assert await killed(tmp_path, scenario, [death]) == [death], "it never came to that"


@pytest.mark.parametrize("kind", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize(("scenario", "death"), MATRIX if LONG else ON_VAULT)
async def test_the_same_on_a_real_vault(
    tmp_path: Path, kind: str, keeper: None, scenario: str, death: str
) -> None:
    del kind, keeper
    assert await killed(tmp_path, scenario, [death]) == [death], "it never came to that"


@pytest.mark.skipif(not LONG, reason="1,000 seeded runs take half an hour: make test-long")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("chunk", range(CHUNKS))
async def test_a_thousand_seeded_deaths(tmp_path: Path, request: pytest.FixtureRequest, chunk: int) -> None:
    """Any scenario, any pair of stores, and the next rotators die too; a failure names what was dealt.

    One world a process, one after the other: what opens or ends one holds the loop in which another would be served.
    """
    dice, failed = random.Random(SEED * 1_000 + chunk), []  # noqa: S311 - a seed, so that a failure can be repeated
    for number in range(RUNS // CHUNKS):
        directory = tmp_path / str(number)
        directory.mkdir()
        if dice.random() < 0.5:
            server = request.getfixturevalue("postgres_server")
            (directory / NAMED).write_text(server.database(f"deaths-{chunk}-{number}", MIGRATED))
        if dice.random() < 0.5:
            name_vault(request, directory, f"deaths-{chunk}-{number}")
        scenario, deaths = dealt(dice)
        try:
            await killed(directory, scenario, deaths)
        except Exception as fault:  # noqa: BLE001 - told with what was dealt, after the others ended
            (*_, where) = traceback.extract_tb(fault.__traceback__)
            why = f"{where.name}:{where.lineno} {type(fault).__name__} {fault}"
            failed.append(f"{number} {scenario} {' '.join(deaths)}: {why}")
    assert failed == []


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


async def killed(directory: Path, name: str, deaths: Sequence[str]) -> list[str]:
    """Kill rotators, let the last go on, and look at what is left; return the deaths that came about."""
    scenario = SCENARIOS[name]
    async with running_place(directory) as here:
        await served(here)
        async with trading(here.bot) as answers:
            died = await die_and_go_on(here, scenario, deaths)
            if not scenario.is_incident:
                assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        if not scenario.is_incident:  # what leaked dies at once: bots on it are refused
            assert set(answers()) <= {(200, None)}
        nothing_is_left_over(here, scenario)
    return died


async def served(here: Place) -> None:
    """Wait until the bot has its lease: others may be starting beside it in this process."""
    async with asyncio.timeout(60):
        while True:
            if (await here.bot.call("GET", "/api/v3/account")).status == 200:
                return
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("effect", ["creating:create", "retiring-old:delete"])
async def test_of_two_rotators_the_one_that_was_stopped_does_nothing_twice(
    tmp_path: Path, on_postgres: str, effect: str
) -> None:
    """SIGSTOP just before the request goes out, past the claim; another carries it on to its end; then SIGCONT."""
    del on_postgres
    creates = effect == "creating:create"
    async with running_place(tmp_path) as here:
        await planned(here, SCENARIOS["straight"])
        first = await rotating(here.world.directory, f"stop:{effect}")
        await asyncio.to_thread(wait_until, lambda: _is_stopped(first.pid), "it stopped itself")
        release(here)
        try:
            code, said = await rotator(here, NEVER)
            assert code == 0
            assert said == (State.ABANDONED if creates else State.DONE).value
            one_living_key(here)
            before = [row["action"] for row in here.world.executed() if row["action"].startswith("key-")]
        finally:
            os.kill(first.pid, signal.SIGCONT)
        _, said = await first.ended()
        assert said == "lost", "its save was refused, and it did nothing more"
        after = [row["action"] for row in here.world.executed() if row["action"].startswith("key-")]
        assert after == before, "what it had signed died by its receive window"
        assert after.count("key-create") == (0 if creates else 1)
        assert after.count("key-delete") == (0 if creates else 1)
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


def test_the_matrix_has_a_death_before_and_after_every_effect_of_every_state() -> None:
    assert {death for _, death in MATRIX} == {
        *DEATHS, "before:halting:find", "after:halting:find",
    }  # fmt: skip
    assert set(SAMPLE) | set(ON_VAULT) <= set(MATRIX)
    without = State.PLANNED, State.STALLED
    assert set(EFFECTS) == set(State) - TERMINAL - set(without)
