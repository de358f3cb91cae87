"""What people write into reasons, notes and names passes; what they should not have pasted there does not."""

import base64
import hashlib
import secrets
import time
import uuid
from collections.abc import Callable

import pyotp
import pytest

from broker import virtual_key
from broker.backup import code
from broker.pasted import LONGEST, REMOVED, looks_secret
from tests.pace import slowness

PLAIN = [
    "key in a public gist", "because", REMOVED, "it was main/trade/3, as in grt_0123456789abcdef0123", "rot_0e9b584a382a319a43a0",
    "see https://gist.github.com/alice/0123456789abcdef0123456789abcdef",
    "https://docs.google.com/document/d/1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms/edit",
    "https://x.slack.com/archives/C024BE91L/p1355517523000008", "ann@example.org, from 203.0.113.7 and [2001:db8::1]:443",
    "in commit 3f786850e387550fdab836ed7e6d881de23001b7", "image sha256:" + hashlib.sha256(b"x").hexdigest(),
    "to 0x52908400098527886E0F7030069857D2E4169EE7", "to TJRyWwFs9wTFGZg3JbrVriFbNfCug5tDeC",
    "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "2026-11-29T00:15:30.123456Z 20261129T001530Z", "1000SATSUSDT",
    "FreqtradeStrategyV3BTCUSDT", "my-very-long-bot-name-for-btc-2026", "momentumbot2026binancemain", "PCLSab...xyz9",
    "/home/alice/projects/freqtrade2026/user_data/config.json", "ticket INC0012345, Q1ABCDEFGHIJK2",
    "they said that this will come back from them only once more", "freqtrade-7d9f8b6c5d-x2v9q",
    "Nach dem Vorfall: Schlüssel im Chat, Überweisung über 12.345,67 €", "a" * 500, "1" * 100, "-----", "",
]  # fmt: skip


@pytest.mark.parametrize("text", PLAIN)
def test_what_people_write_passes(text: str) -> None:
    assert not looks_secret(text)


def urlsafe(length: int) -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(length)).decode().rstrip("=")


SECRETS: dict[str, Callable[[], str]] = {
    "virtual key": virtual_key.new_key_id, "virtual secret": virtual_key.new_secret, "seed": pyotp.random_base32,
    "operator's token": lambda: f"pcls_op_{secrets.token_hex(4)}{secrets.token_urlsafe(32)}",
    "session": lambda: f"pcls_se_{secrets.token_hex(4)}{secrets.token_urlsafe(32)}",
    "recovery code": lambda: code.fresh().reveal(), "its words": lambda: code.fresh().reveal().replace("-", " "),
    "as one word": lambda: code.fresh().reveal().replace("-", ""), "in small letters": lambda: code.fresh().reveal().lower(),
    "uri": lambda: pyotp.TOTP(pyotp.random_base32()).provisioning_uri(name="ann"),
    "key of the store": lambda: base64.b64encode(secrets.token_bytes(32)).decode(),
    "vault token": lambda: "hvs." + virtual_key.new_secret()[:24], "secret id": lambda: str(uuid.uuid4()),
    "hex secret": lambda: secrets.token_hex(32), "short hex": lambda: secrets.token_hex(16),
    "upper hex": lambda: secrets.token_hex(16).upper(), "password in a URL": lambda: "https://bot:hunter2@db.example/x",
    "token in a URL": lambda: "https://hooks.example/x?token=hunter2hunter2", "key in a URL": lambda: f"https://a.example/{virtual_key.new_secret()}",
    "private key": lambda: "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----",
    "kraken": lambda: base64.b64encode(secrets.token_bytes(64)).decode(),
    "telegram": lambda: f"123456789:AA{urlsafe(40)[:33]}",
}  # fmt: skip


DRAWN = {"key of the store", "short hex", "upper hex", "telegram", "kraken"}
"""Of others, and short: once in a thousand one has no digit, or looks like a word. Of the rest once in many thousands."""


@pytest.mark.parametrize("kind", SECRETS)
def test_what_was_pasted_is_seen_wherever_it_stands(kind: str) -> None:
    for where in ("{}", "leaked: {}, cut it", '{{"secret":"{}"}}', "KEY={}", "({})"):
        seen = sum(looks_secret(where.format(SECRETS[kind]())) for _ in range(100))
        assert seen >= (95 if kind in DRAWN else 99), where


def test_a_secret_without_a_digit_is_seen() -> None:
    """Of thirty thousand that are drawn, one has none."""
    assert looks_secret("BEpHXZtgtwkAyHocIodTgvhNyMTZHhTfJTExlIEvdQDRMwKsKfwmnJdYaCMmeBbw")
    assert not looks_secret("FreqtradeStrategyVersionThreeForBitcoin")


WORST = (
    "aB3", "A", "http://", "aaaa ", "aaaa-", "1:", "http://a ", "a+", "0x", "+", "a.-+", "12345678-1234-", "aB3/",
    "http://a@", "abcd efgh ", "aaaa  \n", "a2b3 c4d5 ", "1", "bc1qqq", "sha256:",
)  # fmt: skip


@pytest.mark.parametrize("piece", WORST)
def test_no_text_costs_more_than_ten_milliseconds(piece: str) -> None:
    """The longest that is looked at, in CPU, at best of several; off the loop."""
    text = (piece * LONGEST)[:LONGEST]
    best = 1.0
    for _ in range(20):
        before = time.thread_time()
        looks_secret(text)
        best = min(best, (time.thread_time() - before) / slowness())
    assert best < 0.01


def test_what_is_too_long_to_be_looked_at_is_taken_for_a_secret() -> None:
    assert not looks_secret("they said so. " * (LONGEST // 14))
    assert looks_secret("they said so. " * LONGEST)
