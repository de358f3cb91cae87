"""What a look at the audit trail does not prove, in sentences for who reads the verdict. Pure."""

from collections.abc import Mapping, Sequence

from broker.audit.held import Copy, Runs
from broker.audit.verify import Report


def sentences(report: Report, copies: Sequence[Copy], taken: Mapping[str, Runs]) -> list[str]:
    """Return what is not proven, and what would prove it."""
    found = []
    if not report.anchors:
        found.append(
            "without an anchor from elsewhere this only shows that the trail agrees with itself: "
            "whoever owns this host can write another, or cut off its end, and nothing here would show it"
        )
    elif not any(one.numbers for one in copies if not one.anchor):
        found.append(
            "the anchors looked at are files that this home writes: "
            "whoever owns this host can have written those, too. Name a copy from elsewhere with --anchor"
        )
    read = {one.anchor for one in copies}
    for name, runs in sorted(taken.items()):
        if name not in read and runs and not any(one.numbers for one in copies if not one.anchor):
            found.append(
                f"{name} took checkpoint {runs[-1][1]} and was not looked at: "
                "fetch what it keeps and name it with --anchor"
            )
    found += [
        f"{one.where} has kept nothing yet: it proves nothing"
        for one in copies
        if one.anchor and not one.numbers and not taken.get(one.anchor)
    ]
    if report.given_up:
        found.append(
            f"{report.given_up} runs of calls are older than they are kept, and were given up on record: "
            "nothing here shows any more what they said"
        )
    for writer, last in sorted(report.records.items()):
        anchored = report.anchored.get(writer, 0)
        if report.anchors and anchored < last:
            which = f"record {last}" if anchored == last - 1 else f"records {anchored + 1} to {last}"
            found.append(
                f"{which} of {writer} came after the last anchored checkpoint: nobody outside has seen them yet"
            )
    return found
