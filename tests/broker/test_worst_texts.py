"""No text within the size limits costs a parser more than 5 ms: the worst of each kind, in CPU, at best of several."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from broker import destination, maintenance, policy_document
from broker.api import policy_words
from broker.audit import anchors, checkpoint
from broker.errors import BrokerError, Malformed
from tests.pace import slowness

_MOST_S = 0.005
_TRIES = 40


def _pairs(count: int) -> str:
    return json.dumps([f"A{number:05d}USDT" for number in range(count)])


POLICIES: dict[str, str] = {
    "dots": "a" + ".a" * 30_000 + "=1",
    "few enough characters of dots": "a" + ".a" * 7_900 + "=1",
    "dots as texts": '"a"' + '."a"' * 6000 + "=1",
    "dots with blanks": "a" + " . a" * 6000 + "=1",
    "a header of dots": "[a" + ".a" * 7_900 + "]",
    "as many dots as pass": "\n".join(f"[a{number}.b]" for number in range(60)),
    "fields": "\n".join(f"a{number}=1" for number in range(4000)),
    "tables": "\n".join(f"[a{number}]" for number in range(4000)),
    "lists of tables": "[[a]]\n" * 4000,
    "inline tables": "a=" + "{a=" * 8000,
    "open brackets": "a=" + "[" * 12_000,
    "pairs": f'allow=["trade"]\nsymbols={_pairs(298)}\n' + " " * 6000,
    "pairs in JSON": f'{{"allow":["trade"],"symbols":{_pairs(1990)}}}',
    "pairs of one letter": '{"allow":["trade"],"symbols":[' + ",".join(['"x"'] * 1990) + "]}",
    "names of ten thousand in JSON": "{" + ",".join(f'"a{number}":1' for number in range(6000)) + "}",
    "the same name in JSON": "{" + ",".join(['"a":1'] * 9000) + "}",
    "nested JSON": '{"a":' * 12_000,
    "nested lists in JSON": '{"a":' + "[" * 60_000,
    "a long whole number": "a=" + "1" * 12_000,
    "a long whole number in JSON": '{"a":' + "1" * 60_000 + "}",
    "a number of underscores": "a=1" + "_1" * 12_000,
    "comments": "#\n" * 12_000,
    "comments with quotation marks": '#"\n' * 1900,
    "lines": "\n" * 12_000,
    "as many lines as pass": "\n" * 1990 + " " * 10_000,
    "blanks": " " * 12_000,
    "blanks in JSON": '{"a":' + " " * 60_000 + "1}",
    "open texts": '"' * 12_000,
    "open texts of the other kind": "'" * 12_000,
    "texts of several lines": '"""' * 8000,
    "escapes": 'a="' + "\\u0041" * 3000 + '"',
    "escapes in JSON": '{"a":"' + "\\u0041" * 10_000 + '"}',
    "backslashes": "\\" * 60_000,
    "escaped quotation marks": '\\"' * 30_000,
    "a long name": '"' + "k" * 12_000 + '"=1',
    "not ASCII": 'a="' + "é" * 20_000 + '"',
    "surrogates": 'a="' + "\ud800" * 20_000 + '"',
}
MONEY = [
    "1e1000000", "1e999999999999", "1e-999999", "0." + "0" * 60_000 + "1", "1" + "0" * 60_000, "Infinity", "sNaN",
    "1_000", "\u0661\u0660\u0660", " 1", "+1", "1e15",
]  # fmt: skip


def _seconds(work: Callable[[], object]) -> float:
    best = 1.0
    for _ in range(_TRIES):
        before = time.thread_time()
        with suppress(BrokerError, ValueError):
            work()
        best = min(best, (time.thread_time() - before) / slowness())
        if best < _MOST_S / 2:
            break
    return best


@pytest.mark.parametrize("name", POLICIES)
def test_no_policy_costs_more_than_five_milliseconds(name: str) -> None:
    """Reading a policy, and saying what it means, is bounded whatever it is."""

    def work() -> None:
        policy = policy_document.load(POLICIES[name])
        policy_words.meaning(policy)

    assert _seconds(work) < _MOST_S


@pytest.mark.parametrize("text", MONEY)
def test_money_is_plain_digits(text: str) -> None:
    """A number that costs more to write out than to read is no amount of money."""
    with pytest.raises(Malformed) as caught:
        policy_document.load(json.dumps({"allow": ["market"], "order": {"max_notional": text}}))
    assert caught.value.problems[0].field == "order.max_notional"


def test_a_policy_with_many_unknown_fields_names_some_of_them() -> None:
    """As many problems are told as a person can read."""
    with pytest.raises(Malformed) as caught:
        policy_document.load("{" + ",".join(f'"a{number}":1' for number in range(60)) + "}")
    assert 10 < len(caught.value.problems) <= 50


@pytest.mark.parametrize(
    "text",
    [
        "Mon 02:00-03:00;" * 25, "Mon," * 100 + " 02:00-03:00", ";" * 400, " " * 400, "daily 02:00-06:00;" * 22,
        "Mon 02:00-03:00" + "\t" * 380,
    ],
)  # fmt: skip
def test_no_window_costs_more_than_five_milliseconds(text: str) -> None:
    """Maintenance windows as long as the API takes them."""

    def work() -> None:
        maintenance.check(text)
        maintenance.parse(text, "Europe/Berlin").first(datetime(2026, 3, 29, 1, tzinfo=UTC))

    assert _seconds(work) < _MOST_S


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("webhook", {"url": "https://" + "a." * 30_000}),
        ("webhook", {"url": "https://" + "@" * 60_000}),
        ("webhook", {"url": "http://[" + ":" * 60_000}),
        ("json", {"path": "/x", "key_id": "/a" * 30_000, "secret": "/b"}),
        ("kubernetes", {"namespace": "a-" * 30_000, "secret": "b", "restart": ["deployment/" + "a-" * 200] * 300}),
        ("dotenv", {f"a{number}": number for number in range(290)}),
    ],
)  # fmt: skip
def test_no_destination_costs_more_than_five_milliseconds(kind: str, settings: dict[str, object]) -> None:
    """Settings of destinations, as large as a body may be."""
    assert _seconds(lambda: destination.parse(kind, settings)) < _MOST_S


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"a":' * 50_000, "1" * 100_000, '{"version":1e999999}', "\ud800"]
)
def test_an_anchor_that_was_written_by_somebody_else_is_unreadable(line: str) -> None:
    """What a webhook or a log gives back is read as a line or refused, never an error of the machinery."""
    lines, signed = anchors.lines_of(line)
    assert (lines, signed) == ([line], [])
    with pytest.raises(ValueError, match=r"."):
        checkpoint.load(line)
