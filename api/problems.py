"""What went wrong, in the client's own format: the one place that knows both errors and HTTP statuses.

Source of the shape: OpenAI API reference, "Error codes" (read 2026-11); the family adds the request id to the message.
"""

from typing import NamedTuple

import msgspec

from relay import errors
from relay.errors import RelayError

OURS = "veloera_error"

STATUSES: tuple[tuple[type[RelayError], int], ...] = (
    (errors.Unauthenticated, 401),
    (errors.Forbidden, 403),
    (errors.TooLarge, 413),
    (errors.UnknownModel, 404),
    (errors.Insufficient, 403),
    (errors.RateLimited, 429),
    (errors.BadRequest, 400),
    (errors.Refused, 400),
    (errors.Unavailable, 503),
    (errors.Interrupted, 499),
    (errors.RelayError, 502),
)


class Problem(NamedTuple):
    """An answer that is an error."""

    status: int
    body: bytes
    headers: list[tuple[str, str]]


def status_of(error: RelayError) -> int:
    if isinstance(error, errors.Exhausted):
        return error.status
    return next(status for kind, status in STATUSES if isinstance(error, kind))


def openai_problem(error: RelayError, request_id: str) -> Problem:
    """An error as OpenAI's clients read it."""
    said: dict[str, object] = {
        "message": f"{error.message} (request id: {request_id})",
        "type": _type(error),
        "param": getattr(error, "param", "") or ("model" if isinstance(error, errors.UnknownModel) else ""),
        "code": error.code,
    }
    if isinstance(error, errors.Insufficient):
        said["needed_mills"] = str(error.needed_mills)
        said["available_mills"] = str(error.available_mills)
    return Problem(status_of(error), msgspec.json.encode({"error": said}), _headers(error))


def invalid_url(method: str, path: str, request_id: str) -> Problem:
    message = f"Invalid URL ({method} {path}) (request id: {request_id})"
    said = {"message": message, "type": "invalid_request_error", "param": "", "code": ""}
    return Problem(404, msgspec.json.encode({"error": said}), [])


def internal_problem(request_id: str) -> Problem:
    """A bug of ours. What it was is in the log, under the request id."""
    message = f"the gateway failed; tell its operator this request id (request id: {request_id})"
    said = {"message": message, "type": "veloera_panic", "param": "", "code": "internal_error"}
    return Problem(500, msgspec.json.encode({"error": said}), [])


def _type(error: RelayError) -> str:
    if isinstance(error, errors.Exhausted):
        return error.type
    if isinstance(error, errors.UnknownModel):
        return "invalid_request_error"
    return OURS


def _headers(error: RelayError) -> list[tuple[str, str]]:
    if isinstance(error, errors.RateLimited):
        return [("retry-after", str(error.retry_after_s))]
    if isinstance(error, errors.Unavailable):
        return [("retry-after", "1")]
    if isinstance(error, errors.Exhausted) and error.retry_after:
        return [("retry-after", error.retry_after[:64])]
    return []
