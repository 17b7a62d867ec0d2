"""Every answer of the JSON API has one shape, `{success, message, data}`, and a status that tells the truth.

Where a read model could not catch up in time, `as_of` beside the data says how far it is.
"""

from collections.abc import Sequence
from typing import Annotated, Generic, Literal, TypeVar, cast

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from api.admin.refusals import (
    Conflict,
    Forbidden,
    Invalid,
    Malformed,
    Missing,
    Refusal,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
    said,
)
from domain.settings import InvalidSetting
from ledger.errors import LedgerClosed, LedgerUnavailable
from projections.errors import FilterRefused, ReadModelUnavailable

T = TypeVar("T")

STATUSES: dict[type[Refusal], int] = {
    Malformed: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    Missing: 404,
    Conflict: 409,
    TooLarge: 413,
    Invalid: 422,
    TooMany: 429,
    Unavailable: 503,
}
SECRET_FIELDS = frozenset({"password", "original_password", "confirmPassword", "key", "token", "value", "secret"})
"""Fields whose value no message repeats."""
MAX_FAULTS_SAID = 5
NO_JSON = "the body is not valid JSON: send one JSON object"


class AsOf(BaseModel):
    """How far the read model is: up to `position` of `head`, looked at `at_ms`."""

    position: int
    head: int
    at_ms: int


class Envelope(BaseModel, Generic[T]):
    """A request that was carried out."""

    success: Literal[True] = True
    message: str = ""
    data: T
    as_of: Annotated[
        AsOf | None,
        Field(description="Only there when newer facts than these exist", exclude_if=lambda value: value is None),
    ] = None


class Page(BaseModel, Generic[T]):
    """A page of a list that is counted from 1."""

    items: list[T]
    total: int
    page: int
    page_size: int


class Problem(BaseModel):
    """A request that was refused: `message` says what was expected and what to do."""

    success: Literal[False] = False
    message: str


def refused(error: Exception) -> JSONResponse | None:
    """The answer to an error that is no bug; None for one that is, and must stay loud."""
    match error:
        case TooMany():
            return problem(429, str(error), {"Retry-After": str(error.retry_after_s)})
        case Refusal():
            return problem(STATUSES[type(error)], str(error))
        case InvalidSetting() | FilterRefused():
            return problem(422, str(error))
        case RequestValidationError():
            return _misread(error)
        case HTTPException():
            return _of_framework(error)
        case LedgerUnavailable() | LedgerClosed():
            return problem(503, f"the ledger cannot serve now: {error}; try again in a moment", {"Retry-After": "1"})
        case ReadModelUnavailable():
            return problem(503, f"the lists cannot be read now: {error}; try again in a moment", {"Retry-After": "1"})
        case TimeoutError():
            return problem(
                503, "the ledger did not answer in time; look whether the change was made before sending it again"
            )
    return None


def problem(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(Problem(message=message).model_dump(), status, headers)


def _of_framework(error: HTTPException) -> JSONResponse | None:
    """What FastAPI raises itself, and what it wraps when we raise while it reads a body."""
    if isinstance(error.__cause__, Refusal):
        return refused(error.__cause__)
    if error.status_code == 400:
        return problem(400, NO_JSON)  # bytes that are no UTF-8, or nested without end
    return problem(error.status_code, str(error.detail), dict(error.headers or {}))


def _misread(error: RequestValidationError) -> JSONResponse:
    faults: Sequence[dict[str, object]] = error.errors()
    if any(fault.get("type") == "json_invalid" for fault in faults):
        return problem(400, NO_JSON)
    if any(fault.get("loc") == ("body",) and fault.get("type") != "value_error" for fault in faults):
        return problem(400, "the body must be one JSON object")
    return problem(422, "; ".join(_fault(fault) for fault in faults[:MAX_FAULTS_SAID]))


def _fault(fault: dict[str, object]) -> str:
    """One field that does not fit: its name, what was expected, what was given. Secrets are not repeated."""
    place = cast("tuple[int | str, ...]", fault.get("loc", ()))
    path = [str(step) for step in place[1:]]
    field = ".".join(path)
    if fault.get("type") == "missing":
        return f"{field}: expected a value, got nothing"
    expected = str(fault.get("msg", "another value")).removeprefix("Value error, ")
    if not path:
        return expected
    if expected.startswith("Input should be "):
        expected = "expected " + expected.removeprefix("Input should be ")
    got = "a value that is not shown" if SECRET_FIELDS & set(path) else said(fault.get("input"))
    return f"{field}: {expected}, got {got}"
