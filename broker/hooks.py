"""Where a test may stop the process: at the three places where a kill could lose or double something.

TEST_JOBBROKER_PAUSE_AT names one; on reaching it the process writes the file TEST_JOBBROKER_PAUSE_FILE and waits there
to be killed. Unset, which is always outside tests, each place costs one comparison.
"""

from __future__ import annotations

import asyncio
import os
from enum import StrEnum
from pathlib import Path


class Place(StrEnum):
    """A place between two durable steps of one batch."""

    BEFORE_COMMIT = "before-commit"
    BEFORE_PUBLISH = "before-publish"
    BEFORE_ACKNOWLEDGE = "before-acknowledge"


_PAUSE_AT = os.environ.get("TEST_JOBBROKER_PAUSE_AT", "")
_FILE = os.environ.get("TEST_JOBBROKER_PAUSE_FILE", "")


async def reach(place: Place) -> None:
    """Go on, unless a test wants the process to stop here."""
    if place == _PAUSE_AT:
        await asyncio.to_thread(Path(_FILE).touch)
        await asyncio.Event().wait()
