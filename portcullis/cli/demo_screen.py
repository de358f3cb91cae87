"""What `portcullis demo` shows: the virtual key once, what to paste, what cuts it off; then requests as they come."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol

from rich.console import Console
from rich.panel import Panel
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text

from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.service.calls import Call
from broker.service.cuts import Cut
from portcullis.cli.face import Face, badge
from portcullis.cli.tables import amount
from portcullis.demo import CONSUMER, Ready
from portcullis.recipes import PLACEHOLDER, Place, short_ccxt

_EVERY_S = 0.2
_UNANSWERED_FOR = timedelta(seconds=3)
_PAGE = 100


class Calls(Protocol):
    """As much of the call log as the screen reads."""

    def __call__(self, *, limit: int) -> tuple[Call, ...]:
        """Return the newest calls, newest first."""
        ...


def opening(face: Face, ready: Ready) -> None:
    """Show the first screen. The secret is on it at the first start only."""
    out, broker = face.out, ready.broker
    out.print(
        Text.assemble(
            badge(broker.home.environment.value), "  ", ("Portcullis", "bold"),
            f"   gateway {broker.running.gateway}   API {broker.running.api}",
        )
    )  # fmt: skip
    out.print(Text(f"         paper exchange {broker.paper_base}   home {broker.home.root}", "dim"))
    key = Text.assemble(("key id  ", "dim"), ready.grant.key_id)
    if ready.fresh:
        key.append("\nsecret  ", "dim").append(ready.secret.reveal(), "bold yellow")
        key.append("\nShown this once. Only this gateway knows it; it cannot withdraw.", "dim")
    else:
        kept = broker.home.paper / "demo-bot.json"
        key.append(f"\nThe secret was shown at the first start; this demo's bot keeps it in {kept}", "dim")
    out.print(Panel(key, title=f"virtual key of {CONSUMER}", title_align="left", border_style="yellow"))
    secret = ready.secret.reveal() if ready.fresh else PLACEHOLDER
    place = Place(broker.running.gateway, ready.grant.key_id, secret)
    out.print(Text("paste into a bot  (pip install ccxt)", "dim"))
    out.print(Syntax(short_ccxt(place), "python", background_color="default", word_wrap=True))
    cut = face.command(f"cut --consumer {CONSUMER} --reason 'trying the cut'")
    out.print(Text.assemble(("cut it off  ", "dim"), (cut, "bold red")), soft_wrap=True)
    out.print(
        Text(
            "may: BTCUSDT, ETHUSDT; 1,000 USDT an order, 10,000 a day; never withdraw.   Ctrl-C ends everything.",
            "dim",
        )
    )
    out.print(Rule("requests", style="dim"))


async def follow(out: Console, ready: Ready, stop: asyncio.Event) -> None:
    """Print requests and cuts as they come, until `stop` is set."""
    service = ready.broker.service
    seen_at = max(
        (one.at for one in service.calls.list(limit=1).items), default=datetime.min.replace(tzinfo=UTC)
    )
    cuts = {one.id: one for one in service.cuts.list(open_only=True).items}
    for one in cuts.values():
        out.print(_cut_line(one))
    while not stop.is_set():
        try:
            rows = await asyncio.to_thread(lambda: service.calls.list(limit=_PAGE).items)
            open_now = await asyncio.to_thread(lambda: service.cuts.list(open_only=True).items)
        except StoreUnavailable:
            rows, open_now = (), tuple(cuts.values())  # the next look may do better
        for one in open_now:
            if one.id not in cuts:
                cuts[one.id] = one
                out.print(_cut_line(one))
        for gone in set(cuts) - {one.id for one in open_now}:
            out.print(Text.assemble(("  ● thawed  ", "bold green"), ", ".join(cuts.pop(gone).scopes)))
        now = datetime.now(UTC)
        for call in sorted((row for row in rows if row.at > seen_at), key=lambda row: row.at):
            if call.decision != "deny" and call.outcome is None and now - call.at < _UNANSWERED_FOR:
                break
            seen_at = call.at
            out.print(call_line(call))
        try:
            async with asyncio.timeout(_EVERY_S):
                await stop.wait()
        except TimeoutError:
            continue


def call_line(call: Call) -> Text:
    """Say one request in a line: when, what, what was decided, and why."""
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{call.at.astimezone(UTC):%H:%M:%S} ", "dim")
    if call.decision == "deny":
        line.append("✗ refused ", "bold red")
    elif call.outcome in {"done", "refused"}:
        line.append("✓ allowed ", "green")
    else:
        line.append("? unknown ", "bold yellow")
    what = " ".join(part for part in (call.side, call.symbol) if part)
    line.append(f"{call.consumer or '(nobody)':<10} {call.endpoint:<24} ", "bold")
    line.append(f"{what:<12} ")
    if call.notional:
        line.append(f"{amount(call.notional):>10} ", "cyan")
    if call.decision == "deny":
        line.append(f"{call.reason or ''}", "red")
    elif call.outcome == "refused":
        line.append(f"the exchange said no ({call.code or call.status})", "yellow")
    elif call.latency_us is not None:
        line.append(f"{call.latency_us / 1000:.1f} ms", "dim")
    return line


def _cut_line(cut: Cut) -> Text:
    word = "CUT OFF" if cut.mode is Mode.CLOSED else "HALTED"
    return Text.assemble(
        (f"  ■ {word}  ", "bold white on red"),
        " ",
        ", ".join(cut.scopes),
        (f"  {cut.reason}  {cut.id}", "dim"),
    )
