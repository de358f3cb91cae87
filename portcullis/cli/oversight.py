"""`portcullis status` and `calls`: the state of everything, and what bots asked."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from portcullis.cli import access_answers, oversight_answers
from portcullis.cli.client import Api, connect
from portcullis.cli.face import Face, Stopped, badge, command
from portcullis.cli.meant import Looked, looked_up
from portcullis.cli.reached import show_elsewhere
from portcullis.cli.tables import amount, clean, hanging, micros, said, styled, table, when
from portcullis.cli.wrong import red_lines


def register(app: typer.Typer) -> None:
    """Put the commands onto the root."""
    command(app, "status")(status)
    command(app, "calls")(calls)


def status(face: Face) -> None:
    """Show how everything fares; what is wrong in red, each with the next step."""
    api = connect(face)
    found = api.get(oversight_answers.Status, "status")
    document = found.document | {
        "home": "" if api.elsewhere else str(api.home.root),
        "api": api.elsewhere or api.running.api,
        "gateway": "" if api.elsewhere else api.running.gateway,
        "gateway_elsewhere": "" if api.elsewhere else api.running.gateway_elsewhere,
    }
    process = f"process {api.pid}   " if api.pid else ""
    here = f"{process}gateway {api.running.gateway}"
    where = f"at {api.elsewhere}" if api.elsewhere else here

    def show(out: Console) -> None:
        out.print(
            Text.assemble(
                badge(found.environment), "  ",
                ("STANDBY: it serves nobody", "bold red") if _stands_by(found) else ("Portcullis runs", "bold green"),
                (clean(f"   {found.mode}, {where}"), "dim"),
            )
        )  # fmt: skip
        if not api.elsewhere:
            show_elsewhere(out, api.running)
        _gateways(out, found.gateways)
        _grants(out, found.grants)
        _cuts(out, found.cuts)
        for one in found.announced:
            ready = f"ready {when(one.ready_at)}" if one.ready_at else "a second person is awaited"
            what = said(
                "{} wants {} {}: {}  [dim]{}[/]", one.operator, one.action, one.subject, ready, one.act
            )
            out.print(hanging("[bold yellow]■[/]", what, 0))
        if found.wrong:
            out.print("\n[bold red]WRONG[/]")
            red_lines(out, face, found.wrong)
        else:
            out.print("\n[green]✓ nothing is wrong that is known here[/]")

    face.answer(face.typed(document), show)


def _stands_by(found: oversight_answers.Status) -> bool:
    """Tell whether another host has the home's place; which one stands in what is wrong."""
    return any((one.kind, one.subject) == ("unsafe", "superseded") for one in found.wrong)


