"""`portcullis grant` and `portcullis policy`: who may do what, and the virtual key that says so.

A virtual key's secret is printed once, by `create` and `reissue`; nothing here can show it again.
"""

import contextlib
import json
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console
from rich.syntax import Syntax

from portcullis.cli import access_answers, answers
from portcullis.cli.client import connect
from portcullis.cli.consumers import grant_state
from portcullis.cli.face import Face, Stopped, command
from portcullis.cli.inputs import as_text, read_file
from portcullis.cli.tables import facts, hanging, said, short, styled, table, when

app = typer.Typer(help="Standing permissions: consumer x account x policy.", no_args_is_help=True)
policies = typer.Typer(help="Check and compare policies before they count.", no_args_is_help=True)

Grant = Annotated[str, typer.Argument(metavar="GRANT", help="As listed: grt_...")]
PolicyFile = Annotated[Path, typer.Option("--policy", help="Policy as TOML or JSON; `-` is stdin.")]


@command(app, "create", opens=True)
def create(
    face: Face,
    consumer: Annotated[str, typer.Option("--consumer", help="The bot.")],
    account: Annotated[str, typer.Option("--account", help="Where it trades.")],
    policy: Annotated[
        Path | None, typer.Option("--policy", help="Policy as TOML or JSON; `-` is stdin.")
    ] = None,
    like: Annotated[str | None, typer.Option("--like", help="Take the policy of this grant.")] = None,
    public_key: Annotated[
        Path | None,
        typer.Option("--public-key", help="The bot's own public key (PEM): then we hold no secret."),
    ] = None,
) -> None:
    """Let a bot trade on an account, within a policy. Prints its virtual key once."""
    if (policy is None) == (like is None):
        raise Stopped("A grant needs --policy FILE or --like GRANT, one of them.", reason="malformed")
    body = {
        "consumer": consumer, "account": account, "like": like,
        "policy": None if policy is None else read_file(policy, "the policy"),
        "public_key": None if public_key is None else read_file(public_key, "the public key"),
    }  # fmt: skip
    made = connect(face).post(access_answers.Issued, "grants", body)
    face.answer(made, lambda out: _show_once(face, out, made, "created"))


@command(app, "show")
def show_one(face: Face, grant: Grant) -> None:
    """Show one grant with its policy."""
    found = connect(face).get(access_answers.Grant, f"grants/{quote(grant, safe='')}")

    def show(out: Console) -> None:
        out.print(
            facts(
                ("grant", found.id), ("consumer", found.consumer), ("account", found.account),
                ("key id", found.key_id), ("type", found.key_type), ("since", when(found.created_at)),
                ("revoked", when(found.revoked_at)), ("policy", f"version {found.policy_version}"),
            )
        )  # fmt: skip
        out.print(_pretty(found.policy))

    face.answer(found, show)


@command(app, "list")
def list_(
    face: Face,
    consumer: Annotated[str | None, typer.Option("--consumer", help="Only of this bot.")] = None,
    account: Annotated[str | None, typer.Option("--account", help="Only on this account.")] = None,
) -> None:
    """List grants."""
    rows = list(connect(face).pages(access_answers.Grant, "grants", consumer=consumer, account=account))

    def show(out: Console) -> None:
        if not rows:
            step = face.command("grant create --consumer C --account A --policy FILE")
            out.print(said("no grants; {}", step), soft_wrap=True)
            return
        listed = table("grant", "consumer", "account", "key id", "state")
        for row in rows:
            listed.add_row(
                row.id, said("[bold]{}[/]", row.consumer), row.account, short(row.key_id), grant_state(row)
            )
        out.print(listed)

    face.answer({"items": rows}, show)


@command(app, "revoke", closes=True)
def revoke(
    face: Face,
    grant: Grant,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")],
) -> None:
    """End a grant for good: its virtual key never works again."""
    path = f"grants/{quote(grant, safe='')}/revoke"
    done = connect(face).post(access_answers.ChangedGrant, path, {"reason": as_text(face, reason)})

    def show(out: Console) -> None:
        out.print(said("[green]✓[/] grant [bold]{}[/] of {} is revoked, for good", done.id, done.consumer))
        show_gateways(out, done.gateways)
        for line in done.warnings:
            out.print(hanging("[yellow]![/]", line))

    face.answer(done, show)


@command(app, "reissue", opens=True)
def reissue(face: Face, grant: Grant) -> None:
    """Give a grant a fresh virtual key; the old one stops working at once. Prints the new one once."""
    made = connect(face).post(access_answers.Issued, f"grants/{quote(grant, safe='')}/reissue")

    def show(out: Console) -> None:
        _show_once(face, out, made, "has a fresh virtual key; the old one is void")
        show_gateways(out, made.gateways)

    face.answer(made, show)


