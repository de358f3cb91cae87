"""Routes that tell how ready we are for a leak, and the figures of it for Prometheus."""

from fastapi import APIRouter, Response
from pydantic import BaseModel

from broker.api.access import Viewer
from broker.api.context import Given, run
from broker.api.figures import CONTENT_TYPE, figures
from broker.api.once import OnceRoute
from broker.api.wrong import WrongShown, wrong_shown
from broker.service.readiness import Readiness

router = APIRouter(route_class=OnceRoute, tags=["readiness"])


class RedShown(BaseModel):
    """What is not ready, and the command that mends it."""

    what: str
    step: str


class ReadinessShown(BaseModel):
    """One account. `deletes`: who can delete its key, `machine` or `you`. `age_days` null: no key in use."""

    account: str
    venue: str
    deletes: str
    standby: bool
    age_days: float | None
    bound: bool | None
    addresses: list[str]
    red: list[RedShown]


class ReadyShown(BaseModel):
    """Every account, and everything that is wrong. `ready`: nothing is.

    `serves`: this host has the home's place. `instead`: where it has not, who serves as far as that is known, and what
    to do; empty where it has.
    """

    ready: bool
    serves: bool
    instead: str
    accounts: list[ReadinessShown]
    wrong: list[WrongShown]


@router.get("/ready")
async def ready(given: Given, _: Viewer) -> ReadyShown:
    """Tell how ready every account is for a leak."""
    found = [_shown(one) for one in await run(given.service.ready.look)]
    wrong = await run(wrong_shown, given)
    instead = given.service.desk.guard.superseded
    return ReadyShown(
        ready=not (wrong or instead), serves=not instead, instead=instead, accounts=found, wrong=wrong
    )


@router.get("/metrics", response_class=Response)
async def metrics(given: Given, _: Viewer) -> Response:
    """Return figures in Prometheus' text format; a scraper sends a viewer's token."""
    return Response(await run(figures, given.service), media_type=CONTENT_TYPE)


def _shown(one: Readiness) -> ReadinessShown:
    return ReadinessShown(
        account=one.account,
        venue=one.venue,
        deletes=one.deletes,
        standby=one.standby,
        age_days=None if one.age_for is None else round(one.age_for.total_seconds() / 86400, 2),
        bound=one.bound,
        addresses=list(one.addresses),
        red=[RedShown(what=red.what, step=red.step) for red in one.red],
    )
