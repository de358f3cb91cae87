"""The password of a way out, or the seed of somebody's codes, that is lost is told, and comes back."""

from typing import Any

import pyotp
import pytest

from broker.errors import Conflict, Unauthenticated
from broker.stores.held import EGRESS_LOST
from clients.secret import Secret
from tests.api.desk import UPSTREAM, Desk
from tests.losing import WAYS, lose

AS_IT_IS: dict[str, Any] = {
    "way": "http-connect", "addresses": ("127.0.0.7",), "proxy_host": "127.0.0.1", "proxy_port": 1, "proxy_user": "u",
}  # fmt: skip
PASSWORD = Secret("planted-proxy-password")
AGAIN = (
    "portcullis egress create --name out --way http-connect --proxy=127.0.0.1:1 --proxy-user=u "
    "--address 127.0.0.7"
)


@pytest.fixture(autouse=True)
def path(desk: Desk) -> str:
    desk.service.accounts.create_egress("out", **AS_IT_IS, proxy_password=PASSWORD)
    desk.service.accounts.create("main", venue="binance", egress="out", upstream=UPSTREAM)
    (path,) = desk.service.desk.secrets.paths("egress/")
    return path


async def told(desk: Desk, subject: str) -> list[str]:
    async with desk.client() as client:
        found = (await client.get("/v1/ready")).json()["wrong"]
    return [one["step"] for one in found if (one["kind"], one["subject"]) == ("secret-gone", subject)]


@pytest.mark.parametrize("how", WAYS)
async def test_a_password_that_is_lost_is_told_and_is_given_again(desk: Desk, path: str, how: str) -> None:
    accounts = desk.service.accounts
    with pytest.raises(Conflict):
        accounts.create_egress("out", **AS_IT_IS, proxy_password=PASSWORD)
    lose(desk.service.desk.secrets, path, how)
    with pytest.raises(Conflict) as no:
        accounts.egress("out")
    assert (no.value.reason, AGAIN in str(no.value)) == (EGRESS_LOST, True)
    (step,) = await told(desk, "egress:out")
    assert AGAIN in step
    for other in ({"proxy_host": "127.0.0.2"}, {"addresses": ()}, {"proxy_user": "x"}):
        with pytest.raises(Conflict):
            accounts.create_egress("out", **(AS_IT_IS | other), proxy_password=PASSWORD)
    accounts.create_egress("out", **AS_IT_IS, proxy_password=Secret("another"))
    assert accounts.egress("out").proxy_password == Secret("another")
    assert await told(desk, "egress:out") == []


@pytest.mark.parametrize("how", WAYS)
async def test_a_seed_that_is_lost_is_told_and_says_nothing_of_a_password(desk: Desk, how: str) -> None:
    credentials, password = desk.service.credentials, Secret("correct horse battery")
    uri = credentials.enrol("owner", password)
    code = pyotp.parse_uri(uri.reveal()).now()
    credentials.activate("owner", code)
    (seed,) = desk.service.desk.secrets.paths("operators/")
    lose(desk.service.desk.secrets, seed, how)
    said = set[str]()
    for tried in (password, Secret("a wrong battery staple")):
        with pytest.raises(Unauthenticated) as no:
            credentials.login("owner", tried, code)
        said.add(no.value.reason)
    assert said == {"bad_login"}
    with pytest.raises(Conflict, match="portcullis operator recover --name owner"):
        credentials.use_code("owner", code)
    (step,) = await told(desk, "operator:owner")
    assert "portcullis operator recover --name owner" in step