def calls(
    face: Face,
    consumer: Annotated[str | None, typer.Option("--consumer", help="Only of this bot.")] = None,
    account: Annotated[str | None, typer.Option("--account", help="Only on this account.")] = None,
    grant: Annotated[str | None, typer.Option("--grant", help="Only under this grant.")] = None,
    decision: Annotated[str | None, typer.Option("--decision", help="allow, deny or observe.")] = None,
    outcome: Annotated[str | None, typer.Option("--outcome", help="done, refused or unknown.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=10_000, help="Maximum rows, newest first.")
    ] = 30,
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
    api = connect(face)
    rows = list(api.pages(oversight_answers.Call, "calls", most=limit, **filters))
    if not rows:
        _refuse_unknown(api, face, consumer, account, grant)
    notice = "Calls made with a real key outside the gateway are not in this log."

    def show(out: Console) -> None:
        names = ("at (UTC)", "consumer", "endpoint", "order", "what became of it")
        listed = table(*names, fold=("at (UTC)", "order", "what became of it"), least=8)
        today = datetime.now(UTC).date()
        for row in reversed(rows):
            at = row.at.astimezone(UTC)
            order = " ".join(part for part in (row.side, row.symbol, amount(row.notional)) if part)
            listed.add_row(
                f"{at:%H:%M:%S}" if at.date() == today else f"{at:%m-%d %H:%M:%S}", row.consumer, row.endpoint,
                order, _became(row),
            )  # fmt: skip
        out.print(listed if rows else "no calls")
        out.print(said("[dim]{}[/]", notice))

    face.answer({"items": rows, "notice": notice}, show)


def _refuse_unknown(
    api: Api, face: Face, consumer: str | None, account: str | None, grant: str | None
) -> None:
    """Refuse names that nothing is called by: that there are no calls of them says nothing.

    Raises:
        Stopped: With what may be meant.
    """
    named = {"consumer": consumer, "account": account, "grant": grant}
    looked = looked_up(api, [f"{kind}:{name}" for kind, name in named.items() if name is not None])
    absent = [one for one in looked if not one.there and not _was_granted(api, one)]
    if not absent:
        return
    what = "; ".join(f"there is no {one.kind} {one.shown}" for one in absent)
    options = [one.options[0] for one in looked if one.options]
    if len(options) == len(looked):
        step = f"This may be meant:\n{face.command('calls ' + ' '.join(dict.fromkeys(options)))}"
    else:
        step = "\n".join(f"See what there is: {face.command(one.listing)}" for one in absent)
    raise Stopped(f"{what}.", step=step, reason=f"no_{absent[0].kind}")


def _was_granted(api: Api, one: Looked) -> bool:
    """Tell whether a grant was there once, and is revoked."""
    if one.kind != "grant":
        return False
    return any(grant.id == one.text for grant in api.pages(access_answers.Grant, "grants"))


def _gateways(out: Console, rows: Sequence[oversight_answers.GatewayState]) -> None:
    if not rows:
        out.print("\n[bold red]no gateway is connected: no bot can trade[/]")
        return
    listed = table("gateway", "leases", "requests", "refused", "now", "added p50", "added p99", "memory")
    for row in rows:
        listed.add_row(
            row.name, str(row.leases), str(row.requests), str(row.refused), str(row.in_flight),
            micros(row.added_p50_us), micros(row.added_p99_us), f"{row.resident_bytes / 2**20:.0f} MB",
        )  # fmt: skip
    out.print()
    out.print(listed)


def _grants(out: Console, rows: Sequence[oversight_answers.GrantUse]) -> None:
    if not rows:
        out.print("\nno active grants: no bot may trade")
        return
    listed = table("consumer", "account", "gate", "used of its day", "", "policy")
    words = {"open": ("open", "green"), "halt": ("halt", "bold yellow"), "closed": ("CUT OFF", "bold red")}
    for row in rows:
        share = float(row.day_used / row.day_max) if row.day_max else 0.0
        used = f"{amount(str(row.day_used)) or '0.00'} {row.asset}"
        if row.day_max:
            used += f" of {amount(str(row.day_max)).removesuffix('.00')}"
        policy = Text("observe", "yellow") if row.policy_mode == "observe" else "enforced"
        gate = styled(*words.get(row.mode, (row.mode, "bold red")))
        listed.add_row(said("[bold]{}[/]", row.consumer), row.account, gate, used, _bar(share), policy)
        for limit in row.shared:
            whole = "its account" if limit.scope == "account" else "its consumer"
            most = amount(str(limit.day_max)).removesuffix(".00")
            used = f"{amount(str(limit.day_used)) or '0.00'} {limit.asset} of {most}"
            share = float(limit.day_used / limit.day_max) if limit.day_max else 0.0
            listed.add_row("", Text(f"all of {whole}", "dim"), "", used, _bar(share), "")
    out.print()
    out.print(listed)
    out.print("[dim]used includes what is lent to gateways for the next orders[/]")


def _cuts(out: Console, rows: Sequence[oversight_answers.Cut]) -> None:
    for row in rows:
        word = "cut off" if row.mode == "closed" else "halted"
        what = said(
            "{} {} {} by {}: {}  [dim]{}[/]",
            ", ".join(row.targets), word, when(row.opened_at), row.operator, row.reason, row.id,
        )  # fmt: skip
        out.print(hanging("[bold red]■[/]", what, 0))


def _bar(share: float, width: int = 10) -> Text:
    full = max(0, min(width, round(share * width)))
    style = "red" if share > 0.9 else "yellow" if share > 0.7 else "green"  # noqa: PLR2004 - shares
    return Text("█" * full, style) + Text("░" * (width - full), "dim")


def _became(row: oversight_answers.Call) -> Text:
    """Say what was decided, and what the exchange answered to what was sent."""
    if row.decision == "deny":
        return said("[red]refused: {}[/]", row.reason or "no reason on record")
    if row.decision == "observe":
        return said("[yellow]observed: {}[/], {}", row.reason or "no reason on record", _answer(row))
    return said("[green]allowed[/], {}", _answer(row))


def _answer(row: oversight_answers.Call) -> Text:
    if row.outcome is None or row.outcome == "unknown":
        return Text("answer not known", "bold yellow")
    latency = "" if row.latency_us is None else f" {row.latency_us / 1000:.1f} ms"
    if row.outcome == "refused":
        return said("[yellow]refused by the exchange {}[/]{}", row.code or row.status, latency)
    return styled(f"{row.status}{latency}")
