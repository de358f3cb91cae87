"""`portcullis login`, `logout`, `operator` and `act`: who may, and what waits for a second step."""

import importlib
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console
from rich.text import Text

from clients.secret import Secret
from portcullis.cli import people_answers, session
from portcullis.cli.client import connect
from portcullis.cli.face import Face, Stopped, command, shown_path
from portcullis.cli.inputs import new_file, secret_text
from portcullis.cli.tables import hanging, said, table, when

operators = typer.Typer(help="Manage operators: people and programs with a token.", no_args_is_help=True)
acts = typer.Typer(help="Approval requests: what is announced and not done yet.", no_args_is_help=True)

PasswordFile = Annotated[
    Path | None,
    typer.Option("--password-file", help="Else it is asked for; or piped in.", show_default=False),
]


TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file", help="The token you were given: what `operator create` wrote.", show_default=False
    ),
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
    api = connect(face, "nobody")
    password = secret_text("password", password_file)
    code = session.one_time_code("A login needs a one-time code.")
    body = {"name": name, "password": password.reveal(), "code": code}
    made = api.post(people_answers.Session, "sessions", body)
    ends = made.expires_at.isoformat()
    session.keep(api.home, name, Secret(made.token), ends)
    what = said("[green]✓[/] you are [bold]{}[/] until {}", name, when(made.expires_at))
    face.answer({"operator": name, "expires_at": ends}, lambda out: out.print(what))


def logout(face: Face) -> None:
    """End your sessions on this home, everywhere."""
    api = connect(face)
    try:
        done = api.post(people_answers.Done, "sessions/end")
    except Stopped as stopped:
        if stopped.reason == "unauthenticated":
            session.forget(api.home)  # it is over already, and would be in the way of the home's own token
            stopped.state = "It was over already, and its file is removed."
            stopped.step = ""
        raise
    session.forget(api.home)
    face.answer(done, lambda out: out.print(said("[green]✓[/] {} is logged out", done.operator)))


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
    body = {"name": name, "roles": scope or ["viewer"]}
    api = connect(face)
    with new_file(token_file, "--token-file") as file:
        made = api.post(people_answers.MadeOperator, "operators", body)
        if made.token is None:
            raise Stopped(
                f"{name} is an operator now, and the token was answered before.",
                "It was done; no token is on file.", "End that operator, and make another one.", reason="no_token",
            )  # fmt: skip
        if file is not None:
            file.write(made.token.encode() + b"\n")
    shown = {key: value for key, value in made.document.items() if key != "token"}
    document = shown | {"token_file": str(token_file)}

    def show(out: Console) -> None:
        what = said("operator [bold]{}[/] ({}); token in {}", made.name, ", ".join(made.roles), token_file)
        out.print(hanging("[green]✓[/]", what, 0))
        step = face.command(f"operator enrol --name {made.name} --token-file {shown_path(token_file)}")
        out.print(said("  [dim]next[/] {} types: {}", made.name, step), soft_wrap=True)

    face.answer(document, show)


@command(operators, "list")
def list_operators(face: Face) -> None:
    """List operators; tokens are not known here."""
    rows = list(connect(face).pages(people_answers.Operator, "operators"))

    def show(out: Console) -> None:
        listed = table("operator", "scopes", "since", "", fold=("scopes", "since"))
        for row in rows:
            ended = Text("ended" if row.ended_at else "", "red")
            roles = ", ".join(row.roles)
            listed.add_row(said("[bold]{}[/]", row.name), roles, when(row.created_at), ended)
        out.print(listed)

    face.answer({"items": rows}, show)


@command(operators, "end", closes=True)
def end_operator(face: Face, name: Annotated[str, typer.Argument(help="Who it was.")]) -> None:
    """End an operator: tokens and sessions of that name stop working."""
    done = connect(face).post(people_answers.Done, f"operators/{quote(name, safe='')}/end")
    face.answer(done, lambda out: out.print(said("[green]✓[/] {} may do nothing here any more", name)))


@command(operators, "enrol", opens=True)
def enrol(
    face: Face,
    name: Annotated[str, typer.Option("--name", help="Who you are.")],
    secret_file: Annotated[
        Path | None,
        typer.Option("--secret-file", help="Write the codes' seed there; else it is shown, this once."),
    ] = None,
    password_file: PasswordFile = None,
    token_file: TokenFile = None,
) -> None:
    """Choose a password, and set up one-time codes in an authenticator app."""
    api = connect(face, _invited(token_file))
    path = f"operators/{quote(name, safe='')}"
    password = secret_text("password, 12 characters or more", password_file)
    with new_file(secret_file, "--secret-file") as file:
        made = api.post(people_answers.Enrolled, f"{path}/enrolment", {"password": password.reveal()})
        if file is not None:
            file.write(made.secret.encode() + b"\n")
    if secret_file is None:
        face.err.print("Add this to your authenticator app; it is shown this once:", style="bold")
        face.err.print(said("  {}", made.secret), soft_wrap=True)
    document = {"operator": name, "secret_file": None if secret_file is None else str(secret_file)}
    try:
        code = session.one_time_code("It counts once its first code was entered.")
    except Stopped:
        with_token = "" if token_file is None else f" --token-file {shown_path(token_file)}"
        step = face.command(f"operator activate --name {name}{with_token}")
        face.answer(document, lambda out: out.print(said("[dim]next[/] {}", step), soft_wrap=True))
        return
    api.post(people_answers.Done, f"{path}/activation", {"code": code})
    what = said("[green]✓[/] {} has password and codes: {}", name, face.command(f"login --name {name}"))
    face.answer(document, lambda out: out.print(what, soft_wrap=True))


