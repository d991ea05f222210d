"""What is kept sealed, where, and what opening it comes to; the sealing itself is `broker.sealing`'s.

A sealed value is bound to its place, so that one that was copied to another row, column or tenant does not open there.
Opening is told apart three ways (seed 001, SafeDecrypt): a value that cannot be opened is `failed`, and never `empty`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from schema.errors import Code, Rejected

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_ID_BYTES: Final = 8
SEALED_SUFFIX: Final = "_sealed"


class SecretStatus(StrEnum):
    """What opening came to: nothing was kept; here it is; something is kept and no key of ours opens it."""

    EMPTY = "empty"
    DECRYPTED = "decrypted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Opened:
    """A secret as it was found. value only when it is decrypted, problem only when it failed; a repr has no value."""

    status: SecretStatus
    value: str | None = field(default=None, repr=False)
    problem: str = ""


EMPTY: Final = Opened(SecretStatus.EMPTY)


class Place(NamedTuple):
    """Where a secret is kept: the tenant, the table, the row's key within the tenant, and the column."""

    tenant_id: str
    table: str
    row: tuple[str, ...]
    column: str

    def __str__(self) -> str:
        return f"{self.tenant_id}: {self.table} {'/'.join(self.row)}, {self.column}"

    @property
    def bound(self) -> bytes:
        """What a sealed value is bound to; no two places have the same."""
        return json.dumps([self.tenant_id, self.table, self.row, self.column]).encode()


class Sealer(Protocol):
    """Seals texts and opens them; the first of its keys seals, every one opens."""

    @property
    def key_id(self) -> bytes:
        """The key that seals now (8 bytes, which tell nothing of it)."""
        ...

    def seal(self, text: str, place: Place) -> bytes:
        """What to store of a text at a place."""
        ...

    def open(self, sealed: bytes | None, place: Place) -> Opened:
        """What is stored there. Never raises for what it is given."""
        ...


class NoSealer:
    """Without JOBBROKER_SECRET_KEY: nothing is stored, and what is stored cannot be read."""

    @property
    def key_id(self) -> bytes:
        """There is none. Raises Rejected."""
        raise _no_key()

    def seal(self, text: str, place: Place) -> bytes:
        """Refuse. Raises Rejected (InvalidRequest) saying what to set."""
        del text, place
        raise _no_key()

    def open(self, sealed: bytes | None, place: Place) -> Opened:
        """Empty or failed; see `Sealer`."""
        del place
        return EMPTY if sealed is None else Opened(SecretStatus.FAILED, problem=_NO_KEY)


_NO_KEY: Final = "JOBBROKER_SECRET_KEY is not set"


def _no_key() -> Rejected:
    return Rejected(
        Code.INVALID_REQUEST,
        f"secrets cannot be stored: {_NO_KEY}; `jobbroker secrets new-key` makes one",
    )


class SealedTable(NamedTuple):
    """A table with sealed columns: the key of its rows within the tenant, by name with its types, and the columns."""

    table: str
    key: Mapping[str, str]
    columns: tuple[str, ...]


CONNECTION_SECRETS: Final = (
    "main_key_sealed",
    "org_api_key_sealed",
    "app_api_key_sealed",
    "gateway_api_key_sealed",
    "webhook_secret_sealed",
)
SEALED_TABLES: Final = (
    SealedTable("ttn_connections", {"organization_id": "uuid"}, CONNECTION_SECRETS),
    SealedTable(
        "ttn_batch_lines",
        {"batch_id": "uuid", "line": "integer"},
        ("app_key_sealed", "nwk_key_sealed"),
    ),
)
"""Every column in the database that holds a sealed value; what rotation goes through."""
