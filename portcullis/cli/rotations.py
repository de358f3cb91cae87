"""`portcullis rotation`: start, watch and steer the change of a real key.

Every line says what stands where: bots trade on in every state but the ones that say otherwise, and up to
`retiring-old` the old key still lives and can be taken back.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.text import Text

from clients.venue import Slot
from portcullis.cli import access_answers, rotation_answers
from portcullis.cli.client import Api, connect
from portcullis.cli.face import FAILED, Face, Stopped, command
from portcullis.cli.inputs import key_id_of, secret_text
from portcullis.cli.rotation_answers import RotationWhole
from portcullis.cli.rotation_screen import colour, follow, summary, whole
from portcullis.cli.rotation_words import is_held, versions
from portcullis.cli.tables import ago, clean, hanging, said, table

app = typer.Typer(
    help="Rotations: a fresh key, verified, cut over to, the old one deleted and proven dead.",
    no_args_is_help=True,
)
Rotation = Annotated[str, typer.Argument(help="As listed: rot_...", show_default=False)]
SlotOption = Annotated[Slot, typer.Option("--slot", help="Which of the account's keys.")]


@command(app, "list")
def list_(
    face: Face,
    account: Annotated[str | None, typer.Option("--account", help="Of this account only.")] = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only what is not over.")] = False,
    most: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 30,
) -> None:
    """List rotations, newest first."""
    api = connect(face)
    if account is not None:
        # one that does not exist is said, not answered with nothing
        api.get(access_answers.Account, f"accounts/{quote(account, safe='')}")
    rows = list(
        api.pages(rotation_answers.Rotation, "rotations", most=most, account=account, open=only_open or None)
    )

    def show(out: Console) -> None:
        if not rows:
            of = "" if account is None else f" of {account}"
            none = f"none open{of}" if only_open else f"no rotations{of} yet"
            out.print(said("{}; the next dates: {}", none, face.command("schedule show")), soft_wrap=True)
            return
        listed = table("rotation", "key version", "state", "since", fold=("state",))
        for row in rows:
            key = said("[bold]{}[/]/{} {}", row.account, row.slot, versions(row))
            listed.add_row(row.id, key, _state(row), ago(row.entered_at))
        out.print(listed)

    face.answer({"items": rows}, show)


@command(app, "show")
def show_(face: Face, rotation: Rotation) -> None:
    """Show one: where it stands, what you have to do, and every step so far."""
    api = connect(face)
    found, manual = api.get(RotationWhole, _path(rotation)), _manual(api)
    face.answer(found, lambda out: whole(out, face, found, manual))


@command(app, "start")
def start(
    face: Face,
    account: Annotated[str, typer.Option("--account", help="The account.")],
    slot: SlotOption = Slot.TRADE,
    hmac: Annotated[
        bool,
        typer.Option("--hmac", help="Where a person makes the key: one whose secret the exchange makes."),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the old key is proven dead.")] = False,
) -> None:
    """Rotate an account's key now. Bots trade on; a failure leaves the old key in use."""
    api = connect(face)
    begun = api.post(RotationWhole, "rotations", {"account": account, "slot": slot.value, "hmac": hmac})
    if not wait:
        face.answer(begun, lambda out: _begun(out, face, begun))
        return
    _wait(face, api, begun)


@command(app, "watch")
def watch(face: Face, rotation: Rotation) -> None:
    """Follow one until it is over, or waits for you."""
    api = connect(face)
    _wait(face, api, api.get(RotationWhole, _path(rotation)))


@command(app, "pause")
def pause(face: Face, rotation: Rotation) -> None:
    """Let one stand still, where it may: before the key is made, and while gateways are moved."""
    _tell(face, rotation, "pause", {}, lambda _: "stands still; nothing was taken back")


@command(app, "resume")
def resume(
    face: Face,
    rotation: Rotation,
    key_id: Annotated[
        str | None,
        typer.Option("--key-id", help="You looked at the exchange: this key was made. See RB-07."),
    ] = None,
    no_key: Annotated[bool, typer.Option("--no-key", help="You looked: no key was made. See RB-07.")] = False,
    discard: Annotated[
        bool, typer.Option("--discard", help="The cutover stalled: give the new key up. See RB-08.")
    ] = False,
    onward: Annotated[
        bool,
        typer.Option(
            "--onward", help="Rolling back stalled: the old key is dead, keep the new one. See RB-08."
        ),
    ] = False,
    leave: Annotated[
        bool,
        typer.Option(
            "--leave",
            help="Retiring stalled, or waits for your delete: end it; the key that was to go may live on. See RB-10.",
        ),
    ] = False,
) -> None:
    """Let a stalled or paused one go on, with a fresh budget."""
    if key_id and no_key:
        raise Stopped("--key-id and --no-key say opposite things.", reason="malformed")
    if discard and onward:
        raise Stopped("--discard and --onward say opposite things.", reason="malformed")
    if leave and (key_id or no_key or discard or onward):
        raise Stopped("--leave ends it, and the other options say how it goes on.", reason="malformed")
    body: dict[str, Any] = {"discard": discard}
    if onward:
        body["onward"] = True
    if leave:
        body["leave"] = True
    if key_id or no_key:
        body["key_id"] = key_id or ""
    came = "is ended; the key that was to go may live on" if leave else "goes on"
    _tell(face, rotation, "resume", body, lambda _: "goes on with the new key" if onward else came)


