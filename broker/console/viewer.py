"""Who looks at a page: the operator behind the session, their zone and theme, and what they may do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from nicegui import Client, ui
from starlette.requests import Request

from broker.console.api import Api, ApiError, Body, Calling
from broker.console.glances import Glances
from broker.console.session import COOKIE, Session, Sessions
from broker.console.words import in_utc, moment, zone_of
from schema.rights import LEAST_ROLE, READS, Role

UNKNOWN: Final = 401
_AWAY: Final = frozenset({0, 429, 503})
_PROVED_SECONDS: Final = 12.0
_THEMES: Final = {"dark": True, "light": False}


@dataclass(slots=True)
class Viewer:
    """One open page's reader. `lost` is what the API said when it last did not answer.

    dark: as was chosen, None for as the system has it; shade: what that came to when a page was last opened.
    """

    api: Api
    sessions: Sessions
    glances: Glances
    calling: Calling
    session: Session
    name: str
    role: Role
    tenant: str
    home: tuple[str, str]
    zone: ZoneInfo
    dark: bool | None
    shade: str
    prefix: str
    client: Client
    visible: bool = True
    lost: str = ""
    asked_at: float = field(default_factory=time.monotonic)  # when this token was last good
    on_lost: list[Callable[[], None]] = field(default_factory=list)

    @property
    def is_looking(self) -> bool:
        """Whether the page is in front of somebody: not hidden, and connected."""
        return self.visible and self.client.has_socket_connection

    async def call(self, verb: str, **given: object) -> Body:
        """As `Calling.call`; notes whether the API answers, for the banner.

        A token that it does not know any more ends the session: an address that goes on with wrong ones is slowed down
        by the API, and the console's is everybody's.
        """
        self._require_session()
        try:
            body = await self.calling.call(verb, **given)
        except ApiError as error:
            if error.status == UNKNOWN:
                self.sessions.end(self.session)
            is_away = error.status in _AWAY and error.code != "ReadOnly"
            self._note(error.message if is_away else "")
            raise
        self._note("")
        self.asked_at = time.monotonic()
        if verb not in READS:
            self.glances.forget(self.tenant)
        return body

    async def look(self, verb: str, **given: object) -> Body:
        """As `call`, for what is asked for again and again: what another page was told a moment ago will do as well.

        Nobody may change what is returned. Whether the token is still good is for `prove` to see.
        """
        self._require_session()
        key = (self.role, verb, tuple(sorted((name, repr(value)) for name, value in given.items())))
        body = await self.glances.have(self.tenant, key, lambda: self.call(verb, **given))
        self._note("")
        return body

    async def prove(self) -> None:
        """End the session if its token has been revoked, where somebody looks and that was not seen lately."""
        if self.is_looking and time.monotonic() - self.asked_at > _PROVED_SECONDS:
            with contextlib.suppress(ApiError):  # noted by the call
                await self.call("operators/whoami")

    def _require_session(self) -> None:
        if self.sessions.is_ended(self.session):
            raise ApiError(UNKNOWN, "SignedOut", "this sign-in is over")

    def _note(self, lost: str) -> None:
        if lost != self.lost:
            self.lost = lost
            for told in self.on_lost:
                told()

    def complain(self, problem: Exception) -> None:
        """Say what went wrong; that the API is away, the banner says."""
        if not isinstance(problem, ApiError):
            ui.notify("Something went wrong here; the console's log says what", type="negative")
        elif not self.lost:
            ui.notify(problem.message, type="negative")

    def lacks(self, verb: str) -> str:
        """Why this reader may not send a command; "" when they may."""
        if self.api.read_only and verb not in READS and verb != "jobs/preview":
            return "this console is read-only"
        needed = LEAST_ROLE[verb]
        return "" if self.role.covers(needed) else f"needs the role {needed}; yours is {self.role}"

    def may(self, verb: str) -> bool:
        """Whether this reader may send a command."""
        return not self.lacks(verb)

    def arn(self, kind: str, name: str) -> str:
        """An ARN of the tenant's, AWS's name for a target."""
        region, account = self.home
        return f"arn:aws:iot:{region}:{account}:{kind}/{name}"

    def at(self, epoch: float | None) -> str:
        """A moment in the reader's zone."""
        return moment(epoch, self.zone, time.time())

    def both(self, epoch: float | None) -> dict[str, str]:
        """A moment in the reader's zone, and in UTC for the hint."""
        return {"text": self.at(epoch), "utc": in_utc(epoch)}

    def link(self, path: str) -> str:
        """A path of the console as a link, below the prefix."""
        return self.prefix + path


async def viewer_of(
    api: Api, sessions: Sessions, glances: Glances, request: Request, client: Client
) -> Viewer | None:
    """The reader of a page that is asked for; None when the session is over. Raises ApiError."""
    session = sessions.open(request.cookies.get(COOKIE))
    if session is None:
        return None
    calling = api.calling(session.token)
    try:
        who = await calling.call("operators/whoami")
    except ApiError as error:
        if error.status == UNKNOWN:
            sessions.end(session)
        raise
    return Viewer(
        api=api,
        sessions=sessions,
        glances=glances,
        calling=calling,
        session=session,
        name=who["operatorName"],
        role=Role(who["role"]),
        tenant=who["tenant"],
        home=(who["awsRegion"], who["awsAccount"]),
        zone=zone_of(unquote(request.cookies.get("jobbroker_zone", ""))),
        dark=_THEMES.get(request.cookies.get("jobbroker_theme", "")),
        shade=request.cookies.get("jobbroker_shade", "light"),
        prefix=str(request.scope.get("root_path", "")),
        client=client,
    )


Refresh = Callable[[], Awaitable[None]]
_PAUSE_SECONDS: Final = 2.0


class Live:
    """Keeps a page current: it is asked for again every two seconds while somebody looks, and at once when told to."""

    def __init__(
        self, viewer: Viewer, refresh: Refresh, *, seconds: float = _PAUSE_SECONDS
    ) -> None:
        """Take who looks, and what reads the page's figures again."""
        self._viewer = viewer
        self._refresh = refresh
        self._busy = self._is_due = False
        ui.timer(seconds, self._tick, immediate=False)

    async def _tick(self) -> None:
        if self._viewer.is_looking:
            await self.now()

    async def now(self, *_event: Any) -> None:  # noqa: ANN401 - handlers are given an event of any kind
        """Read again, and once more if that was asked for meanwhile; a refusal is shown as a message."""
        self._is_due = True
        if self._busy:
            return
        self._busy = True
        try:
            while self._is_due:
                self._is_due = False
                await self._refresh()
        except ApiError as error:
            self._viewer.complain(error)
        finally:
            self._busy = False
