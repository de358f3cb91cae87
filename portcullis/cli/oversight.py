"""`portcullis status` and `calls`: how everything fares, and what was asked."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from portcullis.cli.client import connect
from portcullis.cli.face import Face, badge, command
from portcullis.cli.tables import amount, micros, table, when


def register(app: typer.Typer) -> None:
    """Put the commands onto the root."""
    command(app, "status")(status)
    command(app, "calls")(calls)


def status(face: Face) -> None:
    """Show how everything fares; what is unsafe in red."""
    api = connect(face)
    found = api.get("status")
    document = found | {"home": str(api.home.root), "api": api.running.api, "gateway": api.running.gateway}

    def show(out: Console) -> None:
        out.print(
            Text.assemble(
                badge(found["environment"]), "  ", ("Portcullis runs", "bold green"),
                (f"   {found['mode']}, process {api.running.pid}   gateway {api.running.gateway}", "dim"),
            )
        )  # fmt: skip
        _gateways(out, found["gateways"])
        _grants(out, found["grants"])
        _cuts(out, found["cuts"])
        for one in found["announced"]:
            ready = f"ready {when(one['ready_at'])}" if one["ready_at"] else "a second person is awaited"
            what = f"{one['operator']} wants {one['action']} {one['subject']}: {ready}"
            out.print(f"[bold yellow]■[/] {what}  [dim]{one['act']}[/]", soft_wrap=True)
        if found["unsafe"]:
            out.print("\n[bold red]UNSAFE[/]")
            for one in found["unsafe"]:
                out.print(f"  [red]■ {one['what']}[/]", soft_wrap=True)
                out.print(f"    [dim]{one['step']}[/]", soft_wrap=True)
        else:
            out.print("\n[green]nothing that is known to be unsafe[/]")

    face.answer(document, show)


def calls(
    face: Face,
    consumer: Annotated[str | None, typer.Option("--consumer", help="Only of this bot.")] = None,
    account: Annotated[str | None, typer.Option("--account", help="Only on this account.")] = None,
    grant: Annotated[str | None, typer.Option("--grant", help="Only under this grant.")] = None,
    decision: Annotated[str | None, typer.Option("--decision", help="allow, deny or observe.")] = None,
    outcome: Annotated[str | None, typer.Option("--outcome", help="done, refused or unknown.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="The newest so many.")] = 30,
) -> None:
    """Show what bots asked, newest last, and what was decided.

    Calls made with a real key outside the gateway are not in it.
    """
    filters = {
        "consumer": consumer,
        "account": account,
        "grant": grant,
        "decision": decision,
        "outcome": outcome,
    }
    rows = list(connect(face).pages("calls", most=limit, **filters))
    notice = "Calls made with a real key outside the gateway are not in this log."

    def show(out: Console) -> None:
        listed = table(
            "at (UTC)", "consumer", "endpoint", "order", "size", "decision", "answer",
            fold=("order", "decision", "answer"), least=8,
        )  # fmt: skip
        for row in reversed(rows):
            order = " ".join(part for part in (row["side"], row["symbol"]) if part)
            at = row["at"][11:19]
            listed.add_row(
                at,
                row["consumer"],
                row["endpoint"],
                order,
                amount(row["notional"]),
                _decision(row),
                _answer(row),
            )
        out.print(listed if rows else "no calls")
        out.print(f"[dim]{notice}[/]")

    face.answer({"items": rows, "notice": notice}, show)


def _gateways(out: Console, rows: list[dict[str, Any]]) -> None:
    if not rows:
        out.print("\n[bold red]no gateway is connected: no bot can trade[/]")
        return
    listed = table("gateway", "leases", "requests", "refused", "now", "added p50", "added p99", "memory")
    for row in rows:
        listed.add_row(
            row["name"], str(row["leases"]), str(row["requests"]), str(row["refused"]), str(row["in_flight"]),
            micros(row["added_p50_us"]), micros(row["added_p99_us"]), f"{row['resident_bytes'] / 2**20:.0f} MB",
        )  # fmt: skip
    out.print()
    out.print(listed)


def _grants(out: Console, rows: list[dict[str, Any]]) -> None:
    if not rows:
        out.print("\nno standing grants: no bot may trade")
        return
    listed = table("consumer", "account", "gate", "used of its day", "", "policy")
    words = {"open": "[green]open[/]", "halt": "[bold yellow]halt[/]", "closed": "[bold red]CUT OFF[/]"}
    for row in rows:
        share = 0.0 if not row["day_max"] else float(row["day_used"]) / float(row["day_max"])
        used = f"{float(row['day_used']):,.2f} {row['asset']}"
        if row["day_max"]:
            used += f" of {float(row['day_max']):,.0f}"
        observe = "[yellow]observe[/]" if row["policy_mode"] == "observe" else "enforced"
        listed.add_row(
            f"[bold]{row['consumer']}[/]", row["account"], words[row["mode"]], used, _bar(share), observe
        )
    out.print()
    out.print(listed)
    out.print("[dim]used includes what is lent to gateways for the next orders[/]")


def _cuts(out: Console, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        word = "cut off" if row["mode"] == "closed" else "halted"
        out.print(
            f"[bold red]■[/] {', '.join(row['targets'])} {word} {when(row['opened_at'])} by {row['operator']}: "
            f"{row['reason']}  [dim]{row['id']}[/]"
        )


def _bar(share: float, width: int = 10) -> Text:
    full = min(width, round(share * width))
    style = "red" if share > 0.9 else "yellow" if share > 0.7 else "green"  # noqa: PLR2004 - shares
    return Text("█" * full, style) + Text("░" * (width - full), "dim")


def _decision(row: dict[str, Any]) -> str:
    if row["decision"] == "deny":
        return f"[red]refused: {row['reason']}[/]"
    if row["decision"] == "observe":
        return f"[yellow]observed: {row['reason']}[/]"
    return "[green]allowed[/]"


def _answer(row: dict[str, Any]) -> str:
    if row["decision"] == "deny":
        return ""
    if row["outcome"] is None or row["outcome"] == "unknown":
        return "[bold yellow]not known[/]"
    latency = "" if row["latency_us"] is None else f" {row['latency_us'] / 1000:.1f} ms"
    if row["outcome"] == "refused":
        return f"[yellow]refused by the exchange {row['code'] or row['status']}[/]{latency}"
    return f"{row['status']}{latency}"
