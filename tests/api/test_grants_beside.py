"""What an operator is told of grants beside the one that is made or changed."""

from decimal import Decimal

from broker.service.operators import Role
from tests.api.desk import POLICY, Desk


async def test_a_second_grant_for_the_same_pairs_is_said_in_the_answer(desk: Desk) -> None:
    body = desk.trading()
    async with desk.client(Role.ADMIN) as client:
        first = (await client.post("/v1/grants", json=body)).json()
        assert first["warnings"] == []
        second = (await client.post("/v1/grants", json=body)).json()
        assert len(second["warnings"]) == 1
        assert first["id"] in second["warnings"][0]
        limits = '[account.day]\nmax_notional = "5000"\n'
        changed = await client.put(f"/v1/grants/{first['id']}/policy", json={"policy": POLICY + limits})
        assert second["id"] in changed.json()["warnings"][0]


async def test_limits_in_two_assets_are_said_in_the_answer(desk: Desk) -> None:
    body = desk.trading()
    limits = '[account.day]\nmax_notional = "5000"\n'
    async with desk.client(Role.ADMIN) as client:
        assert (await client.post("/v1/grants", json=body | {"policy": POLICY + limits})).status_code == 201
        other = {"policy": 'reference_asset = "EUR"\n' + POLICY.replace("BTCUSDT", "ETHUSDT")}
        (said,) = (await client.post("/v1/grants", json=body | other)).json()["warnings"]
        assert "EUR" in said
        assert "USDT" in said


async def test_status_shows_what_is_used_of_limits_that_bind_several_grants(desk: Desk) -> None:
    """As it shows the grant's own, for every grant that they bind, whichever policy sets them."""
    body = desk.trading()
    limits = '[account.day]\nmax_notional = "5000"\n[consumer.day]\nmax_notional = "7000"\n'
    desk.service.accounts.create("second", venue="binance", upstream="http://127.0.0.1:9")
    async with desk.client(Role.ADMIN) as client:
        first = (await client.post("/v1/grants", json=body | {"policy": POLICY + limits})).json()["id"]
        other = (await client.post("/v1/grants", json=body | {"account": "second"})).json()["id"]
        desk.service.calls.lend(first, "local", "boot", Decimal(600))
        shown = {one["grant"]: one["shared"] for one in (await client.get("/v1/status")).json()["grants"]}
    whole = [(one["scope"], one["name"], Decimal(one["day_max"]), one["asset"]) for one in shown[first]]
    assert whole == [("account", "main", 5000, "USDT"), ("consumer", "bot", 7000, "USDT")]
    assert [Decimal(one["day_used"]) for one in shown[first]] == [600, 600]
    assert [(one["scope"], Decimal(one["day_used"])) for one in shown[other]] == [("consumer", 600)]


async def test_a_grant_that_observes_is_told_what_shared_limits_do_to_it_and_to_others(desk: Desk) -> None:
    body = desk.trading()
    limits = '[account.day]\nmax_notional = "5000"\n'
    observing = 'mode = "observe"\n' + POLICY.replace("BTCUSDT", "ETHUSDT")
    async with desk.client(Role.ADMIN) as client:
        first = (await client.post("/v1/grants", json=body | {"policy": POLICY + limits})).json()
        assert first["warnings"] == []
        (said,) = (await client.post("/v1/grants", json=body | {"policy": observing})).json()["warnings"]
        assert "only observes" in said
        assert "account 'main'" in said
        checked = (await client.post("/v1/policies/check", json={"policy": observing + limits})).json()
        (line,) = [one for one in checked["meaning"] if "on its account" in one]
        assert "grants beside it that enforce are refused by it" in line


async def test_what_limits_of_account_and_consumer_mean_is_said_in_words(desk: Desk) -> None:
    limits = '[account.day]\nmax_notional = "5000"\n[consumer.day]\nmax_notional = "7000"\n'
    async with desk.client(Role.VIEWER) as client:
        checked = (await client.post("/v1/policies/check", json={"policy": POLICY + limits})).json()
        said = "\n".join(checked["meaning"])
        assert "all grants on its account together: at most 5,000 USDT" in said
        assert "all grants of its consumer together: at most 7,000 USDT" in said
        assert "within 5 % of the market" in said
        compared = (
            await client.post("/v1/policies/diff", json={"old": POLICY + limits, "new": POLICY})
        ).json()
        fields = {change["field"]: change["effect"] for change in compared["changes"]}
        assert fields == {"account.day.max_notional": "widens", "consumer.day.max_notional": "widens"}
        assert compared["only_widens"]
