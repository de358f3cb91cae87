"""The checker of histories finds what breaks a promise, made up and played with a broker that is broken on purpose."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.gate import Mode
from broker.gateway.book import Book
from broker.gateway.link import LinkClient
from broker.service.desk import Desk
from tests.gateway.world import running_world
from tests.history import laws
from tests.history.events import (
    Became,
    Buried,
    Deleted,
    Executed,
    History,
    InForce,
    Key,
    Noted,
    Reopened,
    Rotation,
    Version,
    Written,
)

BOT = frozenset({"everything", "consumer:bot", "grant:grt_1"})


def sent(at_us: int, *, risk: bool = True, name: str = "", key: str = "") -> Written:
    return Written(at_us, "grt_1", BOT, risk, (name,) if name else (), key)


def cut(at_us: int, *scopes: str, halt: bool = False, name: str = "cut_1") -> InForce:
    return InForce(at_us, name, frozenset(scopes or ("consumer:bot",)), halt)


def well() -> History:
    """A cut, a thaw and a rotation, as they should be."""
    return History(
        written=[sent(1, name="a"), sent(30, name="b")],
        executed=[Executed("K1", "a", 1), Executed("K2", "b", 30)],
        in_force=[cut(10)],
        reopened=[Reopened(20, "cut_1")],
        keys=[Key("K1", "main", lives=False), Key("K2", "main", lives=True)],
        deleted=[Deleted(26, "K1")],
        versions=[
            Version("main/trade", 1, "tombstone", "K1"),
            Version("main/trade", 2, "current", "K2", kept=True),
        ],
        became=[Became(0, "main/trade", 1, ""), Became(23, "main/trade", 2, "rot_1")],
        buried=[Buried(28, "main/trade", 1, "refused by name")],
        rotations=[
            Rotation(
                "rot_1",
                "done",
                "main/trade",
                1,
                2,
                over=True,
                ended_us=29,
                states=((21, "preparing"), (22, "cutting-over"), (25, "retiring-old"), (29, "done")),
            )
        ],
    )


def test_a_history_in_which_all_went_well_breaks_no_law() -> None:
    assert laws.broken(well()) == []


def test_a_request_that_left_between_the_word_and_the_thaw_is_found_whatever_it_was() -> None:
    for risk in (True, False):
        history = well()
        history.written.append(sent(15, risk=risk))
        assert len(laws.broken(history)) == 1, "a closed scope lets nothing out"


def test_a_halt_lets_exits_out_and_no_risk() -> None:
    history = well()
    history.in_force = [cut(10, halt=True)]
    history.written.append(sent(15, risk=False))
    assert laws.broken(history) == []
    history.written.append(sent(16))
    assert len(laws.broken(history)) == 1


@pytest.mark.parametrize("scope", ["everything", "grant:grt_1"])
def test_a_wide_and_a_narrow_scope_cover_the_bot_and_another_does_not(scope: str) -> None:
    history = well()
    history.in_force.append(cut(25, scope, name="cut_2"))
    assert len(laws.broken(history)) == 1
    history.in_force[-1] = cut(25, "consumer:other", name="cut_2")
    assert laws.broken(history) == []


def test_the_thaw_of_one_cut_opens_no_other() -> None:
    history = well()
    history.in_force.append(cut(12, name="cut_2"))
    assert len(laws.broken(history)) == 1


def test_an_order_that_no_gateway_wrote_is_found() -> None:
    history = well()
    history.executed.append(Executed("K2", "c"))
    assert laws.broken(history) == ["the exchange executed c, and no gateway wrote it"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"keys": [Key("K1", "main", lives=True), Key("K2", "main", lives=True)]}, "is called dead"),
        ({"keys": [Key("K1", "main", lives=False), Key("K2", "main", lives=False)]}, "its key is dead"),
        ({"versions": [Version("main/trade", 1, "tombstone", "K1")]}, "is done, and main/trade/2 is None"),
        (
            {"versions": [Version("main/trade", 1, "previous", "K1"), Version("main/trade", 2, "current", "K2")]},
            "is done, and main/trade/1 is previous",
        ),
        (
            {"keys": [*well().keys, Key("K9", "main", lives=True)]},
            "lives that no record knows",
        ),
        (
            {
                "keys": [*well().keys, Key("K3", "main", lives=True)],
                "versions": [*well().versions, Version("main/trade", 3, "pending", "K3")],
            },
            "versions [3] live beside the current one",
        ),
        (
            {"versions": [*well().versions, Version("main/trade", 3, "current", "K2")]},
            "2 current versions",
        ),
    ],
)  # fmt: skip
def test_a_key_that_is_not_as_the_record_says_is_found(change: dict[str, Any], words: str) -> None:
    history = well()
    for name, value in change.items():
        setattr(history, name, value)
    assert any(words in one for one in laws.broken(history)), laws.broken(history)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"became": [*well().became, Became(24, "main/trade", 1, "")]}, "was deleted while it was in use"),
        ({"rotations": []}, "no rotation on record is about it"),
        ({"written": [*well().written, sent(200_000, key="main/trade/1")]}, "was signed with 200.0 ms after"),
        (
            {"versions": [well().versions[0], Version("main/trade", 2, "current", "K2", kept=False)]},
            "the secret of main/trade/2, which stays, is gone",
        ),
        ({"became": [*well().became, Became(27, "main/trade", 2, "rot_1")]}, "while rot_1 was retiring-old"),
        ({"became": [*well().became, Became(27, "main/trade", 1, "")]}, "into use after its key was deleted"),
        ({"buried": []}, "nothing says by what that is known"),
        ({"buried": [Buried(28, "main/trade", 1, "")]}, "nothing says by what that is known"),
        ({"buried": [Buried(25, "main/trade", 1, "a guess")]}, "called dead before its key was deleted"),
        ({"deleted": [Deleted(30, "K1")]}, "rot_1 was told done before the key of main/trade/1 was deleted"),
        (
            {"keys": [*well().keys, Key("K3", "main", lives=False, label="rot_other")]},
            "made for rot_other, and no such rotation is on record",
        ),
        ({"cuts": frozenset({"cut_2"}), "reopened": []}, "cut cut_1 was told, and is not on record"),
    ],
)  # fmt: skip
def test_a_life_of_a_key_that_went_wrong_is_found(change: dict[str, Any], words: str) -> None:
    history = well()
    for name, value in change.items():
        setattr(history, name, value)
    assert any(words in one for one in laws.broken(history)), laws.broken(history)


def test_an_incident_deletes_what_leaked_in_use_or_not() -> None:
    history = well()
    history.became = history.became[:1]
    (done,) = history.rotations
    history.rotations = [
        replace(done, state="halted", states=((21, "preparing"), (25, "halting"), (29, "halted")))
    ]
    assert laws.broken(history) == []


def test_what_the_exchange_executed_says_by_its_signature_when_it_was_sent() -> None:
    """Whatever a gateway's log says of the time."""
    history = well()
    history.reopened = []
    history.written.append(sent(9, name="c"))
    history.executed.append(Executed("K2", "c", 2_000_000))
    assert any("the exchange executed c, signed 2000.0 ms after cut" in one for one in laws.broken(history))


