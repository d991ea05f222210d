"""The commands on devices at The Things Stack: batches to register and to remove, and what is on record.

A batch is rows; `broker.things_stack.device_batches` works on them. Keys of devices stay
sealed until their line is done.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

from handlers.context import Context, Outcome, not_found
from handlers.stack_connections import StackConnection
from handlers.stack_guards import require_connection, require_no_run
from handlers.stack_status import subject_of
from schema import paging
from schema.device import seconds
from schema.errors import Code, Rejected
from schema.secrets import SEALED_SUFFIX, Place
from schema.sql import queries
from schema.stack_commands import BATCH_LINES_MOST
from schema.stack_messages import batch_members
from schema.things_stack_connection import ProvisioningStatus

if TYPE_CHECKING:
    import asyncpg

    from schema.stack_commands import (
        DeviceToRegister,
        GetBatch,
        ListDevices,
        RegisterDevices,
        RemoveDevices,
    )

_SQL = queries("provisioning")
LINES: Final = "ttn_batch_lines"
_KEYS: Final = ("app_key", "nwk_key")
_Line = tuple[str, dict[str, object], "DeviceToRegister | None"]


def line_place(tenant_id: str, batch_id: UUID, line: int, name: str) -> Place:
    """Where a device's key waits to be registered."""
    return Place(tenant_id, LINES, (str(batch_id), str(line)), name + SEALED_SUFFIX)


async def register_devices(context: Context, command: RegisterDevices) -> Outcome:
    """Begin to register devices in all four registries; the answer names the batch that tells how it goes.

    A device that the batch has already is passed over, so a command can be sent again.
    Raises Rejected: ResourceNotFound without a connection, InvalidStateTransition before it is provisioned,
    InvalidRequest for a device or a DevEUI that is named twice, or a batch of something else.
    """
    devices = command.devices
    _refuse_twice("devices: device_id", [one.device_id for one in devices])
    _refuse_twice("devices: dev_eui", [one.dev_eui for one in devices])
    lines: list[_Line] = [
        (one.device_id, one.model_dump(exclude_none=True, exclude={*_KEYS, "device_id"}), one)
        for one in devices
    ]
    found = await require_connection(context, command)
    return await _add(context, found, "register", command.batch_id, lines)


async def remove_devices(context: Context, command: RemoveDevices) -> Outcome:
    """Begin to take devices out of all four registries. Raises as `register_devices`."""
    _refuse_twice("device_ids", command.device_ids)
    lines: list[_Line] = [(one, {}, None) for one in command.device_ids]
    found = await require_connection(context, command)
    return await _add(context, found, "remove", command.batch_id, lines)


async def list_devices(context: Context, command: ListDevices) -> Outcome:
    """Devices on record for the connection's application, by id. Raises Rejected (ResourceNotFound)."""
    found = await require_connection(context, command)
    after = paging.decode("ttn-devices", command.next_token, (str,)) or ("",)
    rows = await context.connection.fetch(
        _SQL["list_devices"],
        context.tenant_id,
        found.organization_id,
        found.application_id or "",
        after[0],
        command.limit + 1,
    )
    shown = rows[: command.limit]
    body: dict[str, object] = {
        "organization_id": str(found.organization_id),
        "application_id": found.application_id,
        "devices": [{**dict(row), "updated_at": seconds(row["updated_at"])} for row in shown],
    }
    if len(rows) > len(shown):
        body["next_token"] = paging.encode("ttn-devices", shown[-1]["device_id"])
    return Outcome(body)


async def get_batch(context: Context, command: GetBatch) -> Outcome:
    """How far a batch is, and a page of its lines, of one status if asked. Raises Rejected (ResourceNotFound)."""
    batch_id = UUID(command.batch_id)
    row = await context.connection.fetchrow(_SQL["find_batch"], context.tenant_id, batch_id)
    if row is None:
        raise not_found("batch", command.batch_id)
    after = paging.decode("ttn-lines", command.next_token, (int,)) or (0,)
    asked: tuple[object, ...] = (context.tenant_id, batch_id, after[0], command.limit + 1)
    if command.status is None:
        lines = await context.connection.fetch(_SQL["list_lines"], *asked)
    else:
        lines = await context.connection.fetch(_SQL["list_lines_by_status"], *asked, command.status)
    shown = lines[: command.limit]
    body = {**_batch(row), "results": [_result(line) for line in shown]}
    if len(lines) > len(shown):
        body["next_token"] = paging.encode("ttn-lines", shown[-1]["line"])
    return Outcome(body)


