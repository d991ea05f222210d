"""The keys in JOBBROKER_SECRET_KEY: made, read and named; `broker.sealing` seals with them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from typing import Final

from schema.secrets import KEY_ID_BYTES

KEY_BYTES: Final = 32
_EXPECTED: Final = "expected 43 characters of base64url, as `jobbroker secrets new-key` makes them"


def new_key() -> str:
    """A fresh key, 32 random bytes in base64url without padding."""
    return secrets.token_urlsafe(KEY_BYTES)


def parse_keys(text: str) -> list[bytes]:
    """The keys by commas, the one that seals first.

    Raises ValueError saying which one is wrong, by its number: never with anything of it.
    """
    keys = [_key(part.strip(), number) for number, part in enumerate(text.split(","), 1)]
    if len(set(keys)) != len(keys):
        raise ValueError("has the same key twice")
    return keys


def _key(text: str, number: int) -> bytes:
    padded = text + "=" * (-len(text) % 4)
    try:
        key = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError(f"key {number}: {_EXPECTED}") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"key {number}: has {len(key)} bytes and not 32; {_EXPECTED}")
    return key


def key_id_of(key: bytes) -> bytes:
    """What names a key without telling anything of it (8 bytes)."""
    return hashlib.sha256(b"jobbroker key id\0" + key).digest()[:KEY_ID_BYTES]
