"""AWS's errors over HTTP: the exceptions that botocore models, their statuses, and what a code of ours is among them.

Sources: botocore's models of `iot` (2015-05-28) and `iot-jobs-data` (2017-09-29); for what goes wrong before an
operation is known, AWS "Common Errors" and "Signature Version 4 error messages".
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from schema.errors import Code

IOT: Final = "iot"
JOBS_DATA: Final = "iot-jobs-data"

# The name of the exception and its status, of the control plane; where the data plane has another, in the second table.
_IOT: Final[Mapping[str, tuple[str, int]]] = {
    Code.INVALID_TOPIC: ("InvalidRequestException", 400),
    Code.INVALID_JSON: ("InvalidRequestException", 400),
    Code.INVALID_REQUEST: ("InvalidRequestException", 400),
    Code.UNAUTHORIZED: ("UnauthorizedException", 401),
    Code.RESOURCE_NOT_FOUND: ("ResourceNotFoundException", 404),
    Code.RESOURCE_ALREADY_EXISTS: ("ResourceAlreadyExistsException", 409),
    Code.VERSION_MISMATCH: ("VersionConflictException", 409),
    Code.INVALID_STATE_TRANSITION: ("InvalidStateTransitionException", 409),
    Code.TERMINAL_STATE_REACHED: ("InvalidStateTransitionException", 409),
    Code.LIMIT_EXCEEDED: ("LimitExceededException", 410),
    Code.REQUEST_THROTTLED: ("ThrottlingException", 400),
    Code.INTERNAL_ERROR: ("InternalFailureException", 500),
    "ServiceUnavailable": ("ServiceUnavailableException", 503),
}
_JOBS_DATA: Final[Mapping[str, tuple[str, int]]] = {
    **_IOT,
    # Not modelled here; what IAM answers on AWS.
    Code.UNAUTHORIZED: ("AccessDeniedException", 403),
    Code.RESOURCE_ALREADY_EXISTS: ("ConflictException", 409),
    Code.LIMIT_EXCEEDED: ("ServiceQuotaExceededException", 402),
    # The only 409 that UpdateJobExecution models.
    Code.VERSION_MISMATCH: ("InvalidStateTransitionException", 409),
    Code.TERMINAL_STATE_REACHED: ("TerminalStateException", 410),
    Code.REQUEST_THROTTLED: ("ThrottlingException", 429),
    Code.INTERNAL_ERROR: ("InternalServerException", 500),
}
_TABLES: Final = {IOT: _IOT, JOBS_DATA: _JOBS_DATA}
_NO_MEMBERS: Final[Mapping[str, str]] = MappingProxyType({})


class AwsError(Exception):
    """A request that is refused; nothing was changed. Carries what an AWS client is told."""

    retry_after: int | None = None
    """After how many seconds it is worth to come again, where that is known."""

    def __init__(
        self, code: str, status: int, message: str, members: Mapping[str, str] = _NO_MEMBERS
    ) -> None:
        """Take AWS's name of the exception, its HTTP status, words, and the members it has beside the message."""
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message
        self.members = members


def error_of(service: str, code: str, message: str, **members: str) -> AwsError:
    """The exception of a service for a code of ours (`schema.errors.Code`, or ServiceUnavailable)."""
    table = _TABLES[service]
    name, status = table.get(code, table[Code.INVALID_REQUEST])
    return AwsError(name, status, message, members)


def throttled(service: str, message: str, retry_after: int) -> AwsError:
    """The exception for who comes too often, with when to come again."""
    error = error_of(service, Code.REQUEST_THROTTLED, message)
    error.retry_after = retry_after
    return error


def not_offered(service: str, method: str, path: str) -> AwsError:
    """The answer to what is no operation of ours: an error that clients know, never a page that says 404."""
    return error_of(
        service,
        Code.INVALID_REQUEST,
        f"{method[:10]} {path[:200]}: no operation of {service} that jobbroker offers; it offers AWS IoT Jobs,"
        " things, groups, tags, templates and event configurations",
    )
