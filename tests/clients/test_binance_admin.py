"""The key admin against the paper exchange, which reads requests by itself, in every reading of what is unconfirmed."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from clients.egress import Egress, Way
from clients.errors import VenueAmbiguous, VenueError, VenueRefused, VenueUnavailable
from clients.http import open_client
from clients.keys import KeyOrder, MadeKey, Permissions, Standing, differences
from clients.paper.exchange import MASTER
from clients.secret import Secret
from clients.venue import Credential, KeyType
from clients.venues.binance.admin import PAGE, BinanceAdmin, BinanceProbe
from tests.paper.harness import Paper, running_paper

pytestmark = pytest.mark.sockets
PRIVATE = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIIJEYWtGBrhACmb9Dvy+qa8WEf0lQOl1s4CLIAB9m89u\n-----END PRIVATE KEY-----\n"
PUBLIC = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGUIKv9dSpWXBViXp2m6vAIb8QMFJYBgyFEQsFJlqgA0=\n-----END PUBLIC KEY-----\n"
GATEWAY, ELSEWHERE = "127.0.0.7", "127.0.0.9"
TRADES = Permissions(trade=True)


def now_us() -> int:
    return time.time_ns() // 1000


@dataclass
class Desk:
    """A master account with one sub-account, and ways to ask from different addresses."""

    paper: Paper
    email: str

    @property
    def base(self) -> str:
        return self.paper.base_url

    async def admin(self, work: Callable[[BinanceAdmin], Any]) -> Any:
        key = next(one for one in self.paper.exchange.keys.values() if one.account == MASTER)
        assert key.secret is not None
        credential = Credential(key.key_id, key.secret, KeyType.HMAC)

        def run() -> Any:
            with open_client("binance", self.base) as http:
                return work(BinanceAdmin(http, credential, now_us))

        return await asyncio.to_thread(run)

    async def create(self, *, public_key: str | None = None, **changes: Any) -> MadeKey:
        order = KeyOrder(self.email, "rot_1", TRADES, (GATEWAY,), public_key)
        for name, value in changes.items():
            order = KeyOrder(
                **{field: value if field == name else getattr(order, field) for field in KeyOrder.__slots__}
            )
        made = await self.admin(lambda admin: admin.create(order, timestamp_us=now_us()))
        assert isinstance(made, MadeKey)
        return made

    async def probe(self, credential: Credential, source: str = GATEWAY) -> tuple[Standing, str]:
        def run() -> tuple[Standing, str]:
            egress = Egress("out", (), Way.DIRECT, source)
            with open_client("binance", self.base, egress=egress, timeout=httpx.Timeout(1.0)) as http:
                return BinanceProbe(http, now_us).standing(credential)

        return await asyncio.to_thread(run)

    async def delete(self, key_id: str) -> None:
        await self.admin(lambda admin: admin.delete(self.email, key_id, timestamp_us=now_us()))


@asynccontextmanager
async def desk(**switches: object) -> AsyncIterator[Desk]:
    async with running_paper() as paper:
        paper.exchange.switches |= switches
        yield Desk(paper, paper.account(USDT="10"))


def credential(made: MadeKey) -> Credential:
    if made.secret is None:
        return Credential(made.key_id, Secret(PRIVATE), KeyType.ED25519)
    return Credential(made.key_id, made.secret, KeyType.HMAC)


@pytest.mark.parametrize("reading", ["empty", "null", "absent"])
async def test_a_key_of_our_own_pair_is_born_bound_and_with_no_more_than_asked(reading: str) -> None:
    async with desk(public_secret=reading) as here:
        made = await here.create(public_key=PUBLIC)
        assert made.secret is None
        assert await here.admin(lambda admin: admin.addresses(here.email, made.key_id)) == (GATEWAY,)
        (listed,) = await here.admin(lambda admin: admin.list(here.email))
        assert (listed.key_id, listed.label, listed.permissions) == (made.key_id, "rot_1", TRADES)
        assert await here.probe(credential(made)) == (Standing.ALIVE, "served")

        def read_back() -> Any:
            with open_client("binance", here.base, egress=Egress("out", (), Way.DIRECT, GATEWAY)) as http:
                return BinanceProbe(http, now_us).restrictions(credential(made))

        found = await asyncio.to_thread(read_back)
        assert (found.permissions, found.withdraw, found.ip_restricted, found.more) == (
            TRADES,
            False,
            True,
            (),
        )


async def test_an_hmac_key_comes_with_its_secret_which_no_repr_shows() -> None:
    async with desk() as here:
        made = await here.create()
        assert made.secret is not None
        assert made.secret.reveal() not in repr(made)
        assert (await here.probe(credential(made)))[0] is Standing.ALIVE


@pytest.mark.parametrize("name", ["rows", "list"])
async def test_a_long_list_is_read_to_its_end(name: str) -> None:
    async with desk(list_array=name) as here:
        for _ in range(PAGE + 3):
            here.paper.exchange.make_key(here.email, KeyType.HMAC, {}, label="old")
        assert len(await here.admin(lambda admin: admin.list(here.email))) == PAGE + 3


async def test_a_list_that_masks_key_ids_is_no_list() -> None:
    async with desk(list_masks_keys=True) as here:
        await here.create()
        with pytest.raises(VenueUnavailable) as caught:
            await here.admin(lambda admin: admin.list(here.email))
        assert caught.value.reason == "odd_answer"


async def test_a_deleted_key_is_dead_and_proven_so_by_name() -> None:
    async with desk() as here:
        made = await here.create()
        await here.delete(made.key_id)
        assert (await here.probe(credential(made)))[0] is Standing.DEAD
        assert await here.admin(lambda admin: admin.find(here.email, made.key_id)) is None


@pytest.mark.parametrize(
    ("switches", "standing"),
    [
        ({"deleted_key_sapi_code": -2015}, Standing.REFUSED),
        ({"deleted_key_api_code": -2008}, Standing.DEAD),
        ({"deletion_delay_api_ms": 600_000}, Standing.ALIVE),
        ({"deletion_delay_sapi_ms": 600_000}, Standing.ALIVE),
        ({"refused_key_sapi_status": 400, "deleted_key_sapi_code": -2015}, Standing.REFUSED),
    ],
)
async def test_a_key_that_one_host_still_serves_is_alive(
    switches: dict[str, object], standing: Standing
) -> None:
    async with desk(**switches) as here:
        made = await here.create()
        await here.delete(made.key_id)
        assert (await here.probe(credential(made)))[0] is standing


async def test_a_living_key_from_a_foreign_address_is_refused_and_not_dead() -> None:
    async with desk() as here:
        made = await here.create()
        assert (await here.probe(credential(made), ELSEWHERE))[0] is Standing.REFUSED


@pytest.mark.parametrize("do", ["lose-reply", "hang", "close", "garbage", "truncate", "error"])
async def test_no_trouble_on_the_way_makes_a_key_dead(do: str) -> None:
    async with desk() as here:
        made = await here.create()
        await here.delete(made.key_id)
        await here.paper.admin(
            "POST", "faults", {"do": do, "match": {"path": "/sapi/v1/account"}, "times": 9}
        )
        assert (await here.probe(credential(made)))[0] in {Standing.UNDECIDED, Standing.ALIVE}


@pytest.mark.parametrize(("do", "kind"), [
    ("lose-reply", VenueAmbiguous), ("garbage", VenueAmbiguous), ("truncate", VenueAmbiguous),
    ("error-after", VenueAmbiguous), ("error", VenueAmbiguous),
])  # fmt: skip
async def test_a_create_whose_answer_is_lost_may_have_made_a_key(do: str, kind: type[VenueError]) -> None:
    async with desk() as here:
        match = {"method": "POST", "path": "/sapi/v2/sub-account"}
        await here.paper.admin("POST", "faults", {"do": do, "match": match})
        with pytest.raises(kind):
            await here.create()


async def test_a_create_signed_too_long_ago_makes_nothing() -> None:
    async with desk() as here:
        order = KeyOrder(here.email, "rot_1", TRADES, (GATEWAY,))
        with pytest.raises(VenueUnavailable) as caught:
            await here.admin(lambda admin: admin.create(order, timestamp_us=now_us() - 6_000_000))
        assert caught.value.reason == "stale_timestamp"
        assert await here.admin(lambda admin: admin.list(here.email)) == ()


@pytest.mark.parametrize(("reading", "refused"), [("error", True), ("empty", False)])
async def test_deleting_twice_is_understood_in_both_readings(reading: str, refused: bool) -> None:
    async with desk(repeated_delete=reading) as here:
        made = await here.create()
        await here.delete(made.key_id)
        if refused:
            with pytest.raises(VenueRefused) as caught:
                await here.delete(made.key_id)
            assert caught.value.reason == "unknown_key"
        else:
            await here.delete(made.key_id)


async def test_a_key_without_addresses_cannot_be_ordered() -> None:
    with pytest.raises(ValueError, match="address"):
        KeyOrder("a@b.c", "rot_1", TRADES, ())


def test_what_differs_is_named() -> None:
    assert differences(TRADES, Permissions(trade=False, futures=True)) == (
        "trade is off and should be on", "futures is on and should be off",
    )  # fmt: skip


async def test_only_sixty_calls_of_a_kind_fit_into_a_minute() -> None:
    async with desk() as here:

        def ask(admin: BinanceAdmin) -> None:
            for _ in range(122):  # a minute may end in between
                admin.find(here.email, "x")

        with pytest.raises(VenueUnavailable) as caught:
            await here.admin(ask)
        assert caught.value.reason == "rate_limited"
