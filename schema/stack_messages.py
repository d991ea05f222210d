"""What is told of provisioning and of batches of devices: to whoever asked, in their room, and to all as an event."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from schema.device import seconds
from schema.topics import operator_room

_PROVISIONING: Final = "$aws/events/ttnProvisioning/"
_BATCHES: Final = "$aws/events/ttnBatch/"

Messages = tuple[tuple[str, str], ...]


class Moment(StrEnum):
    """What an event tells: that it began, how far it is, that it ended."""

    STARTED = "started"
    PROGRESS = "progress"
    FINISHED = "finished"


def of_provisioning(row: Mapping[str, Any], moment: Moment) -> Messages:
    """Topics (without tenant) and payloads, for a connection's row with `now`; nothing of it is secret."""
    organization = str(row["organization_id"])
    body = {
        "eventType": "TTN_PROVISIONING",
        "operation": moment,
        "timestamp": seconds(row["now"]),
        "organization_id": organization,
        "provisioning_status": row["provisioning_status"],
        "provisioning_step": row["provisioning_step"],
        "provisioning_error": row["provisioning_error"],
        "provisioning_attempt_count": row["provisioning_attempts"],
        "steps_done": list(row["provisioning_done"]),
        "next_try_at": row["next_try_at"] and seconds(row["next_try_at"]),
    }
    room = f"ttn/provisioning/{organization}"
    return _to_both(row, room, f"{_PROVISIONING}{organization}/{moment}", body)


def of_batch(row: Mapping[str, Any], moment: Moment) -> Messages:
    """Topics (without tenant) and payloads, for a batch's row with `now`."""
    body = {
        "eventType": "TTN_BATCH",
        "operation": moment,
        "timestamp": seconds(row["now"]),
        **batch_members(row),
    }
    batch = str(row["batch_id"])
    return _to_both(row, f"ttn/devices/batches/{batch}", f"{_BATCHES}{batch}/{moment}", body)


def batch_members(row: Mapping[str, Any]) -> dict[str, object]:
    """What is said of a batch wherever it is said: whose it is, how it stands, and its lines by outcome."""
    return {
        "batch_id": str(row["batch_id"]),
        "organization_id": str(row["organization_id"]),
        "application_id": row["application_id"],
        "action": row["action"],
        "status": row["status"],
        "lines": row["lines"],
        "lines_ok": row["lines_ok"],
        "lines_failed": row["lines_failed"],
        "lines_left": row["lines"] - row["lines_ok"] - row["lines_failed"],
        "error": row["error"],
    }


def _to_both(row: Mapping[str, Any], room: str, event: str, body: Mapping[str, object]) -> Messages:
    said = {name: value for name, value in body.items() if value is not None}
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
    # The local command line has no room of its own.
    if row["requested_by"] and ":" not in row["requested_by"]:
        return (f"{operator_room(row['requested_by'])}{room}", text), (event, text)
    return ((event, text),)
