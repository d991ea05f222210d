"""What an operation of AWS's is: how it is asked, what command of ours it means, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from schema import aws_shapes as shapes
from schema.aws_errors import IOT
from schema.rights import Role

Body = dict[str, Any]
# From what our command answered, and what was asked, to what AWS answers.
Answer = Callable[[Body, Body], Body]


@dataclass(frozen=True, slots=True)
class AwsOperation:
    """One operation of AWS's.

    verb is a command's in `schema.rights`, on the data plane a device's request; "" is answered without either. query
    and body are the members it takes, by words; refused those that AWS has and jobbroker does not. also are members the
    command is given beside them. gone_is_done: what is not there any more counts as deleted. errors: where AWS has
    another exception for a code than usual, as name and status.
    """

    name: str
    method: str
    path: str
    verb: str
    answer: Answer = shapes.nothing
    query: str = ""
    body: str = ""
    refused: str = ""
    required: str = ""
    also: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    gone_is_done: bool = False
    service: str = IOT
    least_role: Role | None = None

    @property
    def template(self) -> list[str]:
        """The path by its segments; {name} stands for any."""
        return self.path.split("/")
