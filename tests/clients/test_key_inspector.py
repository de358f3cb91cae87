"""What a key may do, asked for an import or a comparison: a key that one host still serves is not unknown."""

import asyncio
from datetime import UTC, datetime

import pytest

from broker.model import Account
from clients.egress import Egress
from clients.errors import VenueRefused
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyType
from portcullis.key_inspector import VenueInspector
from tests.paper.harness import running_paper

pytestmark = pytest.mark.sockets


@pytest.mark.parametrize(("delay_ms", "reason"), [(600_000, "served_elsewhere"), (0, "unknown_key")])
async def test_a_deleted_key_that_one_host_still_serves_is_not_unknown(delay_ms: int, reason: str) -> None:
    async with running_paper() as paper:
        paper.exchange.switches["deletion_delay_api_ms"] = delay_ms
        key = paper.key(paper.account(USDT="1"), KeyType.HMAC)
        assert key.secret is not None
        key.deleted = True
        key.deleted_us = paper.exchange.now_us()
        account = Account(
            "main", "binance", Environment.PAPER, "direct", datetime.now(UTC), upstream=paper.base_url
        )
        credential = Credential(key.key_id, Secret(key.secret.reveal()), KeyType.HMAC)
        with pytest.raises(VenueRefused) as caught:
            await asyncio.to_thread(VenueInspector().inspect, account, Egress("direct"), credential)
        assert caught.value.reason == reason
