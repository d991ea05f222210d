"""Errors as the server tells them: a gRPC code, a namespace, a name, and attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

INVALID_ARGUMENT: Final = 3
NOT_FOUND: Final = 5
ALREADY_EXISTS: Final = 6
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
FAILED_PRECONDITION: Final = 9
ABORTED: Final = 10
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
UNAVAILABLE: Final = 14
UNAUTHENTICATED: Final = 16

HTTP_STATUS: Final = {
    1: 499,
    2: 500,
    INVALID_ARGUMENT: 400,
    4: 504,
    NOT_FOUND: 404,
    ALREADY_EXISTS: 409,
    PERMISSION_DENIED: 403,
    RESOURCE_EXHAUSTED: 429,
    FAILED_PRECONDITION: 400,
    ABORTED: 409,
    11: 400,
    UNIMPLEMENTED: 501,
    INTERNAL: 500,
    UNAVAILABLE: 503,
    15: 500,
    UNAUTHENTICATED: 401,
}

IDENTITY: Final = "pkg/identityserver"
STORE: Final = "pkg/identityserver/store"
UTIL_STORE: Final = "pkg/util/store"
BLOCKLIST: Final = "pkg/identityserver/blocklist"
RIGHTS: Final = "pkg/auth/rights"
AUTH: Final = "pkg/auth"
METADATA: Final = "pkg/rpcmetadata"
VALIDATION: Final = "pkg/errors"
VALIDATOR: Final = "pkg/rpcmiddleware/validator"
RATE_LIMIT: Final = "pkg/ratelimit"
REDIS: Final = "pkg/redis"
REGISTRY: Final = "pkg/internal/registry"
WEB: Final = "pkg/webhandlers"
CLAIMING: Final = "pkg/deviceclaimingserver"
COMPONENT_NAMESPACE: Final = {
    "is": IDENTITY,
    "ns": "pkg/networkserver",
    "as": "pkg/applicationserver",
    "js": "pkg/joinserver",
    "dcs": CLAIMING,
}

_DETAILS_TYPE: Final = "type.googleapis.com/ttn.lorawan.v3.ErrorDetails"


class StackError(Exception):
    """A call is refused with this; without a namespace it is one of the gateway in front, and has no details."""

    def __init__(
        self,
        code: int,
        namespace: str,
        name: str,
        text: str,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the gRPC code, whose error it is, its name, and a text with `{attribute}` places."""
        super().__init__(f"{namespace}:{name}")
        self.code, self.namespace, self.name, self.text = code, namespace, name, text
        self.attributes = dict(attributes or {})
        self.cause: StackError | None = None
        self.headers: dict[str, str] = {}

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return HTTP_STATUS[self.code]

    def body(self, correlation_id: str) -> dict[str, Any]:
        """The answer's JSON."""
        if not self.namespace:
            return {"code": self.code, "message": self.text}
        filled = self.text
        for key, value in self.attributes.items():
            filled = filled.replace(f"{{{key}}}", str(value))
        return {
            "code": self.code,
            "message": f"error:{self.namespace}:{self.name} ({filled})",
            "details": [{"@type": _DETAILS_TYPE, **self._details(correlation_id)}],
        }

    def _details(self, correlation_id: str) -> dict[str, Any]:
        details: dict[str, Any] = {
            "namespace": self.namespace,
            "name": self.name,
            "message_format": self.text,
            "correlation_id": correlation_id,
            "code": self.code,
        }
        if self.attributes:
            details["attributes"] = self.attributes
        if self.cause is not None:
            details["cause"] = self.cause._details(correlation_id)  # noqa: SLF001 - its own class
        return details


def gateway_error(code: int, text: str) -> StackError:
    """An error of the gateway in front of the components: no namespace, no name, no details."""
    return StackError(code, "", "", text)


def invalid(field: str, reason: str) -> StackError:
    """A field does not pass validation."""
    attributes = {"field": field, "reason": reason, "name": field.rpartition(".")[2]}
    return StackError(
        INVALID_ARGUMENT, VALIDATION, "validation", "invalid `{field}`: {reason}", attributes
    )


def forbidden_paths(paths: list[str]) -> StackError:
    """A field mask names what this call does not know."""
    text = "forbidden path(s) in field mask"
    return StackError(
        INVALID_ARGUMENT, VALIDATOR, "field_mask_paths", text, {"forbidden_paths": sorted(paths)}
    )


def not_found(kind: str, entity_id: str) -> StackError:
    """An entity is not there, or is soft-deleted."""
    attributes = {f"{kind}_id": entity_id}
    text = f"{kind} `{{{kind}_id}}` not found"
    return StackError(NOT_FOUND, STORE, f"{kind}_not_found", text, attributes)


def unauthenticated() -> StackError:
    """No credentials, where any would do."""
    return StackError(UNAUTHENTICATED, METADATA, "unauthenticated", "unauthenticated")


def redis_not_found() -> StackError:
    """What a regional component's store says of a key that it does not have."""
    return StackError(NOT_FOUND, REDIS, "not_found", "entity not found")


def failed(name: str, text: str, attributes: Mapping[str, Any] | None = None) -> StackError:
    """The identity server refuses for the state that things are in; HTTP says 400."""
    return StackError(FAILED_PRECONDITION, IDENTITY, name, text, attributes)
