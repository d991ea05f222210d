"""Signing in and out, by token or at an issuer: plain pages with no script but the one that notes the reader's zone."""

from __future__ import annotations

import html
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from broker.console.api import Api, ApiError
from broker.console.oidc import Oidc, SignInError, Trip
from broker.console.session import COOKIE, HOURS, LONGEST, TRIP_COOKIE, TRIP_SECONDS, Sessions

_LEAVE: Final = "/sign-in/issuer"
_BACK: Final = "/sign-in/issuer/back"
_MOST_BYTES: Final = 16_384
_WRONG: Final = 10
_WRONG_SECONDS: Final = 20.0
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in - jobbroker</title>
<link rel="icon" href="{prefix}/console-static/icon.svg">
<link rel="stylesheet" href="{prefix}/console-static/console.css">
<script src="{prefix}/console-static/console.js"></script>
</head>
<body class="jb-door">
<main>
<h1><img src="{prefix}/console-static/icon.svg" alt="" width="36" height="36"> jobbroker</h1>
<form method="post" action="{prefix}/sign-in">
<input type="hidden" name="next" value="{next}">
<label for="token">Operator token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus
 spellcheck="false"{invalid}>
{problem}
<button type="submit">Sign in</button>
</form>
{issuer}
<p>A token is made by <code>jobbroker operators add NAME --role ROLE</code>, or by an admin who is signed in.
It is kept in a sealed cookie of this browser for twelve hours, and nowhere else.</p>
<p class="jb-quiet">This console asks {api}.</p>
</main>
</body>
</html>
"""


class Door:
    """The routes that need no sign-in."""

    def __init__(
        self, api: Api, sessions: Sessions, *, prefix: str, oidc: Oidc | None = None
    ) -> None:
        """Take the API that knows tokens, the path that the console is shown below, and the issuer if there is one."""
        self._oidc = oidc
        self._api = api
        self._sessions = sessions
        self._prefix = prefix
        self.wrong = WrongTokens()

    def routes(self) -> list[Route]:
        """The endpoints."""
        return [
            Route("/sign-in", self.ask, methods=["GET"]),
            Route("/sign-in", self.sign_in, methods=["POST"]),
            Route(_LEAVE, self.leave, methods=["GET"]),
            Route(_BACK, self.come_back, methods=["GET"]),
            Route("/sign-out", self.sign_out, methods=["POST"]),
            Route("/healthz", self.health, methods=["GET"]),
        ]

    async def ask(self, request: Request) -> Response:
        """The form."""
        return self._form(request.query_params.get("next", "/"))

    async def sign_in(self, request: Request) -> Response:
        """Take a token that was typed."""
        body = await request.body()
        if len(body) > _MOST_BYTES:
            return PlainTextResponse("too large", 413)
        given = {
            key: values[0] for key, values in parse_qs(body.decode("utf-8", "replace")).items()
        }
        token, wanted = given.get("token", "").strip(), _within(given.get("next", "/"))
        return await self._enter(request, token, wanted)

    async def leave(self, request: Request) -> Response:
        """Send the browser to the issuer, with a cookie that proves on its return that it was here."""
        wanted = _within(request.query_params.get("next", "/"))
        if self._oidc is None:
            return self._form(wanted, "no issuer is set up here", 404)
        trip = Trip.begin(wanted)
        try:
            address = await self._oidc.address(trip, self._back(request))
        except SignInError as problem:
            return self._form(wanted, str(problem), 503)
        answer = RedirectResponse(address, 303)
        answer.set_cookie(
            TRIP_COOKIE,
            self._sessions.seal_trip(asdict(trip)),
            max_age=TRIP_SECONDS,
            path=self._prefix + _LEAVE,
            secure=_is_secure(request),
            httponly=True,
            samesite="lax",  # the issuer's page leads back here
        )
        return answer

    async def come_back(self, request: Request) -> Response:
        """Take what the issuer has sent the browser back with; the token that comes of it is as one that was typed."""
        found = self._sessions.open_trip(request.cookies.get(TRIP_COOKIE))
        if self._oidc is None or found is None:
            return self._form("/", "this sign-in took too long, or was not begun here", 400)
        trip = Trip(**found)
        try:
            token = await self._oidc.token(trip, self._back(request), dict(request.query_params))
        except SignInError as problem:
            answer = self._form(trip.wanted, str(problem), 401)
        else:
            answer = await self._enter(request, token, trip.wanted)
        answer.delete_cookie(TRIP_COOKIE, path=self._prefix + _LEAVE)
        return answer

    def _back(self, request: Request) -> str:
        """The address to which the issuer leads back, as the browser knows us."""
        scheme = "https" if _is_secure(request) else "http"
        host = request.headers.get("x-forwarded-host", request.headers.get("host", ""))
        return f"{scheme}://{host}{self._prefix}{_BACK}"

    async def _enter(self, request: Request, token: str, wanted: str) -> Response:
        """Ask the API whose token it is; a good one is sealed into the cookie."""
        if not token or not token.isascii():
            return self._form(wanted, "this is no token", 401)
        if self.wrong.are_too_many():
            return self._form(wanted, "too many wrong tokens; try again in a moment", 429)
        try:
            await self._api.calling(token).call("operators/whoami")
        except ApiError as error:
            if error.status == 401:  # noqa: PLR2004 - nobody's token
                self.wrong.note()
            return self._form(wanted, error.message, error.status or 503)
        cookie = self._sessions.seal(token)
        if len(cookie) > LONGEST:
            return self._form(wanted, "this token is too long for a cookie", 400)
        answer = RedirectResponse(self._prefix + wanted, 303)
        answer.set_cookie(
            COOKIE,
            cookie,
            max_age=HOURS * 3600,
            path=self._prefix or "/",
            secure=_is_secure(request),
            httponly=True,
            samesite="lax",
        )
        return answer

    async def sign_out(self, request: Request) -> Response:
        """Forget the cookie, here and there."""
        session = self._sessions.open(request.cookies.get(COOKIE))
        if session is not None:
            self._sessions.end(session)
        answer = RedirectResponse(f"{self._prefix}/sign-in", 303)
        answer.delete_cookie(COOKIE, path=self._prefix or "/")
        return answer

    async def health(self, _request: Request) -> Response:
        """200 while the console answers."""
        return PlainTextResponse("ok")

    def _form(self, wanted: str, problem: str = "", status: int = 200) -> Response:
        alert = f'<p class="jb-problem" role="alert">{html.escape(problem)}</p>' if problem else ""
        page = _PAGE.format(
            prefix=html.escape(self._prefix, quote=True),
            next=html.escape(_within(wanted), quote=True),
            problem=alert,
            invalid=' aria-invalid="true"' if problem else "",
            api=html.escape(self._api.url),
            issuer=self._issuer_link(wanted),
        )
        return HTMLResponse(page, status)

    def _issuer_link(self, wanted: str) -> str:
        if self._oidc is None:
            return ""
        place = f"{self._prefix}{_LEAVE}?{urlencode({'next': _within(wanted)})}"
        name = html.escape(urlsplit(self._oidc.issuer).netloc)
        return (
            f'<p><a class="jb-link-button" href="{html.escape(place, quote=True)}">'
            f"Sign in at {name}</a></p>"
        )


class WrongTokens:
    """How many wrong tokens were tried lately, by anybody: ten in twenty seconds are enough.

    The API slows an address down that sends wrong ones, and the console's is that of all who are signed in.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the clock."""
        self._clock = clock
        self._at: deque[float] = deque(maxlen=_WRONG)

    def note(self) -> None:
        """One more."""
        self._at.append(self._clock())

    def are_too_many(self) -> bool:
        """Whether the next is not even tried."""
        return len(self._at) == _WRONG and self._clock() - self._at[0] < _WRONG_SECONDS


def _within(wanted: str) -> str:
    """A place inside the console; anything else is its beginning."""
    inside = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if inside and wanted.isprintable() else "/"


def _is_secure(request: Request) -> bool:
    forwarded = request.headers.get("x-forwarded-proto", request.url.scheme)
    return forwarded.split(",")[0].strip() == "https"
