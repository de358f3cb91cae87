"""The paper exchange's own reading of signatures: every published REST vector, and what must not verify.

Calls pass the whole door: a right signature is refused for the symbol or the permission at most, never with -1022.
"""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from clients.paper import PaperExchange
from clients.paper.ledger import PaperKey
from clients.paper.reading import Call
from clients.paper.server import ROUTES
from clients.secret import Secret
from clients.venue import KeyType

DOCUMENT = json.loads((Path(__file__).parents[1] / "vectors" / "binance.json").read_text(encoding="utf-8"))
VECTORS = [vector for vector in DOCUMENT["vectors"] if vector["kind"] == "rest"]
BAD_SIGNATURE = -1022


def timestamp_us(text: str) -> int:
    digits = text.partition("timestamp=")[2].partition("&")[0]
    return int(digits) * (1 if len(digits) == 16 else 1000)


def code_of(key: dict[str, Any], query: str, body: str, signature: str) -> int | None:
    """Send one signed call at the moment it was signed for; return the code it is refused with."""
    exchange = PaperExchange(clock=lambda: timestamp_us(query + "&" + body))
    kind = KeyType(key["type"])
    exchange.open_account("vector@paper.test")
    paper_key = PaperKey(
        key.get("api_key", "k" * 64), "vector@paper.test", kind, {"enableReading": True},
        secret=Secret(key["secret"]) if kind is KeyType.HMAC else None, public_key=key.get("public"),
    )  # fmt: skip
    exchange.keys[paper_key.key_id] = paper_key
    name = f"signature={quote(signature, safe='')}"
    query, body = (query, f"{body}&{name}") if body else (f"{query}&{name}", "")
    headers = {b"x-mbx-apikey": paper_key.key_id.encode()}
    call = Call("POST", "/api/v3/order/test", query.encode(), body.encode(), headers, "127.0.0.1")
    answer = exchange.answer(call, ROUTES)
    assert exchange.executed == []
    code: int | None = answer.body.get("code") if isinstance(answer.body, dict) else None
    return code


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["id"]))
def test_a_published_signature_verifies_and_nothing_near_it_does(vector: dict[str, Any]) -> None:
    key = DOCUMENT["keys"][vector["key"]]
    query, body, signature = vector["query"], vector["body"], vector["signature"]
    assert code_of(key, query, body, signature) != BAD_SIGNATURE
    assert code_of(key, "a=1&" + query, body, signature) == BAD_SIGNATURE
    assert code_of(key, query, body + "&b=1" if body else "b=1", signature) == BAD_SIGNATURE
    swapped = signature.swapcase()
    assert (code_of(key, query, body, swapped) == BAD_SIGNATURE) == (key["type"] != "hmac")
    assert code_of(key, query, body, "") == -1102


def test_query_and_body_are_joined_without_anything_between() -> None:
    vector = next(vector for vector in VECTORS if vector["id"] == "H3")
    key = DOCUMENT["keys"][vector["key"]]
    query, body = vector["query"], vector["body"]
    assert code_of(key, f"{query}&{body}", "", vector["signature"]) == BAD_SIGNATURE
    moved = f"{query}{body[:8]}", body[8:]
    assert code_of(key, *moved, vector["signature"]) != BAD_SIGNATURE, "the joint does not show in the text"


def test_an_rsa_signature_is_pkcs1_and_not_pss() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    key = {"type": "rsa", "public": public.decode()}
    query = "symbol=BTCUSDT&timestamp=1668481559918"
    plain = base64.b64encode(private.sign(query.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.MAX_LENGTH)
    other = base64.b64encode(private.sign(query.encode(), pss, hashes.SHA256())).decode()
    assert code_of(key, query, "", plain) != BAD_SIGNATURE
    assert code_of(key, query, "", other) == BAD_SIGNATURE
