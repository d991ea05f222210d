"""The table of /api/v1 is whole, and what is made of it says what the doors take."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from broker.http.docs_page import docs_page
from broker.http.openapi import openapi_document
from broker.http.rest import _readers
from handlers.command_handlers import HANDLERS
from schema import decode
from schema.http_route import Route
from schema.http_routes import API, ROUTES
from schema.rights import READS


def test_every_command_has_one_route() -> None:
    """A command that operators have over MQTT cannot be forgotten over HTTP, and none has two."""
    assert sorted(route.verb for route in ROUTES) == sorted(HANDLERS)
    places = [(route.method, re.sub(r"{\w+}", "{}", route.path)) for route in ROUTES]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.verb)
def test_a_route_fits_its_command(route: Route) -> None:
    """What reads is GET; names in paths are members, or the topic's; the example is accepted as it stands."""
    # A preview has more to say than fits a query.
    assert (route.method == "GET") == (route.verb in READS - {"jobs/preview"})
    members: dict[str, object] = {}
    if not route.is_of_job:
        members = {name: f"{name}-1" for name in route.names}
    for name in {"tokenId", "batch_id"} & set(members):
        members[name] = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    assert set(route.names) <= {"jobId", "thingName"} or not route.is_of_job
    decode.decode(route.verb, {**route.example, **members})


@pytest.mark.parametrize("route", [one for one in ROUTES if one.method == "GET"], ids=str)
def test_a_query_is_read_as_json_would_be(route: Route) -> None:
    """Numbers, truth and lists that come as text become what the command takes; other text stays."""
    readers = _readers(route)
    for name, value in route.example.items():
        text = json.dumps(value) if isinstance(value, bool) else str(value)
        assert readers.get(name, str)(text) == value
    if "maxResults" in readers:
        assert readers["maxResults"]("9" * 30) == "9" * 30
        assert readers["maxResults"]("x") == "x"


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Path, method and description of each operation."""
    paths = openapi_document()["paths"]
    return [(path, method, one) for path, of in paths.items() for method, one in of.items()]


def test_openapi_has_every_operation_with_an_example() -> None:
    """Each command stands in the document; what takes a body shows one; every reference leads somewhere."""
    document = openapi_document()
    for route in ROUTES:
        operation = document["paths"][API + route.path][route.method.lower()]
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]["application/json"]
            assert content.get("example") or not route.example
        else:
            shown = {one["name"] for one in operation["parameters"]}
            assert set(route.names) <= shown
            assert set(route.example) <= shown
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert name in document["components"]["schemas"]


def test_the_page_of_documents_needs_no_other_host() -> None:
    """Every operation is on it, and nothing is loaded from anywhere."""
    page = docs_page(openapi_document())
    for path, method, _ in operations():
        assert f'<span class="m">{method.upper()}</span><code>{path}</code>' in page
    assert "<script" not in page
    assert set(re.findall(r"https?://[^/\s\"]+", page)) == {"http://127.0.0.1:8000"}