async def _add(
    context: Context,
    found: StackConnection,
    action: str,
    batch_id: str | None,
    lines: Sequence[_Line],
) -> Outcome:
    if action == "register":
        await require_no_run(context, found)
    application_id = found.application_id
    if application_id is None or found.status is not ProvisioningStatus.READY:
        raise Rejected(
            Code.INVALID_STATE_TRANSITION,
            f"the connection is {found.status} and not ready; use ttn/provision",
        )
    batch = await context.connection.fetchrow(
        _SQL["open_batch"],
        context.tenant_id,
        None if batch_id is None else UUID(batch_id),
        found.organization_id,
        application_id,
        action,
        context.actor,
    )
    if batch is None:  # made by another a moment ago, not to be seen yet
        raise Rejected(Code.REQUEST_THROTTLED, "batch_id: another is making it; try again")
    if (batch["organization_id"], batch["application_id"], batch["action"]) != (
        found.organization_id,
        application_id,
        action,
    ):
        raise Rejected(Code.INVALID_REQUEST, f"batch_id: {batch_id!r} is a batch of something else")
    added = await _insert(context, batch, lines)
    body: dict[str, object] = {
        "batch_id": str(batch["batch_id"]),
        "added": added,
        "lines": batch["lines"] + added,
    }
    return Outcome(
        body,
        subject=subject_of(found.organization_id) if added else "",
        details={"batch": str(batch["batch_id"]), "devices": added},
    )


async def _insert(context: Context, batch: asyncpg.Record, lines: Sequence[_Line]) -> int:
    """How many lines were new to the batch."""
    where = (context.tenant_id, batch["batch_id"])
    rows = await context.connection.fetch(_SQL["lines_of"], *where, [one[0] for one in lines])
    known = {row["device_id"] for row in rows}
    new = [one for one in lines if one[0] not in known]
    if not new:
        return 0
    first = batch["lines"] + 1
    if first - 1 + len(new) > BATCH_LINES_MOST:
        raise Rejected(
            Code.LIMIT_EXCEEDED,
            f"batch_id: has {batch['lines']} lines, at most {BATCH_LINES_MOST} are allowed",
        )
    numbers = list(range(first, first + len(new)))
    numbered = [(line, one[2]) for line, one in zip(numbers, new, strict=True)]
    sealed = [
        [_sealed(context, batch["batch_id"], line, name, device) for line, device in numbered]
        for name in _KEYS
    ]
    await context.connection.execute(
        _SQL["insert_lines"],
        *where,
        numbers,
        [device_id for device_id, _, _ in new],
        [json.dumps(content) for _, content, _ in new],
        *sealed,
    )
    await context.connection.execute(_SQL["grow_batch"], *where, len(new))
    return len(new)


def _sealed(
    context: Context, batch_id: UUID, line: int, name: str, device: DeviceToRegister | None
) -> bytes | None:
    value = None if device is None else getattr(device, name)
    if value is None:
        return None
    return context.sealer.seal(value, line_place(context.tenant_id, batch_id, line, name))


def _refuse_twice(field: str, values: Sequence[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise Rejected(Code.INVALID_REQUEST, f"{field}: {value!r} is there twice")
        seen.add(value)


def _batch(row: asyncpg.Record) -> dict[str, object]:
    body = batch_members(dict(row)) | {
        "requested_by": row["requested_by"],
        "created_at": seconds(row["created_at"]),
        "started_at": row["started_at"] and seconds(row["started_at"]),
        "finished_at": row["finished_at"] and seconds(row["finished_at"]),
    }
    return {name: value for name, value in body.items() if value is not None}


def _result(line: asyncpg.Record) -> dict[str, object]:
    return {name: value for name, value in line.items() if value is not None}