@command(app, "rollback")
def roll_back(
    face: Face,
    rotation: Rotation,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")],
) -> None:
    """Give one up: before the cutover it just ends, later the old key is taken back into use.

    Also one that waits for a person to make a key. Once the old key is being deleted there is none to take back.
    """
    _tell(face, rotation, "rollback", {"reason": reason}, _given_up)


def _given_up(found: RotationWhole) -> str:
    """Say what became of a rotation that is given up."""
    if found.state == "rolling-back":
        return "rolls back: the old key is taken into use again"
    left = "the old key stays in use" if found.old_version else "there was no key in use"
    made = "" if found.state == "abandoned" else ", and a new key that was made is deleted"
    return f"is given up: {left}{made}"


@command(app, "drop")
def drop(
    face: Face,
    rotation: Rotation,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")],
) -> None:
    """End one that was open at a restore or a failover, on record alone: nothing is asked of the exchange.

    `portcullis reconcile` says what the exchange says of its keys.
    """
    _tell(face, rotation, "drop", {"reason": reason}, lambda _: "is dropped; its keys stay as they are")


@command(app, "answer")
def answer(
    face: Face,
    rotation: Rotation,
    key_id: Annotated[str | None, typer.Option("--key-id", help="The id of the key you made.")] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="You deleted the old key.")] = False,
    hmac: Annotated[
        bool, typer.Option("--hmac", help="The exchange showed a secret: you are asked for it.")
    ] = False,
    secret_file: Annotated[Path | None, typer.Option("--secret-file", help="File with that secret.")] = None,
) -> None:
    """Say what you did at the exchange. Asks for the key id where nothing was said; a secret is never an argument."""
    if deleted and (key_id is not None or hmac or secret_file is not None):
        raise Stopped(
            "--deleted says that a key is gone, and the other options name a new one; nothing was told.",
            step=f"Say one of the two, as asked for by: {face.command('rotation show ' + rotation)}",
            reason="malformed",
        )  # fmt: skip
    body: dict[str, Any] = {"deleted": True} if deleted else {"key_id": key_id_of(key_id)}
    if hmac or secret_file is not None:
        body["secret"] = secret_text("secret", secret_file).reveal()
    try:
        _tell(face, rotation, "answer", body, _answered)
    except Stopped as stopped:
        if stopped.reason.startswith("venue_") or stopped.reason == "key_known":
            stopped.step = f"Compare it, then again: {face.command('rotation answer ' + rotation)}"
        raise


def _answered(found: RotationWhole) -> str:
    """Say what becomes of a person's answer."""
    probed = {"retiring-old": "old", "discarding-new": "new"}.get(found.state)
    if probed is not None:
        return f"the {probed} key is looked at once more, and it ends once that is dead"
    return f"the old key has ended: {found.reason}" if found.state == "done" else "the key is verified now"


@command(app, "waive")
def waive(
    face: Face,
    rotation: Rotation,
    destination: Annotated[str, typer.Option("--destination", help="As named in `rotation show`.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")],
) -> None:
    """Do not wait for a destination any more: what it still holds stops working when the old key dies."""
    api = connect(face)
    found = api.get(RotationWhole, _path(rotation))
    known = [one for one in found.deliveries if one.destination == destination]
    if known and all(one.confirmed_at or one.waived_by for one in known):
        became = "confirmed" if known[-1].confirmed_at else f"was waived by {known[-1].waived_by}"
        raise Stopped(
            f"{rotation} does not wait for {destination}: it {became} already.",
            step=face.command("rotation show " + rotation), reason="not_waited_for",
        )  # fmt: skip
    body = {"destination": destination, "reason": reason}
    _tell(face, rotation, "waive", body, lambda _: f"does not wait for {destination} any more")


def _tell(
    face: Face, rotation: str, what: str, body: dict[str, Any], done: Callable[[RotationWhole], str]
) -> None:
    found = connect(face).post(RotationWhole, f"{_path(rotation)}/{what}", body)

    def show(out: Console) -> None:
        out.print(hanging("[green]✓[/]", f"{found.id} {done(found)}", 0))
        if found.ended_at is not None:
            after = "rotation show "
        else:
            after = "rotation resume " if found.paused else "rotation watch "
        out.print(said("  [dim]next[/] {}", face.command(after + found.id)), soft_wrap=True)

    face.answer(found, show)


def _manual(api: Api) -> frozenset[str]:
    """Return the destinations that a person brings the key to."""
    rows = api.pages(rotation_answers.Destination, "destinations")
    return frozenset(row.name for row in rows if row.kind == "manual")


def _begun(out: Console, face: Face, begun: RotationWhole) -> None:
    where = f"{begun.account}/{begun.slot}"
    out.print(said("[green]✓[/] {} is being rotated, key version {}", where, versions(begun)))
    out.print(said("  [dim]next[/] {}", face.command("rotation watch " + begun.id)), soft_wrap=True)


def _wait(face: Face, api: Api, begun: RotationWhole) -> None:
    manual = _manual(api)
    found = follow(face, lambda: api.get(RotationWhole, _path(begun.id)), begun, manual)
    document = summary(found)
    face.answer(document, lambda out: whole(out, face, found, manual, short=True))
    if found.state != "done":
        raise typer.Exit(FAILED)


def _state(row: rotation_answers.Rotation) -> Text:
    word = f"{row.state} {row.runbook}".strip() + (", paused" if row.paused else "")
    word += ", held" if is_held(row) else ", waits for you" if row.todo else ""
    why = f" {row.reason}" if row.reason and row.state != "done" else ""
    return said("{}[dim]{}[/]", Text(clean(word), colour(row)), why)


def _path(rotation: str) -> str:
    return f"rotations/{quote(rotation, safe='')}"
