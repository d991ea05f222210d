"""The seeds' HTTP routes of deprovisioning (seed 000): /functions/v1/ttn-deprovision and ttn-deprovision-jobs.

Each is a command of the operator plane; the answers are the seed's, word for word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from broker.http.answers import as_json
from broker.http.customer import read_fields
from broker.http.doors import Doors
from broker.http.endpoint import Endpoint
from broker.http.identity import Identity
from broker.http.refusal import Refusal, status_of
from schema.limits import JOB_ID
from schema.things_stack_runs import DEPROVISION_VERSION, JOBS_VERSION

RUN: Final = "/functions/v1/ttn-deprovision"
JOBS: Final = "/functions/v1/ttn-deprovision-jobs"
_ACCEPTED: Final = 202
_LISTED: Final = ("organization_id", "status", "limit", "next_token")


class SeedRuns:
    """The two functions of the seed."""

    def __init__(self, doors: Doors, identity: Identity) -> None:
        self._doors = doors
        self._identity = identity

    def routes(self) -> list[Endpoint]:
        """The endpoints."""
        return [
            Endpoint(RUN, self.deprovision, methods=["POST"]),
            Endpoint(JOBS, self.jobs, methods=["GET"]),
        ]

    async def deprovision(self, request: Request) -> Response:
        """Queue a run; 202 with its job_id, success only once it SUCCEEDED."""
        actor = await self._identity.operator(request)
        fields = read_fields(await request.body())
        answer = await self._doors.command(actor, "ttn/deprovision", json.dumps(fields).encode())
        made = _accepted(answer.accepted, answer.body)
        body = {
            "success": False,
            "job_id": made["job_id"],
            "status": made["status"],
            "request_id": made["request_id"],
            "version": DEPROVISION_VERSION,
        }
        return as_json(body, _ACCEPTED)

    async def jobs(self, request: Request) -> Response:
        """Runs, or with `job_id` one with its steps (250 at most, and next_token while there are more)."""
        actor = await self._identity.operator(request)
        query = request.query_params
        run_id = query.get("job_id", "")
        fields: dict[str, object] = {
            name: _number(query[name]) if name == "limit" else query[name]
            for name in _LISTED
            if name in query
        }
        if run_id:
            if JOB_ID.fullmatch(run_id) is None:
                raise Refusal(404, "ResourceNotFound", "job_id: there is no such run")
            fields = {name: fields[name] for name in ("limit", "next_token") if name in fields}
        verb = "ttn/runs/get" if run_id else "ttn/runs/list"
        payload = json.dumps(fields).encode()
        answer = await self._doors.command(actor, verb, payload, job_id=run_id)
        found = _accepted(answer.accepted, answer.body)
        shown = ("jobs", "job", "steps", "device_job", "next_token")
        return as_json(
            {
                "success": True,
                "version": JOBS_VERSION,
                **{name: found[name] for name in shown if name in found},
                "request_id": uuid4().hex[:12],
            },
            200,
        )


def _accepted(accepted: bool, body: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: FBT001 - one of an answer's two
    if not accepted:
        code = str(body["code"])
        raise Refusal(status_of(code), code, str(body["message"]))
    return body


def _number(text: str) -> object:
    """A number where the text is one; else the text, which the command refuses in its own words."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else text  # noqa: PLR2004 - limits have three digits
