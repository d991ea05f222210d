"""/openapi.json: made from the table of commands and their models, so that it says what the doors take.

The commands' own limits stand in it as far as JSON Schema can say them; a refusal names field, value and limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, Final

from broker.http.openapi_parts import ANSWERS, REF, Json, as_content, refusals
from broker.http.openapi_seeds import seeds_paths
from schema import decode
from schema.http_route import Route
from schema.http_routes import API, EVENTS_PATH, ROUTES
from schema.limits import JOB_ID
from schema.rights import LEAST_ROLE

_API_REFUSALS: Final = tuple(status for status in ANSWERS if status != 422)  # noqa: PLR2004 - the seeds' alone
_TEXT: Final[Json] = {"type": "string"}


def openapi_document() -> Json:
    """The document: every operator command, the seeds' REST, and what watches the process."""
    schemas: Json = {"Error": _error_schema(), "Detail": _detail_schema()}
    paths: Json = {}
    for route in ROUTES:
        paths.setdefault(API + route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jobbroker",
            "version": version("jobbroker"),
            "description": "AWS IoT Jobs for your own Mosquitto and PostgreSQL: operators' commands over HTTP.",
        },
        "paths": {**paths, EVENTS_PATH: _EVENTS, **seeds_paths(), **_WATCHED},
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "operator": {"type": "http", "scheme": "bearer"},
                "device": {"type": "apiKey", "in": "header", "name": "X-Provision-Token"},
            },
        },
        "security": [{"operator": []}],
    }


def _operation(route: Route, schemas: Json) -> Json:
    models = [
        _hoisted(model.model_json_schema(ref_template=REF), schemas)
        for model in decode.models_of(route.verb)
    ]
    members = {name: value for model in models for name, value in model["properties"].items()}
    in_path = [_parameter(name, "path", _TEXT) for name in route.names]
    operation: Json = {
        "operationId": route.verb.replace("/", "_").replace("-", "_"),
        "summary": route.summary,
        "description": f"`{route.verb}` (least role: {LEAST_ROLE[route.verb]}).",
        "tags": [route.group],
        "parameters": in_path,
        "responses": {
            str(route.status): {"description": "Done", "content": as_content({"type": "object"})},
            **refusals(_API_REFUSALS, "Error"),
        },
    }
    if route.method in ("GET", "DELETE"):
        required = {name for model in models for name in model.get("required", ())}
        operation["parameters"] = [
            *in_path,
            *(
                _parameter(
                    name,
                    "query",
                    schema,
                    required=name in required,
                    example=route.example.get(name),
                )
                for name, schema in _resolved(members, schemas).items()
                if name not in route.names and _is_plain(schema)
            ),
        ]
    else:
        bodies = [_without(model, () if route.is_of_job else route.names) for model in models]
        schema = bodies[0] if len(bodies) == 1 else {"anyOf": bodies}
        needed = any(body.get("required") for body in bodies)
        operation["requestBody"] = {
            "required": bool(needed),
            "content": as_content(schema, route.example),
        }
    return operation


def _hoisted(schema: Json, schemas: Json) -> Json:
    """A model's schema, its parts among the components."""
    schemas.update(schema.pop("$defs", {}))
    return schema


def _without(model: Json, names: Iterable[str]) -> Json:
    """A body's schema without what the path says."""
    left = {name: value for name, value in model["properties"].items() if name not in names}
    required = [name for name in model.get("required", ()) if name in left]
    return {
        **{name: value for name, value in model.items() if name != "required"},
        "properties": left,
        **({"required": required} if required else {}),
    }


def _resolved(members: Mapping[str, Json], schemas: Json) -> dict[str, Json]:
    """Members with the words they may be in place of the word's name."""

    def words(schema: Json) -> Json:
        named = schemas.get(str(schema.get("$ref", "")).rpartition("/")[2])
        return named if named is not None and "enum" in named else schema

    return {
        name: {**schema, "anyOf": [words(one) for one in schema["anyOf"]]}
        if "anyOf" in schema
        else words(schema)
        for name, schema in members.items()
    }


def _is_plain(schema: Mapping[str, Any]) -> bool:
    kinds = {one.get("type") for one in schema.get("anyOf", [schema])}
    return not kinds & {"object"} and not any("$ref" in one for one in schema.get("anyOf", []))


def _parameter(
    name: str,
    where: str,
    schema: Mapping[str, Any],
    *,
    required: bool = True,
    example: object = None,
) -> Json:
    kept = {key: value for key, value in schema.items() if key not in ("default", "title")}
    if "anyOf" in kept:
        # In a query a member is there or not: there is no null.
        given = [one for one in kept.pop("anyOf") if one.get("type") != "null"]
        kept |= given[0] if len(given) == 1 else {"anyOf": given}
    parameter: Json = {"name": name, "in": where, "required": required, "schema": kept}
    if kept.get("type") == "array":
        parameter |= {"style": "form", "explode": False}
    return parameter if example is None else {**parameter, "example": example}


def _error_schema() -> Json:
    return {
        "type": "object",
        "required": ["code", "message"],
        "properties": {
            "code": {**_TEXT, "examples": ["InvalidRequest"]},
            "message": _TEXT,
            "executionState": {"type": "object"},
            "clientToken": _TEXT,
            "timestamp": {"type": "integer"},
        },
    }


def _detail_schema() -> Json:
    return {"type": "object", "required": ["detail"], "properties": {"detail": _TEXT}}


_HEALTH: Final[Json] = {
    "tags": ["watching"],
    "security": [],
    "responses": {
        "200": {"description": "It is", "content": as_content({"type": "object"})},
        **refusals((429,), "Error"),
    },
}
_EVENTS: Final[Json] = {
    "get": {
        "operationId": "events_follow",
        "summary": "What happens, as server-sent events",
        "description": "`events/follow` (least role: viewer). With Last-Event-ID, or lastEventId in the query: from"
        " behind that one on. live=some: of live events a few a second.",
        "tags": ["events"],
        "parameters": [
            _parameter("jobId", "query", {**_TEXT, "pattern": JOB_ID.pattern}, required=False),
            _parameter("lastEventId", "query", _TEXT, required=False),
            _parameter("live", "query", {**_TEXT, "enum": ["all", "some"]}, required=False),
            _parameter("Last-Event-ID", "header", _TEXT, required=False),
        ],
        "responses": {
            "200": {
                "description": "A stream that goes on until somebody hangs up",
                "content": {"text/event-stream": {"schema": _TEXT}},
            },
            **refusals((400, 401, 403, 404, 408, 429, 500, 503), "Error"),
        },
    }
}
_WATCHED: Final[Json] = {
    "/healthz": {"get": {**_HEALTH, "summary": "Whether the process is alive"}},
    "/readyz": {
        "get": {
            **_HEALTH,
            "summary": "Whether it takes requests, and what it lacks",
            "responses": {
                **_HEALTH["responses"],
                "503": {"description": "Not yet", "content": as_content({"type": "object"})},
            },
        }
    },
}
