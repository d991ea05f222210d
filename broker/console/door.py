"""Signing in and out: plain pages without any script but the one that notes the reader's zone."""

from __future__ import annotations

import html
import time
from collections import deque
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from broker.console.api import Api, ApiError
from broker.console.session import COOKIE, HOURS, LONGEST, Sessions

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
<p>A token is made by <code>jobbroker operators add NAME --role ROLE</code>, or by an admin who is signed in.
It is kept in a sealed cookie of this browser for twelve hours, and nowhere else.</p>
<p class="jb-quiet">This console asks {api}.</p>
</main>
</body>
</html>
"""


class Door:
    """The routes that need no sign-in."""

    def __init__(self, api: Api, sessions: Sessions, *, prefix: str) -> None:
        """Take the API that knows tokens, and the path that the console is shown below."""
        self._api = api
        self._sessions = sessions
        self._prefix = prefix
        self.wrong = WrongTokens()

    def routes(self) -> list[Route]:
        """The endpoints."""
        return [
            Route("/sign-in", self.ask, methods=["GET"]),
            Route("/sign-in", self.sign_in, methods=["POST"]),
            Route("/sign-out", self.sign_out, methods=["POST"]),
            Route("/healthz", self.health, methods=["GET"]),
        ]

    async def ask(self, request: Request) -> Response:
        """The form."""
        return self._form(request.query_params.get("next", "/"))

    async def sign_in(self, request: Request) -> Response:
        """Ask the API whose token it is; a good one is sealed into the cookie."""
        body = await request.body()
        if len(body) > _MOST_BYTES:
            return PlainTextResponse("too large", 413)
        given = {
            key: values[0] for key, values in parse_qs(body.decode("utf-8", "replace")).items()
        }
        token, wanted = given.get("token", "").strip(), _within(given.get("next", "/"))
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
        )
        return HTMLResponse(page, status)


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
