"""What is wrong, as every view shows it: `status`, `ready` and `alerts list` read this one list."""

import hashlib
from collections.abc import Iterator

from pydantic import BaseModel

from broker.api.context import Context
from broker.service.conditions import Condition

BEHIND_LINES = 20_000
"""Call-log lines a gateway holds that no broker has kept yet: an hour of a busy bot."""


SILENT_S = 4
"""A gateway says something every second; one that says nothing for so long serves nobody, nor hears of a cut."""

LATE_US = 2_000_000
"""A cut that is not on record by then is told."""


class WrongShown(BaseModel):
    """Something that is wrong, and the next step. `account` is empty where it concerns more than one."""

    kind: str
    subject: str
    account: str
    what: str
    step: str


def wrong(context: Context) -> tuple[Condition, ...]:
    """Return everything that is wrong."""
    return context.service.conditions.everything(of_this_process(context))


def wrong_shown(context: Context) -> list[WrongShown]:
    """Return everything that is wrong, as answers have it."""
    return [
        WrongShown(kind=one.kind, subject=one.subject, account=one.account, what=one.says, step=one.step)
        for one in wrong(context)
    ]


def of_this_process(context: Context) -> Iterator[Condition]:
    """Yield what this process sees of itself: its host, its stores, its gateways."""
    for hazard in context.hazards():
        subject = hazard.subject or hashlib.sha256(hazard.what.encode()).hexdigest()[:12]
        yield Condition("unsafe", subject, hazard.what, hazard.step)
    yield from _of_cuts(context)
    gateways = context.gateways.connected()
    if not gateways and context.service.grants.list(limit=1).items:
        yield Condition(
            "no-gateway", "here", "no gateway is connected: no bot can trade",
            "look into the log of portcullis run; portcullis status shows when it is back",
        )  # fmt: skip
    for gateway in gateways:
        if gateway.silent_s >= SILENT_S:
            yield Condition(
                "gateway-silent", gateway.name,
                f"the gateway {gateway.name} is connected and says nothing: it is stopped or hangs, and no bot can "
                "trade through it",
                f"end its process (kill -KILL {gateway.pid}); it is started again by itself",
            )  # fmt: skip
        if gateway.spool_lines > BEHIND_LINES:
            yield Condition(
                "log-behind", gateway.name,
                f"the gateway {gateway.name} is {gateway.spool_lines} lines behind with the call log",
                "look at the broker's database: it keeps up too slowly, or not at all; portcullis status shows how far",
            )  # fmt: skip


def _of_cuts(context: Context) -> Iterator[Condition]:
    """Yield cuts that are in force here and not on record, and those that were answered and named nobody."""
    closing = context.service.cuts.closing
    for made in closing.standing():
        if 0 <= context.service.desk.clock.now_us() - made.noted.opened_us < LATE_US:
            continue  # it is being committed right now; below: the clock was set back
        where = (
            "a restart finds it all the same"
            if closing.is_kept(made.noted.id)
            else "A RESTART OF THE BROKER FORGETS IT"
        )
        word = "the thaw of" if made.thawing is not None else "the cut of"
        yield Condition(
            "cut-not-on-record", made.noted.id,
            f"{word} {', '.join(made.noted.scopes)} is in force and not in the database; {where}: "
            f"{made.fault or 'the database does not answer'}",
            "leave the broker running and mend the database: RB-11",
        )  # fmt: skip
    for stray in closing.strays():
        yield Condition(
            "cut-of-nobody", stray.noted.id,
            f"{stray.noted.id} of {', '.join(stray.noted.scopes)} was answered as in force with the database away, "
            f"and stops NOBODY: {stray.why}",
            "cut again, with the right name: portcullis cut --consumer NAME --reason WHY",
        )  # fmt: skip