@command(app, "policy", opens=True)
def replace_policy(face: Face, grant: Grant, policy: PolicyFile) -> None:
    """Replace a grant's policy; in force at once on every gateway."""
    body = {"policy": read_file(policy, "the policy")}
    done = connect(face).put(access_answers.ChangedGrant, f"grants/{quote(grant, safe='')}/policy", body)

    def show(out: Console) -> None:
        out.print(
            said("[green]✓[/] policy version {} of [bold]{}[/] is in force", done.policy_version, done.id)
        )
        _show_warnings(out, done.warnings)
        show_gateways(out, done.gateways)

    face.answer(done, show)


@command(policies, "check")
def check(face: Face, file: Annotated[Path, typer.Argument(help="Policy file; `-` is stdin.")]) -> None:
    """Say whether a policy can be used, and what it means; changes nothing."""
    body = {"policy": read_file(file, "the policy")}
    found = connect(face).post(access_answers.CheckedPolicy, "policies/check", body)

    def show(out: Console) -> None:
        out.print("[green]✓[/] the policy can be used")
        for line in found.meaning:
            out.print(hanging("", line, 1))

    face.answer(found, show)


@command(policies, "diff")
def diff(
    face: Face,
    file: Annotated[Path, typer.Argument(help="The new policy; `-` is stdin.")],
    grant: Annotated[
        str | None, typer.Option("--grant", help="Compare with the policy of this grant.")
    ] = None,
    old: Annotated[Path | None, typer.Option("--old", help="Compare with this file.")] = None,
) -> None:
    """Say what a new policy would change; changes nothing."""
    if (grant is None) == (old is None):
        raise Stopped("Compare with --grant GRANT or --old FILE, one of them.", reason="malformed")
    body = {
        "new": read_file(file, "the policy"), "grant": grant,
        "old": None if old is None else read_file(old, "the old policy"),
    }  # fmt: skip
    found = connect(face).post(access_answers.PolicyDifference, "policies/diff", body)

    def show(out: Console) -> None:
        if not found.changes:
            out.print("nothing would change")
            return
        listed = table("field", "now", "then", "", fold=("now", "then"))
        for row in found.changes:
            style = {"narrows": "green", "widens": "bold red"}.get(row.effect, "")
            listed.add_row(row.field, row.old, row.new, styled(row.effect, style))
        out.print(listed)

    face.answer(found, show)


def show_gateways(out: Console, heard: answers.Heard) -> None:
    """Say which gateways have it in force, and honestly which have not said so."""
    if heard.asked == 0:
        out.print("  no gateway is connected: nothing is served now, and none will be served against it")
    elif heard.acknowledged == heard.asked:
        out.print(f"  in force on {heard.acknowledged} of {heard.asked} gateways after {heard.after_ms} ms")
    else:
        out.print(
            said(
                "  [bold red]in force on {} of {} gateways[/] after {} ms; silent: {}. Those are stopped by the end "
                "of their leases, within {} s.",
                heard.acknowledged, heard.asked, heard.after_ms, ", ".join(heard.missing) or "not named",
                heard.worst_case_s,
            )
        )  # fmt: skip


def _show_once(face: Face, out: Console, made: access_answers.Issued, what: str) -> None:
    out.print(said("[green]✓[/] grant [bold]{}[/] {}", made.id, what))
    out.print(facts(("consumer", made.consumer), ("account", made.account)))
    out.print(said("  [dim]key id[/]  {}", made.key_id), soft_wrap=True)
    if made.secret:
        out.print(said("  [dim]secret[/]  [bold yellow]{}[/]", made.secret), soft_wrap=True)
        out.print("  [yellow]The secret is shown this once.[/] Lost means: reissue.")
    _show_warnings(out, made.warnings)
    snippet = face.command(f"consumer snippet {made.consumer} --for ccxt")
    out.print(said("  [dim]next[/] {}", snippet), soft_wrap=True)


def _show_warnings(out: Console, warnings: list[str]) -> None:
    for line in warnings:
        out.print(said("[bold red]! {}[/]", line), soft_wrap=True)


def _pretty(text: str) -> Syntax:
    lexer = "toml"
    with contextlib.suppress(ValueError):  # TOML is shown as it was written
        lexer, text = "json", json.dumps(json.loads(text), indent=2)
    return Syntax(text, lexer, background_color="default", word_wrap=True)
