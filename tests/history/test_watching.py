"""What is watched is of the world it is watched in, whatever else runs in this process."""

from pathlib import Path

import pytest

from tests.gateway.world import running_world

pytestmark = pytest.mark.sockets


async def test_worlds_side_by_side_have_each_their_own_history(tmp_path: Path) -> None:
    """One ends before the other; its key has the same name there, and was deleted long ago as the other still signs."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    async with running_world(second) as there:
        there.account()
        other = there.bot()
        async with running_world(first) as here:
            here.account()
            bot = here.bot()
            for _ in range(2):
                assert {(await one.order(quantity="0.001")).status for one in (bot, other)} == {200}
        assert (await other.order(quantity="0.001")).status == 200
        grants = [[one.grant for one in world.history.written] for world in (here, there)]
        assert [len(each) for each in grants] == [2, 3]
        assert [len(set(each)) for each in grants] == [1, 1]
        assert not set(grants[0]) & set(grants[1])
