"""No text that a person gives keeps a secret: every field of every write is tried, and the disk is read after it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from broker import virtual_key
from broker.api.free_text import MEANT, refuse_secret_path, refuse_secrets
from broker.db import tables
from broker.errors import Malformed
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.pasted import REMOVED
from broker.service.operators import Role
from broker.service.words import SHORTENED
from tests.api.desk import POLICY, Desk
from tests.api.people import Clock, Person
from tests.cli.examples import document
from tests.places import contents

PASTED = virtual_key.new_secret()
CLOSING = {"/v1/cuts", "/v1/grants/{grant}/revoke"}
OTHER = {"/v1/sessions"}
"""Logging in: nothing of it is kept, and it is looked at by nobody but who judges it."""


def fields() -> Iterator[tuple[str, str, str, Any]]:
    """Yield every text field of every write: method, path, the field's name, and a value that holds a secret."""
    whole = document()

    def values(schema: Any) -> Iterator[Any]:
        if "$ref" in schema:
            schema = whole["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        for one in schema.get("anyOf", ()):
            yield from values(one)
        if schema.get("type") == "string" and "enum" not in schema:
            yield f"as seen: {PASTED}"
        elif schema.get("type") == "array":
            yield from ([one] for one in values(schema["items"]))
        elif schema.get("type") == "object" and schema.get("additionalProperties"):
            yield {"secret": PASTED}
            yield {"reload": {"command": ["send", PASTED]}}

    for path, operations in whole["paths"].items():
        for method, operation in operations.items():
            schema = (
                operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            )
            if schema is None or path in OTHER:
                continue
            refs = [one.get("$ref") for one in (schema, *schema.get("anyOf", ())) if one.get("$ref")]
            for ref in refs:
                model = whole["components"]["schemas"][ref.rpartition("/")[2]]
                for name, inner in model.get("properties", {}).items():
                    for value in values(inner):
                        yield method, path, name, value


FIELDS = list(fields())


async def test_no_write_takes_a_secret_into_a_text(desk: Desk) -> None:
    async with desk.client() as client:
        for method, path, name, value in FIELDS:
            if name in MEANT or path in CLOSING:
                continue
            answer = await client.request(method, path, json={name: value})
            assert (answer.status_code, answer.json()["reason"]) == (400, "held_secret"), (path, name)
            assert answer.json()["errors"][0]["field"].split(".")[0] == name
            assert PASTED not in answer.text
    refuse_kept(desk)


def test_the_writes_were_found() -> None:
    assert len(FIELDS) > 60
    assert {"reason", "note", "name", "holder", "settings", "policy", "windows", "subaccount"} <= {
        one[2] for one in FIELDS
    }


@pytest.mark.parametrize(
    "reason", [PASTED, f"leaked: {PASTED}", "x " * 300 + PASTED], ids=["alone", "in a text", "too long"]
)
@pytest.mark.parametrize("mode", ["closed", "halt"])
async def test_a_cut_is_made_whatever_its_reason_holds(desk: Desk, reason: str, mode: str) -> None:
    async with desk.client(Role.RESPONDER) as client:
        made = await client.post("/v1/cuts", json={"targets": ["everything"], "mode": mode, "reason": reason})
        listed = await client.get("/v1/cuts")
    assert (made.status_code, made.json()["reason"]) == (201, REMOVED)
    assert "was removed" in made.json()["notes"][0]
    assert listed.json()["items"][0]["reason"] == REMOVED
    refuse_kept(desk)


@pytest.mark.parametrize("length", [500, 501, 1500, 40_000])
async def test_a_cut_is_made_however_long_its_reason_is(desk: Desk, length: int) -> None:
    """A log was pasted; what is kept of it ends by saying that there was more."""
    reason = ("order without signal\n" * length)[:length]
    async with desk.client(Role.RESPONDER) as client:
        made = await client.post("/v1/cuts", json={"targets": ["everything"], "reason": reason})
    assert made.status_code == 201
    kept = made.json()["reason"]
    if length <= 500:
        assert kept == reason
        assert "only its beginning" not in " ".join(made.json()["notes"])
    else:
        assert len(kept) == 500
        assert kept == reason[: 500 - len(SHORTENED)] + SHORTENED
        assert "only its beginning is kept" in made.json()["notes"][0]


NO_TEXT = {
    b"a\\ud800": "a\ufffd",
    b"\\uDFFF\\udfff": "\ufffd\ufffd",
    b"\\ude00\\ud83d \\ud83d\\ude00": "\ufffd\ufffd \U0001f600",
    b"\\\\\\ud83d": "\\\ufffd",
    b"\\\\ud83d": "\\ud83d",
    b"a\\u0000b": "a\ufffdb",
    b"a\\\\u0000b": "a\\u0000b",
    b"a\0b": "a b",
    b"line\n\tline\r\x1b": "line  line  ",
    b"fuite de cl\xe9": "fuite de cl\ufffd",
    b"\xed\xa0\x80": "\ufffd\ufffd\ufffd",
    b"cl\xc3\xa9": "cl\u00e9",
    b"\\ud800 " * 3000: (("\ue800 " * 3000)[:484] + SHORTENED),
    b"\xe9" * 20_000: ("?" * 484 + SHORTENED),
}


async def test_nobody_is_kept_in_for_bytes_of_a_reason_that_are_no_text(desk: Desk) -> None:
    """A log of a program was pasted by a script: the cut was refused. A halt, a revoke and a thaw are made as well."""
    wanted = desk.trading()
    async with desk.client() as client:
        client.headers["Content-Type"] = "application/json"
        for reason, kept in NO_TEXT.items():
            why = b'"reason":"' + reason + b'"}'
            grant = (await client.post("/v1/grants", json=wanted)).json()["id"]
            revoked = await client.post(f"/v1/grants/{grant}/revoke", content=b"{" + why)
            assert (revoked.status_code, bool(revoked.json()["revoked_at"])) == (200, True)
            for mode in (b"closed", b"halt"):
                body = b'{"targets":["everything"],"mode":"' + mode + b'",' + why
                made = await client.post("/v1/cuts", content=body)
                assert (made.status_code, made.json()["reason"]) == (201, kept)
            cut = made.json()["id"]
            if len(reason) <= 500:
                thawed = await client.post("/v1/thaws", content=b'{"cut":"' + cut.encode() + b'",' + why)
                assert thawed.status_code == 200
                assert (await client.get(f"/v1/cuts/{cut}")).json()["thawed_why"] == kept


async def test_what_is_no_text_in_a_target_names_nothing(desk: Desk) -> None:
    async with desk.client() as client:
        answer = await client.post(
            "/v1/cuts", content=b'{"targets":["consumer:a\xe9"],"reason":"x"}',
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
    assert answer.status_code == 404
    assert "NOTHING was cut" in answer.json()["detail"]


async def test_no_half_of_a_secret_is_kept(desk: Desk) -> None:
    """It stands where a long reason is cut off."""
    reason = "x " * 240 + PASTED + " y" * 10_000
    async with desk.client(Role.RESPONDER) as client:
        made = await client.post("/v1/cuts", json={"targets": ["everything"], "reason": reason})
    assert (made.status_code, made.json()["reason"]) == (201, REMOVED)
    refuse_kept(desk)


async def test_a_grant_is_revoked_whatever_the_reason_holds(desk: Desk) -> None:
    wanted = desk.trading()
    async with desk.client() as client:
        grant = (await client.post("/v1/grants", json=wanted)).json()["id"]
        done = await client.post(f"/v1/grants/{grant}/revoke", json={"reason": PASTED})
    assert done.status_code == 200
    assert done.json()["revoked_at"]
    assert "was removed" in done.json()["warnings"][0]
    refuse_kept(desk)


@pytest.mark.parametrize(
    "target",
    [f"grant:{PASTED}", f"consumer:{PASTED}", f"gateway:{PASTED}", PASTED, f"{PASTED}:a"],
    ids=["a grant", "a consumer", "a gateway", "alone", "as a kind"],
)
async def test_a_secret_that_was_named_as_a_target_is_not_repeated(desk: Desk, target: str) -> None:
    async with desk.client() as client:
        answer = await client.post("/v1/cuts", json={"targets": [target], "reason": "x"})
    assert answer.status_code in {400, 404}
    assert PASTED not in answer.text
    refuse_kept(desk)


async def test_nothing_is_announced_with_a_secret(solo: Desk, clock: Clock) -> None:
    """What is announced is on record before its route sees it: a reason, a path, a query."""
    ann = Person(solo, clock, "owner")
    cut, _ = solo.service.cuts.close(targets=("everything",), mode=Mode.CLOSED, reason="x", actor="owner")
    async with ann.client() as client:
        for path, body in (
            ("/v1/thaws", {"cut": cut.id, "reason": PASTED}), (f"/v1/grants/{PASTED}/reissue", {}),
            (f"/v1/grants/g/reissue?why={PASTED}", {}), (f"/v1/grants/%50CLS{'x' * 60}/reissue", {}),
        ):  # fmt: skip
            answer = await client.post(path, json=body, headers={"Portcullis-Code": ann.code()})
            assert (answer.status_code, answer.json()["reason"]) == (400, "held_secret"), path
            assert PASTED not in answer.text
    assert solo.service.openings.list() == ()
    refuse_kept(solo)


def refuse_kept(desk: Desk) -> None:
    """Nothing of it is in any table, nor in any file of the home."""
    database = desk.service.desk.database
    with database.read() as connection:
        for table in tables.METADATA.sorted_tables:
            assert PASTED not in str(connection.execute(select(table)).all()), table.name
    for file in (one for one in desk.root.rglob("*") if one.is_file()):
        assert PASTED.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("name", ["0b0e9b58-4a38-4a31-9a43-0a1b2c3d4e5f", "0123456789abcdef0123456789abcdef"])
def test_what_was_named_before_names_were_looked_at_can_be_named(name: str) -> None:
    """No leaked key of such an account could be rotated by command."""
    refuse_secrets(json.dumps({"account": name, "consumer": name}).encode(), name.__eq__)
    refuse_secret_path(f"/v1/keys/{name}/trade/1/retire?", name.__eq__)
    for field in ("name", "reason"):
        with pytest.raises(Malformed):
            refuse_secrets(json.dumps({field: name}).encode(), name.__eq__)


SMALL = (
    "0f7d1c9e-3b5a-4c8d-9e2f-6a1b7c4d8e3f",
    "9c1f0e7ab24d5836f1ce90b7a4d25e8193fb6c07d8ea4152b06d3f9ce7a81b54",
)
"""As the secrets of KuCoin and Gate are: they look like names, too."""


@pytest.mark.parametrize("small", SMALL)
async def test_what_names_nothing_that_is_there_is_no_name(solo: Desk, clock: Clock, small: str) -> None:
    """A secret where a name belongs was announced, or asked for, and kept before it was found that nothing has it."""
    ann = Person(solo, clock, "owner")
    async with ann.client() as client:
        for path, body in (
            ("thaws", {"cut": small, "reason": "safe"}), ("rotations", {"account": small, "slot": "trade"}),
            ("grants", {"consumer": small, "account": "main", "policy": POLICY}),
            (f"keys/{small}/trade/1/retire", {}), (f"keys/{PASTED}/trade/1/retire", {}),
        ):  # fmt: skip
            answer = await client.post(f"/v1/{path}", json=body, headers={"Portcullis-Code": ann.code()})
            assert (answer.status_code, answer.json()["reason"]) == (400, "held_secret"), path
            assert small not in answer.text
    assert (solo.service.openings.list(), solo.service.rotations.list().items) == ((), ())
    assert small.encode() not in contents(solo.root)
    refuse_kept(solo)


@pytest.mark.parametrize("name", ["5f2b9c01d4e87a6633b1c0fe9a7d2248", "aB3dE6gH9jK2mN5pQ8rT1vW4yZ7cF0x"])
def test_a_cut_is_named_by_whatever_id_it_has(desk: Desk, name: str) -> None:
    """A person wrote it into the secret store: it could never be thawed."""
    body = json.dumps({"cut": name, "reason": "safe"}).encode()
    with pytest.raises(Malformed):
        refuse_secrets(body, desk.service.is_name)
    desk.service.mirror.note(NotedCut(name, Mode.CLOSED, ("consumer:bot",), "leak", "me", 1))
    desk.service.mirror.merge()
    refuse_secrets(body, desk.service.is_name)


def test_what_is_there_is_known_by_its_name(desk: Desk) -> None:
    desk.trading()
    assert desk.service.is_name("main")
    assert not desk.service.is_name(SMALL[0])
