"""Who is signed in: the operator's token in a cookie that only this console can read, and nothing kept here.

The cookie is sealed (Fernet: AES and HMAC) with a key of the console. It is sent to this console alone, is out of reach
of scripts, and is good for twelve hours. Who signs out is forgotten by the browser; pages still open are told.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.fernet import Fernet, InvalidToken

COOKIE: Final = "jobbroker_console"
TRIP_COOKIE: Final = "jobbroker_sign_in"
TRIP_SECONDS: Final = 600
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
        secret = secret or secrets.token_urlsafe(32)
        self._box = _box("console:" + secret)
        self._trips = _box("sign-in:" + secret)  # of its own: one kind of cookie is no other
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

    def seal_trip(self, trip: Mapping[str, str]) -> str:
        """A cookie for who is sent to an issuer: what only their browser is to know."""
        return self._trips.encrypt(json.dumps(dict(trip)).encode()).decode()

    def open_trip(self, cookie: str | None) -> dict[str, str] | None:
        """What such a cookie holds; None for none, an old or a forged one."""
        if not cookie or len(cookie) > LONGEST:
            return None
        try:
            found = json.loads(self._trips.decrypt(cookie.encode(), ttl=TRIP_SECONDS))
        except (InvalidToken, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def is_ended(self, session: Session) -> bool:
        """Whether somebody signed out of it."""
        return session.session_id in self._ended

    def end(self, session: Session) -> None:
        """Sign out; the last ten thousand are remembered, longer than a cookie is good."""
        self._ended[session.session_id] = None
        while len(self._ended) > _REMEMBERED:
            self._ended.pop(next(iter(self._ended)))


def _box(secret: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()))


_REMEMBERED: Final = 10_000
