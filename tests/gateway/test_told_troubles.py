"""Everything that a gateway cannot do with its files is told, not the first of it alone."""

import logging
from pathlib import Path

import pytest

from broker.gateway.said import Said
from tests.gateway.test_slow_log import until
from tests.gateway.world import World, running_world


def told(world: World) -> list[str]:
    return [one.says for one in world.service.reports.standing() if one.kind == "spool"]


@pytest.mark.sockets
async def test_all_that_is_wrong_with_files_is_shown_and_what_is_right_again_goes_by_itself(
    tmp_path: Path,
) -> None:
    """A full disk hid that what is in doubt could not be kept, and each boot but the first that could not be read."""
    async with running_world(tmp_path) as world:
        gateway = world.gateway
        parts = (
            gateway.ledger, gateway.link.upload, gateway.recall, gateway.doubts, gateway.spool, gateway.spool.others,
        )  # fmt: skip
        for number, part in enumerate(parts):
            part.said.say("one", f"trouble {number} a")
            part.said.say("another", f"trouble {number} b")
        wanted = {f"trouble {number} {name}" for number in range(len(parts)) for name in "ab"}
        seen = " ".join(one.detail for one in gateway.health().troubles)
        assert all(words in seen for words in wanted)
        gateway.ledger.said.well("one")
        gateway.ledger.said.well("another")
        assert len(gateway.health().troubles) == len(parts) - 1
        gateway.doubts.said.say("lasts", "it lasts")
        gateway.link.tell_health()
        await until(lambda: any("it lasts" in one for one in told(world)))
        gateway.doubts.said.only(())
        gateway.link.tell_health()
        await until(lambda: not any("it lasts" in one for one in told(world)))


def test_what_is_told_in_short_is_bounded_and_says_how_much_more_there_is() -> None:
    said = Said(logging.getLogger("test"))
    for number in range(900):
        said.say(str(number), f"{number} " + "x" * 5_000)
    words = said.in_short()
    assert len(words) < 2_000
    assert all(f"{number} x" in words for number in range(3))
    assert words.endswith("and 897 more like these")
    said.only({"4"})
    assert said.in_short().startswith("4 x")
    assert "more" not in said.in_short()
