"""/api/v1: every operator command behind HTTP, by the table in `schema.http_routes`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from broker.http.answers import answered
from broker.http.doors import Doors
from broker.http.endpoint import Endpoint
from broker.http.identity import Identity
from broker.http.refusal import Refusal, status_of
from schema import decode
from schema.errors import Code, Rejected, shorten
from schema.http_route import Route
from schema.http_routes import API, ROUTES
from schema.limits import JOB_ID, THING_NAME, check_name
from schema.query_values import read_flag, read_integer


def rest_routes(doors: Doors, identity: Identity) -> list[Endpoint]:
    """An endpoint for each command."""
    return [
        Endpoint(API + route.path, _endpoint(doors, identity, route), methods=[route.method])
        for route in ROUTES
    ]


def _endpoint(doors: Doors, identity: Identity, route: Route) -> Callable[[Request], Any]:
    readers = _readers(route)

    async def endpoint(request: Request) -> Response:
        actor = await identity.operator(request)
        named = {name: request.path_params[name] for name in route.names}
        try:
            given = await _given(request, route, readers)
            job_id, thing = "", ""
            if route.is_of_job:
                job_id, thing = _topic_names(named)
            else:
                _put(given, named)
        except Rejected as refusal:
            raise Refusal(status_of(refusal.code), str(refusal.code), refusal.message) from None
        payload = json.dumps(given, ensure_ascii=False).encode()
        answer = await doors.command(actor, route.verb, payload, job_id=job_id, thing=thing)
        return answered(answer, route.status)

    return endpoint


async def _given(
    request: Request, route: Route, readers: Mapping[str, Callable[[str], object]]
) -> dict[str, object]:
    """What the query string says, for what is read; else what the body says, with a query for what has no body.

    Raises Rejected, and Refusal for a body that is too large or too slow.
    """
    given: dict[str, object] = {}
    if route.method != "GET":
        given = decode.read_object(await request.body())
    for name, text in request.query_params.multi_items():
        if name in given:
            raise Rejected(Code.INVALID_REQUEST, f"{shorten(name)}: given twice")
        given[name] = readers.get(name, str)(text)
    return given


def _topic_names(named: Mapping[str, str]) -> tuple[str, str]:
    """Job and thing of a command on one job, as a topic has them. Raises Rejected for what cannot be a name."""
    job_id = check_name("jobId", named["jobId"], JOB_ID) if "jobId" in named else ""
    thing = check_name("thingName", named["thingName"], THING_NAME) if "thingName" in named else ""
    return job_id, thing


def _put(given: dict[str, object], named: Mapping[str, str]) -> None:
    for name, value in named.items():
        if given.setdefault(name, value) != value:
            raise Rejected(
                Code.INVALID_REQUEST,
                f"{name}: {shorten(given[name])} is not the {shorten(value)} of the path",
            )


def _readers(route: Route) -> dict[str, Callable[[str], object]]:
    """How the members of a command are read from a query string, where JSON would have no text."""
    found: dict[str, Callable[[str], object]] = {}
    for model in decode.models_of(route.verb):
        for name, schema in model.model_json_schema()["properties"].items():
            kinds = {one.get("type") for one in schema.get("anyOf", [schema])}
            if "integer" in kinds:
                found[name] = read_integer
            elif "boolean" in kinds:
                found[name] = read_flag
            elif "array" in kinds:
                found[name] = lambda text: text.split(",")
    return found
