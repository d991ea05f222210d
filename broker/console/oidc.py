"""Signing in at an OpenID issuer: by redirect, with a code that is of use to nobody else.

OpenID Connect Core 1.0, section 3.1 (authorization code flow), RFC 7636 (PKCE, S256), RFC 9207 (iss in the answer).
State, nonce and verifier wait in a sealed cookie of ten minutes, sent back here alone. The ID token is verified as the
API verifies tokens (PyJWT, keys by discovery), and its nonce. The API then decides about roles: with each command it is
shown the ID token, or the access token where that is said.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlencode

import httpx
import structlog

from broker.http.issuer_keys import IssuerAwayError, IssuerKeys, discover, may_be_asked
from broker.http.refusal import Refusal
from broker.http.signed_tokens import verified

log = structlog.get_logger(__name__)

_SECONDS: Final = 10.0
_MOST_BYTES: Final = 65_536
_OK: Final = 200
_BASIC: Final = "client_secret_basic"


class SignInError(Exception):
    """It did not come to a sign-in; the text is for whoever tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcOptions:
    """The console as the issuer knows it. shown: which of its tokens the API is shown."""

    issuer: str
    client_id: str
    client_secret: str | None = None
    scope: str = "openid"
    shown: Literal["id_token", "access_token"] = "id_token"


@dataclass(frozen=True, slots=True)
class Trip:
    """Somebody on their way to the issuer and back: what only this browser knows, and where they want to go."""

    state: str
    nonce: str
    verifier: str
    wanted: str

    @classmethod
    def begin(cls, wanted: str) -> Trip:
        """A new one, unguessable."""
        return cls(
            secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), wanted
        )

    @property
    def challenge(self) -> str:
        """What the issuer is told of the verifier (RFC 7636, 4.2)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


class Oidc:
    """One issuer, asked as one client."""

    def __init__(self, options: OidcOptions) -> None:
        """Take who we are there; nobody is asked yet."""
        self._options = options
        self._keys = IssuerKeys(options.issuer)

    @property
    def issuer(self) -> str:
        """Its URL."""
        return self._options.issuer

    async def address(self, trip: Trip, back: str) -> str:
        """Where the browser is sent; `back` is where it returns. Raises SignInError when the issuer is away."""
        about = await self._about()
        query = {
            "response_type": "code",
            "client_id": self._options.client_id,
            "redirect_uri": back,
            "scope": self._options.scope,
            "state": trip.state,
            "nonce": trip.nonce,
            "code_challenge": trip.challenge,
            "code_challenge_method": "S256",
        }
        place = _endpoint(about, "authorization_endpoint")
        return f"{place}{'&' if '?' in place else '?'}{urlencode(query)}"

    async def token(self, trip: Trip, back: str, answered: dict[str, str]) -> str:
        """The token that the API is shown, for what the browser came back with. Raises SignInError."""
        if not secrets.compare_digest(answered.get("state", ""), trip.state):
            raise SignInError("this sign-in was not begun here; try again")
        if answered.get("iss", self._options.issuer) != self._options.issuer:
            raise SignInError("this answer is another issuer's")
        if "code" not in answered:
            raise SignInError(f"the issuer says {answered.get('error', 'nothing')[:80]}")
        found = await self._exchange(trip, back, answered["code"])
        id_token = found.get("id_token")
        if not isinstance(id_token, str):
            raise SignInError("the issuer sent no ID token")
        try:
            claims = await verified(
                id_token, self._options.issuer, self._options.client_id, self._keys
            )
        except Refusal as refusal:
            raise SignInError(f"the issuer's ID token: {refusal.detail}") from None
        if not secrets.compare_digest(str(claims.get("nonce", "")), trip.nonce):
            raise SignInError("the issuer's ID token is for another sign-in")
        if claims.get("azp", self._options.client_id) != self._options.client_id:
            raise SignInError("the issuer's ID token was given to another client")
        shown = found.get(self._options.shown)
        if not isinstance(shown, str):
            raise SignInError(f"the issuer sent no {self._options.shown}")
        return shown

    async def _exchange(self, trip: Trip, back: str, code: str) -> dict[str, Any]:
        about = await self._about()
        sent = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "client_id": self._options.client_id,
            "code_verifier": trip.verifier,
        }
        secret = self._options.client_secret
        auth: httpx.Auth = httpx.Auth()  # none
        if secret is not None:
            if _BASIC in about.get("token_endpoint_auth_methods_supported", [_BASIC]):
                auth = httpx.BasicAuth(self._options.client_id, secret)
            else:
                sent["client_secret"] = secret
        try:
            async with httpx.AsyncClient(timeout=_SECONDS, follow_redirects=False) as client:
                place = _endpoint(about, "token_endpoint")
                answer = await client.post(place, data=sent, auth=auth)
            found = answer.json() if len(answer.content) <= _MOST_BYTES else None
        except (httpx.HTTPError, ValueError) as error:
            raise _away(type(error).__name__) from error
        if answer.status_code != _OK or not isinstance(found, dict):
            said = found.get("error") if isinstance(found, dict) else None
            log.warning("sign_in_refused", status=answer.status_code, error=str(said)[:80])
            raise SignInError("the issuer did not take the code; try again")
        return found

    async def _about(self) -> dict[str, Any]:
        try:
            async with httpx.AsyncClient(timeout=_SECONDS, follow_redirects=False) as client:
                return await discover(client, self._options.issuer)
        except IssuerAwayError as error:
            raise _away(str(error)) from error


def _away(why: str) -> SignInError:
    log.warning("sign_in_issuer_away", reason=why)
    return SignInError("the issuer cannot be reached; try again in a moment")


def _endpoint(about: dict[str, Any], name: str) -> str:
    found = about.get(name)
    if not isinstance(found, str) or not may_be_asked(found):
        raise SignInError(f"the issuer's discovery document has no {name} with https")
    return found
