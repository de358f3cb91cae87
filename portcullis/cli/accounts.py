"""`portcullis account` and `portcullis egress`: where orders go, and the way there."""

from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console

from portcullis.cli import access_answers, deaths
from portcullis.cli.client import connect
from portcullis.cli.face import Face, Stopped, badge, command
from portcullis.cli.inputs import secret_text
from portcullis.cli.tables import facts, said, short, table, when, yes

accounts = typer.Typer(
    help="Accounts at an exchange: one sub-account or main account each.", no_args_is_help=True
)
egresses = typer.Typer(
    help="The addresses an exchange sees us from, and the way there.", no_args_is_help=True
)

Name = Annotated[str, typer.Option("--name", help="Lower case letters, digits, dot, dash, underscore.")]


@command(accounts, "create")
def create_account(
    face: Face,
    name: Name,
    venue: Annotated[str, typer.Option("--venue", help="The exchange.")] = "binance",
    egress: Annotated[
        str, typer.Option("--egress", help="The way to it; `portcullis egress list`.")
    ] = "direct",
    upstream: Annotated[
        str | None,
        typer.Option("--upstream", help="Paper homes only: another paper exchange than this home's."),
    ] = None,
) -> None:
    """Name an account. Its environment is this home's, for ever."""
    api = connect(face)
    body = {"name": name, "venue": venue, "egress": egress, "upstream": upstream or api.running.paper or None}
    made = api.post(access_answers.Account, "accounts", body)

    def show(out: Console) -> None:
        mark = badge(made.environment)
        out.print(said("[green]✓[/] account [bold]{}[/] at {} {}", made.name, made.venue, mark))
        out.print(
            said("  [dim]next[/] {}", face.command(f"key import --account {made.name}")), soft_wrap=True
        )

    face.answer(made, show)


@command(accounts, "list")
def list_accounts(face: Face) -> None:
    """List accounts."""
    rows = list(connect(face).pages(access_answers.Account, "accounts"))

    def show(out: Console) -> None:
        if not rows:
            step = face.command("account create --name NAME")
            out.print(said("no accounts yet; {}", step), soft_wrap=True)
            return
        listed = table("account", "", "exchange", "egress", "since")
        for row in rows:
            listed.add_row(
                said("[bold]{}[/]", row.name),
                badge(row.environment),
                row.venue,
                row.egress,
                when(row.created_at),
            )
        out.print(listed)

    face.answer({"items": rows}, show)


@command(accounts, "show")
def show_account(face: Face, name: Annotated[str, typer.Argument(help="The account.")]) -> None:
    """Show one account with its keys and grants."""
    api = connect(face)
    found = api.get(access_answers.Account, f"accounts/{quote(name, safe='')}")
    keys = list(api.pages(access_answers.Key, "keys", account=name))
    grants = list(api.pages(access_answers.Grant, "grants", account=name))

    def show(out: Console) -> None:
        out.print(
            facts(
                ("account", found.name), ("environment", badge(found.environment)),
                ("exchange", found.venue), ("its id there", found.venue_uid),
                ("upstream", found.upstream), ("egress", found.egress), ("since", when(found.created_at)),
                ("its keys are made by", "hand" if not found.manager else
                 f"the manager key {found.manager}, as {found.subaccount}"),
            )
        )  # fmt: skip
        listed = table("key", "stage", "key id", "IP-bound", "withdraws")
        for row in keys:
            listed.add_row(
                row.ref, deaths.stage(row), short(row.venue_key_id), yes(row.ip_restricted),
                yes(row.can_withdraw, good=False),
            )  # fmt: skip
        out.print(listed if keys else "it has no key: nothing can be traded")
        standing = ", ".join(row.consumer for row in grants if row.revoked_at is None)
        out.print(said("[dim]grants[/]  {}", standing or "none"))

    face.answer(found.document | {"keys": keys, "grants": grants}, show)


@command(egresses, "create", opens=True)
def create_egress(
    face: Face,
    name: Name,
    address: Annotated[
        list[str] | None, typer.Option("--address", help="An address the exchange sees; may be repeated.")
    ] = None,
    way: Annotated[str, typer.Option("--way", help="direct, http-connect or socks5h.")] = "direct",
    source: Annotated[
        str | None, typer.Option("--source", help="Local address to connect from; direct only.")
    ] = None,
    proxy: Annotated[str | None, typer.Option("--proxy", help="HOST:PORT of the proxy.")] = None,
    proxy_user: Annotated[
        str | None,
        typer.Option("--proxy-user", help="Its user; the password is asked for, or read from stdin."),
    ] = None,
) -> None:
    """Name a way to the exchanges. TLS is end to end: a proxy sees no key."""
    host, port = _host_port(proxy)
    body = {
        "name": name, "addresses": address or [], "way": way, "source": source, "proxy_host": host,
        "proxy_port": port, "proxy_user": proxy_user,
        "proxy_password": None if proxy_user is None else secret_text("proxy password", None).reveal(),
    }  # fmt: skip
    made = connect(face).post(access_answers.Egress, "egress", body)
    seen = ", ".join(made.addresses) or "no address declared: no new key can be bound"
    face.answer(
        made,
        lambda out: out.print(
            said(
                "[green]✓[/] egress [bold]{}[/] created ({}); the exchange sees {}", made.name, made.way, seen
            )
        ),
    )


@command(egresses, "list")
def list_egress(face: Face) -> None:
    """List the ways out."""
    rows = list(connect(face).pages(access_answers.Egress, "egress"))

    def show(out: Console) -> None:
        listed = table("egress", "way", "the exchange sees", "source or proxy", fold=("the exchange sees",))
        for row in rows:
            seen = ", ".join(row.addresses) or "not declared"
            listed.add_row(said("[bold]{}[/]", row.name), row.way, seen, row.proxy or row.source or "")
        out.print(listed)

    face.answer({"items": rows}, show)


def _host_port(text: str | None) -> tuple[str | None, int | None]:
    if text is None:
        return None, None
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise Stopped("--proxy: is HOST:PORT, as in proxy.internal:3128.", reason="malformed")
    return host.strip("[]"), int(port)
