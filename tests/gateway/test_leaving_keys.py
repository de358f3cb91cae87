"""A key that leaves heeds no gate any more: a cut that comes in force while its secret is read keeps it here."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from broker.errors import NotGranted
from broker.gate import Mode
from broker.service.checkouts import HandedOut
from clients.secret import Secret
from clients.venue import Slot
from tests.gateway.world import POLICY, World, running_world

POLICY_OUT = f"{POLICY}\n[checkout]\nmax_seconds = 600\n"


def taken(handed: HandedOut) -> Secret | None:
    return handed.take(handed.look())


def checked_out(world: World, grant: str) -> Secret | None:
    return taken(world.service.checkouts.open(grant, ttl=timedelta(seconds=60), holder="Ann", reason="tax"))


def pasted(world: World, _: str) -> Secret | None:
    return taken(world.service.checkouts.paste("tool", "tax"))


@pytest.mark.parametrize("mode", [Mode.CLOSED, Mode.HALT])
@pytest.mark.parametrize("take", [checked_out, pasted])
async def test_a_cut_while_a_slow_store_is_read_keeps_the_key_here(
    tmp_path: Path, take: Callable[[World, str], Secret | None], mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        grant = world.issue(policy=POLICY_OUT).grant.id
        world.service.destinations.create(
            "tool", account="main", slot=Slot.TRADE, kind="manual", settings={"what": "a tool"}
        )
        assert take(world, grant) is not None
        secrets = world.service.desk.secrets
        read = type(secrets).read

        def slow(self: object, path: str) -> Mapping[str, Secret]:
            if path.startswith("keys/"):
                world.service.cuts.close(targets=("account:main",), mode=mode, reason="leak", actor="me")
            return read(self, path)  # type: ignore[arg-type]

        monkeypatch.setattr(type(secrets), "read", slow)
        before = len(world.service.checkouts.list())
        with pytest.raises(NotGranted, match="cut off or halted"):
            take(world, grant)
        assert len(world.service.checkouts.list()) == before, (
            "nothing was handed out, so nothing has to be rotated"
        )
