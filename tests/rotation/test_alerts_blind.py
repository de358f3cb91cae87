"""People hear of what is wrong while something cannot be looked at, or the secret store is away."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.db import alerts, meta
from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.service import Service
from broker.service.conditions import LOOKED
from broker.service.each import may_stand
from clients.secret import Secret
from rotation.alerts import conditions, telling
from rotation.alerts.answers import Answer
from rotation.alerts.sending import Message
from rotation.alerts.telling import AGAIN_US, TOGETHER_US, Send, Telling
from tests.losing import lose
from tests.rotation.alerting import Clock, becomes, home_with_a_key, planned, unknown

pytestmark = pytest.mark.sockets


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with home_with_a_key(tmp_path) as service:
        yield service


def kept(told: list[str]) -> Send:
    """Return what keeps all that is sent."""

    def send(_: str, message: Message) -> Answer:
        told.append(f"{message.title}\n{message.text}")
        return message.taken

    return send


def standing(service: Service) -> set[str]:
    with service.desk.database.read() as connection:
        return {one.kind for one in alerts.standing(connection)}


def test_nothing_is_right_again_by_a_look_that_did_not_see_everything(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, told = Clock(service.desk.clock.now_us()), list[str]()
    service.alerts.add("phone", "webhook", Secret("json://127.0.0.1:9/x"))
    teller = Telling(service, clock, kept(told))
    unknown(service, clock, "A" * 64)
    teller.look()
    clock.us += TOGETHER_US
    teller.look()
    assert "A" * 64 in told[-1]
    with monkeypatch.context() as blind:
        blind.setattr(conditions.finding_store, "standing", lambda _: 1 // 0)
        for _ in range(2):
            clock.us += TOGETHER_US
            teller.look()
        assert {"key", "unseen"} <= standing(service)
        assert "right again" not in told[-1]
        assert "keys that left could not be looked at" in told[-1]
    unknown(service, clock)
    clock.us += TOGETHER_US
    teller.look()
    assert not {"key", "unseen"} & standing(service)
    assert "right again" in told[-1]


def test_what_another_source_sees_to_be_over_is_right_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call log was damaged: a cut that was thawed hours ago was told as in force, a rotation that is done as waiting."""
    clock, told = Clock(service.desk.clock.now_us()), list[str]()
    service.alerts.add("phone", "webhook", Secret("json://127.0.0.1:9/x"))
    teller = Telling(service, clock, kept(told))
    rotation = planned(service)
    becomes(service, rotation, state="stalled", reason="whether it is dead cannot be told", runbook="RB-10")
    cut, _ = service.cuts.close(targets=("everything",), mode=Mode.CLOSED, reason="leak", actor="me")
    for _ in range(2):
        teller.look()
        clock.us += TOGETHER_US
    assert {"cut", "stalled"} <= standing(service)

    def damaged(*_: object, **__: object) -> None:
        raise StoreUnavailable("database", "calls.db is damaged")

    monkeypatch.setattr(service.desk.database.log, "read", damaged)
    service.cuts.thaw(cut.id, reason="over", actor="me")
    becomes(service, rotation, state="done", ended_us=1)
    told.clear()
    for _ in range(3):
        clock.us += AGAIN_US
        teller.look()
    assert not {"cut", "stalled"} & standing(service)
    lines = [line for line in "\n".join(told).splitlines() if "CUT OFF" in line or "stands still" in line]
    assert lines
    assert all(line.startswith("+ right again: ") for line in lines)


@pytest.mark.parametrize(
    ("kind", "unseen", "stands"),
    [
        ("refused-orders", ["refused orders"], True), ("cut", ["refused orders"], False),
        ("key", ["findings of the sweep"], True), ("key", ["keys that left"], True),
        ("key-refused", ["what processes report"], True), ("cut", ["what processes report"], False),
        ("unsafe", ["cuts"], False), ("cut", ["refused orders", "cuts"], True), ("cut", [], False),
    ],
)  # fmt: skip
def test_what_may_stand_is_of_the_kinds_that_were_not_looked_for(
    kind: str, unseen: list[str], stands: bool
) -> None:
    assert may_stand(kind, unseen) is stands


def test_a_look_that_failed_is_none(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("database", "it is away")

    monkeypatch.setattr(telling, "all_that_is_wrong", away)
    with pytest.raises(StoreUnavailable):
        Telling(service, Clock(service.desk.clock.now_us())).look()
    with service.desk.database.read() as connection:
        assert meta.get(connection, LOOKED) is None, "so it is told that the rotator is silent"


@pytest.mark.parametrize(("how", "goes"), [("vault_sealed", True), ("destroyed", False)])
def test_a_channel_that_was_told_before_is_told_while_the_secret_store_is_away(
    service: Service, how: str, goes: bool
) -> None:
    told = list[str]()
    service.alerts.add("phone", "webhook", Secret("json://127.0.0.1:9/x"))
    teller = Telling(service, Clock(service.desk.clock.now_us()), kept(told))
    assert teller.test("phone") == ""
    (channel,) = service.alerts.channels()
    lose(service.desk.secrets, channel.path, how)
    assert (teller.test("phone") == "") is goes
    assert len(told) == 1 + goes
