"""A job's things as cells of one canvas, and its curves: what jobs/progress says, page after page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nicegui.element import Element
from nicegui.events import GenericEventArguments

from broker.console.viewer import Viewer
from broker.console.words import added, counted

MOST_DRAWN: Final = 200_000
_PAGE: Final = 10_000


class HeatMap(Element, component="static/heatmap.js"):
    """The canvas; on_pick is called with the number of the cell that was clicked, from 0 on."""

    def __init__(self, on_pick: Callable[[int], Any]) -> None:
        """Stand empty until `draw`."""
        super().__init__()
        self.props["label"] = "All things by name, coloured by status"

        def picked(event: GenericEventArguments) -> Any:  # noqa: ANN401 - awaited by NiceGUI if it is to be
            return on_pick(int(event.args))

        self.on("pick", picked)
        self._drawn = ""

    def draw(self, letters: str, statuses: Mapping[str, str]) -> None:
        """Draw a letter for each thing."""
        if letters == self._drawn:
            return
        self._drawn = letters
        self.props["label"] = f"{counted(len(letters), 'thing')} by name, coloured by status"
        self.run_method("draw", letters, dict(statuses))


@dataclass(slots=True)
class Progress:
    """All of a job's things that are drawn: letters, what they mean, curves by bucket."""

    letters: str = ""
    statuses: dict[str, str] = field(default_factory=dict)
    since: int = 0
    curves: dict[str, dict[str, int]] = field(default_factory=dict)
    is_whole: bool = True


async def read_progress(viewer: Viewer, job_id: str, bucket_seconds: int) -> Progress:
    """Read a job's things, at most 200,000 of them. Raises ApiError."""
    token: str | None = None
    letters: list[str] = []
    pages: list[dict[str, Any]] = []
    found: dict[str, Any] = {}
    while len(letters) * _PAGE < MOST_DRAWN:
        found = await viewer.call(
            "jobs/progress", jobId=job_id, bucketSeconds=bucket_seconds, nextToken=token
        )
        letters.append(found["statuses"])
        pages.append(found)
        token = found.get("nextToken")
        if token is None:
            break
    return Progress(
        "".join(letters),
        found["letters"],
        found["since"],
        {kind: added([page[kind] for page in pages]) for kind in ("queued", "started", "ended")},
        is_whole=token is None,
    )


async def thing_at(viewer: Viewer, job_id: str, number: int) -> str | None:
    """The name of a cell's thing. Raises ApiError."""
    token = None
    while number >= _PAGE:
        found = await viewer.call("jobs/progress", jobId=job_id, nextToken=token)
        number, token = number - _PAGE, found.get("nextToken")
        if token is None:
            return None
    found = await viewer.call("jobs/progress", jobId=job_id, mostThings=number + 1, nextToken=token)
    name = found.get("lastThing")
    return None if name is None else str(name)
