"""The key admin against the paper exchange, which reads requests by itself, in every reading of what is unconfirmed."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from clients.egress import Egress, Way
from clients.errors import VenueAmbiguous, VenueError, VenueRefused, VenueUnavailable
from clients.http import open_client
from clients.keys import Heard, KeyOrder, MadeKey, Permissions, Standing, differences
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
        made = await self.admin(lambda admin: admin.create(order, stamp=now_us))
        assert isinstance(made, MadeKey)
        return made

    async def probe(self, credential: Credential, source: str = GATEWAY, patience_s: float = 30.0) -> Heard:
        def run() -> Heard:
            egress = Egress("out", (), Way.DIRECT, source)
            with open_client("binance", self.base, egress=egress, timeout=httpx.Timeout(patience_s)) as http:
                return BinanceProbe(http, now_us).standing(credential)

        return await asyncio.to_thread(run)

    async def delete(self, key_id: str) -> None:
        await self.admin(lambda admin: admin.delete(self.email, key_id, stamp=now_us))


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
        assert await here.probe(credential(made)) == (
            Standing.ALIVE, "served", "/sapi served it",
        )  # fmt: skip

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


async def test_a_deleted_key_is_refused_by_name() -> None:
    async with desk(deleted_key_api_code=-2008) as here:
        made = await here.create()
        await here.delete(made.key_id)
        assert await here.probe(credential(made)) == (
            Standing.NAMED,
            "unknown_key",
            "/sapi -2008, /api -2008",
        )
        assert await here.admin(lambda admin: admin.find(here.email, made.key_id)) is None


@pytest.mark.parametrize(
    ("switches", "standing", "seen"),
    [
        ({}, Standing.REFUSED, "/sapi -2008, /api -2015"),
        ({"deleted_key_sapi_code": -2015}, Standing.REFUSED, "/sapi -2015, /api -2015"),
        (
            {"deleted_key_sapi_code": -2015, "deleted_key_api_code": -2008}, Standing.REFUSED,
            "/sapi -2015, /api -2008",
        ),
        ({"deletion_delay_api_ms": 600_000}, Standing.ALIVE, "/sapi -2008, /api served it"),
        ({"deletion_delay_sapi_ms": 600_000}, Standing.ALIVE, "/sapi served it"),
        (
            {"refused_key_sapi_status": 400, "deleted_key_sapi_code": -2015}, Standing.REFUSED,
            "/sapi -2015, /api -2015",
        ),
    ],
)  # fmt: skip
async def test_a_name_on_one_host_alone_is_no_proof(
    switches: dict[str, object], standing: Standing, seen: str
) -> None:
    """What the venue says of a deleted key on each host is not confirmed: in no reading is a lesser sign proof."""
    async with desk(**switches) as here:
        made = await here.create()
        await here.delete(made.key_id)
        heard = await here.probe(credential(made))
        assert (heard.standing, heard.seen) == (standing, seen)


@pytest.mark.parametrize(("sapi", "api"), [((400, -2008), (401, -2015)), ((401, -2015), (400, -2008))])
async def test_a_living_key_that_one_host_disowns_and_the_other_refuses_is_not_dead(
    sapi: tuple[int, int], api: tuple[int, int]
) -> None:
    async with desk() as here:
        made = await here.create()
        for path, (status, code) in (("/sapi/v1/account", sapi), ("/api/v3/account", api)):
            fault = {"do": "error", "status": status, "code": code, "match": {"path": path}}
            await here.paper.admin("POST", "faults", fault)
        assert (await here.probe(credential(made))).standing is Standing.REFUSED
        assert (await here.probe(credential(made))).standing is Standing.ALIVE


class Lists:
    """A manager's HTTP client that answers one list after the other."""

    def __init__(self, *pages: dict[str, object]) -> None:
        self.pages = [json.dumps(page).encode() for page in pages]

    def request(self, *_: object, **__: object) -> Any:
        return SimpleNamespace(status_code=200, content=self.pages.pop(0))


def listed(*names: str, total: object = None) -> dict[str, object]:
    rows = [{"apikey": name, "apiName": "x"} for name in names]
    return {"total": len(names) if total is None else total, "rows": rows}


MANY = tuple(f"k{number}" for number in range(PAGE))


@pytest.mark.parametrize(
    "pages",
    [
        (listed(total=1),), (listed(total="0"),), (listed(total=False),), (listed(total=-1),), ({"rows": []},),
        ({"total": 0},), (listed("a", total=2), listed("a", total=2), listed(total=2)), (listed("a***b"),),
        (listed("b"), listed("a", "a")), (listed("a"), listed("a", total=0)),
        (listed(*MANY[:30], total=31), listed(*MANY[:30], total=31), listed(total=31)),
        (listed("a"), listed(*MANY, total=PAGE + 1), listed(total=PAGE)),
        (listed("a"), listed(*MANY, total=PAGE + 1), listed("k0", total=PAGE + 1)),
    ],
)  # fmt: skip
def test_a_list_that_does_not_add_up_proves_no_absence(pages: tuple[dict[str, object], ...]) -> None:
    """An empty page that counts a key, rows cut off, a list that moves between its pages, a key shown twice."""
    admin = BinanceAdmin(Lists(*pages), Credential("m", Secret("s"), KeyType.HMAC), now_us)
    with pytest.raises(VenueUnavailable) as caught:
        admin.find("a@b.c", "wanted")
    assert caught.value.reason == "odd_answer"


def test_sub_accounts_are_listed_to_the_end() -> None:
    """One on the second page is no stranger."""
    names = [f"s{number}@b.c" for number in range(203)]

    def pages(*ends: int) -> Lists:
        first = 0
        found: list[dict[str, object]] = []
        for end in ends:
            found.append({"subAccounts": [{"email": name} for name in names[first:end]]})
            first = end
        return Lists(*found)

    key = Credential("m", Secret("s"), KeyType.HMAC)
    assert BinanceAdmin(pages(200, 203), key, now_us).subaccounts() == tuple(names)
    assert BinanceAdmin(pages(3), key, now_us).subaccounts() == tuple(names[:3])
    assert BinanceAdmin(pages(200, 200), key, now_us).subaccounts() == tuple(names[:200])


def test_a_list_that_ignores_the_key_asked_for_is_read_to_its_end() -> None:
    key = Credential("m", Secret("s"), KeyType.HMAC)
    pages = (listed("a"), listed(*MANY, total=PAGE + 1), listed("wanted", total=PAGE + 1))
    found = BinanceAdmin(Lists(*pages), key, now_us).find("a@b.c", "wanted")
    assert found is not None
    assert BinanceAdmin(Lists(listed("a"), listed("a", "b")), key, now_us).find("a@b.c", "wanted") is None
    assert BinanceAdmin(Lists(listed()), key, now_us).find("a@b.c", "wanted") is None


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
        heard = await here.probe(credential(made), patience_s=1.0 if do == "hang" else 30.0)
        assert heard.standing in {Standing.UNDECIDED, Standing.ALIVE}


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
            await here.admin(lambda admin: admin.create(order, stamp=lambda: now_us() - 6_000_000))
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