def test_an_exit_in_a_halt_is_not_taken_for_a_later_order_that_got_its_name() -> None:
    history = well()
    history.in_force.append(cut(1_000, halt=True, name="cut_2"))
    history.reopened.append(Reopened(9_000_000, "cut_2"))
    history.written += [sent(2_000_000, risk=False, name="y"), sent(9_500_000, name="y")]
    history.executed.append(Executed("K2", "y", 2_000_000))
    assert laws.broken(history) == []
    history.written.append(sent(2_500_000, name="z"))
    history.executed.append(Executed("K2", "z", 2_500_000))
    assert any("executed z" in one for one in laws.broken(history))


def test_a_cut_on_record_that_nobody_was_told_of_is_in_force_once_leases_of_before_are_over() -> None:
    history = well()
    history.noted = [Noted("cut_9", 10, None, frozenset({"everything"}), halt=False)]
    history.written.append(sent(15_000_000))
    assert laws.broken(history) == []
    history.written.append(sent(30_000_000))
    assert any("after cut_9 was made" in one for one in laws.broken(history))
    history.noted = [replace(history.noted[0], thawed_us=29_000_000)]
    assert laws.broken(history) == []


def _heeds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway judges by no gate."""
    monkeypatch.setattr(Book, "judge", lambda *_: Mode.OPEN)
    _keeps_keys(monkeypatch)


def _keeps_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps keys and leases, too: they are taken away moments later, and a busy machine takes its time."""

    async def never(*_: Any) -> None:
        pass

    monkeypatch.setattr("broker.authority.changes.wipe", never)
    monkeypatch.setattr(LinkClient, "_renew", lambda _self: None)


