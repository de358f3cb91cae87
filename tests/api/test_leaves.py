"""A real key comes into its answer last: no cut that was answered before that lets it go, whatever was waited for."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse

from broker.api.once import Answers
from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.service import last_look
from broker.service.service import open_service
from clients.secret import Secret
from clients.venue import Credential, KeyType, Slot
from tests.api.desk import POLICY, REAL_SECRET, SAFE, UPSTREAM, Desk

ONCE = {"Idempotency-Key": "one"}


@dataclass
class Way:
    """A request by which a real key leaves."""

    desk: Desk
    path: str
    body: dict[str, Any]

    async def ask(self, **headers: str) -> httpx.Response:
        async with self.desk.client() as client:
            return await client.post(f"/v1/{self.path}", json=self.body, headers=headers)

    def cut(self) -> str:
        made, _ = self.desk.service.cuts.close(
            targets=("account:main",), mode=Mode.CLOSED, reason="leak", actor="me"
        )
        assert made.on_record
        return made.id

    def thaw(self) -> None:
        for one in self.desk.service.cuts.list(open_only=True).items:
            self.desk.service.cuts.thaw(one.id, reason="well", actor="me")

    def cut_elsewhere(self) -> None:
        """At another broker; then this process stands still for a while."""
        desk = self.desk.service.desk
        other = open_service(desk.database, desk.secrets, desk.clock)
        other.cuts.close(targets=("account:main",), mode=Mode.CLOSED, reason="leak", actor="me")
        other.close()
        time.sleep(last_look.COUNTS_FOR_S)

    def out(self) -> int:
        """Return how many checkouts are open."""
        return sum(one.closed_at is None for one in self.desk.service.checkouts.list())

    def audited(self) -> list[str]:
        return [one.entry.action for one in self.desk.service.audit.list(limit=50).items]


@pytest.fixture(params=["checkouts", "destinations/tool/key"])
def way(desk: Desk, request: pytest.FixtureRequest) -> Way:
    service = desk.service
    service.accounts.create("main", venue="binance", upstream=UPSTREAM)
    service.grants.create_consumer("bot")
    credential = Credential("REAL", Secret(REAL_SECRET), KeyType.HMAC)
    service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=SAFE)
    service.destinations.create(
        "tool", account="main", slot=Slot.TRADE, kind="manual", settings={"what": "a tool"}
    )
    policy = POLICY + "[checkout]\nmax_seconds = 3600\n"
    grant = service.grants.create(consumer="bot", account="main", policy=policy).grant.id
    bodies = {
        "checkouts": {"grant": grant, "ttl_s": 600, "holder": "Ann", "reason": "tax"},
        "destinations/tool/key": {"reason": "set up"},
    }
    return Way(desk, request.param, bodies[request.param])


def first(thing: Any, name: str, once: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have something happen before a step is done for the first time."""
    real, done = getattr(thing, name), list[bool]()

    def stepped(*args: Any, **more: Any) -> Any:
        if not done:
            done.append(True)
            once()
        return real(*args, **more)

    monkeypatch.setattr(thing, name, stepped)


def after_first_look(once: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have something happen once the first look has found nothing in the way."""
    real, done = last_look.look, list[bool]()

    def looked(*args: Any) -> Any:
        found = real(*args)
        if not done:
            done.append(True)
            once()
        return found

    monkeypatch.setattr(last_look, "look", looked)


def kept_here(way: Way, answer: httpx.Response) -> None:
    assert REAL_SECRET not in answer.text
    assert (answer.status_code, answer.json()["reason"]) == (403, "cut")
    assert way.out() == 0, "what nobody was given is not out"
    assert {"checkout.close", "destination.key_kept"} & set(way.audited())


async def test_a_cut_while_the_idempotency_record_is_waited_for(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    first(way.desk.service.operators, "remember", way.cut, monkeypatch)
    kept_here(way, await way.ask(**ONCE))


@pytest.mark.parametrize("headers", [ONCE, {}])
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_cut_between_the_look_and_the_answer(
    way: Way, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], *, elsewhere: bool
) -> None:
    """A thread's turn, the loop's, or a process that stood still: the look counts no more then."""
    after_first_look(way.cut_elsewhere if elsewhere else way.cut, monkeypatch)
    kept_here(way, await way.ask(**headers))


async def test_looks_that_never_count_let_nothing_go(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_look, "COUNTS_FOR_S", 0.0)
    answer = await way.ask(**ONCE)
    assert (answer.status_code, answer.json()["reason"]) == (503, "look_slow")
    assert way.out() == 0
    monkeypatch.undo()
    answer = await way.ask(**ONCE)
    assert answer.json()["secret"] == REAL_SECRET
    assert "replayed" not in answer.json()


@pytest.mark.parametrize("forgets", [True, False], ids=["forgotten", "forgetting fails"])
async def test_what_was_withheld_may_be_asked_for_again_under_its_key(
    way: Way, monkeypatch: pytest.MonkeyPatch, *, forgets: bool
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("database", "away on purpose")

    if not forgets:
        monkeypatch.setattr(way.desk.service.operators, "forget", away)
    first(way.desk.service.operators, "remember", way.cut, monkeypatch)
    kept_here(way, await way.ask(**ONCE))
    kept_here(way, await way.ask(**ONCE))
    way.thaw()
    answer = await way.ask(**ONCE)
    assert answer.json()["secret"] == REAL_SECRET
    assert "replayed" not in answer.json()


async def test_a_repeat_hands_out_nothing_again(way: Way) -> None:
    """It is answered as before, without the key, and makes no second checkout."""
    one, two = await way.ask(**ONCE), await way.ask(**ONCE)
    assert one.json()["secret"] == REAL_SECRET
    assert two.json() == one.json() | {
        "secret": None, "replayed": True, "first_answered_at": two.json()["first_answered_at"]
    }  # fmt: skip
    assert len(way.desk.service.checkouts.list()) == (way.path == "checkouts")


async def test_what_is_answered_after_one_that_could_not_be_forgotten_counts(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked a third time under the same key it was done once more, and the key left once more."""

    def away(*_: object) -> None:
        raise StoreUnavailable("database", "away on purpose")

    answers, content = Answers(desk.service), b"asked"
    with monkeypatch.context() as patch:
        for name in ("remember", "forget"):
            patch.setattr(desk.service.operators, name, away)
        await answers.keep("ann", "one", content, JSONResponse({"id": "first"}, 201), cuts=False)
        await answers.forget("ann", "one")
        assert await answers.before("ann", "one", content, cuts=False, doubt=False) is None
    await answers.keep("ann", "one", content, JSONResponse({"id": "second"}, 201), cuts=False)
    assert await answers.before("ann", "one", content, cuts=False, doubt=False) is not None
