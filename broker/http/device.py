"""The seeds' REST for devices (seed 003): poll, claim, complete, with an X-Provision-Token.

Its `execution_number` is the optimistic lock, AWS's versionNumber. Narrower than AWS: a device claims an execution
before it ends it. What it reports goes the way of all devices' requests, so that MQTT hears of it as well.
"""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from broker.http.answers import as_json
from broker.http.customer import execution_word, job_id_of, read_fields
from broker.http.doors import Doors, patiently
from broker.http.endpoint import Endpoint
from broker.http.identity import Identity
from broker.http.refusal import Refusal
from handlers import seed_plane
from handlers.executions import Reply
from handlers.seed_plane import Seen
from schema.errors import Code, Rejected, shorten
from schema.lifecycle import Execution, JobStatus, Status
from schema.topics import DeviceTopic, Operation

_STATUSES: Final = ("IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED")
_ALLOWED: Final = {
    "QUEUED": frozenset({"IN_PROGRESS"}),
    "IN_PROGRESS": frozenset({"SUCCEEDED", "FAILED", "REJECTED"}),
}
# How often an update is tried when the execution changes between our look and the update.
_ATTEMPTS: Final = 5


class DeviceJobs:
    """The three operations of a device."""

    def __init__(self, doors: Doors, identity: Identity) -> None:
        self._doors = doors
        self._identity = identity

    def routes(self) -> list[Endpoint]:
        """The endpoints."""
        path = "/device/v1/jobs/{job_id}/execution"
        return [
            Endpoint("/device/v1/jobs/pending", self.pending, methods=["GET"]),
            Endpoint(path, self.update, methods=["PUT"]),
            Endpoint(path, self.get, methods=["GET"]),
        ]

    async def pending(self, request: Request) -> Response:
        """The first ten executions that are QUEUED, oldest first."""
        tenant, thing = await self._identity.thing(request)

        async def once(*, duplicate: bool) -> list[Seen]:  # noqa: ARG001 - it reads
            return await seed_plane.queued(self._doors.pool, self._doors.documents, tenant, thing)

        try:
            found = await patiently(once)
        except Rejected as refusal:
            raise Refusal(500, str(refusal.code), refusal.message) from None
        return as_json({"jobs": [_queued(one) for one in found]})

    async def get(self, request: Request) -> Response:
        """One execution, as it stands; also one that has ended."""
        tenant, thing = await self._identity.thing(request)
        seen = await self._seen(tenant, thing, job_id_of(request))
        if seen is None:
            raise Refusal(404, "ResourceNotFound", "Execution not found")
        return as_json(_shown(seen))

    async def update(self, request: Request) -> Response:
        """Claim an execution (IN_PROGRESS), or end it (SUCCEEDED, FAILED, REJECTED).

        400 for a status or a transition that is none, 404, 409 for an execution_number that is not the current one.
        """
        tenant, thing = await self._identity.thing(request)
        job_id = job_id_of(request)
        asked = _Update(read_fields(await request.body()))
        for _ in range(_ATTEMPTS):
            seen = await self._seen(tenant, thing, job_id)
            if seen is None:
                raise Refusal(404, "ResourceNotFound", "Job execution not found")
            asked.require_fits(seen)
            topic = DeviceTopic(tenant, thing, Operation.UPDATE, job_id)
            reply = await self._doors.ask(topic, asked.payload(seen.loaded.execution))
            if reply.accepted:
                return as_json({"job_id": job_id, "device_id": thing, "status": asked.status})
            if reply.code is not Code.VERSION_MISMATCH:
                raise _refusal(reply)
        raise Refusal(409, "VersionMismatch", "Execution number mismatch — stale update")

    async def _seen(self, tenant: str, thing: str, job_id: str) -> Seen | None:
        async def once(*, duplicate: bool) -> Seen | None:  # noqa: ARG001 - it reads
            return await seed_plane.execution(
                self._doors.pool, self._doors.documents, tenant, thing, job_id=job_id
            )

        try:
            return await patiently(once)
        except Rejected as refusal:
            raise Refusal(500, str(refusal.code), refusal.message) from None


class _Update:
    """What a device reports: checked as far as it can be without the execution (seed 003: JobExecutionUpdate)."""

    def __init__(self, fields: dict[str, object]) -> None:
        """Raises Refusal: 422 for a body of another shape, 400 for a status that is none."""
        status = fields.get("status")
        details = fields.get("status_details")
        number = fields.get("execution_number")
        if not isinstance(status, str):
            raise Refusal(422, "InvalidRequest", "status: required, a string")
        if not isinstance(details, dict | None):
            raise Refusal(422, "InvalidRequest", "status_details: must be an object")
        if number is not None and type(number) is not int:
            raise Refusal(422, "InvalidRequest", "execution_number: must be a whole number")
        if status not in _STATUSES:
            raise Refusal(400, "InvalidRequest", f"Invalid status: {shorten(status)[1:-1]}")
        self.status = status
        self._details = details
        self._number = number

    def require_fits(self, seen: Seen) -> None:
        """Pass when the execution may become what is reported. Raises Refusal: 400, or 409 for a stale update."""
        current = _word(seen)
        if self.status not in _ALLOWED.get(current, frozenset()):
            raise Refusal(
                400, "InvalidStateTransition", f"Cannot transition from {current} to {self.status}"
            )
        if self._number is not None and self._number != seen.loaded.execution.version:
            raise Refusal(409, "VersionMismatch", "Execution number mismatch — stale update")

    def payload(self, execution: Execution) -> bytes:
        """AWS's UpdateJobExecution of exactly this state of the execution."""
        body: dict[str, Any] = {
            "status": self.status,
            "expectedVersion": execution.version,
            "executionNumber": execution.execution_number,
        }
        if self._details is not None:
            body["statusDetails"] = {name: _text(value) for name, value in self._details.items()}
        return json.dumps(body).encode()


def _word(seen: Seen) -> str:
    """The status in the seeds' words; what the operator took back is REJECTED before the background has stored it."""
    status = seen.loaded.execution.status
    if status is Status.QUEUED and seen.loaded.job_status is JobStatus.CANCELED:
        return "REJECTED"
    return execution_word(status)


def _text(value: object) -> str:
    """A detail as AWS has them, a string; the seeds take any JSON, which is kept as its text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _refusal(reply: Reply) -> Refusal:
    message = str(json.loads(reply.payload)["message"])
    status = {Code.RESOURCE_NOT_FOUND: 404, Code.INVALID_STATE_TRANSITION: 400}
    code = reply.code or Code.INTERNAL_ERROR
    if code is Code.INTERNAL_ERROR:
        return Refusal(500, str(code), message)
    return Refusal(status.get(code, 422), str(code), message)


def _queued(seen: Seen) -> dict[str, object]:
    execution = seen.loaded.execution
    return {
        "job_id": execution.job_id,
        "execution_number": execution.version,
        "document": json.loads(seen.document),
        "queued_at": execution.queued_at.isoformat(),
        "expires_at": None if seen.expires_at is None else seen.expires_at.isoformat(),
    }


def _shown(seen: Seen) -> dict[str, object]:
    execution = seen.loaded.execution
    details = execution.details
    started = execution.started_at
    return {
        **_queued(seen),
        "device_id": execution.thing_name,
        "status": _word(seen),
        "status_details": None if details in (None, "{}") else json.loads(details),
        "started_at": None if started is None else started.isoformat(),
    }
