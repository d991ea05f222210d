"""What /openapi.json says of the seeds' REST (seeds 000, 002 and 003)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from broker.http.openapi_parts import Json, as_content, refusals
from schema.run_commands import Deprovision

_TEXT: Final[Json] = {"type": "string"}


def seeds_paths() -> Json:
    """The operations by path and method."""
    return {
        path: {method: _placed(path, one) for method, one in operations.items()}
        for path, operations in _SEEDS.items()
    }


def _placed(path: str, operation: Mapping[str, Any]) -> Json:
    device = path.startswith("/device/")
    names = re.findall(r"{(\w+)}", path)
    in_path = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names]
    return {
        **operation,
        "tags": ["seeds: devices" if device else "seeds: customers"],
        "security": [{"device": []} if device else {"operator": []}],
        "parameters": [*in_path, *operation["parameters"]],
    }


def _seed(
    summary: str,
    *,
    answer: int = 200,
    refuses: Iterable[int] = (),
    query: Mapping[str, Json] | None = None,
    body: Json | None = None,
    example: object = None,
) -> Json:
    """One operation; what its path says of it, `seeds_paths` adds."""
    always = (401, 408, 413, 429, 500, 503)
    operation: Json = {
        "summary": summary,
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in (query or {}).items()
        ],
        "responses": {
            str(answer): {"description": "Done", "content": as_content({"type": "object"})},
            **refusals(sorted({*always, *refuses}), "Detail"),
        },
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": as_content(body, example)}
    return operation


_SEED_JOB: Final[Json] = {
    "type": "object",
    "required": ["document_type"],
    "additionalProperties": False,
    "properties": {
        "job_id": {**_TEXT, "pattern": "^[a-zA-Z0-9_-]{1,64}$"},
        "document_type": {**_TEXT, "minLength": 1, "maxLength": 128},
        "document_params": {"type": "object"},
        "target_device_id": {**_TEXT, "pattern": "^[a-zA-Z0-9:_-]{1,128}$"},
        "target_group_id": {**_TEXT, "pattern": "^[a-zA-Z0-9:_-]{1,128}$"},
        "target_all": {"type": "boolean"},
        "expires_in_hours": {"type": "number", "exclusiveMinimum": 0, "maximum": 8760},
    },
}
_REPORT: Final[Json] = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {**_TEXT, "enum": ["IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED"]},
        "status_details": {"type": ["object", "null"]},
        "execution_number": {"type": ["integer", "null"]},
    },
}
_SEEDS: Final[Json] = {
    "/customer/jobs": {
        "post": _seed(
            "Create a job for one device, one group or all",
            answer=201,
            refuses=(403, 404, 409, 422),
            body=_SEED_JOB,
            example={
                "document_type": "reboot",
                "document_params": {"delay_s": 5},
                "target_device_id": "pump-1",
                "expires_in_hours": 1,
            },
        ),
        "get": _seed(
            "Jobs, newest first",
            refuses=(403, 422),
            query={"status": _TEXT, "limit": {"type": "integer"}, "next_token": _TEXT},
        ),
    },
    "/customer/jobs/{job_id}": {
        "get": _seed(
            "A job with its executions",
            refuses=(403, 404, 422),
            query={"limit": {"type": "integer"}, "next_token": _TEXT},
        ),
        "delete": _seed("Cancel a job", refuses=(403, 404, 409, 422)),
    },
    "/functions/v1/ttn-deprovision": {
        "post": _seed(
            "Take an organization out of The Things Stack, as a run",
            answer=202,
            refuses=(400, 403, 404, 409, 422),
            body=Deprovision.model_json_schema(),
            example={"dry_run": True},
        ),
    },
    "/functions/v1/ttn-deprovision-jobs": {
        "get": _seed(
            "Deprovisioning runs, newest first; with job_id one with its steps",
            refuses=(400, 403, 404),
            query={
                "organization_id": _TEXT,
                "status": _TEXT,
                "limit": {"type": "integer"},
                "job_id": _TEXT,
                "next_token": _TEXT,
            },
        ),
    },
    "/device/v1/jobs/pending": {"get": _seed("What waits for this device, oldest first")},
    "/device/v1/jobs/{job_id}/execution": {
        "get": _seed("One execution, as it stands", refuses=(404,)),
        "put": _seed(
            "Claim an execution, or end it",
            refuses=(400, 404, 409, 422),
            body=_REPORT,
            example={"status": "SUCCEEDED", "status_details": {"message": "reboot scheduled"}},
        ),
    },
}
