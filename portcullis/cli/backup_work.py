"""What `portcullis backup` and `restore` do. Apart from the commands, because it loads half the world."""

from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from broker.backup import code
from broker.backup.code import BadCode
from broker.backup.content import Content
from broker.backup.seal import BadBackup
from broker.errors import BrokerError
from portcullis import backup, settings
from portcullis.cli.face import Face, Stopped, badge, shown_path
from portcullis.cli.inputs import new_file, secret_text
from portcullis.cli.tables import hanging, said
from portcullis.database_settings import DatabaseDocument
from portcullis.foundation import opened
from portcullis.vault_settings import VaultDocument

_MB = 2**20


def new_code(face: Face, to: Path | None, *, again: bool) -> None:
    """Make the recovery code."""
    home = face.home()
    with new_file(to, "--to") as file, opened(home) as service:
        if backup.recovery_key(service) and not again:
            raise Stopped(
                "This home has a recovery code already.",
                step="If it is lost, make another one with --again, and a backup right after it.",
                reason="there_already",
            )
        made = backup.new_code(service)
        if file is not None:
            file.write(made.reveal().encode() + b"\n")
    document = {"code": None if to is not None else made.reveal(), "file": None if to is None else str(to)}

    def show(out: Console) -> None:
        if to is None:
            out.print("The recovery code opens every backup. Write it down now; it is shown this once:\n")
            out.print(f"    {made.reveal()}\n", style="bold", markup=False)
            out.print("Keep it on paper, away from this machine and from the backups.")
        else:
            out.print(hanging("[green]✓[/]", f"recovery code in {to}: print it, then destroy the file", 0))
        out.print(said("  [dim]next[/] {}", face.command("backup create --to FILE")), soft_wrap=True)

    face.answer(document, show)


def create(face: Face, to: Path) -> None:
    """Write a backup."""
    home = face.home()
    with opened(home) as service:
        try:
            made = backup.make(home, service, to.absolute())
        except BrokerError as fault:
            raise Stopped(str(fault), "No backup was written.", reason=fault.reason) from None
    document = {
        **asdict(made.counts), "file": str(made.path), "bytes": made.size, "lost": list(made.lost),
    }  # fmt: skip

    def show(out: Console) -> None:
        size = f"{made.size / _MB:.1f} MB" if made.size >= _MB else f"{made.size / 1000:.0f} kB"
        what = f"{made.path} ({size}): {made.counts.secret} secrets, {made.counts.row} rows"
        out.print(hanging("[green]✓[/]", what, 0))
        for one in made.lost:
            what = f"{one} is NOT in it: that secret is lost, and cannot be read. All others are"
            out.print(hanging("[yellow]![/]", what))
        step = face.command(f"backup check {shown_path(made.path)}")
        out.print(said("  [dim]next[/] take it off this machine; {}", step), soft_wrap=True)

    face.answer(document, show)


def check(face: Face, file: Path, code_file: Path | None) -> None:
    """Read a backup to its end."""
    content = _read(file, code_file)
    header = content.header
    document = {**{name: getattr(header, name) for name in type(header).__slots__}, **asdict(content.counts)}

    def show(out: Console) -> None:
        out.print(Text.assemble(("✓ ", "green"), f"whole, of {header.at} ", badge(header.environment)))
        out.print(
            f"  {content.counts.secret} secrets, {content.counts.row} rows, {content.counts.gate} gate documents; "
            f"instance {header.instance}, generation {header.generation}"
        )

    face.answer(document, show)


def restore(
    face: Face, file: Path, code_file: Path | None, vault: Path | None, database: Path | None, ports: tuple[int, int]
) -> None:  # fmt: skip
    """Make a home out of a backup."""
    content = _read(file, code_file)
    where = None if vault is None else settings.read_file(VaultDocument, vault, "--vault")
    state = None if database is None else settings.read_file(DatabaseDocument, database, "--database")
    lost = list[str]()
    try:
        home, cut = backup.restore(
            content, face.root, vault=where, database=state, ports=ports,
            tell=lambda part: face.err.print(said("[dim]restoring {} ...[/]", part)),
            lost=lambda fault: lost.append(str(fault)),
        )  # fmt: skip
    except (BrokerError, OSError) as fault:
        what = (
            f"{face.root} cannot be written ({fault.strerror})" if isinstance(fault, OSError) else str(fault)
        )
        raise Stopped(
            what, f"{face.root} is half restored: it is no home, and nothing runs on it.",
            "Mend it, remove that directory, and restore again.", reason=getattr(fault, "reason", "not_written"),
        ) from None  # fmt: skip
    with opened(home) as service:
        generation = service.desk.home.generation
    document = {
        "home": str(home.root), "environment": home.environment.value, "generation": generation, "cut": cut,
        **asdict(content.counts), "lost": lost,
    }  # fmt: skip

    def show(out: Console) -> None:
        out.print(Text.assemble(("✓ ", "green"), f"home {home.root} ", badge(home.environment.value)))
        out.print(f"  {content.counts.secret} secrets, {content.counts.row} rows; generation {generation}")
        for one in lost:
            out.print(hanging("[yellow]![/]", f"{one}. Nothing was written over it: all else is restored"))
        what = said(
            "[bold red]EVERYTHING IS CLOSED[/] by {}: what happened since {} is not known",
            cut,
            content.header.at,
        )
        out.print(hanging("[bold red]■[/]", what, 0))
        if where is None:
            what = said(
                "[bold red]The old host still holds these keys, and cannot be reached from here.[/] Make sure that it "
                "is off, or rotate every key at the exchange, before you thaw."
            )
            out.print(hanging("[bold red]■[/]", what, 0))
        face.step(out, "[dim]next[/]", "portcullis run, then portcullis reconcile", 2)

    face.answer(document, show)


def _read(file: Path, code_file: Path | None) -> Content:
    try:
        return backup.read_file(file, code.private_key(secret_text("recovery code", code_file)))
    except BadCode as fault:
        raise Stopped(str(fault), step="Look at it again: nine words of four.", reason="bad_code") from None
    except BadBackup as fault:
        raise Stopped(
            str(fault), step="Take another copy, or an earlier backup.", reason="bad_backup"
        ) from None
