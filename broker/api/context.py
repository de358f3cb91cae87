"""What routes work with, and the changes that a request made.

A change that a use case told is gathered here, so that the answer can say which gateways have it in force.
What a route reads after its deed it reads by `read_back`: where that fails the deed was done, and no answer denies it.
"""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, ParamSpec, TypeVar

from fastapi import Depends, Request

from broker.api.lanes import run as run  # noqa: PLC0414 - routes run use cases by it
from broker.api.ports import Acknowledged, Gateways, KeyInspector, KeyWarden
from broker.api.schemas import Heard
from broker.background import described
from broker.errors import StoreUnavailable
from broker.service import Change, Service

P = ParamSpec("P")
T = TypeVar("T")

ACKNOWLEDGED_WITHIN_S = 2.0
"""How long an answer waits for gateways: the change is durable before, and in force without them by lease end."""

_MADE: ContextVar[list[Change] | None] = ContextVar("changes made by this request", default=None)


@dataclass(frozen=True, slots=True)
class Hazard:
    """Something about where we run that is not safe, and what to do. `subject` names it where its words change."""

    what: str
    step: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What an application is made over. `hazards` looks at the machine: who else runs as our user."""

    service: Service
    gateways: Gateways
    inspector: KeyInspector
    warden: KeyWarden
    hazards: Callable[[], Iterable[Hazard]] = tuple

    def listen(self) -> None:
        """Gather the changes that use cases tell of."""
        self.service.desk.listeners.append(_made)


def _made(change: Change) -> None:
    made = _MADE.get()
    if made is not None:
        made.append(change)


def context_of(request: Request) -> Context:
    """Return the context of a request's application."""
    found = request.app.state.context
    if not isinstance(found, Context):
        raise TypeError("the application was made without a context")
    return found


async def _given(request: Request) -> Context:
    return context_of(request)


Given = Annotated[Context, Depends(_given)]


async def run_and_tell(
    context: Context, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> tuple[T, Heard]:
    """Run a use case, then wait for gateways to have its changes in force."""
    made: list[Change] = []
    token = _MADE.set(made)
    try:
        done = await run(work, *args, **kwargs)
    finally:
        _MADE.reset(token)
    return done, heard_by(await context.gateways.acknowledged(tuple(made), ACKNOWLEDGED_WITHIN_S))


async def read_back(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Read what a deed came to, after it.

    Raises:
        StoreUnavailable: That cannot be read; the deed was done, and the reason says so.
    """
    try:
        return await run(work, *args, **kwargs)
    except (StoreUnavailable, RuntimeError) as fault:  # the last: no thread can be had to look
        message = f"it was done, and what became of it cannot be read now: {described(fault)}"
        raise StoreUnavailable("done_unread", message) from None


def heard_by(heard: Acknowledged) -> Heard:
    """Return who has a change in force, as it is answered."""
    return Heard(
        asked=heard.asked,
        acknowledged=heard.asked - len(heard.missing),
        missing=list(heard.missing),
        after_ms=heard.after_ms,
        worst_case_s=heard.worst_case_s,
    )
