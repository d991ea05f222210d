"""One request as handlers see it, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from broker.simulator.things_stack.access import (
    Caller,
    authenticate,
    require,
    rights_at,
    rights_on,
)
from broker.simulator.things_stack.errors import INVALID_ARGUMENT, gateway_error
from broker.simulator.things_stack.rights import Rights
from broker.simulator.things_stack.state import Document, Host, Stack


@dataclass(slots=True)
class Reply:
    """A success; HTTP says 200 to each."""

    body: Document = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Call:
    """A request that a route was found for; `params` are the ids in its path, checked."""

    stack: Stack
    host: Host
    component: str
    params: Mapping[str, str]
    query: list[tuple[str, str]]
    authorization: str | None
    body: Document

    @cached_property
    def caller(self) -> Caller:
        """Who asks. Raises StackError (400, 401)."""
        return authenticate(self.stack, self.authorization)

    def rights(self, kind: str, entity_id: str, *, deleted: bool = False) -> Rights:
        """What the caller may on an entity, as this component knows it."""
        if self.component in {"ns", "as", "js"}:
            return rights_at(self.stack, self.host, self.authorization, entity_id)
        return rights_on(self.stack, self.caller, kind, entity_id, deleted=deleted)

    def require(self, kind: str, entity_id: str, *needed: str, deleted: bool = False) -> Rights:
        """As `rights`. Raises StackError (403) when there are none, or one that is needed lacks."""
        rights = self.rights(kind, entity_id, deleted=deleted)
        require(rights, kind, entity_id, *needed)
        return rights

    @property
    def application_id(self) -> str:
        """The application in the path."""
        return self.params["application_id"]

    @property
    def device_key(self) -> tuple[str, str]:
        """The device in the path."""
        return self.params["application_id"], self.params["device_id"]

    def last(self, name: str) -> str | None:
        """A query parameter that has one value."""
        values = self.every(name)
        return values[-1] if values else None

    def every(self, name: str) -> list[str]:
        """A query parameter that may be repeated."""
        return [value for key, value in self.query if key == name]

    def message(self, name: str) -> Document:
        """An object in the body, empty when it is not there."""
        return as_object(name, self.body.get(name))

    def mask(self) -> list[str]:
        """The field mask, of the query or of the body."""
        listed = self.message("field_mask").get("paths") or []
        if not isinstance(listed, list):
            raise gateway_error(INVALID_ARGUMENT, "proto: unexpected token for field_mask.paths")
        in_query = [path for value in self.every("field_mask") for path in value.split(",")]
        return [path for path in (*map(str, listed), *in_query) if path]


def as_object(name: str, value: Any) -> Document:  # noqa: ANN401 - a JSON value
    """A JSON object, empty for null. Raises StackError (400, no details) for anything else."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise gateway_error(INVALID_ARGUMENT, f"proto: unexpected token for {name}")
    return value
