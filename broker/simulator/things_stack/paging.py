"""Lists: `limit`, `page`, the total in a header, and an order that is only sometimes the one asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from broker.simulator.things_stack.call import Call, Reply
from broker.simulator.things_stack.errors import INVALID_ARGUMENT, gateway_error, invalid
from broker.simulator.things_stack.state import Document

T = TypeVar("T")
MOST: Final = 1000
_DEVICE_ORDERS: Final = frozenset({"device_id", "name", "created_at", "last_seen_at"})


def check_paging(call: Call) -> None:
    """Raises StackError (400) for a limit beyond 1000, or one that is not a number."""
    if number(call, "limit") > MOST:
        raise invalid("limit", "value must be less than or equal to 1000")
    number(call, "page")


def number(call: Call, name: str) -> int:
    """A whole number of the query; 0 when it is not there."""
    text = call.last(name)
    if text is None or text == "":
        return 0
    if not text.isascii() or not text.isdigit():
        raise gateway_error(INVALID_ARGUMENT, f'type mismatch, parameter: {name}, error: "{text}"')
    return int(text)


def paged(call: Call, items: Sequence[T]) -> tuple[list[T], dict[str, str]]:
    """The page asked for, and the header with the total; beyond the end an empty page with the same total."""
    limit = number(call, "limit") or call.stack.options.default_limit
    total = {"X-Total-Count": str(len(items))}
    if not limit:
        return list(items), total
    start = (max(number(call, "page"), 1) - 1) * limit
    return list(items[start : start + limit]), total


def listed(call: Call, name: str, items: Sequence[T], shown: Callable[[T], Document]) -> Reply:
    """A page as a list under `name`; an empty one has no such key at all."""
    page, headers = paged(call, items)
    return Reply({name: [shown(item) for item in page]} if page else {}, headers)


def in_device_order(call: Call, documents: list[Document]) -> list[Document]:
    """Devices in the order asked for, by id where the server does not know it.

    Where a column is not unique, rows that are equal in it come in any order, another one for each page.
    """
    asked = call.last("order") or "device_id"
    column = asked.removeprefix("-")
    if column not in _DEVICE_ORDERS:
        asked = column = "device_id"
    documents = list(documents)
    if column != "device_id":
        call.stack.rng.shuffle(documents)
    return sorted(documents, key=lambda each: _value(each, column), reverse=asked.startswith("-"))


def _value(document: Document, column: str) -> Any:  # noqa: ANN401 - a column's value
    return document["ids"]["device_id"] if column == "device_id" else document.get(column, "")
