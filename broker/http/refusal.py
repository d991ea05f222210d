"""Refusals over HTTP: a status, a code and words; and what a code of ours is as a status."""

from __future__ import annotations

from typing import Final

from starlette.exceptions import HTTPException

from schema.errors import Code

_STATUS: Final[dict[str, int]] = {
    Code.INVALID_TOPIC: 400,
    Code.INVALID_JSON: 400,
    Code.INVALID_REQUEST: 400,
    Code.UNAUTHORIZED: 403,
    Code.RESOURCE_NOT_FOUND: 404,
    Code.RESOURCE_ALREADY_EXISTS: 409,
    Code.VERSION_MISMATCH: 409,
    Code.INVALID_STATE_TRANSITION: 409,
    Code.TERMINAL_STATE_REACHED: 409,
    Code.LIMIT_EXCEEDED: 409,
    Code.REQUEST_THROTTLED: 429,
    Code.INTERNAL_ERROR: 500,
}
_CODES: Final = {
    400: "InvalidRequest",
    404: "ResourceNotFound",
    405: "MethodNotAllowed",
    408: "RequestTimeout",
    413: "PayloadTooLarge",
    431: "HeadersTooLarge",
}


class Refusal(HTTPException):
    """A request that is answered with an error; each door has its own form for it."""

    def __init__(
        self, status: int, code: str, message: str, retry_after: int | None = None
    ) -> None:
        """Take the HTTP status, the code that is shown, words, and after how many seconds to come again."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        if status == 401:  # noqa: PLR2004 - RFC 9110, 15.5.2: a challenge belongs to it
            headers["WWW-Authenticate"] = 'Bearer realm="jobbroker"'
        super().__init__(status, message, headers)
        self.code = code


def status_of(code: str) -> int:
    """The HTTP status of a rejection's code."""
    return _STATUS[code]


def code_of(error: HTTPException) -> str:
    """The code of an error that a framework raised, or of a refusal of ours."""
    if isinstance(error, Refusal):
        return error.code
    return _CODES.get(error.status_code, "InvalidRequest")
