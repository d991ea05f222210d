"""Times as proto JSON writes them."""

from __future__ import annotations

from datetime import UTC, datetime

from broker.simulator.things_stack.errors import INVALID_ARGUMENT, gateway_error


def written(when: datetime) -> str:
    """RFC 3339 in UTC."""
    return when.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def read(field: str, value: object) -> datetime | None:
    """The time a body names, None when it names none. Raises StackError (400, no details) for anything else."""
    if value is None:
        return None
    try:
        when = datetime.fromisoformat(str(value))
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise gateway_error(INVALID_ARGUMENT, f"invalid value for timestamp field {field}")
    return when
