"""Who is signed in: the operator's token in a cookie that only this console can read, and nothing kept here.

The cookie is sealed (Fernet: AES and HMAC) with a key of the console. It is sent to this console alone, is out of reach
of scripts, and is good for twelve hours. Who signs out is forgotten by the browser; pages still open are told.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Final

from cryptography.fernet import Fernet, InvalidToken

COOKIE: Final = "jobbroker_console"
HOURS: Final = 12
LONGEST: Final = 3900  # characters; browsers keep cookies of 4096 bytes, name and all


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in: the operator's token, and a name for it that is no secret."""

    token: str
    session_id: str


class Sessions:
    """Seals and opens cookies, and remembers which sign-ins were ended."""

    def __init__(self, secret: str | None) -> None:
        """Take the console's secret; None: one of this process, and a restart signs everybody out."""
        key = hashlib.sha256(("console:" + (secret or secrets.token_urlsafe(32))).encode()).digest()
        self._box = Fernet(base64.urlsafe_b64encode(key))
        self._ended: dict[str, None] = {}

    def seal(self, token: str) -> str:
        """A cookie for a new sign-in with this token."""
        content = json.dumps([token, secrets.token_hex(8)])
        return self._box.encrypt(content.encode()).decode()

    def open(self, cookie: str | None) -> Session | None:
        """The sign-in that a cookie holds; None for none, an old, a forged or an ended one."""
        if not cookie or len(cookie) > LONGEST:
            return None
        try:
            found = json.loads(self._box.decrypt(cookie.encode(), ttl=HOURS * 3600))
        except (InvalidToken, ValueError):
            return None
        session = Session(*found)
        return None if session.session_id in self._ended else session

    def is_ended(self, session: Session) -> bool:
        """Whether somebody signed out of it."""
        return session.session_id in self._ended

    def end(self, session: Session) -> None:
        """Sign out; the last ten thousand are remembered, longer than a cookie is good."""
        self._ended[session.session_id] = None
        while len(self._ended) > _REMEMBERED:
            self._ended.pop(next(iter(self._ended)))


_REMEMBERED: Final = 10_000
