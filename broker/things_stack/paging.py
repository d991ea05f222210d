"""Lists, page by page: `limit` and `page`, the total in a header, no tokens (reference/the-things-stack.md 3)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

from broker.things_stack.transport import Call, Query, Transport
from schema.things_stack_outcomes import Outcome

PAGE: Final = 100
"""Search gives no more than 100 whatever is asked for."""
_PAGES_MOST: Final = 10_000

Item = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its number from 1, its outcome and what was on it. A failed one is the last."""

    number: int
    outcome: Outcome
    items: tuple[Item, ...] = ()


async def pages(
    transport: Transport, host: str, path: str, *, key: str, query: Query | None = None
) -> AsyncIterator[Page]:
    """All pages of a list until a short one. key: the member that holds the array, which is absent when it is empty."""
    for number in range(1, _PAGES_MOST + 1):
        asked = {**(query or {}), "limit": PAGE, "page": number}
        outcome = await transport.call(Call("GET", host, path, asked))
        items = items_of(outcome, key)
        yield Page(number, outcome, items)
        if not outcome.ok or len(items) < PAGE:
            return


def items_of(outcome: Outcome, key: str) -> tuple[Item, ...]:
    """The objects in an answer's array; none when the array is absent."""
    found = outcome.body.get(key)
    return tuple(one for one in found if isinstance(one, dict)) if isinstance(found, list) else ()
