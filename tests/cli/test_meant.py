"""What a person on call pastes or mistypes in a cut is answered with the command that names what is there."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from portcullis.cli.client import Api
from portcullis.cli.face import Stopped
from portcullis.cli.meant import looked_up, meant
from portcullis.cli.tables import short

VIRTUAL, REAL = "PCLS" + "x" * 60, "R" * 64
AT = "2026-01-01T00:00:00Z"
GRANT = {
    "id": "grt_1", "consumer": "my-bot", "account": "main", "key_id": VIRTUAL, "key_type": "hmac", "policy": "{}",
    "policy_version": 1, "created_at": AT, "revoked_at": None,
}  # fmt: skip
KEY = {
    "ref": "main/trade/1", "stage": "current", "venue_key_id": REAL, "key_type": "hmac", "ip_restricted": True,
    "can_withdraw": False, "created_at": AT,
}  # fmt: skip


class Record:
    """A broker that knows one of each."""

    def watched(self) -> AbstractContextManager[None]:
        return nullcontext()

    def pages(self, _: type[Any], path: str, **__: Any) -> Iterator[Any]:
        rows: dict[str, dict[str, Any]] = {
            "grants": GRANT, "keys": KEY, "consumers": {"name": "my-bot"}, "accounts": {"name": "main"},
        }  # fmt: skip
        yield SimpleNamespace(**rows[path])


class Away:
    """A broker that answers no question."""

    def pages(self, _: type[Any], __: str, **___: Any) -> Iterator[Any]:
        raise Stopped("away")


@pytest.mark.parametrize("kind", ["consumer", "grant", "key-version", "account"])
@pytest.mark.parametrize(
    ("pasted", "option"),
    [
        (VIRTUAL, "--grant grt_1"), (short(VIRTUAL), "--grant grt_1"), (f" {VIRTUAL}\n", "--grant grt_1"),
        (REAL, "--key main/trade/1"), (short(REAL), "--key main/trade/1"), ("main", "--account main"),
        ("my-bot", "--consumer my-bot"),
    ],
)  # fmt: skip
def test_what_was_pasted_is_found_whatever_it_was_called(kind: str, pasted: str, option: str) -> None:
    assert meant(cast("Api", Record()), [f"{kind}:{pasted}"]) == [option]


@pytest.mark.parametrize(
    ("typed", "option"), [("mybot", "--consumer my-bot"), ("My-Bot", "--consumer my-bot")]
)
def test_a_name_that_was_mistyped_is_asked_back(typed: str, option: str) -> None:
    assert meant(cast("Api", Record()), [f"consumer:{typed}"]) == [option]


@pytest.mark.parametrize("typed", ["my-bot ", " my-bot", "\tmy-bot\n"])
def test_a_name_with_blanks_around_it_is_no_name_and_is_asked_back(typed: str) -> None:
    (found,) = looked_up(cast("Api", Record()), [f"consumer:{typed}"])
    assert (found.there, found.options) == (False, ("--consumer my-bot",))
    assert found.shown == repr(typed)


def test_nothing_like_it_and_no_answer_name_nothing() -> None:
    """A guess would cut somebody else, and a look-up that fails does not hide the no."""
    assert meant(cast("Api", Record()), ["consumer:grid"]) == []
    assert meant(cast("Api", Away()), [f"grant:{VIRTUAL}"]) == []


class Many(Record):
    """A broker with more grants and keys than anybody waits for."""

    def pages(self, _: type[Any], path: str, **more: Any) -> Iterator[Any]:
        if path not in {"grants", "keys"}:
            yield from super().pages(_, path)
            return
        for number in range(more.get("most", 100_000)):
            assert number < 5_000, "it is read to its end"
            grant = {**GRANT, "id": f"grt_{number}", "key_id": f"PCLS{number}"}
            yield SimpleNamespace(**(grant if path == "grants" else {**KEY, "ref": f"main/trade/{number}"}))


def test_a_long_list_is_not_read_to_its_end_and_nothing_in_it_is_said_not_to_be() -> None:
    """A person who cuts waits for it."""
    api = cast("Api", Many())
    looked = looked_up(api, ["grant:grt_4000000", "key-version:main/trade/7", "consumer:grid"])
    assert [(one.there, one.options) for one in looked] == [
        (True, ("--grant grt_4000000",)), (True, ("--key main/trade/7",)), (False, ())
    ]  # fmt: skip
    assert meant(api, [f"grant:{VIRTUAL}"]) == [], "what looks like a secret is not repeated"
