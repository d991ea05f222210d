"""Access keys for AWS's dialect: made of what is stored of a token and a key that is not in the database.

A signature can only be checked by who has the secret, or what it is made of. The database has the sha256 of a token;
the secret is the HMAC of that under JOBBROKER_SECRET_KEY. So who has stolen the database can sign nothing, nothing more
is stored, and every token has its access key at once. The id is the begin of the same sha256; its 120 bits find one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "JBKA"
_ID_BYTES: Final = 15
_ID_CHARS: Final = 24
_DIGEST_BYTES: Final = 32
_LABEL: Final = b"jobbroker access key\0"


def access_key_id(digest: bytes) -> str:
    """The id of the access key of a token, by the token's sha256: 28 characters."""
    return PREFIX + base64.b32encode(digest[:_ID_BYTES]).decode()


def digests_between(key_id: str) -> tuple[bytes, bytes] | None:
    """Between which sha256 the token's of an access key is, both included; None for what is no id of ours."""
    text = key_id.removeprefix(PREFIX)
    if len(text) != _ID_CHARS or len(key_id) != len(PREFIX) + _ID_CHARS:
        return None
    try:
        begin = base64.b32decode(text)
    except (binascii.Error, ValueError):
        return None
    rest = _DIGEST_BYTES - _ID_BYTES
    return begin + b"\x00" * rest, begin + b"\xff" * rest


class AccessKeys:
    """Makes secrets of tokens; with several keys the first one's is shown, and all are good."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take the keys of JOBBROKER_SECRET_KEY. Raises ValueError without any."""
        if not keys:
            msg = "a key is needed"
            raise ValueError(msg)
        self._keys = tuple(keys)

    def secrets_of(self, digest: bytes) -> list[str]:
        """The secret access keys that are good for a token, by its sha256: 43 characters of base64url each."""
        made = (hmac.digest(key, _LABEL + digest, "sha256") for key in self._keys)
        return [base64.urlsafe_b64encode(one).decode().rstrip("=") for one in made]

    def of_digest(self, digest: bytes) -> dict[str, str]:
        """The access key as it is shown to whose token it is: accessKeyId and secretAccessKey."""
        secret = self.secrets_of(digest)[0]
        return {"accessKeyId": access_key_id(digest), "secretAccessKey": secret}

    def of_token(self, token: str) -> dict[str, str]:
        """As `of_digest`, of the token itself."""
        return self.of_digest(hashlib.sha256(token.encode()).digest())
