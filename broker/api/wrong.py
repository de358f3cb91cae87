"""What is wrong, as every view shows it: `status`, `ready` and `alerts list` read this one list."""

import hashlib
from collections.abc import Iterator

from pydantic import BaseModel

from broker.api.context import Context
from broker.service.conditions import Condition

BEHIND_LINES = 20_000
"""Call-log lines a gateway holds that no broker has kept yet: an hour of a busy bot."""


SILENT_S = 20
"""A gateway says something every few seconds; one that says nothing for so long serves nobody, nor hears of a cut."""


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
                f"the gateway {gateway.name} is connected and says nothing: it hangs, and no bot can trade through it",
                f"end its process ({gateway.pid}); it is started again by itself",
            )  # fmt: skip
        if gateway.spool_lines > BEHIND_LINES:
            yield Condition(
                "log-behind", gateway.name,
                f"the gateway {gateway.name} is {gateway.spool_lines} lines behind with the call log",
                "look at the broker's database: it keeps up too slowly, or not at all; portcullis status shows how far",
            )  # fmt: skip
