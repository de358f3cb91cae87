"""What leaves while the spool cannot be written has its line once it can be, with what came of it; else it is said."""

import errno
import logging
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.calllog import Answered, Ask, parse
from broker.gateway.late import Late
from broker.gateway.ledger import Ledger
from broker.gateway.spool import Spool
from broker.policy import Allow
from clients.venue import Action
from tests.gateway.mortal import Mortal
from tests.gateway.test_kept_lines import logged, until
from tests.gateway.world import POLICY, Bot, World, running_world

pytestmark = pytest.mark.sockets
NARROW = POLICY.replace('"1000"', '"700"')


def full_disk(spool: Spool, still: Callable[[str], bool]) -> None:
    """Let the spool take no line for which there is `still` no room."""
    write = spool.write

    def limited(line: str) -> None:
        if still(line):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(line)

    spool.write = limited  # type: ignore[method-assign]


async def trading(world: World, path: Path) -> tuple[Mortal, Bot]:
    world.account(BTC="1", USDT="100000")
    issued = world.issue(policy=NARROW)
    assert issued.secret is not None
    mortal = Mortal(world, path)
    await mortal.start()
    bot = Bot(mortal.port, issued.grant.key_id, issued.secret.reveal())
    await bot.ready()
    return mortal, bot


def cancels(world: World) -> list[tuple[str, str | None]]:
    """Return the decision on each cancel, and what came of it."""
    return [
        (call.decision, call.outcome) for call in world.service.calls.list().items if call.action == "cancel"
    ]


@pytest.mark.parametrize("when", ["before the answer", "after it", "at the stop"])
async def test_an_exit_and_a_cancel_that_left_while_the_disk_was_full_are_on_record_with_what_came_of_them(
    tmp_path: Path, when: str
) -> None:
    """They had no line for good: of what was sold the broker knew only as long as the gateway lived."""
    async with running_world(tmp_path) as world:
        mortal, bot = await trading(world, tmp_path / "edge")
        far = {"type": "LIMIT", "timeInForce": "GTC", "price": "58000", "newClientOrderId": "rests"}
        assert (await bot.order(quantity="0.001", **far)).status == 200
        spool, full, tried = mortal.gateway.spool, [True], set[str]()

        def still(line: str) -> bool:
            what = re.sub(r'"q":\d+', "", line)
            first = what not in tried
            tried.add(what)
            return full[0] and (first or when != "before the answer")

        full_disk(spool, still)
        refused = await bot.order(quantity="0.001", newClientOrderId="risk")
        assert (refused.status, refused.reason) == (503, "spool")
        assert (await bot.order("SELL", quantity="0.5", newClientOrderId="exit")).status == 200
        gone = await bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="rests")
        assert gone.status == 200
        if when == "after it":
            assert any(one.kind == "spool" for one in mortal.gateway.health().troubles), "a person is told"
        full[0] = False
        if when != "at the stop":
            await until(lambda: logged(world).get("exit") == "done")
            await until(lambda: cancels(world) == [("allow", "done")])
            assert not mortal.gateway.health().troubles
        await mortal.end()
        await until(lambda: logged(world).get("exit") == "done")
        await until(lambda: cancels(world) == [("allow", "done")])
        sold = next(one for one in world.executed() if one["order"]["side"] == "SELL")
        assert world.service.calls.whose("main", "BTCUSDT", f"#{sold['order']['order_id']}").grant is not None
        assert "risk" not in logged(world)


async def test_what_has_no_line_at_the_stop_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running_world(tmp_path) as world:
        mortal, bot = await trading(world, tmp_path / "edge")
        full_disk(mortal.gateway.spool, lambda _: True)
        assert (await bot.order("SELL", quantity="0.5", newClientOrderId="exit")).status == 200
        with caplog.at_level(logging.ERROR):
            await mortal.end()
        assert "2 call-log lines of exits" in caplog.text


# --- in order, and bounded --------------------------------------------------------------------


