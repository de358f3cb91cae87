"""What a key may do, asked for an import or a comparison: a key that one host still serves is not unknown."""

import asyncio
from datetime import UTC, datetime
from typing import NoReturn

import pytest

from broker.model import Account
from clients.egress import Egress
from clients.errors import VenueRefused, VenueUnavailable
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyType
from portcullis.key_inspector import VenueInspector, elsewhere
from tests.paper.harness import running_paper

pytestmark = pytest.mark.sockets


@pytest.mark.parametrize(
    ("delay_ms", "code", "reason"),
    [
        (600_000, -2008, "served_elsewhere"),
        (0, -2008, "unknown_key"),
        (0, -2015, "key_refused"),
    ],
)
async def test_a_key_is_unknown_only_where_both_hosts_name_it_so(
    delay_ms: int, code: int, reason: str
) -> None:
    async with running_paper() as paper:
        paper.exchange.switches["deletion_delay_api_ms"] = delay_ms
        paper.exchange.switches["deleted_key_api_code"] = code
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


@pytest.mark.parametrize(
    "reason", ["key_refused", "bad_signature", "bad_key_format", "not_permitted", "refused"]
)
def test_another_no_of_the_other_host_is_no_proof_that_a_key_is_gone(reason: str) -> None:
    """A living key is refused so from a wrong address, or in a ban; a reconciliation called it dead by that."""

    class Refusing:
        def balances(self) -> NoReturn:
            raise VenueRefused("binance", "spot.account", reason, status=401)

    assert elsewhere(Refusing()) == "key_refused"


def test_an_outage_of_the_other_host_is_no_proof_that_a_key_is_gone() -> None:
    class Down:
        def balances(self) -> NoReturn:
            raise VenueUnavailable("binance", "spot.account", "timed_out")

    assert elsewhere(Down()) == "served_elsewhere"
