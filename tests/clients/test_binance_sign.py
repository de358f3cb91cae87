"""Signatures: published vectors, encodings, and key material that stays hidden."""

import base64
import logging
import subprocess
import sys
import traceback

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from clients.secret import Secret
from clients.venue import Credential, KeyType, Malformed, Request, Variant, Verifier
from clients.venues.binance import sign
from tests.clients.binance_cases import KEYS, PRIVATE, PUBLIC, SECRET, VECTORS, read_request, verify_request

VECTOR_IDS = [vector["id"] for vector in VECTORS["vectors"]]


def _credential(name: str) -> Credential:
    key = KEYS[name]
    return Credential("key", Secret(key.get("secret") or key["private"]), KeyType(key["type"]))


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=VECTOR_IDS)
def test_vector(vector: dict[str, str]) -> None:
    """Each vector's signature is made and accepted."""
    credential = _credential(vector["key"])
    message = vector["payload"].encode()
    assert sign.KeyRing().sign(credential, message) == vector["signature"]
    verifier = (
        Verifier(KeyType.HMAC, credential.secret)
        if credential.key_type is KeyType.HMAC
        else Verifier(KeyType.ED25519, public_key=PUBLIC)
    )
    assert sign.KeyRing().matches(verifier, message, vector["signature"])
    assert not sign.KeyRing().matches(verifier, message + b"x", vector["signature"])


def test_all_seventeen_vectors_are_there() -> None:
    assert [f"H{n}" for n in range(1, 8)] + ["E1"] + [f"D{n}" for n in range(1, 10)] == VECTOR_IDS


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS["vectors"] if v["kind"] == "rest"], ids=lambda v: v["id"]
)
def test_rest_payload_is_query_then_body(vector: dict[str, str]) -> None:
    """The joint of query and body has no separator."""
    assert sign.rest_text(vector["query"], vector["body"]) == vector["payload"]


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS["vectors"] if v["kind"] == "ws"], ids=lambda v: v["id"]
)
def test_websocket_payload_is_sorted_and_raw(vector: dict[str, str]) -> None:
    """The WebSocket API signs sorted names, without percent-encoding and without the signature."""
    pairs = [pair.partition("=")[::2] for pair in vector["payload"].split("&")]
    assert sign.websocket_text({**dict(reversed(pairs)), "signature": "x"}) == vector["payload"]


def test_hmac_hex_is_read_in_either_case() -> None:
    signature = sign.hmac_hex(Secret(SECRET), b"a=1")
    assert sign.hmac_matches(Secret(SECRET), b"a=1", signature.upper())
    assert not sign.hmac_matches(Secret(SECRET), b"a=1", signature[:-1])
    assert not sign.hmac_matches(Secret(SECRET), b"a=1", signature[:-1] + "é")


def test_asymmetric_base64_is_case_sensitive() -> None:
    verifier = Verifier(KeyType.ED25519, public_key=PUBLIC)
    signature = VECTORS["vectors"][8]["signature"]
    assert not sign.KeyRing().matches(
        verifier, VECTORS["vectors"][8]["payload"].encode(), signature.swapcase()
    )
    assert not sign.KeyRing().matches(verifier, b"", "not base64!")


