"""A grant that needs more than the key in use may do is told so as it is made, and as long as it is so."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.model import Grant
from broker.service import Service
from broker.service.conditions import Condition
from rotation.alerts.conditions import all_that_is_wrong
from rotation.state import State
from tests.gateway.world import POLICY
from tests.rotation.place import Place, running_place

pytestmark = pytest.mark.sockets
READS = "\n".join(
    'allow = ["account", "market"]' if line.startswith("allow") else line for line in POLICY.splitlines()
)
MENDS = "portcullis rotation start --account main --wait"


def told(service: Service) -> list[Condition]:
    return [one for one in service.conditions.everything() if one.kind == "rights"]


def granted(here: Place, consumer: str, policy: str) -> tuple[Grant, tuple[str, ...]]:
    here.world.service.grants.create_consumer(consumer)
    made = here.world.service.grants.create(consumer=consumer, account="main", policy=policy)
    return made.grant, made.warnings


async def read_only(here: Place) -> Grant:
    """Rotate while a dashboard's grant is all that stands; return it."""
    service = here.world.service
    dashboard, warnings = granted(here, "dashboard", READS)
    assert warnings == ()
    for one in service.grants.list().items:
        if one.id != dashboard.id:
            service.grants.revoke(one.id, "its virtual key leaked")
    done = await here.rotate()
    assert (done.state, done.permissions.words()) == (State.DONE, ())
    assert told(service) == []
    return dashboard


async def test_a_grant_that_is_made_for_a_key_that_only_reads(tmp_path: Path) -> None:
    """RB-01 between revoke and create: the bot's next grant could not sell what it had bought, and nobody said so."""
    async with running_place(tmp_path) as here:
        service = here.world.service
        await read_only(here)
        grant, warnings = granted(here, "next", POLICY)
        (said,) = (one for one in warnings if "may not trade" in one)
        assert said.endswith(MENDS)
        (one,) = told(service)
        assert (one.subject, one.account, one.step) == (grant.id, "main", MENDS)
        assert "the key in use, main/trade/2, was made for grants that only read" in one.says
        wrong = all_that_is_wrong(service, datetime.now(UTC))
        assert [alert.step for alert in wrong if alert.kind == "rights"] == [MENDS]
        assert (await here.rotate()).permissions.words() == ("trade",)
        assert told(service) == []
        assert service.grants.warnings(grant) == ()


async def test_a_policy_that_is_widened(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        service = here.world.service
        dashboard = await read_only(here)
        wider = service.grants.set_policy(dashboard.id, POLICY)
        assert [one for one in service.grants.warnings(wider) if MENDS in one]
        assert [one.subject for one in told(service)] == [dashboard.id]
        narrowed = service.grants.set_policy(dashboard.id, READS)
        assert service.grants.warnings(narrowed) == ()
        assert told(service) == []


async def test_a_key_that_may_trade_lacks_nothing(tmp_path: Path) -> None:
    """One that was imported may: else it is not taken."""
    async with running_place(tmp_path) as here:
        _, warnings = granted(here, "second", POLICY)
        assert not [one for one in warnings if "may not trade" in one]
        assert (await here.rotate()).state is State.DONE
        assert told(here.world.service) == []
