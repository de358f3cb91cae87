"""What an approval approves: all of it is shown to both, and what is done is exactly that."""

import json
from typing import Any

import pytest

from broker.gate import Mode
from broker.model import in_part
from tests.api.desk import POLICY, Desk
from tests.api.people import Clock, Person
from tests.api.test_openings import requests


async def _announced(client: Any, person: Person, method: str, path: str, body: Any) -> dict[str, Any]:
    headers = {"Portcullis-Code": person.code()}
    answer = await client.request(method, f"/v1/{path}", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_every_request_shows_its_fields_to_both_and_no_secret(team: Desk, clock: Clock) -> None:
    """Who asked sees it in the answer, who confirms in the list; names, addresses and numbers stand there."""
    ann, bob = Person(team, clock, "owner"), Person(team, clock, "second")
    wanted = [one for one in requests(team) if one[1] != "grants"]
    async with ann.client() as hers, bob.client() as his:
        for method, path, body in wanted:
            said = await _announced(hers, ann, method, path, body)
            listed = {one["id"]: one for one in (await his.get("/v1/acts")).json()["items"]}[said["act"]]
            assert listed["shows"] == said["shows"], path
            text = "\n".join(said["shows"])
            for name, value in body.items():
                if name in {"secret", "password"}:
                    assert str(value) not in text
                elif name != "policy":
                    assert name in text, (path, name)
                    shown = in_part(value) if name == "key_id" and isinstance(value, str) else value
                    assert not isinstance(shown, str) or shown in text, (path, name)


async def test_a_wider_policy_is_shown_as_what_differs(team: Desk, clock: Clock) -> None:
    """Old and new value of each field, and which way it goes."""
    ann = Person(team, clock, "owner")
    (grant,) = team.service.grants.list().items
    async with ann.client() as client:
        body = {"policy": POLICY.replace("1000", "5000")}
        said = await _announced(client, ann, "PUT", f"grants/{grant.id}/policy", body)
    text = "\n".join(said["shows"])
    assert "of bot on main" in text
    assert "order.max_notional: at most 1,000 USDT -> at most 5,000 USDT (widens)" in text


async def test_a_new_grant_shows_its_policy_in_words_and_a_thaw_what_it_opens(
    team: Desk, clock: Clock
) -> None:
    """A name stands for something: what, is shown."""
    ann = Person(team, clock, "owner")
    cut, _ = team.service.cuts.close(targets=("consumer:bot",), mode=Mode.CLOSED, reason="leaked", actor="x")
    (grant,) = team.service.grants.list().items
    async with ann.client() as client:
        body = {"consumer": "bot", "account": "main", "like": grant.id}
        new = "\n".join((await _announced(client, ann, "POST", "grants", body))["shows"])
        body = {"cut": cut.id, "reason": "safe"}
        thaw = "\n".join((await _announced(client, ann, "POST", "thaws", body))["shows"])
        body = {"grant": grant.id, "ttl_s": 60, "holder": "me", "reason": "x"}
        out = "\n".join((await _announced(client, ann, "POST", "checkouts", body))["shows"])
    assert "pairs: BTCUSDT" in new
    assert "an order: at most 1,000 USDT" in new
    assert "opens again: consumer:bot" in thaw
    assert "leaked" in thaw
    assert "main/trade/1 (REAL)" in out


async def test_what_a_name_stands_for_is_part_of_what_is_approved(team: Desk, clock: Clock) -> None:
    """The policy that was compared with changes after the approval: it is another request, and is refused."""
    ann, bob = Person(team, clock, "owner"), Person(team, clock, "second")
    (grant,) = team.service.grants.list().items
    body = {"policy": POLICY.replace("1000", "5000")}
    async with ann.client() as hers, bob.client() as his:
        said = await _announced(hers, ann, "PUT", f"grants/{grant.id}/policy", body)
        path = f"/v1/acts/{said['act']}/confirmation"
        assert (await his.post(path, json={"code": bob.code()})).status_code == 200
        team.service.grants.set_policy(grant.id, POLICY.replace("1000", "7"))
        headers = {"Portcullis-Act": said["act"]}
        answer = await hers.put(f"/v1/grants/{grant.id}/policy", json=body, headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (409, "other_request")
    assert "changed since" in answer.json()["detail"]


async def test_a_confirmation_is_of_what_was_shown(team: Desk, clock: Clock) -> None:
    """With another content than the act's nothing is confirmed, and no code is used up."""
    ann, bob = Person(team, clock, "owner"), Person(team, clock, "second")
    async with ann.client() as hers, bob.client() as his:
        said = await _announced(hers, ann, "POST", "egress", {"name": "out", "addresses": ["203.0.113.7"]})
        (listed,) = (await his.get("/v1/acts")).json()["items"]
        assert any("203.0.113.7" in line for line in listed["shows"])
        path, code = f"/v1/acts/{said['act']}/confirmation", bob.code()
        other = await his.post(path, json={"code": code, "content": "0" * 64})
        assert (other.status_code, other.json()["reason"]) == (409, "other_content")
        assert (await his.post(path, json={"code": code, "content": listed["content"]})).status_code == 200


@pytest.mark.parametrize("name", ["a\nb: forged", "x" * 64])
async def test_no_field_forges_another_line(team: Desk, clock: Clock, name: str) -> None:
    """A line break in a value stays in its line, and shows that something was left out."""
    ann = Person(team, clock, "owner")
    async with ann.client() as client:
        body = {"grant": "grt_1", "ttl_s": 60, "holder": name, "reason": "x"}
        said = await _announced(client, ann, "POST", "checkouts", body)
    assert not [line for line in said["shows"] if line.startswith("b:")]
    assert [("sha256" in line) for line in said["shows"] if line.startswith("holder")] == ["\n" in name]


ODD = {
    "a mark before it": b"\xef\xbb\xbf" + b'{"policy": %s}',
    "half a character, then the policy again": b'{"policy": "\\ud800", "policy": %s}',
    "a harmless policy first": b'{"policy": "allow = []", "policy": %s}',
    "no number, then the policy again": b'{"policy": NaN, "policy": %s}',
    "blanks around it": b' \n{"policy" : %s } ',
}


@pytest.mark.parametrize("spelling", ODD)
async def test_no_spelling_of_a_wider_policy_passes_without_its_second_step(
    team: Desk, clock: Clock, spelling: str
) -> None:
    """Who judges whether a body opens something reads it as the route does: what one of them cannot read, neither can."""
    ann = Person(team, clock, "owner")
    (grant,) = team.service.grants.list().items
    body = ODD[spelling] % json.dumps(POLICY.replace("1000", "5000")).encode()
    headers = {"Content-Type": "application/json"}
    async with ann.client() as client:
        answer = await client.put(f"/v1/grants/{grant.id}/policy", content=body, headers=headers)
    assert answer.status_code in {400, 403, 422}, answer.text
    assert team.service.grants.get(grant.id).policy == grant.policy


async def test_no_spelling_of_a_dangerous_key_passes_without_its_second_step(
    team: Desk, clock: Clock
) -> None:
    ann = Person(team, clock, "owner")
    sent = json.dumps(
        {"account": "main", "slot": "read", "key_id": "K" * 20, "key_type": "hmac", "secret": "s" * 20,
         "allow_withdraw": True, "allow_any_address": True}
    ).encode()  # fmt: skip
    async with ann.client() as client:
        for before in (b"", b"\xef\xbb\xbf"):
            answer = await client.post(
                "/v1/keys", content=before + sent, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code in {400, 403, 422}, answer.text
    assert team.venue.asked == []


async def test_a_long_list_is_shown_to_its_end(team: Desk, clock: Clock) -> None:
    """What stands behind the first few thousand characters is approved as well."""
    ann = Person(team, clock, "owner")
    pairs = [f"A{number:04d}USDT" for number in range(900)] + ["ZZZUSDT"]
    body = {
        "consumer": "bot",
        "account": "main",
        "policy": json.dumps({"allow": ["trade"], "symbols": pairs}),
    }
    async with ann.client() as client:
        said = await _announced(client, ann, "POST", "grants", body)
    assert "ZZZUSDT" in "".join(said["shows"])
    assert max(map(len, said["shows"])) < 5000


async def test_an_account_is_shown_with_its_way_and_its_manager_key(team: Desk, clock: Clock) -> None:
    """A name stands for addresses, a proxy and a key that can make keys: all of it is approved, and so is shown."""
    ann = Person(team, clock, "owner")
    accounts = team.service.accounts
    accounts.create_egress("out", way="http-connect", addresses=("203.0.113.7", "203.0.113.8"), proxy_host="p.example",
                           proxy_port=3128)  # fmt: skip
    accounts.create("other", venue="binance", egress="out")
    wanted = {
        "destinations": {
            "name": "hook", "account": "other", "slot": "trade", "kind": "webhook",
            "settings": {"url": "https://hook.example/x"}, "secret": "s" * 32,
        },
        "keys": {
            "account": "other", "slot": "trade", "key_id": "K" * 20, "key_type": "hmac", "secret": "s" * 20,
            "allow_withdraw": True, "allow_any_address": True,
        },
        "managers": {"name": "m", "venue": "binance", "egress": "out", "key_id": "K" * 20, "secret": "s" * 20},
        "grants": {"consumer": "bot", "account": "other", "policy": POLICY},
    }  # fmt: skip
    async with ann.client() as client:
        for path, body in wanted.items():
            text = "\n".join((await _announced(client, ann, "POST", path, body))["shows"])
            for part in ("203.0.113.7", "203.0.113.8", "p.example:3128", "http-connect"):
                assert part in text, (path, part, text)
            if path != "managers":
                assert "account other: binance live" in text, path
        found = await client.post(
            "/v1/grants?like=grt_other", json=wanted["grants"], headers={"Portcullis-Code": ann.code()}
        )
        assert "query: like=grt_other" in found.json()["shows"]
