"""The seeds' REST for operators (seed 002): /customer/jobs with a Bearer token, in the seeds' words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from broker.http.answers import as_json
from broker.http.doors import Doors
from broker.http.endpoint import Endpoint
from broker.http.identity import Identity
from broker.http.refusal import Refusal, status_of
from handlers.operator_plane import Actor
from schema import decode
from schema.errors import Code, Rejected, shorten
from schema.limits import JOB_ID
from schema.paging import PAGE_MOST, PAGE_USUAL
from schema.query_values import read_integer

# What is wrong with a body is 422 where FastAPI says so, as the seeds' services do.
_BODY: Final = (Code.INVALID_REQUEST, Code.INVALID_JSON)
_UNPROCESSABLE: Final = 422
_EXECUTION_WORDS: Final = {"CANCELED": "REJECTED", "REMOVED": "REJECTED"}
_JOB_WORDS: Final = {"SCHEDULED": "IN_PROGRESS"}
_TIMES: Final = ("created_at", "updated_at", "expires_at")


class CustomerJobs:
    """The four operations; each is a command of the operator plane."""

    def __init__(self, doors: Doors, identity: Identity) -> None:
        self._doors = doors
        self._identity = identity

    def routes(self) -> list[Endpoint]:
        """The endpoints."""
        return [
            Endpoint("/customer/jobs", self.create, methods=["POST"]),
            Endpoint("/customer/jobs", self.list, methods=["GET"]),
            Endpoint("/customer/jobs/{job_id}", self.get, methods=["GET"]),
            Endpoint("/customer/jobs/{job_id}", self.cancel, methods=["DELETE"]),
        ]

    async def create(self, request: Request) -> Response:
        """Create a job for one device, one group or all; 201 with job_id, status and execution_count."""
        actor = await self._identity.operator(request)
        fields = read_fields(await request.body())
        strange = fields.keys() - decode.SEED_MEMBERS - {"clientToken"}
        if strange:
            raise Refusal(
                _UNPROCESSABLE, "InvalidRequest", f"{shorten(min(strange))}: no such field"
            )
        if "document_type" not in fields:
            raise Refusal(_UNPROCESSABLE, "InvalidRequest", "document_type: required")
        made = await self._command(actor, "jobs/create", fields)
        shown = await self._command(
            actor, "jobs/get", {"includeExecutions": False}, job_id=str(made["job_id"])
        )
        return as_json(_job(shown), 201)

    async def list(self, request: Request) -> Response:
        """Jobs, newest first; `status`, `limit` (1 to 250) and `next_token` as query."""
        actor = await self._identity.operator(request)
        fields = _page(request)
        if "status" in request.query_params:
            fields["status"] = request.query_params["status"]
        found = await self._command(actor, "jobs/list", fields)
        jobs = found["jobs"]
        body: dict[str, object] = {"jobs": [_summary(one) for one in jobs]}
        return as_json(_with_next(body, found))

    async def get(self, request: Request) -> Response:
        """A job with its executions, 250 at most, and next_token while there are more."""
        actor = await self._identity.operator(request)
        fields = _page(request, usual=PAGE_MOST)
        found = await self._command(actor, "jobs/get", fields, job_id=job_id_of(request))
        body = _job(found)
        # Taken back at once, by chunks in the background: what they have not come to yet is no longer QUEUED either.
        taken = {"QUEUED": "REJECTED"} if body["status"] == "CANCELED" else {}
        executions = [_execution(one) for one in found["executions"]]
        body["executions"] = [
            {**one, "status": taken.get(str(one["status"]), one["status"])} for one in executions
        ]
        return as_json(_with_next(body, found))

    async def cancel(self, request: Request) -> Response:
        """Cancel a job: what is QUEUED becomes REJECTED, in the seeds' words; what is IN_PROGRESS may finish."""
        actor = await self._identity.operator(request)
        job_id = job_id_of(request)
        await self._command(actor, "jobs/cancel", {}, job_id=job_id)
        return as_json({"job_id": job_id, "status": "CANCELED"})

    async def _command(
        self, actor: Actor, verb: str, fields: Mapping[str, object], *, job_id: str = ""
    ) -> dict[str, Any]:
        payload = json.dumps(fields).encode()
        answer = await self._doors.command(actor, verb, payload, job_id=job_id)
        if not answer.accepted:
            code = str(answer.body["code"])
            status = _UNPROCESSABLE if code in _BODY else status_of(code)
            raise Refusal(status, code, str(answer.body["message"]))
        return answer.body


def read_fields(body: bytes) -> dict[str, object]:
    """The JSON object in a body. Raises Refusal (422) for anything else."""
    try:
        return decode.read_object(body)
    except Rejected as refusal:
        raise Refusal(_UNPROCESSABLE, str(refusal.code), refusal.message) from None


def job_id_of(request: Request) -> str:
    """The job that the path names; what cannot be a job's id is the id of none. Raises Refusal (404)."""
    job_id: str = request.path_params["job_id"]
    if JOB_ID.fullmatch(job_id) is None:
        raise Refusal(404, "ResourceNotFound", f"job {shorten(job_id)} does not exist")
    return job_id


def execution_word(status: str) -> str:
    """An execution's status in the seeds' words."""
    return _EXECUTION_WORDS.get(status, status)


def _page(request: Request, usual: int = PAGE_USUAL) -> dict[str, object]:
    limit = request.query_params.get("limit", str(usual))
    fields: dict[str, object] = {"maxResults": read_integer(limit)}
    if "next_token" in request.query_params:
        fields["nextToken"] = request.query_params["next_token"]
    return fields


def _with_next(body: dict[str, object], found: Mapping[str, Any]) -> dict[str, object]:
    return {**body, "next_token": found["nextToken"]} if "nextToken" in found else body


def _iso(epoch: object) -> str | None:
    return None if epoch is None else datetime.fromtimestamp(float(str(epoch)), UTC).isoformat()


def _summary(job: Mapping[str, Any]) -> dict[str, object]:
    return {
        "job_id": job["jobId"],
        "status": _JOB_WORDS.get(job["status"], job["status"]),
        "execution_count": job["executionCount"],
        "created_at": _iso(job["createdAt"]),
        "updated_at": _iso(job["lastUpdatedAt"]),
    }


def _job(found: Mapping[str, Any]) -> dict[str, object]:
    """A job with the seeds' columns; one that was made in AWS's words has its document and targets instead."""
    words = {name: value for name, value in found.items() if name in _SEED_COLUMNS}
    times: dict[str, object] = {name: _iso(words.get(name)) for name in _TIMES if name in words}
    job: dict[str, Any] = {**_summary(found["job"]), **words, **times}
    job["status"] = _JOB_WORDS.get(str(job["status"]), job["status"])
    if "document_type" not in words:
        job |= {"document": found.get("document"), "targets": found["job"].get("targets")}
    return job


_SEED_COLUMNS: Final = frozenset(
    {
        *("document_type", "document_params", "target_device_id", "target_group_id", "target_all"),
        *("status", "expires_at", "created_by", "created_at", "updated_at"),
    }
)


def _execution(found: Mapping[str, Any]) -> dict[str, object]:
    return {
        "device_id": found["thingName"],
        "status": execution_word(found["status"]),
        "status_details": found.get("statusDetails"),
        "execution_number": found["versionNumber"],
        "queued_at": _iso(found["queuedAt"]),
        "started_at": _iso(found.get("startedAt")),
        "last_updated_at": _iso(found["lastUpdatedAt"]),
    }
