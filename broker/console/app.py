"""The console as one application, and the process around it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
import uvicorn
from fastapi import FastAPI
from nicegui import Client, ui
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from broker.console.api import Api, ApiError
from broker.console.components import Tag, empty, heading, tag
from broker.console.door import Door
from broker.console.feed import Feeds
from broker.console.glances import Glances
from broker.console.guard import Guard
from broker.console.oidc import Oidc, OidcOptions
from broker.console.pages import (
    events,
    execution,
    failures,
    groups,
    job,
    jobs,
    new_job,
    stack_run,
    system,
    templates,
    thing,
    things,
    things_stack,
)
from broker.console.picture import Pictures
from broker.console.session import Sessions
from broker.console.shell import frame
from broker.console.viewer import UNKNOWN, Viewer, viewer_of

log = structlog.get_logger(__name__)

_STATIC: Final = Path(__file__).parent / "static"
_DRAIN_SECONDS: Final = 2
_HEAL_SECONDS: Final = 60.0

# What builds a page inside the frame: who looks, the names in the path, the query.
Build = Callable[[Viewer, Mapping[str, str], Mapping[str, str]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleOptions:
    """What the console is told: the API it asks, where it listens, and how it is reached.

    port 0: a free one. prefix: the path below which a reverse proxy shows it. secret seals sign-ins; None: one of this
    process. oidc: the issuer where one may sign in, too.
    """

    api_url: str
    host: str = "127.0.0.1"
    port: int = 8080
    prefix: str = ""
    secret: str | None = None
    read_only: bool = False
    oidc: OidcOptions | None = None


def _pages(feeds: Feeds, pictures: Pictures) -> dict[str, tuple[str, Build]]:
    """Each page by its path: the place that is marked, and what builds it."""
    return {
        "/": ("/", lambda viewer, _names, query: jobs.show(viewer, query)),
        "/jobs/{job_id}": (
            "/",
            lambda viewer, names, query: job.show(viewer, feeds, pictures, names["job_id"], query),
        ),
        "/jobs/{job_id}/things/{thing}": (
            "/",
            lambda viewer, names, _query: execution.show(
                viewer, feeds, names["job_id"], names["thing"]
            ),
        ),
        "/new": ("/", lambda viewer, _names, query: new_job.show(viewer, query)),
        "/things": ("/things", lambda viewer, _names, query: things.show(viewer, query)),
        "/things/{thing}": (
            "/things",
            lambda viewer, names, _query: thing.show(viewer, names["thing"]),
        ),
        "/groups": ("/groups", lambda viewer, _names, query: groups.show(viewer, query)),
        "/groups/{group}": (
            "/groups",
            lambda viewer, names, _query: groups.show_one(viewer, names["group"]),
        ),
        "/templates": ("/templates", lambda viewer, _names, _query: templates.show(viewer)),
        "/failures": ("/failures", lambda viewer, _names, query: failures.show(viewer, query)),
        "/things-stack": (
            "/things-stack",
            lambda viewer, _names, query: things_stack.show(viewer, query),
        ),
        "/things-stack/runs/{run}": (
            "/things-stack",
            lambda viewer, names, _query: stack_run.show(viewer, names["run"]),
        ),
        "/events": ("/events", lambda viewer, _names, _query: events.show(viewer, feeds)),
        "/system": ("/system", lambda viewer, _names, _query: system.show(viewer)),
    }


class Console:
    """The application: the door, the pages, what guards them."""

    def __init__(self, options: ConsoleOptions) -> None:
        """Make it; nothing is asked of anybody yet. One process has one: NiceGUI keeps its pages globally."""
        self.prefix = "" if options.prefix in {"", "/"} else "/" + options.prefix.strip("/")
        self.api = Api(options.api_url, read_only=options.read_only)
        self.sessions = Sessions(options.secret)
        self.glances = Glances()
        self.feeds = Feeds(self.api)
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        oidc = None if options.oidc is None else Oidc(options.oidc)
        door = Door(self.api, self.sessions, prefix=self.prefix, oidc=oidc)
        app.router.routes.extend(door.routes())
        app.router.routes.append(Mount("/console-static", StaticFiles(directory=_STATIC)))
        for path, (place, build) in _pages(self.feeds, Pictures()).items():
            self._add(path, place, build)
        ui.add_head_html(_HEAD.format(prefix=self.prefix), shared=True)
        ui.run_with(
            app,
            title="jobbroker",
            favicon=_STATIC / "icon.svg",
            dark=None,
            language="en-US",
            tailwind=False,
            reconnect_timeout=_HEAL_SECONDS,
            gzip_middleware_factory=None,  # pages are compressed behind the guard, which writes into them
            show_welcome_message=False,
        )
        self.guarded = GZipMiddleware(
            Guard(app, self.sessions, prefix=self.prefix), compresslevel=_COMPRESSED
        )

    def _add(self, path: str, place: str, build: Build) -> None:
        async def show(request: Request, client: Client) -> Any:  # noqa: ANN401 - a page, or an answer instead
            until = asyncio.get_running_loop().time() + _BUILD_SECONDS
            try:
                async with asyncio.timeout_at(until):
                    viewer = await viewer_of(self.api, self.sessions, self.glances, request, client)
            except TimeoutError:
                _say_not_now(_SLOW)
                return None
            except ApiError as error:
                if error.status != UNKNOWN:
                    _say_not_now(error.message)
                    return None
                viewer = None
            if viewer is None:
                return RedirectResponse(f"{self.prefix}/sign-in", 303)
            ui.timer(2.0, lambda: self._end_if_over(viewer), immediate=False)
            with frame(viewer, place), tag("div") as body:
                building = build(viewer, request.path_params, request.query_params)
                await _build_or_say_why(building, body, until)
            return None

        ui.page(path, response_timeout=_PAGE_SECONDS)(show)

    async def _end_if_over(self, viewer: Viewer) -> None:
        await viewer.prove()
        if self.sessions.is_ended(viewer.session):
            ui.navigate.to("/sign-in")


async def _build_or_say_why(building: Awaitable[None], body: Tag, until: float) -> None:
    """Have a page built into its place until then; what the API does not give, or not in time, is said instead."""
    try:
        async with asyncio.timeout_at(until):
            await building
    except TimeoutError:
        body.clear()
        _say_not_now(_SLOW)
    except ApiError as error:
        body.clear()
        heading("This cannot be shown")
        empty(error.message, f"The API says {error.code}.")


def _say_not_now(why: str) -> None:
    heading("Not now")
    empty(why, "The page comes back by itself when the API does.")
    ui.timer(3.0, ui.navigate.reload, immediate=False)


_SLOW: Final = "The API takes long to answer"
# Of what the API is asked for a page. NiceGUI answers 500 after its own, which leaves room for a busy machine.
_BUILD_SECONDS: Final = 12.0
_PAGE_SECONDS: Final = 60.0
_COMPRESSED: Final = (
    4  # a browser's first page has megabytes of scripts: 5 % larger in a third of the time
)
_HEAD: Final = (
    '<link rel="stylesheet" href="{prefix}/console-static/console.css">'
    '<script src="{prefix}/console-static/console.js"></script>'
)


class _Server(uvicorn.Server):
    """uvicorn without its hand on the process's signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_console(
    options: ConsoleOptions, *, on_ready: Callable[[str], None], stop: asyncio.Event
) -> None:
    """Show the console until `stop`; on_ready is called with its address. Raises OSError when the port is taken."""
    console = Console(options)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    taken = socket.create_server((options.host, options.port), family=family)
    config = uvicorn.Config(
        console.guarded,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        ws_max_size=4 * 1024 * 1024,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[taken]))
    try:
        while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.02)
        if not serving.done():
            host = f"[{options.host}]" if ":" in options.host else options.host
            on_ready(f"http://{host}:{taken.getsockname()[1]}{console.prefix}/")
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
    finally:
        server.should_exit = True
        console.feeds.close()
        await serving
        await console.api.close()
