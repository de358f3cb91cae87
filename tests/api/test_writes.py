"""What writes do, what they answer, and that each is done once."""

import asyncio
import logging
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from broker.api.context import Hazard
from broker.api.ports import Flying
from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.service import cuts as cuts_service
from broker.service.operators import Role
from clients.errors import VenueRefused, VenueUnavailable
from clients.venue import KeyFacts
from tests.api.desk import POLICY, REAL_SECRET, UPSTREAM, Desk

KEY = {"account": "main", "key_id": "REALKEYID", "secret": REAL_SECRET}


async def test_a_grant_shows_its_secret_once_and_never_again(desk: Desk) -> None:
    body = desk.trading()
    async with desk.client() as client:
        made = (await client.post("/v1/grants", json=body)).json()
        assert made["secret"]
        assert made["key_id"].startswith("PCLS")
        later = await client.get(f"/v1/grants/{made['id']}")
        everything = [await client.get(f"/v1/{path}") for path in ("grants", "status", "consumers", "calls")]
    for answer in (later, *everything):
        assert made["secret"] not in answer.text


async def test_reissue_gives_another_key_and_says_who_has_it_in_force(desk: Desk) -> None:
    body = desk.trading()
    async with desk.client() as client:
        made = (await client.post("/v1/grants", json=body)).json()
        again = (await client.post(f"/v1/grants/{made['id']}/reissue")).json()
    assert again["id"] == made["id"]
    assert again["key_id"] != made["key_id"]
    assert again["secret"] not in {None, made["secret"]}
    assert again["gateways"]["acknowledged"] == 1


async def test_a_policy_is_replaced_and_a_bad_one_leaves_the_old_in_force(desk: Desk) -> None:
    body = desk.trading()
    async with desk.client() as client:
        made = (await client.post("/v1/grants", json=body)).json()
        path = f"/v1/grants/{made['id']}/policy"
        bad = await client.put(path, json={"policy": 'allow = ["fly"]\nsymbols = 3\n'})
        kept = (await client.get(f"/v1/grants/{made['id']}")).json()
        good = (await client.put(path, json={"policy": POLICY.replace("1000", "500")})).json()
    assert bad.status_code == 400
    assert {error["field"] for error in bad.json()["errors"]} == {"allow", "symbols"}
    assert kept["policy_version"] == 1
    assert good["policy_version"] == 2
    assert '"500"' in good["policy"]


async def test_like_copies_a_policy_and_one_of_both_is_needed(desk: Desk) -> None:
    body = desk.trading()
    desk.service.grants.create_consumer("second")
    async with desk.client() as client:
        made = (await client.post("/v1/grants", json=body)).json()
        like = {"consumer": "second", "account": "main", "like": made["id"]}
        copied = (await client.post("/v1/grants", json=like)).json()
        both = await client.post("/v1/grants", json=like | {"policy": POLICY})
        neither = await client.post("/v1/grants", json={"consumer": "second", "account": "main"})
    assert copied["policy"] == made["policy"]
    assert (both.status_code, neither.status_code) == (400, 400)


async def test_revoke_is_for_good(desk: Desk) -> None:
    body = desk.trading()
    async with desk.client() as client:
        made = (await client.post("/v1/grants", json=body)).json()
        done = (await client.post(f"/v1/grants/{made['id']}/revoke", json={"reason": "retired"})).json()
        again = await client.post(f"/v1/grants/{made['id']}/reissue")
    assert done["revoked_at"]
    assert (again.status_code, again.json()["reason"]) == (409, "revoked")


# --- keys -------------------------------------------------------------------------------------


async def test_a_key_is_stored_after_the_venue_answered_for_it(desk: Desk) -> None:
    desk.trading()
    async with desk.client(Role.OPERATOR) as client:
        made = await client.post("/v1/keys", json=KEY)
        listed = await client.get("/v1/keys", params={"account": "main"})
        shown = await client.get("/v1/keys/main/trade/1")
    assert (made.status_code, made.json()["stage"]) == (201, "current")
    assert desk.venue.asked == ["REALKEYID"]
    assert listed.json()["items"] == [shown.json()]
    assert shown.json() | {"replaced": []} == made.json()
    assert all(REAL_SECRET not in answer.text for answer in (made, listed, shown))


