"""Whatever /openapi.json promises is called as it says, and badly: no fault of ours, and no answer it does not name."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Err
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from handlers.database import Pool
from schema.http_routes import EVENTS_PATH
from tests.acceptance.http_site import http_site
from tests.conftest import Database, StartMosquitto
from tests.integration.operator_desk import Desk

_EXAMPLES = 6
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]


def call_all(url: str, operator: str, device: str) -> int:
    """Call every operation some times with what its description makes; returns how many that were."""
    # A stream goes on until its reader hangs up, which this one never does.
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json").exclude(path=EVENTS_PATH)
    called = 0
    for result in schema.get_all_operations():
        if isinstance(result, Err):
            raise result.err()
        operation = result.ok()

        @settings(
            max_examples=_EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def try_one(case: Case[Any]) -> None:
            nonlocal called
            called += 1
            headers = {"Authorization": f"Bearer {operator}", "X-Provision-Token": device}
            response = case.call(headers=headers)
            case.validate_response(response, checks=_CHECKS)

        try_one()
    return called


async def test_no_fault_and_no_answer_that_is_not_described(
    mosquitto_server: StartMosquitto, database: Database, pool: Pool, tmp_path: Path
) -> None:
    """Each operation, with a token that may do all: never 5xx, and only what the document says."""
    async with http_site(
        mosquitto_server, database, tmp_path, JOBBROKER_HTTP_TOKEN_RATE="0"
    ) as served:
        desk = Desk(pool)
        made = await desk.accepted("operators/create", {"operatorName": "boss", "role": "owner"})
        thing = await desk.accepted("things/create", {"thingName": "pump-1", "issueToken": True})
        called = await asyncio.to_thread(call_all, served.url, made["token"], thing["token"])
        assert called >= 100
        assert not served.broker.lines("request_failed")
