"""The one map from what went wrong to HTTP: `application/problem+json`, RFC 9457.

Rules:
1. Every answer that is no success has `type, title, status, reason, detail, errors, instance, done`. `reason` is short
   and stable; `errors` names fields with what to do; `instance` is the request's id, as in our log.
2. What has no place in the map is a 500 that says nothing about itself. Nothing here quotes an input back.
3. `done` says whether what was asked was done all the same: `no`, `yes` or `unknown`.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from broker.errors import BrokerError, Done, Malformed
from broker.service.openings import Announced
from clients.errors import Outcome, VenueError

MEDIA_TYPE = "application/problem+json"
Errors = Sequence[Mapping[str, str]]

_VENUE_STATUS = {Outcome.REFUSED: 409, Outcome.RETRY: 503, Outcome.UNKNOWN: 503}
_VENUE_WORDS = {
    Outcome.REFUSED: "the exchange declined: ",
    Outcome.RETRY: "the exchange could not be asked, nothing was done: ",
    Outcome.UNKNOWN: "the exchange's answer was lost, whether it acted is not known: ",
}
_REASONS = {401: "unauthenticated", 403: "not_granted", 404: "not_found", 405: "method_not_allowed",
            413: "too_large", 415: "media_type"}  # fmt: skip
_LONGEST_FIELD, _MOST_ERRORS = 80, 50


def answer(
    request_id: str,
    status: int,
    reason: str,
    detail: str,
    errors: Errors = (),
    headers: Mapping[str, str] | None = None,
    *,
    done: Done = Done.NO,
    more: Mapping[str, object] | None = None,
) -> JSONResponse:
    """Return one problem."""
    document = {
        "type": f"urn:portcullis:problem:{reason}", "title": HTTPStatus(status).phrase, "status": status,
        "reason": reason, "detail": detail, "errors": list(errors), "instance": request_id, "done": done.value,
        **(more or {}),
    }  # fmt: skip
    return JSONResponse(document, status, dict(headers or {}), MEDIA_TYPE)


def request_id(request: Request) -> str:
    """Return the id that `broker.api.guard` gave to a request."""
    return str(request.scope.get("portcullis.request_id", "none"))


def install(app: FastAPI) -> None:
    """Make an application answer in problems only."""
    app.add_exception_handler(BrokerError, _broker)
    app.add_exception_handler(VenueError, _venue)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


def of_broker(request: Request, fault: BrokerError) -> JSONResponse:
    """Return the problem of one of our errors."""
    errors = (
        [{"field": problem.field, "message": problem.message} for problem in fault.problems]
        if isinstance(fault, Malformed)
        else []
    )
    if isinstance(fault, Announced):
        return answer(
            request_id(request), fault.status, fault.reason, str(fault),
            more={
                "act": fault.act, "ready_at": None if fault.ready_at is None else fault.ready_at.isoformat(),
                "shows": list(fault.shows),
            },
        )  # fmt: skip
    headers = {"WWW-Authenticate": "Bearer"} if fault.status == HTTPStatus.UNAUTHORIZED else {}
    return answer(
        request_id(request), fault.status, fault.reason, str(fault), errors, headers, done=fault.done
    )


async def _broker(request: Request, fault: Exception) -> JSONResponse:
    if not isinstance(fault, BrokerError):
        raise TypeError("registered for BrokerError")
    return of_broker(request, fault)


async def _venue(request: Request, fault: Exception) -> JSONResponse:
    if not isinstance(fault, VenueError):
        raise TypeError("registered for VenueError")
    status = _VENUE_STATUS[fault.outcome]
    return answer(
        request_id(request), status, f"venue_{fault.reason}", _VENUE_WORDS[fault.outcome] + str(fault),
        done=Done.UNKNOWN if fault.outcome is Outcome.UNKNOWN else Done.NO,
    )  # fmt: skip


async def _validation(request: Request, fault: Exception) -> JSONResponse:
    if not isinstance(fault, RequestValidationError):
        raise TypeError("registered for RequestValidationError")
    found = fault.errors()[:_MOST_ERRORS]
    errors = [{"field": _field(entry["loc"]), "message": _message(entry)} for entry in found]
    detail = "; ".join(f"{entry['field']}: {entry['message']}" for entry in errors[:5])
    return answer(request_id(request), 400, "malformed", detail, errors)


async def _http(request: Request, fault: Exception) -> JSONResponse:
    if not isinstance(fault, HTTPException):
        raise TypeError("registered for HTTPException")
    reason = _REASONS.get(fault.status_code, "refused")
    detail = (
        "there is nothing at this path" if fault.status_code == HTTPStatus.NOT_FOUND else str(fault.detail)
    )
    return answer(request_id(request), fault.status_code, reason, detail, (), fault.headers)


async def _unforeseen(request: Request, fault: Exception) -> JSONResponse:
    structlog.get_logger("api").error(
        "unforeseen error", request=request_id(request), kind=type(fault).__name__, path=request.url.path
    )
    detail = (
        "the broker failed in a way it does not know; whether something was done is not known: read it back "
        "before you try again, and look for this request's id in the broker's log"
    )
    return answer(request_id(request), 500, "internal", detail, done=Done.UNKNOWN)


def _field(location: Sequence[Any]) -> str:
    """Return the dotted name of a field; the part of the request it stands in is left out."""
    named = [str(part)[:_LONGEST_FIELD] for part in location[1:]] or [str(location[0])]
    return ".".join(named)


def _message(entry: Mapping[str, Any]) -> str:
    """Say what to do about one field, without its value."""
    kind = str(entry["type"])
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is not known"
    if kind == "json_invalid":
        return "is not JSON"
    text = str(entry["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return text[:1].lower() + text[1:]