@pytest.mark.parametrize(
    ("facts", "reason", "flag"),
    [
        (KeyFacts(True, True, True, False, True, "42"), "can_withdraw", "allow_withdraw"),
        (KeyFacts(True, True, False, False, False, "42"), "any_address", "allow_any_address"),
    ],
)
async def test_an_unsafe_key_needs_to_be_allowed_loudly_by_an_admin(
    desk: Desk, facts: KeyFacts, reason: str, flag: str
) -> None:
    desk.trading()
    desk.venue.facts = facts
    async with desk.client(Role.OPERATOR) as client:
        refused = await client.post("/v1/keys", json=KEY)
        forbidden = await client.post("/v1/keys", json=KEY | {flag: True})
    assert (refused.status_code, refused.json()["reason"]) == (409, reason)
    assert forbidden.status_code == 403
    assert desk.service.keys.list() == ()
    async with desk.client(Role.ADMIN) as client:
        assert (await client.post("/v1/keys", json=KEY | {flag: True})).status_code == 201
        unsafe = (await client.get("/v1/status")).json()["unsafe"]
    assert "key main/trade/1" in unsafe[0]["what"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (VenueRefused("binance", "wallet.key_restrictions", "unknown_key", status=401, code="-2014"), 409),
        (VenueUnavailable("binance", "wallet.key_restrictions", "not_connected"), 503),
    ],
)
async def test_what_the_venue_says_comes_back_in_words_and_nothing_is_stored(
    desk: Desk, fault: Exception, status: int
) -> None:
    desk.trading()
    desk.venue.fault = fault
    async with desk.client() as client:
        answer = await client.post("/v1/keys", json=KEY)
    assert answer.status_code == status
    assert answer.json()["reason"].startswith("venue_")
    assert desk.service.keys.list() == ()
    assert REAL_SECRET not in answer.text


# --- cuts -------------------------------------------------------------------------------------


async def test_a_cut_says_where_it_is_durable_and_honestly_who_did_not_answer(desk: Desk) -> None:
    desk.trading()
    desk.gateways.silent = ("far-away",)
    async with desk.client(Role.RESPONDER) as client:
        made = (await client.post("/v1/cuts", json={"targets": ["consumer:bot"], "reason": "leaked"})).json()
        listed = (await client.get("/v1/cuts", params={"open": True})).json()["items"]
    assert made["durable"] == ["database", "secret store"]
    assert made["gateways"] == {
        "asked": 2, "acknowledged": 1, "missing": ["far-away"], "after_ms": 3, "worst_case_s": 15,
    }  # fmt: skip
    assert made["operator"] == "the-responder"
    assert [one["id"] for one in listed] == [made["id"]]
    assert [change.closing.mode.value for change in desk.gateways.heard if change.closing] == ["closed"]


@pytest.mark.parametrize("flying", [Flying(3, 1, 1400), Flying(0), None])
async def test_a_cut_says_what_was_on_its_way_to_the_exchange(desk: Desk, flying: Flying | None) -> None:
    """It cannot be called back; whoever cut has to know. Where nobody knows, that is said too."""
    desk.trading()
    desk.gateways.flying = flying
    async with desk.client(Role.RESPONDER) as client:
        made = (await client.post("/v1/cuts", json={"targets": ["consumer:bot"], "reason": "leaked"})).json()
        shown = (await client.get(f"/v1/cuts/{made['id']}")).json()
    said = flying and {
        "requests": flying.requests, "unanswered": flying.unanswered, "last_answer_after_ms": flying.last_answer_ms,
    }  # fmt: skip
    assert made["on_their_way"] == shown["on_their_way"] == said


async def test_no_gateway_that_is_silent_is_said_to_have_sent_nothing(desk: Desk) -> None:
    """A gateway that is stopped or was killed says nothing; that is no proof that nothing had left."""
    desk.trading()
    async with desk.client(Role.RESPONDER) as client:
        for flying, figure in ((Flying(0, silent=("edge",)), None), (Flying(2, 2, None, ("edge",)), 2)):
            desk.gateways.flying = flying
            made = (await client.post("/v1/cuts", json={"targets": ["everything"], "reason": "x"})).json()
            assert (made["on_their_way"] or {}).get("requests") == figure
            assert any("edge is not known" in note for note in made["notes"])
            shown = (await client.get(f"/v1/cuts/{made['id']}")).json()
            assert (shown["on_their_way"] or {}).get("requests") == figure


async def test_overlapping_cuts_need_their_own_thaws_and_a_thaw_names_the_others(desk: Desk) -> None:
    desk.trading()
    async with desk.client() as client:
        first, second = [
            (
                await client.post("/v1/cuts", json={"targets": ["consumer:bot"], "mode": mode, "reason": "x"})
            ).json()
            for mode in ("closed", "halt")
        ]
        thawed = (await client.post("/v1/thaws", json={"cut": first["id"], "reason": "false alarm"})).json()
        again = await client.post("/v1/thaws", json={"cut": first["id"], "reason": "false alarm"})
        status = (await client.get("/v1/status")).json()
    assert [one["id"] for one in thawed["still_closed"]] == [second["id"]]
    assert (again.status_code, again.json()["reason"]) == (409, "thawed")
    assert [one["id"] for one in status["cuts"]] == [second["id"]]