def ask(name: str, grant: str = "g") -> Ask:
    return Ask(
        9, 1, grant, "c", "main", "k", "POST", "order", "place", "BTCUSDT", "SELL", "1", (name,), None, "allow",
        None, 0, (), "", True,
    )  # fmt: skip


def answer(of: int = 0) -> Answered:
    return Answered(9, of, 1, 200, None, 1, "done", (), ())


class Lines:
    """Takes lines, as many as there is room for."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room, self.told = room, list[Ask | Answered]()

    def write(self, line: Ask | Answered) -> None:
        if len(self.told) >= self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.told.append(line)

    def following(self) -> int:
        return len(self.told) + 1


def test_an_answer_names_the_ask_that_was_written_before_it_wherever_the_disk_was_full_again() -> None:
    for room in range(6):
        late, lines = Late(), Lines(room)
        first, second = late.ask(ask("a"), ()), late.ask(ask("b"), ())
        late.answer(answer(), "g", second)
        late.answer(answer(of=77), "g")
        late.answer(answer(), "g", first)
        if room < 5:
            with pytest.raises(OSError, match="No space"):
                late.write(lines.write, lines.following)
            lines.room = 5
        late.write(lines.write, lines.following)
        assert [one.seq for one in lines.told] == [1, 2, 3, 4, 5]
        assert [one.of for one in lines.told if isinstance(one, Answered)] == [2, 77, 1]
        assert not late


def test_a_flood_of_one_bots_exits_costs_no_others_its_line_and_what_is_dropped_is_counted() -> None:
    late, lines = Late(most=100), Lines()
    late.answer(answer(), "quiet", late.ask(ask("only", "quiet"), ()))
    for number in range(500):
        late.answer(answer(), "loud", late.ask(ask(str(number), "loud"), ()))
    assert len(late) <= 100
    late.write(lines.write, lines.following)
    assert late.dropped + len(lines.told) == 2 + 2 * 500
    asks = {one.seq: one.client_order_ids[0] for one in lines.told if isinstance(one, Ask)}
    assert "only" in asks.values()
    assert "499" in asks.values()
    answers = [one.of for one in lines.told if isinstance(one, Answered)]
    assert set(answers) <= set(asks), "no answer without its ask"
    assert len(answers) >= len(asks) - 1


_RISKY = (
    (Action.PLACE, Allow(), True),
    (Action.PLACE, Allow(observed="max_notional"), True),
    (Action.PLACE, Allow(leaving=True), False),
    (Action.PLACE, Allow(only_sells=True), False),
    (Action.CANCEL, Allow(leaving=True), False),
    (Action.CANCEL, Allow(leaving=True, observed="owner"), False),
    (Action.AMEND, Allow(leaving=True), False),
    (Action.READ, Allow(), False),
    *(
        (action, Allow(), True)
        for action in Action
        if action.value not in {"place", "cancel", "amend", "read"}
    ),
)


@pytest.mark.parametrize(("action", "verdict", "waits"), _RISKY)
def test_no_new_risk_leaves_without_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: Action, verdict: Allow, waits: bool
) -> None:
    """Whatever it is: only what leaves, and reads, go on beside a spool that cannot be written."""
    full = [True]
    spool = Spool(tmp_path)
    full_disk(spool, lambda _: full[0])
    ledger = Ledger(spool, SimpleNamespace(wall_us=lambda: 1, boot_us=lambda: 1), lambda: None)  # type: ignore[arg-type]
    job: Any = SimpleNamespace(
        seq=0, unwritten=None, reading=SimpleNamespace(intent=SimpleNamespace(action=action))
    )
    monkeypatch.setattr(Ledger, "_ask", lambda *_: ask(action.value))
    if waits:
        with pytest.raises(OSError, match="No space"):
            ledger.allowed(job, None, verdict)
        assert ledger.in_flight == 0
    else:
        job.sent = ()
        ledger.allowed(job, None, verdict)
        assert ledger.in_flight == 1
    full[0] = False
    ledger.catch_up()
    written = [type(parse(text)).__name__ for _, text in spool.batch(0, 9)]
    assert written == ([] if waits or action is Action.READ else ["Ask"])
    spool.close()
