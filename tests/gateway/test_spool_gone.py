"""A spool that is taken away while its gateway runs: new risk waits, what leaves passes, and nothing is forgotten."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.gateway.doubts import Doubts
from broker.gateway.others import Others
from broker.gateway.spool import Spool, SpoolGone
from tests.gateway.test_doubts import order, waiting
from tests.gateway.test_kept_lines import logged, until
from tests.gateway.test_late_lines import cancels, trading
from tests.gateway.test_recall import at
from tests.gateway.test_whole_spool import HANGS, found_by_next
from tests.gateway.world import running_world

pytestmark = pytest.mark.sockets
FAR = {"type": "LIMIT", "timeInForce": "GTC", "price": "58000", "quantity": "0.001"}


def deleted(path: Path) -> Callable[[], None]:
    """Delete it; return what brings it back."""
    shutil.rmtree(path)
    return path.mkdir


def moved(path: Path) -> Callable[[], None]:
    """Take its disk away; return what mounts it again."""
    path.rename(path.with_name("away"))
    return lambda: (path.with_name("away").rename(path), None)[1]


@pytest.mark.parametrize("taken", [deleted, moved])
async def test_while_the_spool_is_gone_new_risk_waits_and_what_leaves_passes(
    tmp_path: Path, taken: Callable[[Path], Callable[[], None]]
) -> None:
    """Orders went on: their lines went into a file that nobody could read any more."""
    edge = tmp_path / "edge"
    async with running_world(tmp_path) as world:
        mortal, bot = await trading(world, edge)
        gateway = mortal.gateway
        assert (await bot.order(newClientOrderId="rests", **FAR)).status == 200
        await world.paper.admin("POST", "faults", HANGS | {"times": 1})
        hangs = asyncio.ensure_future(bot.order(quantity="0.001", newClientOrderId="hangs"))
        owners = gateway.recall._owners
        await until(lambda: bool(owners.waiting.named(("main", "BTCUSDT", "hangs"))))
        back = taken(edge)
        gateway.spool.look()
        other = at(mortal.port, bot)
        refused = await other.order(quantity="0.001", newClientOrderId="risk")
        assert (refused.status, refused.reason) == (503, "spool_gone")
        assert not edge.exists(), "it may be a disk that is not mounted"
        assert (await other.order("SELL", quantity="0.5", newClientOrderId="exit")).status == 200
        gone = await other.call("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="rests")
        assert gone.status == 200
        assert (await other.call("GET", "/api/v3/account")).status == 200
        troubles = [one.detail for one in gateway.health().troubles if one.kind == "spool"]
        assert "taken away" in troubles[0]
        back()
        assert (await other.order(quantity="0.001", newClientOrderId="again")).status == 200
        await until(lambda: logged(world).get("exit") == "done" and cancels(world) == [("allow", "done")])
        await until(lambda: logged(world).get("again") == "done")
        await until(lambda: not [one for one in gateway.health().troubles if one.kind == "spool"])
        await mortal.kill()
        await asyncio.gather(hangs, return_exceptions=True)
        assert "hangs" in await found_by_next(edge)


def kept_for_the_next(directory: Path) -> list[str]:
    """Return every line that the next start would send."""
    ((earlier,), running) = Others(directory, "none").earlier()
    assert not running
    found = [line for _, line in earlier.batch(earlier.before, 99)]
    earlier.let_go()
    return found


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced", "moved back late", "file deleted"])
@pytest.mark.parametrize("kept", [0, 3, 5])
def test_what_the_broker_does_not_have_is_on_the_disk_that_came_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, kept: int
) -> None:
    monkeypatch.setattr("broker.gateway.spool.PART_LINES", 2)
    path = tmp_path / "spool"
    spool = Spool(path)
    for number in range(1, 6):
        spool.write(f"line {number}")
    spool.kept(kept)
    if how == "file deleted":
        max(path.glob("calls-*")).unlink()
    else:
        back = deleted(path) if how in {"deleted", "replaced"} else moved(path)
        if how != "replaced":
            spool.look()
            with pytest.raises(SpoolGone):
                spool.write("risk")
            assert spool.others.begun
            with pytest.raises(FileNotFoundError):
                spool.others.earlier()
        if how == "moved back late":
            path.mkdir()
            spool.write("line 6")
            shutil.rmtree(path)
        back()
    spool.look()
    assert not spool.said.standing
    for number in range(spool.seq + 1, 9):
        spool.write(f"line {number}")
    assert [line for _, line in spool.batch(kept, 99)] == [f"line {number}" for number in range(kept + 1, 9)]
    assert spool.forgotten(1) <= kept + 1
    spool.close()
    lines = kept_for_the_next(path)
    assert [line for line in lines if line] == lines, "nothing is torn"
    assert lines[-(8 - kept) :] == [f"line {number}" for number in range(kept + 1, 9)]


def test_what_is_in_doubt_is_written_down_once_more(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    spool = Spool(path)
    doubts = Doubts(path, spool.boot, waiting(order(1, "a")), spool=spool)
    doubts.write()
    shutil.rmtree(path)
    spool.look()
    path.mkdir()
    spool.look()
    doubts.write()
    assert len(list(path.glob("doubts-*"))) == 1
    spool.close()


def test_a_directory_that_could_never_be_begun_is_made_once_it_can(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in its place")
    spool = Spool(tmp_path / "home" / "spool")
    with pytest.raises(OSError, match="Not a directory"):
        spool.write("one")
    (tmp_path / "home").unlink()
    spool.write("one")
    spool.close()