async def test_a_thaw_names_what_still_holds_however_many_cuts_came_since(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuts_service, "_AT_ONCE", 3)
    desk.trading()
    desk.service.grants.create_consumer("other")
    cuts = [
        desk.service.cuts.close(targets=(one,), mode=Mode.CLOSED, reason="x", actor="x")[0]
        for one in ("consumer:bot", "consumer:bot", *["consumer:other"] * 7)
    ]
    async with desk.client() as client:
        done = (await client.post("/v1/thaws", json={"cut": cuts[1].id, "reason": "false alarm"})).json()
    assert [one["id"] for one in done["still_closed"]] == [cuts[0].id]


@pytest.mark.parametrize(
    ("thawed", "still"),
    [
        ("account:main", "consumer:bot"), ("consumer:bot", "account:main"), ("venue:binance", "consumer:bot"),
        ("consumer:bot", "key-version:main/trade/1"), ("everything", "consumer:bot"), ("consumer:bot", "everything"),
    ],
)  # fmt: skip
async def test_a_thaw_names_what_still_holds_the_same_bot_by_another_scope(
    desk: Desk, thawed: str, still: str
) -> None:
    body = desk.trading()
    desk.service.grants.create_consumer("other")
    async with desk.client() as client:
        await client.post("/v1/keys", json=KEY)
        for consumer in ("bot", "other"):
            await client.post("/v1/grants", json=body | {"consumer": consumer})
        first, second, _ = [
            (await client.post("/v1/cuts", json={"targets": [one], "reason": "x"})).json()
            for one in (thawed, still, "consumer:other")
        ]
        done = (await client.post("/v1/thaws", json={"cut": first["id"], "reason": "false alarm"})).json()
    named = [one["id"] for one in done["still_closed"] if one["targets"] != ["consumer:other"]]
    assert named == [second["id"]]
    wide = thawed != "consumer:bot"
    assert wide == any(one["targets"] == ["consumer:other"] for one in done["still_closed"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"targets": [], "reason": "x"}, 400),
        ({"targets": ["consumer:bot"]}, 400),
        ({"targets": ["consumer:bot"], "reason": ""}, 400),
        ({"targets": ["consumer:bot"], "reason": "x", "mode": "open"}, 400),
        ({"targets": ["planet:mars"], "reason": "x"}, 400),
        ({"targets": ["consumer:nobody"], "reason": "x"}, 404),
        ({"targets": ["consumer:bot", "consumer:nobody"], "reason": "x"}, 404),
        ({"targets": ["consumer:bot"], "reason": "x", "extra": 1}, 400),
    ],
)
async def test_a_cut_that_names_nothing_known_closes_nothing(
    desk: Desk, body: dict[str, Any], status: int
) -> None:
    desk.trading()
    async with desk.client() as client:
        answer = await client.post("/v1/cuts", json=body)
        listed = await client.get("/v1/cuts")
    assert answer.status_code == status
    assert answer.json()["detail"]
    assert listed.json()["items"] == []
    assert desk.gateways.heard == []


# --- once -------------------------------------------------------------------------------------


