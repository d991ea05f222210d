"""Signing in and out: plain pages without any script but the one that notes the reader's zone."""

from __future__ import annotations

import html
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from broker.console.api import Api, ApiError
from broker.console.session import COOKIE, HOURS, Sessions

_MOST_BYTES: Final = 16_384
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
        try:
            await self._api.calling(token).call("operators/whoami")
        except ApiError as error:
            return self._form(wanted, error.message, error.status or 503)
        answer = RedirectResponse(self._prefix + wanted, 303)
        answer.set_cookie(
            COOKIE,
            self._sessions.seal(token),
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


def _within(wanted: str) -> str:
    """A place inside the console; anything else is its beginning."""
    inside = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if inside and wanted.isprintable() else "/"


def _is_secure(request: Request) -> bool:
    forwarded = request.headers.get("x-forwarded-proto", request.url.scheme)
    return forwarded.split(",")[0].strip() == "https"
