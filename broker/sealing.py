"""Secrets at rest: AES-256-GCM under JOBBROKER_SECRET_KEY, with the key's id in front and the place bound to it.

What is stored: 1 byte version (1), 8 bytes key id, 12 bytes nonce, the ciphertext with its 16 bytes tag. The key id is
the begin of the key's sha256. Nonces are random, which is sound for 2^32 values under one key (NIST SP 800-38D, 8.3).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.secret_keys import key_id_of, parse_keys
from schema.secrets import EMPTY, KEY_ID_BYTES, Opened, Place, SecretStatus

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_HEADER_BYTES: Final = len(_VERSION) + KEY_ID_BYTES


class KeyRing:
    """Keys by their ids; see `schema.secrets.Sealer`."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("a key is needed")
        self._ciphers = {key_id_of(key): AESGCM(key) for key in keys}
        self._first = key_id_of(keys[0])

    @classmethod
    def parse(cls, text: str) -> Self:
        """The keys of JOBBROKER_SECRET_KEY. Raises ValueError."""
        return cls(parse_keys(text))

    @property
    def key_id(self) -> bytes:
        """The id of the key that seals."""
        return self._first

    def seal(self, text: str, place: Place) -> bytes:
        """A text as it is stored at a place; each time another one."""
        header, nonce = _VERSION + self._first, secrets.token_bytes(_NONCE_BYTES)
        cipher = self._ciphers[self._first]
        return header + nonce + cipher.encrypt(nonce, text.encode(), header + place.bound)

    def open(self, sealed: bytes | None, place: Place) -> Opened:
        """What was sealed for this place: empty for NULL, failed with the reason for what none of our keys opens."""
        if sealed is None:
            return EMPTY
        header, key_id = sealed[:_HEADER_BYTES], sealed[len(_VERSION) : _HEADER_BYTES]
        if not header.startswith(_VERSION) or len(header) < _HEADER_BYTES:
            return _failed("it is not in a form that this version knows")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            return _failed(f"its key {key_id.hex()} is not among those of JOBBROKER_SECRET_KEY")
        rest = sealed[_HEADER_BYTES:]
        try:
            text = cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], header + place.bound)
            return Opened(SecretStatus.DECRYPTED, text.decode())
        except (InvalidTag, ValueError):
            return _failed("it was altered, or belongs to another place")


def _failed(problem: str) -> Opened:
    return Opened(SecretStatus.FAILED, problem=problem)
