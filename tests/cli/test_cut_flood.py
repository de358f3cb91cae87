"""Cuts beside a bot that sends orders without pause: each succeeds, and nothing is let through after its answer."""

import pytest

from bench.flood import measure
from tests.long import LONG

pytestmark = [pytest.mark.sockets, pytest.mark.process]


@pytest.mark.parametrize(
    ("cuts", "connections", "readers"),
    [
        (40, 12, 1),
        pytest.param(
            1000,
            64,
            0,
            marks=[
                pytest.mark.skipif(not LONG, reason="make test-long"),
                pytest.mark.timeout(3600),  # five minutes on two cores with nothing beside it
            ],
        ),
    ],
)
async def test_every_cut_beside_a_flood_succeeds_and_nothing_passes_after_it(
    cuts: int, connections: int, readers: int
) -> None:
    result = await measure(cuts, connections, others=readers)
    assert result.failed == {}
    assert len(result.committed) == cuts
    assert result.through == 0
    assert result.late, "some stayed long enough to ask the venue"
    assert sum(result.late) == 0, "by the venue's own count"
    assert result.orders > cuts, "the flood traded in between"
