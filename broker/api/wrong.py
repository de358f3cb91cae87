"""What is wrong, as every view shows it: `status`, `ready` and `alerts list` read this one list."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress

from pydantic import BaseModel

from broker.api.context import Context
from broker.errors import NotFound
from broker.model import KeyRef, Stage
from broker.service.conditions import Condition, conditions_of

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
    """Return what this process sees of itself: its host, its stores, its gateways."""
    return conditions_of(
        {
            "this host": lambda: _of_the_host(context),
            "cuts that are not on record": lambda: _of_cuts(context),
            "lost secrets": lambda: _of_secrets(context),
            "gateways": lambda: _of_gateways(context),
        }
    )


def _of_the_host(context: Context) -> Iterator[Condition]:
    for hazard in context.hazards():
        subject = hazard.subject or hashlib.sha256(hazard.what.encode()).hexdigest()[:12]
        yield Condition("unsafe", subject, hazard.what, hazard.step)


def _of_gateways(context: Context) -> Iterator[Condition]:
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
            f"{stray.noted.id} of {', '.join(stray.noted.scopes)}, which somebody was told is in force, stops NOBODY: "
            f"{stray.why}",
            "cut again, with the right name: portcullis cut --consumer NAME --reason WHY",
        )  # fmt: skip


def _of_secrets(context: Context) -> Iterator[Condition]:
    """Yield grants, keys in use, ways out and codes whose secret the secret store has not: all of theirs is refused."""
    service = context.service
    for (kind, name), path in list(service.desk.gone.items()):
        with suppress(NotFound):
            if kind == "grant":
                grant = service.grants.get(name)
                if grant.revoked_at is None and grant.secret_path == path:
                    yield Condition(
                        "secret-gone", f"grant:{name}",
                        f"the secret of {grant.consumer}'s virtual key (grant {name}) is not in the secret store: "
                        "every request of that bot is refused as unavailable",
                        f"portcullis grant reissue {name}", grant.account,
                    )  # fmt: skip
                continue
            if kind == "egress":
                if (back := service.accounts.password_back(name, path)) is not None:
                    yield Condition(
                        "secret-gone", f"egress:{name}",
                        f"the password of the proxy of egress {name} is not in the secret store, or cannot be read "
                        "there: no bot whose account goes by it is served anew, and no key is asked about by it",
                        f"{back}, then portcullis reconcile",
                    )  # fmt: skip
                continue
            if kind == "codes":
                if service.credentials.seed_of(name) == path:
                    yield Condition(
                        "secret-gone", f"operator:{name}",
                        f"the seed of {name}'s one-time codes is not in the secret store, or cannot be read there: "
                        "every login and every code is refused",
                        f"another admin: portcullis operator enrol --name {name}; or on the broker's host: "
                        f"portcullis operator recover --name {name}",
                    )  # fmt: skip
                continue
            ref = KeyRef.parse(name)
            if any(key.ref == ref and key.stage is Stage.CURRENT for key in service.keys.list()):
                yield Condition(
                    "secret-gone", f"key-version:{name}",
                    f"the secret of the key {name} is not in the secret store: every request on {ref.account} is "
                    "refused as unavailable",
                    service.ready.rotate(ref.account, ref.slot), ref.account,
                )  # fmt: skip
