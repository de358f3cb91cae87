"""What an operator is told of grants beside the one that is made or changed."""

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
