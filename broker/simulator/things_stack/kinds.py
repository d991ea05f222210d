"""The kinds of entities, and in what the calls on them differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.simulator.things_stack import masks


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: its word in paths, its fields, and who may be its owner."""

    name: str
    plural: str
    fields: frozenset[str]
    public: frozenset[str]
    owners: tuple[str, ...]

    @property
    def param(self) -> str:
        """The name of its id in paths and bodies."""
        return f"{self.name}_id"

    @property
    def path(self) -> str:
        """The path of one of them."""
        return f"/{self.plural}/{{{self.param}}}"

    def right(self, what: str) -> str:
        """The name of a right on it."""
        return f"RIGHT_{self.name.upper()}_{what}"

    def owner_right(self, owner: str, what: str) -> str:
        """The name of an owner's right that is about entities of this kind."""
        return f"RIGHT_{owner.upper()}_{self.plural.upper()}_{what}"


APPLICATION: Final = Kind(
    "application", "applications", masks.APPLICATION, masks.PUBLIC, ("user", "organization")
)
ORGANIZATION: Final = Kind(
    "organization", "organizations", masks.ENTITY, masks.PUBLIC_NAMED, ("user",)
)
GATEWAY: Final = Kind(
    "gateway", "gateways", masks.GATEWAY, masks.PUBLIC_NAMED, ("user", "organization")
)
USER: Final = Kind("user", "users", masks.USER, masks.PUBLIC_NAMED, ())
ALL: Final = (APPLICATION, ORGANIZATION, GATEWAY, USER)
