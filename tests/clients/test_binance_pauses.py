"""How long the exchange asks everybody behind an address to wait, in each form it says it."""

import json

import pytest

from clients.venues.binance.pauses import LONGEST_S, pause_s

NOW_US = 1_700_000_000_000_000
DATE = b"Tue, 14 Nov 2023 22:13:20 GMT"
LATER = b"Tue, 14 Nov 2023 22:14:05 GMT"
BAN = "Way too much request weight used; IP banned until 1700000090000. Please use WebSocket Streams."


def asked(
    status: int, code: int = -1003, text: str = "Too much.", headers: dict[bytes, bytes] | None = None
) -> float | None:
    return pause_s(status, headers or {}, json.dumps({"code": code, "msg": text}).encode(), NOW_US)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({b"retry-after": b"7"}, 7.0),
        ({b"retry-after": b"7.5"}, 7.5),
        ({b"retry-after": b"0"}, 1.0),
        ({b"retry-after": LATER}, 45.0),
        ({b"retry-after": LATER, b"date": b"Tue, 14 Nov 2023 22:14:00 GMT"}, 5.0),
        ({b"retry-after": b"soon"}, 60.0),
        ({b"retry-after": b"-5"}, 60.0),
        ({b"retry-after": b"Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, 60.0),
        ({b"retry-after": b"7", b"date": b"Mon, 99999999999999999999 Jan 2023 00:00:00 GMT"}, 7.0),
        ({b"retry-after": b"Mon, 01 Jan 2023 00:00:00 +99999999999999999999"}, 60.0),
        ({b"retry-after": b"999999999999999999"}, LONGEST_S),
        ({}, 60.0),
    ],
)
def test_a_429_waits_as_long_as_its_header_says(headers: dict[bytes, bytes], expected: float) -> None:
    assert asked(429, headers=headers) == expected


def test_the_text_of_a_ban_names_its_end_and_the_longest_counts() -> None:
    assert asked(418, text=BAN) == 90.0
    assert asked(418, text=BAN, headers={b"retry-after": b"7"}) == 90.0
    assert asked(418, text=BAN, headers={b"retry-after": b"300"}) == 300.0
    assert asked(418) == 120.0, "the shortest ban there is"
    assert asked(403, text=BAN) == 90.0, "the code says it, whatever the status"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[1]", b'{"code":"x"}', b'{"code":-1003,"msg":7}', b"\xff"]
)
def test_a_429_that_cannot_be_read_is_one_all_the_same(body: bytes) -> None:
    assert pause_s(429, {}, body, NOW_US) == 60.0


def test_too_many_orders_of_one_account_stop_nobody_else() -> None:
    assert asked(429, -1015, headers={b"retry-after": b"80000"}) is None
    assert asked(400, -1121) is None
    assert asked(200) is None