@command(operators, "activate")
def activate(
    face: Face,
    name: Annotated[str, typer.Option("--name", help="Who you are.")],
    token_file: TokenFile = None,
) -> None:
    """Enter the first one-time code of an enrolment."""
    code = session.one_time_code("The first code of your authenticator app is needed.")
    path = f"operators/{quote(name, safe='')}/activation"
    done = connect(face, _invited(token_file)).post(people_answers.Done, path, {"code": code})
    face.answer(done, lambda out: out.print(said("[green]✓[/] {} has password and codes", name)))


@command(operators, "recover")
def recover(
    face: Face,
    name: Annotated[
        str, typer.Option("--name", help="Who is admin from now on; made where there is nobody.")
    ],
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", help="A new file for the token; the home's own if absent.", show_default=False
        ),
    ] = None,
) -> None:
    """Find the way back in, where no admin is left: on the broker's host, with the home's files, and on record.

    Works on the home itself, whether a broker runs or not; no API does this.
    """
    importlib.import_module("portcullis.cli.recover_work").recover(face, name, token_file)


def _invited(token_file: Path | None) -> Secret | None:
    """Return the token a person was given; None where none is named."""
    return None if token_file is None else session.read_token(token_file, "--token-file")


# --- acts -----------------------------------------------------------------------------------------


@command(acts, "list")
def list_acts(face: Face) -> None:
    """Show what is announced and not done yet."""
    rows = list(connect(face).pages(people_answers.Act, "acts"))

    def show(out: Console) -> None:
        if not rows:
            out.print("nothing is announced")
            return
        listed = table("act", "who", "wants", "to", "when", fold=("to", "when"))
        for row in rows:
            awaited = Text("a second person is awaited", "yellow")
            ready = f"ready {when(row.ready_at)}" if row.ready_at else awaited
            listed.add_row(said("[bold]{}[/]", row.id), row.operator, row.action, row.subject, ready)
        out.print(listed)
        out.print(said("[dim]all of one: {}[/]", face.command("act show ACT")), soft_wrap=True)
        out.print(said("[dim]cancel one: {}[/]", face.command("act cancel ACT")), soft_wrap=True)

    face.answer({"items": rows}, show)


@command(acts, "show")
def show_act(face: Face, act: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """Show what an announced act would do: all of it."""
    found = {row.id: row for row in connect(face).pages(people_answers.Act, "acts")}.get(act)
    if found is None:
        raise Stopped(
            f"{act} is not announced, or is over.",
            step=f"See what is: {face.command('act list')}",
            reason="no_act",
        )

    def show(out: Console) -> None:
        _show_act(out, found)
        if found.ready_at is None:
            out.print(
                said("  [dim]next[/] somebody else: {}", face.command(f"act confirm {act}")), soft_wrap=True
            )
        out.print(said("  [dim]or[/]   call it off: {}", face.command(f"act cancel {act}")), soft_wrap=True)

    face.answer(found, show)


def _show_act(out: Console, act: people_answers.Act) -> None:
    what = said("[bold]{}[/] wants: [bold]{}[/] {}", act.operator, act.action, act.subject)
    out.print(hanging("[bold yellow]■[/]", what, 0))
    for line in act.shows:
        out.print(hanging("-", line))


@command(acts, "confirm")
def confirm(face: Face, act: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """Confirm what another person announced: it is theirs to do now."""
    api = connect(face)
    found = {row.id: row for row in api.pages(people_answers.Act, "acts")}.get(act)
    if found is None:
        raise Stopped(
            f"{act} is not announced, or is over.",
            step=f"See what is: {face.command('act list')}",
            reason="no_act",
        )
    if not face.as_json:
        _show_act(face.err, found)
    code = session.one_time_code("A confirmation needs a one-time code.")
    body = {"code": code, "content": found.content}  # what is confirmed is what was shown
    done = api.post(people_answers.Act, f"acts/{quote(act, safe='')}/confirmation", body)
    what = said("confirmed; {} can do it now, with --act {}", done.operator, act)
    face.answer(done, lambda out: out.print(hanging("[green]✓[/]", what, 0)))


@command(acts, "cancel", closes=True)
def cancel(face: Face, act: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """Cancel what was announced."""
    done = connect(face).post(people_answers.Act, f"acts/{quote(act, safe='')}/cancel")
    what = said("cancelled: {} {}", done.action, done.subject)
    face.answer(done, lambda out: out.print(hanging("[green]✓[/]", what, 0)))
