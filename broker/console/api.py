"""The HTTP API as the console calls it: commands by their verbs, by the table that the API itself is made from."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx

from schema.http_routes import API, ROUTES
from schema.rights import READS

Body = dict[str, Any]
_ROUTES: Final = {route.verb: route for route in ROUTES}
_SECONDS: Final = 15.0
_CONNECTIONS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=20)


class ApiError(Exception):
    """The API refused: its code and its words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """Take the HTTP status (0: nobody was asked), the code and the message."""
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message


class ApiAway(ApiError):
    """The API does not answer."""

    def __init__(self, message: str) -> None:
        """Take what went wrong."""
        super().__init__(0, "Away", message)


@dataclass(frozen=True, slots=True)
class Request:
    """One command as it goes over HTTP."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Body | None


def request_of(verb: str, given: Mapping[str, object]) -> Request:
    """The request that a command becomes; `given` are its members and the names in its path, None left out."""
    route = _ROUTES[verb]
    members = {name: value for name, value in given.items() if value is not None}
    path = API + route.path
    for name in route.names:
        path = path.replace("{" + name + "}", quote(str(members.pop(name)), safe=""))
    if route.method == "GET":
        return Request("GET", path, {key: _as_text(one) for key, one in members.items()}, None)
    return Request(route.method, path, {}, members)


def sent_as(verb: str, names: Mapping[str, object]) -> str:
    """What a button says it sends: the command, and its request."""
    route = _ROUTES[verb]
    path = API + route.path
    for name in route.names:
        if names.get(name):
            path = path.replace("{" + name + "}", str(names[name]))
    return f"sends {verb}: {route.method} {path}"


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


class Api:
    """The connection to one API; `calling` gives the face for one operator's token."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        """Take where the API is, http://HOST:PORT, and whether nothing may be changed by it."""
        self.url = url.rstrip("/")
        self.read_only = read_only
        self._http = httpx.AsyncClient(base_url=self.url, timeout=_SECONDS, limits=_CONNECTIONS)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    def calling(self, token: str) -> Calling:
        """Call as the operator with this token."""
        return Calling(self, token)

    async def text(self, path: str) -> tuple[int, str]:
        """What a page beside the commands says, such as /readyz: its status and its text. Raises ApiAway."""
        try:
            answer = await self._http.get(path)
        except httpx.HTTPError as error:
            raise ApiAway(f"{self.url} does not answer ({type(error).__name__})") from error
        return answer.status_code, answer.text

    async def send(self, token: str, request: Request) -> Body:
        """Send a request as an operator. Raises ApiError, and ApiAway when there is no answer."""
        try:
            answer = await self._http.request(
                request.method,
                request.path,
                params=dict(request.query),
                json=request.body or None,
                headers={"Authorization": f"Bearer {token}"},
            )
        except httpx.HTTPError as error:
            raise ApiAway(f"{self.url} does not answer ({type(error).__name__})") from error
        return _read(answer)

    @asynccontextmanager
    async def stream(
        self, token: str, path: str, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """An answer that goes on and on. Raises ApiError, and ApiAway when there is none."""
        waiting = httpx.Timeout(_SECONDS, read=3 * _SECONDS)
        sent = {"Authorization": f"Bearer {token}", **headers}
        try:
            async with self._http.stream("GET", path, headers=sent, timeout=waiting) as answer:
                if answer.is_error:
                    await answer.aread()
                    _read(answer)
                yield answer
        except httpx.HTTPError as error:
            raise ApiAway(f"{self.url} does not answer ({type(error).__name__})") from error


def _read(answer: httpx.Response) -> Body:
    try:
        body = answer.json() if answer.content else {}
    except json.JSONDecodeError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    if answer.is_error:
        code = str(body.get("code", f"HTTP {answer.status_code}"))
        message = str(body.get("message", answer.reason_phrase))
        raise ApiError(answer.status_code, code, message)
    return body


class Calling:
    """The commands, as one operator."""

    def __init__(self, api: Api, token: str) -> None:
        """Take the API and the token."""
        self.api = api
        self._token = token

    async def call(self, verb: str, **given: object) -> Body:
        """The body of the answer to a command; `given` as `request_of` has it.

        Raises ApiError with the API's code and words, ReadOnly for a change where none is allowed; ApiAway.
        """
        if self.api.read_only and verb not in READS and verb != "jobs/preview":
            raise ApiError(0, "ReadOnly", "this console is read-only: it sends no changes")
        return await self.api.send(self._token, request_of(verb, given))
