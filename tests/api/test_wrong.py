"""Everything a person would call wrong is one list, and `status`, `ready` and `alerts list` show the same of it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from broker.api.context import Hazard
from broker.api.ports import Connected
from broker.api.wrong import BEHIND_LINES, SILENT_S
from broker.db import findings as finding_store
from broker.db import meta
from broker.db import schedules as schedule_store
from broker.db import tables as t
from broker.db.alerts import Alert, change, failed
from broker.db.findings import Finding
from broker.db.reports import Report
from broker.gate import Mode
from broker.link.frames import KeyWord, Trouble
from broker.model import KeyRef, Schedule
from broker.service.conditions import LOOKED, ROTATORS
from broker.service.operators import Role
from clients.secret import Secret
from clients.venue import Credential, KeyType, Slot
from tests.api.desk import REAL_SECRET, SAFE, Desk, FakeGateways
from tests.api.test_readiness import account, planned

LATER_US = 4_000_000_000_000_000


def cut(desk: Desk, mode: Mode = Mode.CLOSED) -> None:
    desk.service.cuts.close(targets=("account:main",), mode=mode, reason="a leak", actor="Ann")


def stored(desk: Desk, slot: Slot, **facts: bool) -> None:
    key = Credential(f"KEY-{slot.value}-x", Secret(REAL_SECRET), KeyType.HMAC)
    desk.service.keys.import_key(
        "main", slot=slot, credential=key, facts=replace(SAFE, account_uid="main", **facts),
        allow_withdraw=True, allow_any_address=True,
    )  # fmt: skip


def found(desk: Desk) -> None:
    with desk.service.desk.database.write() as connection:
        one = Finding("main", "K" * 64, "unknown", "the exchange lists a key we do not know")
        finding_store.found(connection, "main", [one], 1)


def stalled(desk: Desk) -> None:
    planned(desk, Slot.TRADE)
    with desk.service.desk.database.write() as connection:
        connection.execute(t.ROTATIONS.update().values(state="stalled", reason="a gateway is silent"))


def overdue(desk: Desk) -> None:
    with desk.service.desk.database.write() as connection:
        schedule_store.add(connection, Schedule("main", Slot.TRADE, timedelta(days=90), timedelta(0)))
        late = round((datetime.now(UTC) - timedelta(days=2)).timestamp() * 1_000_000)
        schedule_store.work_out(connection, "main", Slot.TRADE, late, "every 90 days")


def channel(desk: Desk) -> None:
    desk.service.alerts.add("phone", "webhook", Secret("json://127.0.0.1:9/x"))
    with desk.service.desk.database.write() as connection:
        failed(connection, "phone", "it was not taken")


def slow(desk: Desk) -> None:
    with desk.service.desk.database.write() as connection:
        change(connection, [Alert("slow", "rot_1", "it does not come on", "portcullis rotation list")], 1)


def connected(desk: Desk, *gateways: Connected) -> None:
    class Gateways(FakeGateways):
        def connected(self) -> tuple[Connected, ...]:
            return gateways

    desk.app.state.context = replace(desk.app.state.context, gateways=Gateways())


def gateway_gone(desk: Desk) -> None:
    connected(desk)
    desk.service.grants.create_consumer("bot")
    desk.service.grants.create(consumer="bot", account="main", policy='allow = ["market"]')


def two_assets(desk: Desk, *, mode: str = "enforce") -> None:
    desk.service.grants.create_consumer("bot")
    limit = 'allow = ["market"]\n[account.day]\nmax_notional = "5000"\n'
    desk.service.grants.create(consumer="bot", account="main", policy=limit)
    other = f'mode = "{mode}"\nreference_asset = "EUR"\nallow = ["market"]'
    desk.service.grants.create(consumer="bot", account="main", policy=other)


def two_assets_observed(desk: Desk) -> None:
    two_assets(desk, mode="observe")


def gateway_behind(desk: Desk) -> None:
    (one,) = desk.gateways.connected()
    connected(desk, replace(one, spool_lines=BEHIND_LINES + 1))


def gateway_hangs(desk: Desk) -> None:
    (one,) = desk.gateways.connected()
    connected(desk, replace(one, silent_s=SILENT_S))


def rotator_hangs(desk: Desk) -> None:
    then_us = desk.service.desk.clock.now_us() - 300_000_000
    desk.service.conditions._began_us = then_us
    with desk.service.desk.database.write() as connection:
        meta.put(connection, LOOKED, str(then_us))


def reported(*words: KeyWord, troubles: tuple[Trouble, ...] = ()) -> Callable[[Desk], None]:
    return lambda desk: desk.service.reports.of_gateway("local", words, troubles)


WRONG: dict[str, tuple[Callable[[Desk], None], str]] = {
    "cut off": (cut, "account:main CUT OFF"),
    "limits in two assets": (two_assets, "no order passes but exits"),
    "limits in two assets, observed": (two_assets_observed, "every order would be refused"),
    "halted": (lambda desk: cut(desk, Mode.HALT), "account:main HALTED"),
    "a key that may withdraw": (lambda desk: stored(desk, Slot.READ, can_withdraw=True), "main/read/1 may withdraw"),
    "a key from anywhere": (lambda desk: stored(desk, Slot.READ, ip_restricted=False), "works from any address"),
    "an account without a key": (lambda desk: account(desk, "bare", egress="direct"), "declares no addresses"),
    "a finding": (found, "a key we do not know"),
    "a rotation that stalls": (stalled, "stands still: a gateway is silent"),
    "an overdue key": (overdue, "overdue"),
    "a channel that fails": (channel, "alerts do not reach phone"),
    "what the rotator found": (slow, "it does not come on"),
    "the key in use is refused": (reported(KeyWord("main/trade/1", False, -2015)), "REFUSES the key main/trade/1"),
    "an order key is refused": (reported(KeyWord("main/trade/1", True, -2015)), "no order of its bots"),
    "a ban": (reported(troubles=(Trouble("venue-banned", "out", "", LATER_US),)), "BANNED"),
    "a pause": (reported(troubles=(Trouble("venue-pause", "out", "", LATER_US),)), "asks egress out to ask less"),
    "a blocked account": (reported(troubles=(Trouble("account-blocked", "main"),)), "main trade nothing"),
    "a silent exchange": (reported(troubles=(Trouble("venue-silent", "out"),)), "does not answer by egress out"),
    "orders without answer": (reported(troubles=(Trouble("orders-unanswered", "out"),)), "answers no order by egress out"),
    "files of a spool": (
        reported(troubles=(Trouble("spool", "", "what boot 7 did cannot be read"),)), "what boot 7 did cannot be read"
    ),
    "a clock": (reported(troubles=(Trouble("clock", "out", "+7.0 s"),)), "+7.0 s off the exchange's"),
    "the host": (lambda desk: desk.hazards.append(Hazard("the secret store is away", "RB-03")), "store is away"),
    "another broker's host": (
        lambda desk: desk.service.reports.of_broker(
            "b2", [Report("broker:b2", "unsafe", "x", "no anchor took the trail", "RB-03")]
        ),
        "no anchor took the trail",
    ),
    "no gateway": (gateway_gone, "no gateway is connected"),
    "a gateway behind": (gateway_behind, "lines behind with the call log"),
    "a gateway that hangs": (gateway_hangs, "is connected and says nothing"),
    "a rotator that hangs": (rotator_hangs, "the rotator looks at nothing since"),
}  # fmt: skip


async def views(desk: Desk) -> tuple[list[str], list[str], list[str], bool]:
    async with desk.client(Role.VIEWER) as client:
        status = (await client.get("/v1/status")).json()
        ready = (await client.get("/v1/ready")).json()
        alerts = (await client.get("/v1/alerts")).json()["items"]
    return (
        sorted(one["what"] for one in status["wrong"]),
        sorted(one["what"] for one in ready["wrong"]),
        sorted(one["says"] for one in alerts),
        ready["ready"],
    )


async def test_where_nothing_is_wrong_all_say_so(desk: Desk) -> None:
    account(desk)
    assert await views(desk) == ([], [], [], True)


@pytest.mark.parametrize(("make", "says"), WRONG.values(), ids=WRONG.keys())
async def test_what_is_wrong_is_wrong_in_every_view(
    desk: Desk, make: Callable[[Desk], None], says: str
) -> None:
    account(desk)
    make(desk)
    status, ready, alerts, is_ready = await views(desk)
    assert status == ready == alerts
    assert len([line for line in status if says in line]) == 1, status
    assert not is_ready
    async with desk.client(Role.VIEWER) as client:
        rows = (await client.get("/v1/alerts")).json()["items"]
    assert all(row["step"] for row in rows), "each has a next step"


async def test_every_kind_the_rotator_finds_is_shown(desk: Desk) -> None:
    account(desk)
    told = [Alert(kind, f"s-{kind}", f"says {kind}", "portcullis status") for kind in sorted(ROTATORS)]
    with desk.service.desk.database.write() as connection:
        change(connection, told, 1)
    status, ready, alerts, _ = await views(desk)
    assert status == ready == alerts == sorted(one.says for one in told)


async def test_what_is_right_again_is_gone_from_every_view_at_once(desk: Desk) -> None:
    """Not only once a rotator has looked: it may be the rotator that is gone."""
    account(desk)
    made, _ = desk.service.cuts.close(targets=("everything",), mode=Mode.CLOSED, reason="x", actor="Ann")
    desk.service.reports.of_gateway("local", [KeyWord("main/trade/1", False, -2015)], ())
    with desk.service.desk.database.write() as connection:
        change(connection, [Alert("cut", made.id, "an old word", "x")], 1)
    assert len((await views(desk))[0]) == 2
    desk.service.reports.of_gateway("local", [KeyWord("main/trade/1", False, 0)], ())
    desk.service.cuts.thaw(made.id, reason="over", actor="Bob")
    assert await views(desk) == ([], [], [], True)


async def test_a_key_that_is_not_in_use_any_more_is_refused_as_it_should_be(desk: Desk) -> None:
    account(desk)
    desk.service.reports.of_gateway("local", [KeyWord("main/trade/1", False, -2015)], ())
    ref = KeyRef("main", Slot.TRADE, 1)
    with desk.service.desk.database.write() as connection:
        connection.execute(
            t.KEY_VERSIONS.update().where(t.KEY_VERSIONS.c.slot == "trade").values(stage="previous")
        )
    assert ref.version == 1
    assert not any("REFUSES" in line for line in (await views(desk))[0])
