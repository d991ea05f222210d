"""What every request to the console passes: where it comes from, who is signed in, and the headers of every answer.

Scripts come from here alone, each by a number used once (nonce); nothing is loaded from another host. NiceGUI compiles
its templates in the browser, which takes 'unsafe-eval', and sets styles on elements, which takes 'unsafe-inline' for
styles. A request from another site's page is refused by its Origin, also the one that opens the live connection.
"""

from __future__ import annotations

import secrets
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.console.session import COOKIE, Sessions

_OPEN: Final = ("/sign-in", "/sign-out", "/healthz", "/console-static/", "/_nicegui/")
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SCRIPT: Final = b"<script"
_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


def policy(nonce: str) -> str:
    """The Content-Security-Policy of a page whose scripts have this nonce."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'nonce-{nonce}' 'unsafe-eval'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "worker-src 'self' blob:",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


class Guard:
    """The outermost application of the console."""

    def __init__(self, app: ASGIApp, sessions: Sessions, *, prefix: str) -> None:
        """Take what it guards, and the path below which a reverse proxy shows the console ("" for none)."""
        self._app = app
        self._sessions = sessions
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        path = self._below_prefix(scope)
        if self._is_foreign(scope):
            await self._refuse(scope, receive, send, 403, "this request comes from another site")
        elif path.startswith(_OPEN) or self._session(scope) is not None:
            await self._app(scope, receive, _Answering(scope, send))
        elif scope["type"] == "websocket" or scope["method"] not in _SAFE:
            await self._refuse(scope, receive, send, 401, "sign in first")
        else:
            wanted = path + (f"?{scope['query_string'].decode()}" if scope["query_string"] else "")
            target = f"{self._prefix}/sign-in?next={quote(wanted, safe='')}"
            answer = RedirectResponse(target, 303)
            await answer(scope, receive, _Answering(scope, send))

    def _below_prefix(self, scope: Scope) -> str:
        """The path below the prefix, whether the proxy took it away or left it."""
        path: str = scope["path"]
        if not self._prefix:
            return path
        below = path.removeprefix(self._prefix) or "/"
        scope["path"] = self._prefix + below
        scope["raw_path"] = quote(scope["path"]).encode()
        scope["root_path"] = self._prefix
        return below

    def _session(self, scope: Scope) -> object:
        return self._sessions.open(HTTPConnection(scope).cookies.get(COOKIE))

    def _is_foreign(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        if (
            scope["type"] == "http"
            and scope["method"] in _SAFE
            and "/_nicegui_ws/" not in scope["path"]
        ):
            return False
        origin = headers.get("origin")
        if origin is None:
            return headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}
        return urlsplit(origin).netloc != headers.get("x-forwarded-host", headers.get("host"))

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send, status: int, words: str
    ) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4000 + status % 1000, "reason": words})
            return
        await PlainTextResponse(words, status)(scope, receive, _Answering(scope, send))


class _Answering:
    """A `send` that gives every answer its headers, and the scripts of a page their nonce."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self._nonce = secrets.token_urlsafe(16)
        self._start: Message | None = None
        self._parts: list[bytes] = []
        self._is_static = "/_nicegui/" in scope["path"] or "/console-static/" in scope["path"]

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(_HEADERS)
            if not self._is_static:
                headers["content-security-policy"] = policy(self._nonce)
                headers.setdefault("cache-control", "no-store")
            if headers.get("content-type", "").startswith("text/html"):
                self._start = message
                return
        elif message["type"] == "http.response.body" and self._start is not None:
            self._parts.append(message.get("body", b""))
            if message.get("more_body"):
                return
            await self._page()
            return
        await self._send(message)

    async def _page(self) -> None:
        assert self._start is not None  # noqa: S101 - asked before
        # Whatever people wrote stands in the page with its < escaped: these are the page's own scripts.
        named = _SCRIPT + f' nonce="{self._nonce}"'.encode()
        body = b"".join(self._parts).replace(_SCRIPT, named)
        headers = MutableHeaders(scope=self._start)
        headers["content-length"] = str(len(body))
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": body})
        self._start = None
