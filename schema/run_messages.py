"""What is told of a run: to whoever asked for it, in their own room, and to all as an event."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from schema.device import seconds
from schema.things_stack_runs import RunStatus, response
from schema.topics import operator_room

LISTED: Final = 500
"""So many of each list, some twice, and a hundred problems are below 128 KiB; a fleet would be more than a packet."""
_EVENTS: Final = "$aws/events/ttnRun/"


def run_topic(operator: str, run_id: object) -> str:
    """Where an operator hears of a run (without tenant)."""
    return f"{operator_room(operator)}ttn/runs/{run_id}"


def event_topic(run_id: object, operation: str) -> str:
    """Where a run's event goes (without tenant): started, progress or finished."""
    return f"{_EVENTS}{run_id}/{operation}"


def of_run(
    run: Mapping[str, Any], counts: Mapping[str, int], operation: str
) -> tuple[tuple[str, str], ...]:
    """Topics (without tenant) and payloads, for a row of a run with its summary as an object.

    The end carries seed 000's answer, to the operator alone, with as many EUIs as a packet holds; the event has the
    counts.
    """
    told = progress(run, counts, operation)
    said = {**told, **_answer(run)} if operation == "finished" else told
    messages = [(event_topic(run["id"], operation), _text(told))]
    # The local command line has no room of its own.
    if run["requested_by"] and ":" not in run["requested_by"]:
        messages.insert(0, (run_topic(run["requested_by"], run["id"]), _text(said)))
    return tuple(messages)


def progress(
    run: Mapping[str, Any], counts: Mapping[str, int], operation: str
) -> dict[str, object]:
    """How far a run is."""
    return {
        "eventType": "TTN_RUN",
        "operation": operation,
        "timestamp": seconds(run["now"]),
        "job_id": str(run["id"]),
        "organization_id": str(run["organization_id"]),
        "action": run["action"],
        "status": run["status"],
        "phase": run["phase"],
        "devices_found": counts.get("found", 0),
        "devices_done": counts.get("done", 0),
        "devices_failed": counts.get("failed", 0),
    }


def _answer(run: Mapping[str, Any]) -> dict[str, object]:
    status = RunStatus(run["status"])
    found = response(str(run["id"]), status, run["request_id"], _short(run["summary"]))
    return {**found, "error": run["error"]} if run["error"] else found


def _short(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary with the first of its EUIs and devices; `is_cut` where there are more, which ttn/runs/get shows."""
    short = {
        name: value[:LISTED] if isinstance(value, list) else value
        for name, value in summary.items()
    }
    return short if short == summary else {**short, "is_cut": True}


def _text(body: Mapping[str, object]) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))
