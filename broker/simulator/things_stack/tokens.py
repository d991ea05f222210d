"""API keys: `NNSXS.<id>.<secret>`, of which the server keeps the id and a hash."""

from __future__ import annotations

import base64
import hashlib
import random
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from broker.simulator.things_stack.errors import AUTH, INVALID_ARGUMENT, StackError
from broker.simulator.things_stack.rights import Rights

PREFIX: Final = "NNSXS"
_KNOWN_PREFIXES: Final = frozenset({PREFIX, "MFRWG", "OJSWM", "MF2XI"})
_ID_BYTES, _SECRET_BYTES = 24, 32
_PARTS: Final = 3


@dataclass(slots=True)
class ApiKey:
    """One key of one entity, without its secret."""

    id: str
    name: str
    rights: Rights
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None
    digest: bytes = field(default=b"", repr=False)

    def opens_with(self, secret: str) -> bool:
        """Whether this is the key's secret."""
        return self.digest == digest_of(secret)


def digest_of(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def new_parts(rng: random.Random) -> tuple[str, str]:
    """A fresh id and secret, 39 and 52 characters."""
    return _base32(rng.randbytes(_ID_BYTES)), _base32(rng.randbytes(_SECRET_BYTES))


def joined(key_id: str, secret: str) -> str:
    """The key as a client sends it."""
    return f"{PREFIX}.{key_id}.{secret}"


def split(token: str) -> tuple[str, str, str]:
    """Kind, id and secret of what a client sent. Raises StackError (400, not 401) when it is none."""
    parts = token.split(".")
    if len(parts) != _PARTS or parts[0] not in _KNOWN_PREFIXES:
        raise StackError(INVALID_ARGUMENT, AUTH, "token", "invalid token")
    return parts[0], parts[1], parts[2]


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=")