def test_rsa_signs_and_verifies_as_pkcs1_v15() -> None:
    """Our RSA signature verifies with the library called directly, and the other way round."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    text = sign.KeyRing().sign(Credential("k", Secret(pem), KeyType.RSA), b"a=1")
    key.public_key().verify(base64.b64decode(text), b"a=1", padding.PKCS1v15(), hashes.SHA256())
    theirs = base64.b64encode(key.sign(b"b=2", padding.PKCS1v15(), hashes.SHA256())).decode()
    assert sign.KeyRing().matches(Verifier(KeyType.RSA, public_key=public.decode()), b"b=2", theirs)


def test_ed25519_request_verifies_through_the_wire() -> None:
    """A bot that registered a public key signs base64, percent-encoded or (wrongly) raw; both are read."""
    key = serialization.load_pem_private_key(PRIVATE.encode(), None)
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    query = "timestamp=1795358627105"
    while True:  # one with a plus sign in it, which a raw form would spoil for other parsers
        signature = base64.b64encode(key.sign(query.encode())).decode()
        if "+" in signature:
            break
        query = f"timestamp={int(query[10:]) + 1}"
    for text in (sign.on_the_wire(signature), signature):
        reading = read_request(
            Request("GET", "/api/v3/account", f"{query}&signature={text}".encode(), b"", "V")
        )
        assert not isinstance(reading, Malformed)
        assert verify_request(Verifier(KeyType.ED25519, public_key=PUBLIC), reading.request) is Variant.RAW


@pytest.mark.parametrize(
    ("text", "variant", "expected"),
    [
        ("a=%20b+c", Variant.RAW, "a=%20b+c"),
        ("a=%20b+c", Variant.DECODED, "a= b+c"),
        ("a=%20b+c", Variant.DECODED_PLUS, "a= b c"),
        ("a=%E5%B8%81", Variant.DECODED, "a=币"),
    ],
)
def test_variant_text(text: str, variant: Variant, expected: str) -> None:
    assert sign.variant_text(text, variant) == expected


@pytest.mark.parametrize("bad", ["%26", "%3D", "%3d", "%23", "%25"])
def test_decoded_variant_needs_plain_values(bad: str) -> None:
    """A decoded value that could split the form again allows only the raw variant."""
    assert sign.variants(f"a=x{bad}y") == (Variant.RAW,)
    assert sign.variants("a=%20") == (Variant.RAW, Variant.DECODED)
    assert sign.variants("a=1+%20") == (Variant.RAW, Variant.DECODED, Variant.DECODED_PLUS)
    assert sign.variants("a=1") == (Variant.RAW,)


def test_keys_are_hidden_bounded_and_forgotten() -> None:
    """A KeyRing shows counts only, and drops a key on demand."""
    ring = sign.KeyRing()
    ring.sign(Credential("one", Secret(PRIVATE), KeyType.ED25519), b"x")
    assert repr(ring) == "KeyRing(1 private, 0 public)"
    ring.forget("two")
    assert len(ring._private) == 1
    ring.forget("one")
    assert len(ring._private) == 0


@pytest.mark.parametrize(
    "pem", ["-----BEGIN PRIVATE KEY-----\nplantedplanted\n-----END PRIVATE KEY-----", "planted"]
)
def test_a_bad_private_key_says_nothing_of_itself(pem: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(ValueError, match="not a readable") as caught:
        sign.KeyRing().sign(Credential("k", Secret(pem), KeyType.ED25519), b"x")
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(caught.value)
    assert "planted" not in shown


def test_a_key_of_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match="not of type rsa"):
        sign.KeyRing().sign(Credential("k", Secret(PRIVATE), KeyType.RSA), b"x")
    with pytest.raises(ValueError, match="not of type rsa"):
        sign.KeyRing().matches(Verifier(KeyType.RSA, public_key=PUBLIC), b"x", "")


def test_hmac_use_loads_neither_cryptography_nor_io_libraries() -> None:
    """The gateway stays small: reading, verifying and sealing with HMAC imports none of these."""
    program = (
        "import sys\n"
        "from clients.secret import Secret\n"
        "from clients.venue import *\n"
        "from clients.wire import *\n"
        "from clients.venues.binance import WIRE\n"
        "import hmac\n"
        "q = b'timestamp=1795358627105'\n"
        "s = hmac.new(b's', q, 'sha256').hexdigest().encode()\n"
        "o = WIRE.open(WIRE.find(Request('GET', '/api/v3/account', q + b'&signature=' + s, b'', 'V')))\n"
        "assert WIRE.verify(Verifier(KeyType.HMAC, Secret('s')), o)\n"
        "WIRE.seal(Credential('k', Secret('t'), KeyType.HMAC), WIRE.read(o), Stamp(1, 1000))\n"
        "bad = {'cryptography', 'httpx', 'asyncio', 'pydantic', 'ssl'} & set(sys.modules)\n"
        "sys.exit(repr(bad) if bad else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
