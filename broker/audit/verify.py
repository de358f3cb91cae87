"""The judge of the audit trail: names the first record that is not as it was written, and the last one anchored. Pure.

What is found, and by what:
    edited      a record's digest does not fit its content
    missing     a number of a chain is left out, or its begin is
    reordered   a record does not follow the one before it
    truncated   a checkpoint or an anchor knows records that are gone
    forked      a chain is consistent, but not the one that a checkpoint or an anchor has signed; or an anchor knows
                another checkpoint of that number
    unsigned    a checkpoint's signature, number or predecessor is not right
    unreadable  an anchor's line cannot be understood: it is torn, or something else
    calls       the call log is not what the chain says it was

Calls are not kept for ever: of runs that the chain gave up later (`calls.given-up`), each of them old enough by then,
nothing is asked for. How old that is no record says: whoever takes calls away could write one.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from broker.audit import chain, checkpoint
from broker.audit.chain import FIRST, Record
from broker.audit.checkpoint import Checkpoint

CALLS_ACTION = "calls.kept"
GIVEN_UP_ACTION = "calls.given-up"
KEPT_DAYS = 90
"""So long calls are kept at least."""

_DAY_US = 24 * 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class Bad:
    """One contradiction, at a record of a writer; `seq` 0 where it is about no record."""

    kind: str
    writer: str
    seq: int
    message: str


@dataclass(slots=True)
class Report:
    """What was looked at, and what is wrong with it. `anchored` is the last anchored record by writer.

    `given_up`: so many runs of calls are not what was kept, and need not be any more.
    """

    records: dict[str, int] = field(default_factory=dict)
    given_up: int = 0
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
    keys, known = _checkpoints(checkpoints, digests, report)
    _anchors(anchors, digests, keys, known, report)
    return report


def _chains(
    records: Iterable[Record], report: Report, calls_digest: Callable[[str], str]
) -> dict[str, dict[int, str]]:
    digests: dict[str, dict[int, str]] = {}
    previous, writer = FIRST, ""
    lost: dict[str, list[tuple[int, int]]] = {}
    """Runs of calls that are not what was kept, by writer: number of the record, and when it was written."""
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
            lost.setdefault(writer, []).append((record.seq, record.entry.at_us))
        elif record.entry.action == GIVEN_UP_ACTION:
            lost[writer] = _left(record, lost.get(writer, []), report)
        known[record.seq] = right
        previous = record.digest
    said = "the call log is not what was kept: lines were changed or removed"
    report.bad += [Bad("calls", writer, seq, said) for writer, runs in lost.items() for seq, _ in runs]
    order = {name: place for place, name in enumerate(report.records)}
    report.bad.sort(key=lambda bad: (order.get(bad.writer, 0), bad.seq))
    return digests


def _left(record: Record, lost: list[tuple[int, int]], report: Report) -> list[tuple[int, int]]:
    """Return what a record that gives runs up leaves of those that are not what was kept."""
    try:
        found = json.loads(record.entry.details)
        through, kept_us = int(found["through"]), max(KEPT_DAYS, int(found["days"])) * _DAY_US
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return lost
    left = [(seq, at_us) for seq, at_us in lost if seq > through or record.entry.at_us - at_us < kept_us]
    report.given_up += len(lost) - len(left)
    return left


def _checkpoints(
    lines: Sequence[str], digests: Mapping[str, Mapping[int, str]], report: Report
) -> tuple[dict[str, str], dict[tuple[str, int], str]]:
    """Judge the stored statements; return the public keys by signer, and each statement's digest by its number."""
    keys: dict[str, str] = {}
    known: dict[tuple[str, int], str] = {}
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
        known[one.signer, one.number] = checkpoint.digest(one)
        keys[one.signer] = one.public_key
        _heads(one, digests, where, report)
    return keys, known


def _anchors(
    lines: Sequence[str],
    digests: Mapping[str, Mapping[int, str]],
    keys: Mapping[str, str],
    known: Mapping[tuple[str, int], str],
    report: Report,
) -> None:
    after: list[Bad] = []
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
        stored = known.get((one.signer, one.number))
        if stored is None:
            after.append(
                Bad(
                    "truncated",
                    one.signer,
                    0,
                    f"{where} is checkpoint {one.number}, which the database lacks",
                )
            )
        elif stored != checkpoint.digest(one):
            after.append(
                Bad(
                    "forked", one.signer, 0, f"{where} is another checkpoint {one.number} than the stored one"
                )
            )
    report.bad += after  # what the chains themselves show comes first


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
