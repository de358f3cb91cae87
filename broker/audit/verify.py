"""The judge of the audit trail: names the first record that is not as it was written, and the last one anchored. Pure.

What is found, and by what:
    edited      a record's digest does not fit its content
    missing     a number of a chain is left out, or its begin is
    reordered   a record does not follow the one before it
    truncated   a checkpoint or an anchor knows records that are gone
    forked      a chain is consistent, but not the one that a checkpoint or an anchor has signed
    unsigned    a checkpoint's signature, number or predecessor is not right
    unreadable  an anchor's line cannot be understood
    calls       the call log is not what the chain says it was
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from broker.audit import chain, checkpoint
from broker.audit.chain import FIRST, Record
from broker.audit.checkpoint import Checkpoint

CALLS_ACTION = "calls.kept"


@dataclass(frozen=True, slots=True)
class Bad:
    """One contradiction, at a record of a writer; `seq` 0 where it is about no record."""

    kind: str
    writer: str
    seq: int
    message: str


@dataclass(slots=True)
class Report:
    """What was looked at, and what is wrong with it. `anchored` is the last anchored record by writer."""

    records: dict[str, int] = field(default_factory=dict)
    checkpoints: int = 0
    anchors: int = 0
    anchored: dict[str, int] = field(default_factory=dict)
    bad: list[Bad] = field(default_factory=list)

    @property
    def first_bad(self) -> Bad | None:
        """The first record that is not as it was written: the earliest place where the trail stops being one."""
        return self.bad[0] if self.bad else None


def verify(
    records: Iterable[Record],
    checkpoints: Sequence[str],
    anchors: Sequence[str],
    calls_digest: Callable[[str], str],
) -> Report:
    """Judge everything.

    Args:
        records: By writer and number, as they are stored.
        checkpoints: Lines by signer and number, as they are stored.
        anchors: Lines kept outside, in the order in which they came.
        calls_digest: Given a record's details, returns the digest of the calls as they are stored now.
    """
    report = Report()
    digests = _chains(records, report, calls_digest)
    keys = _checkpoints(checkpoints, digests, report)
    _anchors(anchors, digests, keys, report)
    return report


def _chains(
    records: Iterable[Record], report: Report, calls_digest: Callable[[str], str]
) -> dict[str, dict[int, str]]:
    digests: dict[str, dict[int, str]] = {}
    previous, writer = FIRST, ""
    for record in records:
        if record.writer != writer:
            writer, previous = record.writer, FIRST
        expected = report.records.get(writer, 0) + 1
        report.records[writer] = record.seq
        known = digests.setdefault(writer, {})
        right = chain.digest(writer, record.seq, record.entry, record.previous)
        if record.digest != right:
            report.bad.append(Bad("edited", writer, record.seq, "its content is not what was written"))
        if record.seq != expected:
            gone = f"{expected}" if record.seq == expected + 1 else f"{expected} to {record.seq - 1}"
            report.bad.append(Bad("missing", writer, expected, f"gone: {gone}"))
        elif record.previous != previous:
            report.bad.append(Bad("reordered", writer, record.seq, "it does not follow the record before it"))
        elif (
            record.entry.action == CALLS_ACTION
            and calls_digest(record.entry.details) not in record.entry.details
        ):
            report.bad.append(
                Bad(
                    "calls",
                    writer,
                    record.seq,
                    "the call log is not what was kept: lines were changed or removed",
                )
            )
        known[record.seq] = right
        previous = record.digest
    return digests


def _checkpoints(
    lines: Sequence[str], digests: Mapping[str, Mapping[int, str]], report: Report
) -> dict[str, str]:
    """Judge the stored statements; return the public keys by signer."""
    keys: dict[str, str] = {}
    last: dict[str, tuple[int, str]] = {}
    for line in lines:
        report.checkpoints += 1
        try:
            one = checkpoint.load(line)
        except (ValueError, KeyError, TypeError, AttributeError):
            report.bad.append(
                Bad("unreadable", "", 0, f"stored checkpoint {report.checkpoints} cannot be understood")
            )
            continue
        number, before = last.get(one.signer, (0, FIRST))
        where = f"checkpoint {one.number} of {one.signer}"
        if not checkpoint.is_signed(one):
            report.bad.append(Bad("unsigned", one.signer, 0, f"{where}: the signature does not fit"))
        elif one.number != number + 1 or one.previous != before:
            report.bad.append(Bad("unsigned", one.signer, 0, f"{where} does not follow the one before it"))
        last[one.signer] = (one.number, checkpoint.digest(one))
        keys[one.signer] = one.public_key
        _heads(one, digests, where, report)
    return keys


def _anchors(
    lines: Sequence[str], digests: Mapping[str, Mapping[int, str]], keys: Mapping[str, str], report: Report
) -> None:
    for number, line in enumerate(lines, 1):
        where = f"anchor line {number}"
        try:
            one = checkpoint.load(line)
        except (ValueError, KeyError, TypeError, AttributeError):
            report.bad.append(Bad("unreadable", "", 0, f"{where} cannot be understood"))
            continue
        report.anchors += 1
        if not checkpoint.is_signed(one):
            report.bad.append(Bad("unsigned", one.signer, 0, f"{where}: the signature does not fit"))
            continue
        if keys.get(one.signer, one.public_key) != one.public_key:
            report.bad.append(
                Bad(
                    "unsigned", one.signer, 0, f"{where}: {one.signer} signs with another key here than there"
                )
            )
        if _heads(one, digests, where, report):
            for writer, (seq, _) in one.heads.items():
                report.anchored[writer] = max(seq, report.anchored.get(writer, 0))


def _heads(one: Checkpoint, digests: Mapping[str, Mapping[int, str]], where: str, report: Report) -> bool:
    """Compare a statement with the chains; tell whether it fits them."""
    fits = True
    for writer, (seq, value) in sorted(one.heads.items()):
        known = digests.get(writer, {})
        if seq not in known:
            first = max(known, default=0) + 1
            report.bad.append(Bad("truncated", writer, first, f"{where} knows records up to {seq}"))
            fits = False
        elif known[seq] != value:
            report.bad.append(Bad("forked", writer, seq, f"{where} has signed another record {seq}"))
            fits = False
    return fits
