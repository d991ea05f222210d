"""An OpenID issuer's signing keys: found by its discovery document, kept, and asked for again when they change.

OpenID Connect Discovery 1.0, section 4; RFC 7517 (keys). Known keys are of use while the issuer is away. A key that is
not known is looked for once, and then not again for some seconds, whoever asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import structlog

from broker.http.refusal import Refusal

log = structlog.get_logger(__name__)

FRESH_SECONDS: Final = 600.0
RETRY_SECONDS: Final = 10.0
_TIMEOUT_SECONDS: Final = 5.0
_MOST_BYTES: Final = 262_144
_MOST_KEYS: Final = 100

Key = Mapping[str, Any]


class IssuerAwayError(Exception):
    """The issuer cannot be asked, or says what is no set of keys; the text says which."""


class IssuerKeys:
    """The keys of one issuer, by id. `issuer` is its URL, as its tokens have it."""

    def __init__(self, issuer: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._read_at: float | None = None
        self._tried_at: float | None = None
        self._away = ""
        self._asking = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None) -> Key | None:
        """The key of that id, or the only one there is when a token names none; None when there is no such key.

        Raises Refusal (503) when the issuer would have to be asked and does not answer.
        """
        found = self._known(key_id)
        if found is not None:
            self._refresh_if_old()
            return found
        async with self._asking:
            found = self._known(key_id)
            if found is None and self._may_ask():
                await self._ask()
                found = self._known(key_id)
        if found is None and self._away:
            message = "the issuer of this token cannot be reached; try again"
            raise Refusal(503, "ServiceUnavailable", message, int(RETRY_SECONDS))
        return found

    def _known(self, key_id: str | None) -> Key | None:
        if key_id is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(key_id)

    def _may_ask(self) -> bool:
        return self._tried_at is None or self._clock() - self._tried_at >= RETRY_SECONDS

    def _refresh_if_old(self) -> None:
        """Ask again beside the request, which need not wait: a key that was withdrawn is one that is gone then."""
        old = self._read_at is None or self._clock() - self._read_at >= FRESH_SECONDS
        if old and self._may_ask() and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = asyncio.create_task(self._ask(), name="issuer keys")

    async def _ask(self) -> None:
        self._tried_at = self._clock()
        try:
            keys = await self._fetch()
        except IssuerAwayError as problem:
            if not self._away:
                log.warning("issuer_away", issuer=self._issuer, reason=str(problem))
            self._away = str(problem)
            return
        if self._away or keys.keys() != self._keys.keys():
            log.info("issuer_keys", issuer=self._issuer, keys=sorted(keys))
        self._keys, self._away, self._read_at = keys, "", self._clock()

    async def _fetch(self) -> dict[str, Key]:
        # Where an issuer sends us elsewhere, that is not the issuer's own word any more.
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, follow_redirects=False) as client:
            about = await discover(client, self._issuer)
            place = about.get("jwks_uri")
            if not isinstance(place, str) or not may_be_asked(place):
                raise IssuerAwayError("the discovery document has no jwks_uri with https")
            found = (await _read(client, place)).get("keys")
        if not isinstance(found, list):
            raise IssuerAwayError("jwks_uri has no keys")
        return _usable(found[:_MOST_KEYS])


async def discover(client: httpx.AsyncClient, issuer: str) -> dict[str, Any]:
    """What an issuer says of itself (OpenID Connect Discovery 1.0, section 4). Raises IssuerAwayError."""
    about = await _read(client, issuer.rstrip("/") + "/.well-known/openid-configuration")
    if about.get("issuer") != issuer:
        raise IssuerAwayError("the discovery document is that of another issuer")
    return about


def may_be_asked(url: str) -> bool:
    """Whether what a URL says can be relied on: https, or this very machine."""
    try:
        place = urlsplit(url)
    except ValueError:
        return False
    near = place.hostname in ("127.0.0.1", "::1", "localhost")
    return bool(place.hostname) and (place.scheme == "https" or (place.scheme == "http" and near))


def _usable(found: list[object]) -> dict[str, Key]:
    """Those that verify signatures, by id; one without an id has the id ""."""
    return {
        str(one.get("kid", "")): one
        for one in found
        if isinstance(one, dict) and one.get("use", "sig") == "sig" and one.get("kty") != "oct"
    }


async def _read(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS), client.stream("GET", url) as answer:
            if answer.status_code != 200:  # noqa: PLR2004 - as HTTP has it
                raise IssuerAwayError(f"{url} answers {answer.status_code}")
            body = bytearray()
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > _MOST_BYTES:
                    raise IssuerAwayError(f"{url} has more than {_MOST_BYTES} bytes")
        said = httpx.Response(200, content=bytes(body)).json()
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
        raise IssuerAwayError(f"{url}: {type(error).__name__}") from error
    if not isinstance(said, dict):
        raise IssuerAwayError(f"{url} is no JSON object")
    return said
