"""`portcullis login`, `logout`, `operator` and `act`: who may, and what waits for a second step."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console

from clients.secret import Secret
from portcullis.cli import session
from portcullis.cli.client import connect
from portcullis.cli.face import Face, Stopped, command
from portcullis.cli.inputs import secret_text
from portcullis.cli.tables import table, when
from portcullis.settings import write_private

operators = typer.Typer(help="People and programs that may.", no_args_is_help=True)
acts = typer.Typer(help="What opens something, announced and not done yet.", no_args_is_help=True)

PasswordFile = Annotated[
    Path | None,
    typer.Option("--password-file", help="Else it is asked for; or piped in.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Put the commands onto the root."""
    command(app, "login")(login)
    command(app, "logout")(logout)


def login(
    face: Face,
    name: Annotated[str, typer.Option("--name", help="Who you are.")],
    password_file: PasswordFile = None,
) -> None:
    """Log in for an hour, with password and one-time code."""
    api = connect(face)
    password = secret_text("password", password_file)
    code = session.one_time_code("A login needs a one-time code.")
    made = api.post("sessions", {"name": name, "password": password.reveal(), "code": code})
    session.keep(api.home, name, Secret(made["token"]), made["expires_at"])
    document = {"operator": name, "expires_at": made["expires_at"]}
    face.answer(
        document,
        lambda out: out.print(f"[green]✓[/] you are [bold]{name}[/] until {when(made['expires_at'])}"),
    )


def logout(face: Face) -> None:
    """End your sessions on this home, everywhere."""
    api = connect(face)
    done = api.post("sessions/end")
    session.forget(api.home)
    face.answer(done, lambda out: out.print(f"[green]✓[/] {done['operator']} is logged out"))


# --- operators ------------------------------------------------------------------------------------


@command(operators, "create", opens=True)
def create_operator(
    face: Face,
    name: Annotated[str, typer.Option("--name", help="Who it is.")],
    token_file: Annotated[Path, typer.Option("--token-file", help="Where to write the token; made 0600.")],
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="viewer, responder, operator or admin; may be repeated."),
    ] = None,
) -> None:
    """Make an operator; the token goes into a file, this once."""
    if token_file.exists():
        raise Stopped(f"--token-file: {token_file} exists.", step="Name a new file.", reason="malformed")
    made = connect(face).post("operators", {"name": name, "roles": scope or ["viewer"]})
    write_private(token_file.absolute(), made.pop("token") + "\n")
    document = made | {"token_file": str(token_file)}

    def show(out: Console) -> None:
        out.print(f"[green]✓[/] operator [bold]{name}[/] ({', '.join(made['roles'])}); token in {token_file}")

    face.answer(document, show)


@command(operators, "list")
def list_operators(face: Face) -> None:
    """List operators; tokens are not known here."""
    rows = list(connect(face).pages("operators"))

    def show(out: Console) -> None:
        listed = table("operator", "scopes", "since", "", fold=("scopes", "since"))
        for row in rows:
            ended = "[red]ended[/]" if row["ended_at"] else ""
            listed.add_row(f"[bold]{row['name']}[/]", ", ".join(row["roles"]), when(row["created_at"]), ended)
        out.print(listed)

    face.answer({"items": rows}, show)


@command(operators, "end")
def end_operator(face: Face, name: Annotated[str, typer.Argument(help="Who it was.")]) -> None:
    """End an operator: tokens and sessions of that name count no more."""
    done = connect(face).post(f"operators/{quote(name, safe='')}/end")
    face.answer(done, lambda out: out.print(f"[green]✓[/] {name} may do nothing here any more"))


@command(operators, "enrol", opens=True)
def enrol(
    face: Face,
    name: Annotated[str, typer.Option("--name", help="Who you are.")],
    secret_file: Annotated[
        Path | None,
        typer.Option("--secret-file", help="Write the codes' seed there; else it is shown, this once."),
    ] = None,
    password_file: PasswordFile = None,
) -> None:
    """Choose a password, and set up one-time codes in an authenticator app."""
    api = connect(face)
    path = f"operators/{quote(name, safe='')}"
    password = secret_text("password, 12 characters or more", password_file)
    made = api.post(f"{path}/enrolment", {"password": password.reveal()})
    if secret_file is not None:
        write_private(secret_file.absolute(), made["secret"] + "\n")
    else:
        face.err.print("Add this to your authenticator app; it is shown this once:", style="bold")
        face.err.print(f"  {made['secret']}", soft_wrap=True, markup=False)
    document = {"operator": name, "secret_file": None if secret_file is None else str(secret_file)}
    try:
        code = session.one_time_code("It counts once its first code was entered.")
    except Stopped:
        step = face.command(f"operator activate --name {name}")
        face.answer(document, lambda out: out.print(f"[dim]next[/] {step}"))
        return
    api.post(f"{path}/activation", {"code": code})
    face.answer(
        document,
        lambda out: out.print(f"[green]✓[/] {name} has password and codes: portcullis login --name {name}"),
    )


@command(operators, "activate")
def activate(face: Face, name: Annotated[str, typer.Option("--name", help="Who you are.")]) -> None:
    """Enter the first one-time code of an enrolment."""
    code = session.one_time_code("The first code of your authenticator app is needed.")
    done = connect(face).post(f"operators/{quote(name, safe='')}/activation", {"code": code})
    face.answer(done, lambda out: out.print(f"[green]✓[/] {name} has password and codes"))


# --- acts -----------------------------------------------------------------------------------------


@command(acts, "list")
def list_acts(face: Face) -> None:
    """Show what is announced and not done yet."""
    rows = list(connect(face).pages("acts"))

    def show(out: Console) -> None:
        if not rows:
            out.print("nothing is announced")
            return
        listed = table("act", "who", "wants", "to", "when", fold=("to", "when"))
        for row in rows:
            ready = (
                f"ready {when(row['ready_at'])}"
                if row["ready_at"]
                else "[yellow]a second person is awaited[/]"
            )
            listed.add_row(f"[bold]{row['id']}[/]", row["operator"], row["action"], row["subject"], ready)
        out.print(listed)
        out.print(f"[dim]call one off: {face.command('act cancel ACT')}[/]")

    face.answer({"items": rows}, show)


@command(acts, "confirm")
def confirm(face: Face, act: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """Confirm what another person announced: it is theirs to do now."""
    api = connect(face)
    found = {row["id"]: row for row in api.pages("acts")}.get(act)
    if found is not None and not face.as_json:
        face.err.print(f"{found['operator']} wants: {found['action']} {found['subject']}")
    code = session.one_time_code("A confirmation needs a one-time code.")
    done = api.post(f"acts/{quote(act, safe='')}/confirmation", {"code": code})
    face.answer(
        done,
        lambda out: out.print(f"[green]✓[/] confirmed; {done['operator']} can do it now, with --act {act}"),
    )


@command(acts, "cancel")
def cancel(face: Face, act: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """Call an announced act off."""
    done = connect(face).post(f"acts/{quote(act, safe='')}/cancel")
    face.answer(done, lambda out: out.print(f"[green]✓[/] called off: {done['action']} {done['subject']}"))
