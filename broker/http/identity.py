"""Who asks over HTTP: an operator by a Bearer token, a thing by X-Provision-Token.

No token is ever kept, logged or shown. Addresses that send wrong ones are slowed down before the database is asked.
"""

from __future__ import annotations

from typing import Final, Protocol

from starlette.requests import Request

from broker.http.doors import patiently
from broker.http.edge import address_of
from broker.http.limits import RateLimit
from broker.http.refusal import Refusal
from handlers.database import Pool
from handlers.operator_plane import Actor
from handlers.tokens import Bearer, find_bearer

# Wrong tokens an address may send at once, and how many a second on the long run.
_WRONG_BURST: Final = 20.0
_WRONG_RATE: Final = 1.0
_LONGEST: Final = 8192  # characters; what an issuer's tokens may have


class Foreign(Protocol):
    """Who knows tokens that are not ours: an OpenID provider's."""

    async def identify(self, token: str) -> Actor:
        """Whose it is. Raises Refusal (401, or 403 for somebody without a role)."""
        ...


class Identity:
    """Finds out who asks, and how often they may."""

    def __init__(self, pool: Pool, *, per_key: RateLimit, foreign: Foreign | None = None) -> None:
        self._pool = pool
        self._per_key = per_key
        self._foreign = foreign
        self._wrong = RateLimit(_WRONG_RATE, _WRONG_BURST)

    async def operator(self, request: Request) -> Actor:
        """The operator whose Bearer token came with a request; their role is looked up by the command.

        Raises Refusal: 401 without a good token, 429 for too many requests.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not 0 < len(token) <= _LONGEST:
            raise Refusal(401, "Unauthenticated", "Authorization: a Bearer token is needed")
        if self._foreign is not None and token.count(".") == 2:  # noqa: PLR2004 - a JWT's parts; ours have no dot
            actor = await self._of_issuer(request, token)
        else:
            bearer = await self._bearer(request, token, "operator")
            actor = Actor(bearer.tenant_id, bearer.name)
        request.scope["who"] = f"{actor.tenant_id}/{actor.name}"
        return actor

    async def thing(self, request: Request) -> tuple[str, str]:
        """Tenant and name of the thing whose X-Provision-Token came with a request (seed 003). Raises as `operator`."""
        token = request.headers.get("x-provision-token", "").strip()
        if not token:
            raise Refusal(401, "Unauthenticated", "Missing provision token")
        bearer = await self._bearer(request, token, "thing")
        request.scope["who"] = f"{bearer.tenant_id}/{bearer.name}"
        return bearer.tenant_id, bearer.name

    async def _bearer(self, request: Request, token: str, kind: str) -> Bearer:
        self._slow_down(request)

        async def once(*, duplicate: bool) -> Bearer | None:  # noqa: ARG001 - looking twice does no harm
            return await find_bearer(self._pool, token)

        bearer = await patiently(once) if len(token) <= _LONGEST else None
        if bearer is None or bearer.kind != kind:
            self._wrong.take(address_of(request.scope))
            raise Refusal(401, "Unauthenticated", f"no {kind} has this token")
        self._count(bearer.credential)
        return bearer

    async def _of_issuer(self, request: Request, token: str) -> Actor:
        assert self._foreign is not None  # noqa: S101 - asked before
        self._slow_down(request)
        try:
            actor = await self._foreign.identify(token)
        except Refusal as refusal:
            if refusal.status_code == 401:  # noqa: PLR2004 - wrong tokens, not missing rights
                self._wrong.take(address_of(request.scope))
            raise
        self._count((actor.tenant_id, actor.name))
        return actor

    def _slow_down(self, request: Request) -> None:
        wait = self._wrong.is_spent(address_of(request.scope))
        if wait is not None:
            raise Refusal(429, "RequestThrottled", "too many wrong tokens from your address", wait)

    def _count(self, key: object) -> None:
        wait = self._per_key.take(str(key))
        if wait is not None:
            raise Refusal(429, "RequestThrottled", "too many requests with this token", wait)
