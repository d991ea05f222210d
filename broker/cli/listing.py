"""Lists that come in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from broker.cli.callers import Body, Caller

_PAGE: Final = 250


async def pages(
    caller: Caller, verb: str, payload: Body, *, members: str, job_id: str = "", most: int | None
) -> AsyncIterator[dict[str, Any]]:
    """Give what a list command lists, at most `most`, from as many pages as that takes."""
    given, token = 0, None
    while True:
        size = _PAGE if most is None else min(_PAGE, most - given)
        asked = {**payload, "maxResults": size, **({"nextToken": token} if token else {})}
        body = await caller.call(verb, asked, job_id=job_id)
        for one in body[members]:
            yield one
            given += 1
        token = body.get("nextToken")
        if token is None or given == most:
            return
