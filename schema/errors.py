"""What can be wrong with a request, sorted by remedy.

`Rejected` is the peer's fault and is answered; `Conflict` heals when the work is done again; everything else is ours.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """Codes of a rejected message, spelled as AWS spells them (AWS: jobs-api, "Error codes")."""

    INVALID_TOPIC = "InvalidTopic"
    INVALID_JSON = "InvalidJson"
    INVALID_REQUEST = "InvalidRequest"
    INVALID_STATE_TRANSITION = "InvalidStateTransition"
    RESOURCE_NOT_FOUND = "ResourceNotFound"
    VERSION_MISMATCH = "VersionMismatch"
    INTERNAL_ERROR = "InternalError"
    REQUEST_THROTTLED = "RequestThrottled"
    TERMINAL_STATE_REACHED = "TerminalStateReached"
    # Operators' commands only, beyond AWS's list for devices; AWS has these names over HTTP.
    RESOURCE_ALREADY_EXISTS = "ResourceAlreadyExists"
    UNAUTHORIZED = "Unauthorized"
    LIMIT_EXCEEDED = "LimitExceeded"


class Rejected(Exception):
    """The request cannot be done; nothing was changed. Carries what the peer is told."""

    def __init__(self, code: Code, message: str, *, show_state: bool = False) -> None:
        """Take the wire code and a message that names the field, the value and the limit.

        show_state: the answer carries executionState (AWS: InvalidStateTransition and VersionMismatch only).
        """
        super().__init__(message)
        self.code = code
        self.message = message
        self.show_state = show_state


class Conflict(Exception):
    """Another writer was faster; nothing was changed. Do the work again from the start."""


def shorten(value: object, most: int = 80) -> str:
    """A value as an error message may show it: its repr, cut to `most` characters."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"
