"""What the doors say of themselves: /openapi.json and /docs, made once; a browser that comes to / is led there."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from broker.http.answers import as_json
from broker.http.docs_page import docs_page
from broker.http.endpoint import Endpoint
from broker.http.openapi import openapi_document


def about_routes() -> list[Endpoint]:
    """The endpoints; none needs a token."""
    document = openapi_document()
    page = docs_page(document)

    async def openapi(_request: Request) -> Response:
        return as_json(document)

    async def docs(_request: Request) -> Response:
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return HTMLResponse(page, headers=policy)

    async def front(_request: Request) -> Response:
        # Relative: behind a proxy the path may begin elsewhere.
        return RedirectResponse("docs")

    return [
        Endpoint("/", front, methods=["GET"]),
        Endpoint("/openapi.json", openapi, methods=["GET"]),
        Endpoint("/docs", docs, methods=["GET"]),
    ]
