"""What `portcullis audit verify` does. Apart from the commands, because it loads the database."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from broker.audit import checkpoint, held, unproven
from broker.audit.anchors import lines_of
from broker.audit.held import Copy
from broker.audit.verify import Bad, Report
from broker.errors import BrokerError
from broker.service.audit import read_taken, read_verified
from portcullis import stores
from portcullis.audit_settings import FileDocument, TransitDocument
from portcullis.auditing import signs_as, transit_of
from portcullis.cli.face import FAILED, Face, Stopped
from portcullis.cli.tables import hanging, said
from portcullis.settings import Home, SettingsError


def verify(face: Face, anchors: Sequence[Path]) -> None:
    """Judge the trail; exit 1 where it is not what was written, or an anchor lacks what it took."""
    _answer(face, *judge(face.home(), anchors))


def judge(home: Home, anchors: Sequence[Path]) -> tuple[Report, list[str]]:
    """Look at the trail of a home and at its anchors; return what was found, and what is not proven."""
    database = stores.database_of(home)
    try:
        taken, stored = read_taken(database)  # before the anchors: see there
        looks = [*(_named(path) for path in anchors), *_own(home)]
        report = read_verified(database, [line for look in looks for line in look.lines])
    except BrokerError as fault:
        raise Stopped(str(fault), reason=fault.reason) from None
    finally:
        database.close()
    us = signs_as(home)
    by_name = {
        name if owner == us else f"{name} of another home (key {owner[:8]})": runs
        for (owner, name), runs in taken.items()
    }
    for kind, sentence in held.judged([look.copy for look in looks], by_name, stored):
        report.bad.append(Bad(kind, "", 0, sentence))
    for look in looks:
        if look.transit and len(look.signed) < len(look.lines):
            report.bad.append(
                Bad("unsigned", "", 0, f"{look.copy.where} has lines that Vault did not countersign")
            )
    signed = [one for look in looks for one in look.signed]
    if signed:
        _countersigned(home, signed, report)
    return report, unproven.sentences(report, [look.copy for look in looks], by_name)


@dataclass(frozen=True, slots=True)
class _Look:
    """What was read of one anchor."""

    copy: Copy
    lines: list[str]
    signed: list[tuple[str, str]]
    transit: bool = False


def _named(path: Path) -> _Look:
    """Read a copy that somebody names."""
    try:
        return _read(path, str(path))
    except FileNotFoundError:
        raise SettingsError("--anchor", f"{path} is not there: what it held is not checked") from None
    except OSError as fault:
        raise SettingsError("--anchor", f"{path} cannot be read ({fault.strerror})") from None


def _own(home: Home) -> Iterator[_Look]:
    """Read the files that this home itself anchors in."""
    documents = [] if home.audit is None else home.audit.anchors
    for one in documents:
        if not isinstance(one, FileDocument | TransitDocument):
            continue
        path = one.path.expanduser()
        name = f"{one.kind}:{path}"
        try:
            yield _read(path, str(path), name, transit=isinstance(one, TransitDocument))
        except FileNotFoundError:
            yield _Look(Copy(str(path), None, name), [], [])
        except OSError as fault:
            raise SettingsError("audit.anchors", f"{path} cannot be read ({fault.strerror})") from None


def _read(path: Path, where: str, anchor: str = "", *, transit: bool = False) -> _Look:
    lines, signed = lines_of(path.read_text(encoding="utf-8", errors="replace"))
    numbers = set()
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            numbers.add(checkpoint.load(line).number)
    return _Look(Copy(where, frozenset(numbers), anchor), lines, signed, transit)


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


def _answer(face: Face, report: Report, not_proven: Sequence[str]) -> None:
    first = report.first_bad
    document = {
        "well": first is None,
        "records": report.records, "checkpoints": report.checkpoints, "anchor_lines": report.anchors,
        "last_anchored": report.anchored,
        "not_proven": list(not_proven),
        "first_bad": None if first is None else _bad(first),
        "bad": [_bad(one) for one in report.bad],
    }  # fmt: skip

    def show(out: Console) -> None:
        if first is None:
            out.print("[bold green]✓ nothing contradicts that the audit trail is as it was written[/]")
        else:
            where = f"record {first.seq} of {first.writer}" if first.seq else first.writer or "an anchor"
            out.print(
                said(
                    "[bold red]✗ the audit trail or an anchor was tampered with or damaged: {} at {}[/]",
                    first.kind,
                    where,
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
        for sentence in not_proven:
            out.print(hanging("[yellow]![/]", sentence))

    face.answer(document, show)
    if first is not None:
        raise typer.Exit(FAILED)


def _bad(one: Bad) -> dict[str, object]:
    return {"kind": one.kind, "writer": one.writer, "seq": one.seq, "message": one.message}
