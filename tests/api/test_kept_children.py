"""A child that died comes back, whatever fails around it; and the next death is seen, too."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clients.venue import Environment
from portcullis.children import ChildFailed
from portcullis.gateway_child import Doorway, GatewayChild
from portcullis.settings import Home


class Mortal:
    """A child that dies when it is told to."""

    pid, port = 7, 1

    def __init__(self) -> None:
        self.dead = asyncio.Event()

    async def ended(self) -> int:
        await self.dead.wait()
        return -9

    async def end(self) -> None:
        self.dead.set()


FAULTS: dict[str, Exception] = {
    "a full disk": OSError(28, "No space left on device"),
    "a child that is not ready": ChildFailed("no"),
    "what nobody expected": KeyError("port"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("where", ["the start", "telling where it is", "telling that it died"])
async def test_a_gateway_comes_back_after_each_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, where: str
) -> None:
    """On a full disk it was not told where the gateway is; so nobody saw its second death."""
    made, faults, told = list[Mortal](), [FAULTS[fault]], list[int]()

    def moved() -> None:
        if where == "telling where it is":
            raise FAULTS[fault]

    def dead(_: str) -> None:
        told.append(len(made))
        if where == "telling that it died":
            raise FAULTS[fault]

    async def start(_: Any) -> Mortal:
        if made and where == "the start" and faults:
            raise faults.pop()
        made.append(Mortal())
        return made[-1]

    async def at_once(_: float) -> None:
        await real(0)

    real = asyncio.sleep
    monkeypatch.setattr(GatewayChild, "_start", start)
    home = Home(tmp_path, Environment.PAPER, "solo")
    authority: Any = SimpleNamespace(changes=SimpleNamespace(starts=SimpleNamespace(dead=dead)))
    gateway = GatewayChild(home, authority, Doorway(), moved)
    await gateway.start()
    monkeypatch.setattr("portcullis.gateway_child.asyncio.sleep", at_once)
    for deaths in (1, 2, 3):
        made[-1].dead.set()
        async with asyncio.timeout(60):
            while len(made) <= deaths:
                await real(0.01)
    monkeypatch.undo()
    await gateway.end()
    assert told == [1, 2, 3], "each death was told, before the next one began"
