"""What `portcullis audit verify` does. Apart from the commands, because it loads the database."""

from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from broker.audit.anchors import lines_of
from broker.audit.verify import Bad, Report
from broker.errors import BrokerError
from broker.service.audit import read_verified
from portcullis import stores
from portcullis.audit_settings import TransitDocument
from portcullis.auditing import transit_of
from portcullis.cli.face import FAILED, Face, Stopped
from portcullis.cli.tables import hanging, said
from portcullis.settings import Home, SettingsError


def verify(face: Face, anchors: Sequence[Path]) -> None:
    """Judge the trail; exit 1 where it is not what was written."""
    home = face.home()
    lines: list[str] = []
    signed: list[tuple[str, str]] = []
    for path in [*anchors, *_own_files(home)]:
        try:
            found = lines_of(path.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            raise SettingsError("--anchor", f"{path} is not there: what it held is not checked") from None
        except OSError as fault:
            raise SettingsError("--anchor", f"{path} cannot be read ({fault.strerror})") from None
        lines += found[0]
        signed += found[1]
    database = stores.database_of(home)
    try:
        report = read_verified(database, lines)
    except BrokerError as fault:
        raise Stopped(str(fault), reason=fault.reason) from None
    finally:
        database.close()
    if signed:
        _countersigned(home, signed, report)
    _answer(face, report)


def _own_files(home: Home) -> list[Path]:
    """Return the files that this home itself anchors in, as far as there is something in them."""
    documents = [] if home.audit is None else home.audit.anchors
    paths = [one.path.expanduser() for one in documents if one.kind in {"file", "transit"}]
    return [path for path in paths if path.exists()]


def _countersigned(home: Home, signed: Sequence[tuple[str, str]], report: Report) -> None:
    """Ask Vault whether it signed what an anchor says it did."""
    documents = [] if home.audit is None else home.audit.anchors
    named = [one for one in documents if isinstance(one, TransitDocument)]
    transit = transit_of(home, named[0] if named else TransitDocument(kind="transit", path=Path("unused")))
    try:
        for number, (line, signature) in enumerate(signed, 1):
            if not transit.is_signed(line.encode(), signature):
                report.bad.append(
                    Bad("unsigned", "", 0, f"countersigned line {number}: Vault did not sign this")
                )
    except BrokerError as fault:
        raise Stopped(
            f"Vault cannot say whether it countersigned: {fault}", "The rest was looked at; run it again.",
            reason=fault.reason,
        ) from None  # fmt: skip
    finally:
        transit.close()


def _answer(face: Face, report: Report) -> None:
    first = report.first_bad
    document = {
        "well": first is None,
        "records": report.records, "checkpoints": report.checkpoints, "anchor_lines": report.anchors,
        "last_anchored": report.anchored,
        "first_bad": None if first is None else _bad(first),
        "bad": [_bad(one) for one in report.bad],
    }  # fmt: skip

    def show(out: Console) -> None:
        if first is None:
            out.print("[bold green]✓ the audit trail is as it was written[/]")
        else:
            where = f"record {first.seq} of {first.writer}" if first.seq else first.writer or "an anchor"
            out.print(
                said(
                    "[bold red]✗ the audit trail was tampered with or damaged: {} at {}[/]", first.kind, where
                )
            )
            for one in report.bad[:20]:
                place = f"{one.writer} {one.seq}" if one.seq else one.writer
                out.print(hanging(said("[red]{}[/] {}", f"{one.kind:10}", place), one.message))
            what = (
                "keep a copy of the database and the anchors as they are; what is anchored and before "
                "the first bad record still stands"
            )
            out.print(hanging("[dim]next[/]", what))
        for writer, last in sorted(report.records.items()):
            anchored = report.anchored.get(writer)
            told = Text(f"anchored up to {anchored}") if anchored else Text("not anchored", "yellow")
            out.print(said("  {} {} records, {}", f"{writer:10}", last, told))
        out.print(f"  {report.checkpoints} signed checkpoints, {report.anchors} lines of anchors")
        if not report.anchors:
            what = (
                "without an anchor from elsewhere this only shows that the trail agrees with itself: "
                "whoever owns this host can write another"
            )
            out.print(hanging("[yellow]![/]", what))

    face.answer(document, show)
    if first is not None:
        raise typer.Exit(FAILED)


def _bad(one: Bad) -> dict[str, object]:
    return {"kind": one.kind, "writer": one.writer, "seq": one.seq, "message": one.message}
