"""Changes that race: a grant that is revoked while another change is on its way, or while a lease is opened."""

from pathlib import Path

import pytest

from broker.authority import leases
from broker.db.accounts import current_key
from broker.gate import Mode
from tests.gateway.world import running_world

pytestmark = pytest.mark.usefixtures("kind")


async def test_a_revocation_beside_a_halt_is_not_undone_by_the_halts_successors(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order()).status == 200
        (grant,) = world.service.grants.list().items
        # both are committed before the first is pushed
        world.service.cuts.close(targets=("consumer:bot",), mode=Mode.HALT, reason="test", actor="test")
        world.service.grants.revoke(grant.id, "test")
        await world.settled()
        assert (await bot.call("GET", "/api/v3/account")).code == -2014


async def test_a_thaw_does_not_bring_back_a_revoked_grant(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order()).status == 200
        (grant,) = world.service.grants.list().items
        cut_id = await world.cut(f"grant:{grant.id}", mode=Mode.HALT)
        world.service.grants.revoke(grant.id, "test")
        world.service.cuts.thaw(cut_id, reason="test", actor="test")
        await world.settled()
        assert (await bot.order()).code == -2014
        assert len(world.executed()) == 1


async def test_a_lease_that_is_opened_during_a_revocation_serves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        (grant,) = world.service.grants.list().items
        revoked: list[str] = []

        def late(*arguments: object) -> object:
            if not revoked:  # the grant was read as standing; now it is revoked
                revoked.append(grant.id)
                world.service.grants.revoke(grant.id, "test")
            return current_key(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(leases.account_store, "current_key", late)
        answer = await bot.order()
        assert revoked
        assert answer.status in {401, 503}, answer
        assert (await bot.order()).code == -2014
        assert world.executed() == []
