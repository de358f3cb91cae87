"""Every fault before and after every effect of every state: one living key, nothing unknown, and no secret lost.

`make test` takes a fair sample, each pair of stores and each fault at least once; `PORTCULLIS_LONG=1` takes all of them.
Deaths (kill -9) have a matrix of their own: `test_killed`.
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rotation.state import State
from tests.long import LONG
from tests.places import NAMED, VAULT
from tests.rotation.deaths import MATRIX, SCENARIOS
from tests.rotation.faults import FAULTS, LOSES, ONLY_POSTGRES, ONLY_VAULT, fresh_token, strike
from tests.rotation.place import running_place, trading
from tests.rotation.test_killed import served
from tests.services import binaries
from tests.services.vault.server import VaultServer, raft_vault

pytestmark = [pytest.mark.process, pytest.mark.sockets, pytest.mark.timeout(600)]
PAIRS = tuple(itertools.product(("sqlite", "postgres"), ("embedded", "vault")))
SERVED_ALL_THE_WHILE = frozenset({"stopped", "sealed", "policy", "token", "wiped", "soft-deleted"})
"""The broker's own database is well: bots notice nothing."""

Case = tuple[str, str, str, str, str]
_NUMBERS = itertools.count(1)


def cases() -> Iterator[Case]:
    """Every fault at every point on every pair of stores where it can be."""
    for (database, keeper), fault, (scenario, point) in itertools.product(PAIRS, FAULTS, MATRIX):
        if (fault in ONLY_VAULT and keeper != "vault") or (fault in ONLY_POSTGRES and database != "postgres"):
            continue
        if fault in LOSES and not _stays(scenario, point):
            continue
        yield database, keeper, fault, scenario, point


def _stays(scenario: str, point: str) -> bool:
    """Tell whether there is a key that stays, and nothing was deleted for it yet."""
    when, state, effect = point.split(":")
    if State(state) in {State.HALTING, State.PREPARING, State.CREATING, State.RECONCILING}:
        return False
    sent = effect in {"probe", "entomb"} or (effect == "delete" and when == "after")
    return not sent and not SCENARIOS[scenario].is_incident


SAMPLE: tuple[Case, ...] = (
    ("postgres", "vault", "stopped", "straight", "before:cutting-over:move"),
    ("sqlite", "embedded", "stopped", "straight", "after:retiring-old:delete"),
    ("postgres", "embedded", "terminated", "straight", "after:creating:create"),
    ("sqlite", "vault", "sealed", "straight", "before:retiring-old:delete"),
    ("sqlite", "vault", "policy", "straight", "after:verifying:verify"),
    ("postgres", "vault", "token", "bad-key", "before:discarding-new:delete"),
    ("sqlite", "embedded", "wiped", "straight", "after:cutting-over:move"),
    ("postgres", "vault", "soft-deleted", "straight", "after:draining:drain"),
    ("postgres", "embedded", "wiped", "taken-back", "after:rolling-back:move-back"),
    ("sqlite", "embedded", "locked", "straight", "after:retiring-old:probe"),
    ("sqlite", "embedded", "disk-full", "straight", "after:cutting-over:move"),
    ("postgres", "vault", "disk-full", "taken-back", "before:rolling-back:move-back"),
)


@pytest.fixture(scope="session")
def sealable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    """A Vault that can be sealed."""
    binaries.need("vault")
    with raft_vault(tmp_path_factory.mktemp("sealable")) as server:
        yield server


@pytest.mark.parametrize(
    ("database", "keeper", "fault", "scenario", "point"), tuple(cases()) if LONG else SAMPLE
)
async def test_whatever_befalls_a_rotator_nothing_is_lost_and_one_key_lives(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    database: str,
    keeper: str,
    fault: str,
    scenario: str,
    point: str,
) -> None:
    vault: VaultServer | None = None
    if database == "postgres":
        request.getfixturevalue("on_postgres")
        assert (tmp_path / NAMED).exists()
    if keeper == "vault":
        vault = request.getfixturevalue("sealable")
        _keep_in(vault, tmp_path)
    wanted = SCENARIOS[scenario]
    async with running_place(tmp_path) as here:
        await served(here)
        if fault not in SERVED_ALL_THE_WHILE or wanted.is_incident:
            await strike(here, wanted, point, fault, vault)
            return
        async with trading(here.bot) as answers:
            await strike(here, wanted, point, fault, vault)
        assert set(answers()) <= {(200, None)}


def _keep_in(vault: VaultServer, directory: Path) -> None:
    """Let a folder keep its secrets in a Vault, by a token whose policy can be taken away."""
    mount = f"faults-{next(_NUMBERS)}"
    vault.client().sys.enable_secrets_engine("kv", path=mount, options={"version": "2"})
    token = directory / "vault.token"
    token.write_text(fresh_token(vault, directory))
    token.chmod(0o600)
    found = {"address": vault.address, "mount": mount, "token_file": str(token)}
    (directory / VAULT).write_text(json.dumps(found))


def test_the_sample_is_fair() -> None:
    """Each fault, each pair of stores, and nothing that the whole matrix does not have."""
    every = set(cases())
    assert set(SAMPLE) <= every
    assert {case[2] for case in SAMPLE} == set(FAULTS)
    assert {case[:2] for case in SAMPLE} == set(PAIRS)
    assert {case[3:] for case in every} == set(MATRIX)
