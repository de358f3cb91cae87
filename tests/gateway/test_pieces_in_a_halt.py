"""A halt is no weaker than none: what the book does not take inside the collar is not sold in pieces below the cap."""

from decimal import Decimal
from pathlib import Path

import pytest

from tests.gateway.test_followed import halt
from tests.gateway.test_walked_book import book, sold
from tests.gateway.world import bots, running_world

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]


async def test_pieces_together_take_no_more_than_the_book_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them fits behind the look that all share; sixty of sixty left at a book with nothing inside the collar."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="5")
        (bot,) = await bots(world)
        await halt(world)
        with book(monkeypatch, bids=[["100.00", "5000"]]):
            refused = await bot.order("SELL", "0.0165")
            assert (refused.status, refused.reason) == (400, "exit_size"), refused
            assert sold(world) == 0
        with book(monkeypatch, bids=[["59990.00", "0.0500"], ["100.00", "5000"]]):
            got = [(await bot.order("SELL", "0.0165")).status for _ in range(3)]
            assert got == [200, 200, 200], "the book takes that"
        assert sold(world) == 3 * Decimal("0.0165")
