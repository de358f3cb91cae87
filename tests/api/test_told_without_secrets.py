"""What is wrong is told without the secret store, and whatever else cannot be looked at."""

from dataclasses import replace

import pytest

from broker.db import tables as t
from broker.gate import Mode
from broker.service.each import UNSEEN
from clients.secret import Secret
from clients.venue import Credential, KeyType, Slot
from rotation.alerts.conditions import all_that_is_wrong
from rotation.plan import draw_up
from tests.api.desk import SAFE, UPSTREAM, Desk
from tests.losing import WAYS, lose


@pytest.fixture(autouse=True)
def password(desk: Desk) -> str:
    """A key that is wrong, behind a proxy with a password; where that lies."""
    desk.service.accounts.create_egress(
        "out", way="http-connect", addresses=("127.0.0.7",), proxy_host="127.0.0.1", proxy_port=1, proxy_user="u",
        proxy_password=Secret("planted-proxy-password"),
    )  # fmt: skip
    desk.service.accounts.create("main", venue="binance", egress="out", upstream=UPSTREAM)
    credential = Credential("REAL", Secret("planted-real-secret"), KeyType.HMAC)
    facts = replace(SAFE, ip_restricted=False)
    desk.service.keys.import_key(
        "main", slot=Slot.TRADE, credential=credential, facts=facts, allow_any_address=True
    )
    (path,) = desk.service.desk.secrets.paths("egress/")
    return path


@pytest.mark.parametrize("how", [*WAYS, "vault_sealed"])
async def test_a_password_that_cannot_be_read_hides_nothing(desk: Desk, password: str, how: str) -> None:
    lose(desk.service.desk.secrets, password, how)
    async with desk.client() as client:
        for view in ("status", "ready", "alerts"):
            found = await client.get(f"/v1/{view}")
            assert found.status_code == 200
            assert "any address" in found.text.lower()
    assert any(
        one.kind == "any-address" and "portcullis rotation start --account main --wait" in one.step
        for one in desk.service.conditions.look()
    ), "and the next step is said, which needs no password"


def test_a_rotation_is_drawn_up_without_the_password(desk: Desk, password: str) -> None:
    lose(desk.service.desk.secrets, password, "vault_sealed")
    assert draw_up(desk.service, "main", Slot.TRADE, "asked", desk.service.desk.clock.now()).addresses == (
        "127.0.0.7",
    )


@pytest.fixture
def broken(desk: Desk) -> None:
    """A record in which one thing cannot be read: when a rotator looked last."""
    desk.service.cuts.close(targets=("everything",), mode=Mode.CLOSED, reason="leak", actor="ann")
    with desk.service.desk.database.write() as connection:
        connection.execute(t.META.insert().values(name="rotator_looked_us", value="no number"))


@pytest.mark.usefixtures("broken")
async def test_what_cannot_be_looked_at_is_said_and_hides_nothing(desk: Desk) -> None:
    found = {one.kind: one for one in desk.service.conditions.look()}
    assert {"cut", "any-address", UNSEEN} <= found.keys()
    assert "the rotator could not be looked at" in found[UNSEEN].says
    told = {one.kind for one in all_that_is_wrong(desk.service, desk.service.desk.clock.now())}
    assert {"cut", "any-address", UNSEEN} <= told
    async with desk.client() as client:
        assert "CUT OFF" in (await client.get("/v1/status")).text


async def test_what_a_process_cannot_see_of_itself_hides_nothing_else_that_it_sees(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent() -> tuple[()]:
        raise ValueError("planted-text-that-may-quote")

    monkeypatch.setattr(desk.service.cuts.closing, "standing", silent)
    desk.service.desk.gone["key", "main/trade/1"] = "keys/main/trade/1"
    async with desk.client() as client:
        found = (await client.get("/v1/ready")).json()
    kinds = {one["kind"] for one in found["wrong"]}
    assert {"secret-gone", "any-address", UNSEEN} <= kinds
    assert "planted" not in str(found)
