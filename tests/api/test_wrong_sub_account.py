"""An account that was put under a sub-account which is not its own: what is printed and looked up leads out."""

import pytest

from broker.gate import Mode
from broker.service import reconcile_named
from clients.errors import VenueRefused
from clients.keys import VenueKey
from clients.secret import Secret
from clients.venue import Credential, KeyType, Slot
from tests.api.desk import SAFE, UPSTREAM, Desk
from tests.api.test_lost_manager import manager, opens, reconciled, typed

EMAIL, WRONG = "a@b.c", "wrong@b.c"
GONE = VenueRefused("binance", "key.facts", "unknown_key", status=401, code="-2008")


async def test_it_goes_under_its_own_once_its_dead_key_is_said_to_be_deleted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its one key was replaced by hand and deleted: every way was refused, for ever."""
    monkeypatch.setattr(reconcile_named, "SETTLES_US", 0)
    service = desk.service
    service.accounts.create_egress("out", addresses=("127.0.0.1",), source="127.0.0.1")
    manager(service)
    service.accounts.create("main", venue="binance", upstream=UPSTREAM)
    desk.warden.keys = {WRONG: (VenueKey("SOMEBODYS", "a living bot"),), EMAIL: (VenueKey("FRESHmain", ""),)}
    put = "portcullis account manage main --manager master --subaccount {}"
    await typed(desk, put.format(WRONG))
    key = Credential("REALmain", Secret("planted-real-secret"), KeyType.HMAC)
    service.keys.import_key("main", slot=Slot.TRADE, credential=key, facts=SAFE)  # as before lists were asked
    cut, _ = service.cuts.close(
        targets=("everything",), mode=Mode.CLOSED, reason="restored", actor="portcullis"
    )
    desk.venue.dead["REALmain"] = GONE
    await reconciled(desk, deleted=["main/trade/1"])
    fresh = {"account": "main", "slot": "trade", "key_id": "FRESHmain", "secret": "planted-real-secret"}
    async with desk.client() as client:
        refused = await client.post("/v1/keys", json=fresh)
        assert refused.status_code == 409
        assert put.format("EMAIL") in refused.json()["detail"]
        await typed(desk, put.format(EMAIL))
        assert (await client.post("/v1/keys", json=fresh)).status_code == 201
    await opens(desk, cut.id)