async def test_a_replayed_key_answers_the_same_without_the_secret(desk: Desk) -> None:
    body = desk.trading()
    async with desk.client() as client:
        first = await client.post("/v1/grants", json=body, headers={"Idempotency-Key": "k1"})
        again = await client.post("/v1/grants", json=body, headers={"Idempotency-Key": "k1"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    said = again.json()
    at = said.pop("first_answered_at")
    assert said.pop("replayed") is True
    assert again.headers["idempotency-first-answered"] == at
    assert datetime.fromisoformat(at) <= datetime.now(UTC)
    assert said == first.json() | {"secret": None}
    assert len(desk.service.grants.list().items) == 1


async def test_the_same_key_with_other_content_is_409(desk: Desk) -> None:
    async with desk.client() as client:
        headers = {"Idempotency-Key": "k1"}
        await client.post("/v1/consumers", json={"name": "one"}, headers=headers)
        other = await client.post("/v1/consumers", json={"name": "two"}, headers=headers)
    assert (other.status_code, other.json()["reason"]) == (409, "key_reused")
    assert [one.name for one in desk.service.grants.consumers().items] == ["one"]


async def test_a_replayed_cut_says_that_it_is_old(desk: Desk) -> None:
    """It says when it was given; what holds by now may be less (`test_closing_keys`)."""
    desk.trading()
    body, key = {"targets": ["consumer:bot"], "reason": "leaked"}, {"Idempotency-Key": "k1"}
    async with desk.client() as client:
        cut = (await client.post("/v1/cuts", json=body, headers=key)).json()
        assert "replayed" not in cut
        again = (await client.post("/v1/cuts", json=body, headers=key)).json()
    assert (again["id"], again["replayed"]) == (cut["id"], True)
    assert again["first_answered_at"]


async def test_what_was_done_is_not_called_failed_because_its_answer_could_not_be_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut that was committed is answered as one."""
    desk.trading()

    def fails(*_: object) -> None:
        raise StoreUnavailable("database", "the database cannot answer")

    monkeypatch.setattr(desk.service.operators, "remember", fails)
    async with desk.client() as client:
        body = {"targets": ["consumer:bot"], "reason": "leaked"}
        answer = await client.post("/v1/cuts", json=body, headers={"Idempotency-Key": "k1"})
    assert answer.status_code == 201


async def test_two_operators_do_not_share_keys(desk: Desk) -> None:
    async with desk.client(Role.ADMIN) as admin, desk.client(Role.OPERATOR) as operator:
        headers = {"Idempotency-Key": "k1"}
        assert (await admin.post("/v1/consumers", json={"name": "one"}, headers=headers)).status_code == 201
        assert (
            await operator.post("/v1/consumers", json={"name": "two"}, headers=headers)
        ).status_code == 201


async def test_two_writes_under_one_key_at_once_are_done_once(desk: Desk) -> None:
    desk.trading()
    async with desk.client() as client:
        body = {"targets": ["consumer:bot"], "reason": "leaked"}
        answers = await asyncio.gather(
            *(client.post("/v1/cuts", json=body, headers={"Idempotency-Key": "k1"}) for _ in range(5))
        )
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(desk.service.cuts.list().items) == 1


async def test_a_refusal_is_not_kept_so_that_it_can_be_mended(desk: Desk) -> None:
    async with desk.client() as client:
        headers = {"Idempotency-Key": "k1"}
        assert (
            await client.post("/v1/consumers", json={"name": "Bad Name"}, headers=headers)
        ).status_code == 400
        assert (await client.post("/v1/consumers", json={"name": "good"}, headers=headers)).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 200])
async def test_an_idempotency_key_that_is_none_is_refused(desk: Desk, key: str) -> None:
    async with desk.client() as client:
        answer = await client.post("/v1/consumers", json={"name": "one"}, headers={"Idempotency-Key": key})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


# --- lists, policies, status ------------------------------------------------------------------


async def test_lists_come_in_pages_that_join_to_the_whole(desk: Desk) -> None:
    names = [f"bot-{number:02d}" for number in range(7)]
    for name in names:
        desk.service.grants.create_consumer(name)
    found: list[str] = []
    cursor = ""
    async with desk.client() as client:
        while cursor is not None:
            page = (await client.get("/v1/consumers", params={"cursor": cursor, "limit": 3})).json()
            assert len(page["items"]) <= 3
            found += [item["name"] for item in page["items"]]
            cursor = page["next"]
    assert found == names


@pytest.mark.parametrize("limit", ["0", "201", "many"])
async def test_a_page_of_no_sensible_size_is_refused(desk: Desk, limit: str) -> None:
    async with desk.client() as client:
        answer = await client.get("/v1/consumers", params={"limit": limit})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "limit"


async def test_a_policy_is_explained_and_compared(desk: Desk) -> None:
    wider = POLICY.replace('"1000"', '"2000"').replace('"BTCUSDT"', '"BTCUSDT", "ETHUSDT"')
    async with desk.client(Role.VIEWER) as client:
        checked = (await client.post("/v1/policies/check", json={"policy": POLICY})).json()
        compared = (await client.post("/v1/policies/diff", json={"old": POLICY, "new": wider})).json()
        back = (await client.post("/v1/policies/diff", json={"old": wider, "new": POLICY})).json()
    assert "an order: at most 1,000 USDT" in checked["meaning"]
    assert {(one["field"], one["effect"]) for one in compared["changes"]} == {
        ("symbols.list", "widens"),
        ("order.max_notional", "widens"),
    }
    assert compared["only_widens"] is True
    assert {one["effect"] for one in back["changes"]} == {"narrows"}


async def test_status_tells_latency_use_and_what_is_unsafe(desk: Desk) -> None:
    body = desk.trading()
    desk.hazards.append(Hazard("a bot runs as our own user", "move it"))
    async with desk.client() as client:
        await client.post("/v1/grants", json=body | {"policy": POLICY + '[day]\nmax_notional = "10000"\n'})
        await client.post("/v1/cuts", json={"targets": ["account:main"], "mode": "halt", "reason": "x"})
        status = (await client.get("/v1/status")).json()
    assert status["environment"] == "paper"
    assert status["gateways"][0]["added_p50_us"] == 135
    (use,) = status["grants"]
    assert (use["mode"], Decimal(use["day_max"]), Decimal(use["day_used"])) == ("halt", 10000, 0)
    assert status["unsafe"] == [{"what": "a bot runs as our own user", "step": "move it"}]


async def test_calls_say_what_they_cannot_show(desk: Desk) -> None:
    async with desk.client() as client:
        answer = (await client.get("/v1/calls")).json()
    assert answer == {"items": [], "next": None, "notice": answer["notice"]}
    assert "outside the gateway" in answer["notice"]


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("egress", {"name": "out", "addresses": ["203.0.113.7"]}, "an egress 'out' already"),
        ("accounts", {"name": "second", "upstream": "http://127.0.0.1:9"}, "an account 'second' already"),
    ],
)
async def test_a_name_that_is_taken_is_named_and_not_guessed_at(
    desk: Desk, path: str, body: dict[str, Any], says: str
) -> None:
    """`the name or key is taken, or what it names does not exist` was said of the host's new address."""
    async with desk.client() as client:
        assert (await client.post(f"/v1/{path}", json=body)).status_code == 201
        again = await client.post(f"/v1/{path}", json=body)
    assert (again.status_code, again.json()["reason"]) == (409, "taken")
    assert says in again.json()["detail"]


async def test_an_egress_never_shows_its_password(desk: Desk) -> None:
    body = {
        "name": "out", "way": "socks5h", "proxy_host": "proxy.internal", "proxy_port": 1080,
        "proxy_user": "u", "proxy_password": "planted-proxy-password",
    }  # fmt: skip
    async with desk.client() as client:
        made = await client.post("/v1/egress", json=body)
        listed = await client.get("/v1/egress")
    assert made.status_code == 201
    assert "planted-proxy-password" not in made.text + listed.text


async def test_an_operator_gets_a_token_that_works_once_shown(desk: Desk) -> None:
    async with desk.client() as client:
        made = (await client.post("/v1/operators", json={"name": "night", "roles": ["responder"]})).json()
        listed = await client.get("/v1/operators")
        headers = {"Authorization": f"Bearer {made['token']}"}
        own = await client.get("/v1/status", headers=headers)
    assert own.status_code == 200
    assert made["token"] not in listed.text


async def test_an_unforeseen_error_says_nothing_about_itself(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError(REAL_SECRET)

    monkeypatch.setattr(desk.service.cuts, "list", broken)
    async with desk.client() as client:
        answer = await client.get("/v1/cuts")
    assert answer.status_code == 500
    assert answer.json()["reason"] == "internal"
    assert REAL_SECRET not in answer.text
    assert "ZeroDivision" not in answer.text


async def test_a_paper_account_needs_an_upstream_on_loopback(desk: Desk) -> None:
    async with desk.client() as client:
        for upstream in (None, "https://api.binance.com", "http://10.0.0.1:80"):
            answer = await client.post("/v1/accounts", json={"name": "a", "upstream": upstream})
            assert answer.status_code == 400, upstream
            assert answer.json()["errors"][0]["field"] == "upstream"
        assert (
            await client.post("/v1/accounts", json={"name": "a", "upstream": UPSTREAM})
        ).status_code == 201


async def test_no_secret_reaches_a_log_at_debug_or_the_database(
    desk: Desk, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    body = desk.trading()
    async with desk.client() as client:
        made = (await client.post("/v1/grants", json=body, headers={"Idempotency-Key": "k1"})).json()
        await client.post("/v1/keys", json=KEY, headers={"Idempotency-Key": "k2"})
        await client.post("/v1/keys", json=KEY | {"key_type": "planted-in-a-bad-field", "x": REAL_SECRET})
        egress = {"name": "out", "way": "socks5h", "proxy_password": "planted-proxy-password"}
        await client.post("/v1/egress", json=egress)
    logged = caplog.text + "".join(capsys.readouterr())
    stored = b"".join(path.read_bytes() for path in desk.root.glob("*.db*"))
    for planted in (REAL_SECRET, made["secret"], "planted-proxy-password", *desk.tokens.values()):
        assert planted not in logged
        assert planted.encode() not in stored
