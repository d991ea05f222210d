"""Pages of the console while the API takes its time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker.console import app
from broker.console.app import ConsoleOptions, serve_console
from tests.integration.http_door import http_door

WHO = {
    "operatorName": "ann",
    "role": "viewer",
    "tenant": "default",
    "awsRegion": "us-east-1",
    "awsAccount": "000000000000",
}


@pytest.fixture
async def api() -> AsyncIterator[str]:
    """An API that says at once who asks, and nothing else until it is over."""
    is_over = asyncio.Event()

    async def who(_request: Request) -> Response:
        return JSONResponse(WHO)

    async def wait(_request: Request) -> Response:
        await is_over.wait()
        return JSONResponse({"code": "InternalError", "message": "late"}, 500)

    routes = [Route("/api/v1/whoami", who), Route("/api/v1/{rest:path}", wait)]
    async with http_door(routes) as http:
        yield str(http.base_url)
        is_over.set()


async def test_a_page_that_the_api_keeps_waiting_says_so(
    api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers in time and without an error of its own: the API takes long, and the page comes back by itself."""
    monkeypatch.setattr(app, "_BUILD_SECONDS", 0.3, raising=False)
    monkeypatch.setattr(app, "_PAGE_SECONDS", 30.0)
    stop, address = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve_console(ConsoleOptions(api_url=api, port=0), on_ready=address.set_result, stop=stop)
    )
    async with httpx.AsyncClient(base_url=await address, timeout=60) as http:
        entered = await http.post("/sign-in", data={"token": "anything"})
        assert entered.has_redirect_location
        for path in ("/", "/jobs/j1", "/things/t1"):
            page = await http.get(path)
            assert page.status_code == 200
            assert "The API takes long to answer" in page.text
    stop.set()
    await serving