async def _closed(directory: Path, break_it: Callable[[], None]) -> None:
    """It is closed, nobody is told, and every gateway says that it has all that there is in force."""
    async with running_world(directory) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.order()).status == 200
        break_it()
        world.service.cuts.close(
            targets=("everything",), mode=Mode.CLOSED, reason="by itself", actor="portcullis"
        )
        await world.settled()
        await bot.order()


async def test_a_closing_that_nobody_asked_for_and_a_gateway_does_not_heed_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match="after cut"):
        await _closed(tmp_path, lambda: _heeds_nothing(monkeypatch))


def test_where_clocks_were_set_the_record_is_not_compared_with_the_exchange() -> None:
    history = well()
    history.deleted, history.one_clock = [Deleted(7_200_000_000, "K1")], False
    assert laws.broken(history) == []


def test_while_a_rotation_is_open_two_keys_may_live() -> None:
    history = well()
    history.keys.append(Key("K3", "main", lives=True))
    history.versions.append(Version("main/trade", 3, "pending", "K3"))
    history.rotations.append(Rotation("rot_2", "canary", "main/trade", 2, 3, over=False))
    assert laws.broken(history) == []


async def played(directory: Path, break_it: Callable[[], None] = lambda: None) -> None:
    """A bot trades, is cut, and tries to trade on."""
    async with running_world(directory) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.order()).status == 200
        break_it()
        await world.cut("consumer:bot")
        await bot.order()


async def test_a_cut_that_is_heeded_breaks_no_law(tmp_path: Path) -> None:
    await played(tmp_path)


async def test_a_gateway_that_acknowledges_a_cut_and_does_not_heed_it_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match="after cut"):
        await played(tmp_path, lambda: _heeds_nothing(monkeypatch))


async def test_gates_that_are_passed_over_and_acknowledged_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a failover that went back in time: the new cut's epoch was below the one in memory."""

    def pass_over() -> None:
        monkeypatch.setattr(Book, "set_gates", lambda *_, **__: None)
        monkeypatch.setattr(Book, "close_now", lambda *_, **__: None)
        _keeps_keys(monkeypatch)

    with pytest.raises(AssertionError, match="after cut"):
        await played(tmp_path, pass_over)


@pytest.mark.parametrize("how", ["revoke", "reissue"])
async def test_a_virtual_key_that_trades_on_after_it_was_taken_away_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Its lease was of an epoch above the one that took it away: a failover had gone back in time."""
    with pytest.raises(AssertionError, match=r"after cut \(the (end|reissue) of grt_"):
        await _taken_away(tmp_path, how, lambda: _heeds_nothing(monkeypatch))


@pytest.mark.parametrize("how", ["revoke", "reissue"])
async def test_a_virtual_key_that_was_taken_away_breaks_no_law(tmp_path: Path, how: str) -> None:
    await _taken_away(tmp_path, how)


async def _taken_away(directory: Path, how: str, break_it: Callable[[], None] = lambda: None) -> None:
    async with running_world(directory) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.order()).status == 200
        changes, tell = list[Any](), Desk.tell

        def told(desk: Desk, *gates: Any, **more: Any) -> Any:
            changes.append(tell(desk, *gates, **more))
            return changes[-1]

        (grant,) = world.service.grants.list().items
        break_it()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Desk, "tell", told)
            if how == "revoke":
                world.service.grants.revoke(grant.id, "leak")
            else:
                world.service.grants.reissue(grant.id)
        assert (await world.authority.changes.acknowledged(changes[-1], 5))[1] == ()
        await bot.order()


async def _stolen(directory: Path) -> None:
    async with running_world(directory) as world:
        world.account(USDT="100000")
        assert (await world.bot().order()).status == 200
        executed = world.paper.exchange.executed
        executed.append(executed[-1] | {"order": {"client_order_id": "stolen"}})


async def test_a_key_in_use_past_the_gateway_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no gateway wrote it"):
        await _stolen(tmp_path)
