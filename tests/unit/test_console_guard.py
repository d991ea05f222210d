"""What every request to the console passes, without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from broker.console.api import Api
from broker.console.door import Door, WrongTokens
from broker.console.guard import Guard
from broker.console.session import COOKIE, Sessions
from tests.helpers import PATIENCE

HOST = "http://console.example"


async def show(request: Request) -> Response:
    """A page with a script of its own, and what people wrote."""
    return HTMLResponse(f"<script>1</script><script src=x></script>{request.url.path}")


async def change(_request: Request) -> Response:
    """Something that changes something."""
    return PlainTextResponse("done")


@pytest.fixture(params=["", "/fleet"])
def prefix(request: pytest.FixtureRequest) -> str:
    """Without and with a prefix."""
    return str(request.param)


@pytest.fixture
async def http(prefix: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that is signed in at a guarded application."""
    sessions = Sessions("secret")
    door = Door(Api("http://127.0.0.1:9"), sessions, prefix=prefix)
    app = Starlette(
        routes=[
            *door.routes(),
            Route("/", show),
            Route("/jobs/{id}", show),
            Route("/change", change, methods=["POST"]),
        ]
    )
    guarded = Guard(app, sessions, prefix=prefix)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(guarded),
        base_url=HOST,
        cookies={COOKIE: sessions.seal("t")},
        timeout=PATIENCE,
    ) as client:
        yield client


async def test_scripts_have_the_nonce_of_their_page(http: httpx.AsyncClient, prefix: str) -> None:
    """Each page has another number, and only its own scripts have it."""
    first, second = await http.get(f"{prefix}/jobs/j1"), await http.get(f"{prefix}/jobs/j1")
    nonces = []
    for answer in (first, second):
        nonce = answer.text.split('nonce="', 1)[1].split('"', 1)[0]
        assert answer.text.count(f'<script nonce="{nonce}"') == 2
        assert f"'nonce-{nonce}'" in answer.headers["content-security-policy"]
        assert answer.headers["content-length"] == str(len(answer.content))
        assert answer.headers["cache-control"] == "no-store"
        nonces.append(nonce)
    assert nonces[0] != nonces[1]


async def test_the_prefix_may_be_there_or_taken_away(http: httpx.AsyncClient, prefix: str) -> None:
    """A reverse proxy may pass it on, or not."""
    for path in ("/jobs/j1", f"{prefix}/jobs/j1"):
        assert (await http.get(path)).text.endswith(f"{prefix}/jobs/j1")


async def test_who_is_not_signed_in_is_sent_to_the_door(
    http: httpx.AsyncClient, prefix: str
) -> None:
    """With the way back; what would change something is refused."""
    http.cookies.clear()
    answer = await http.get(f"{prefix}/jobs/j1?tab=things")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{prefix}/sign-in?next=%2Fjobs%2Fj1%3Ftab%3Dthings"
    assert (await http.post(f"{prefix}/change")).status_code == 401
    assert (await http.get(f"{prefix}/healthz")).text == "ok"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://console.example.evil"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_other_sites_change_nothing(
    http: httpx.AsyncClient, prefix: str, headers: dict[str, str]
) -> None:
    """A request from another site's page is refused though the browser sends the cookie; so is a connection."""
    assert (await http.post(f"{prefix}/change", headers=headers)).status_code == 403
    assert (await http.get(f"{prefix}/_nicegui_ws/x", headers=headers)).status_code == 403
    own = {"origin": HOST}
    assert (await http.post(f"{prefix}/change", headers=own)).text == "done"
    behind = {"origin": "http://outside", "x-forwarded-host": "outside"}
    assert (await http.post(f"{prefix}/change", headers=behind)).text == "done"


@pytest.mark.parametrize(
    "wanted", ["//evil.example/", "/\\evil", "http://evil.example", "", "/\r\nx: y"]
)
async def test_the_way_back_leads_inside(http: httpx.AsyncClient, prefix: str, wanted: str) -> None:
    """Nobody is sent elsewhere by the door."""
    answer = await http.get(f"{prefix}/sign-in", params={"next": wanted})
    assert 'name="next" value="/"' in answer.text


async def test_what_was_typed_is_no_markup(http: httpx.AsyncClient, prefix: str) -> None:
    """The door escapes the way back, and says when the API is away."""
    answer = await http.get(f"{prefix}/sign-in", params={"next": '/"><script>'})
    assert "&quot;&gt;&lt;script&gt;" in answer.text
    away = await http.post(f"{prefix}/sign-in", data={"token": "x"})
    assert away.status_code == 503
    assert "does not answer" in away.text
    assert (await http.post(f"{prefix}/sign-in", data={"token": "\u2603"})).status_code == 401


async def test_signing_out_forgets(http: httpx.AsyncClient, prefix: str) -> None:
    """The cookie is taken away, and no longer good."""
    cookie = dict(http.cookies)
    answer = await http.post(f"{prefix}/sign-out")
    assert answer.status_code == 303
    assert f'{COOKIE}=""' in answer.headers["set-cookie"]
    http.cookies.update(cookie)
    assert (await http.get(f"{prefix}/")).status_code == 303


def test_wrong_tokens_are_tried_ten_in_twenty_seconds() -> None:
    """The console keeps below what the API takes of one address, whoever tries."""
    now = 100.0
    wrong = WrongTokens(lambda: now)
    for _ in range(10):
        assert not wrong.are_too_many()
        wrong.note()
    assert wrong.are_too_many()
    now = 119.9
    assert wrong.are_too_many()
    now = 120.1
    assert not wrong.are_too_many()
