"""Events as lines of a log, which is told of them once a second, however many there are."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from nicegui import ui
from nicegui.element import Element

from broker.console.feed import Event
from broker.console.viewer import Viewer

LINES: Final = 200
TURN_SECONDS: Final = 1.0


class EventLog(Element, component="static/eventlog.js"):
    """The last LINES events that were heard, the newest first. `held`: what comes waits."""

    def __init__(self, viewer: Viewer, label: str, nothing: str = "") -> None:
        """Take who reads, what it is the log of, and what stands there while there is nothing."""
        super().__init__()
        self.props.update(label=label, most=LINES, nothing=nothing)
        self.held = False
        self._viewer = viewer
        self._lines: deque[tuple[int, Event]] = deque(maxlen=LINES)
        self._heard = self._shown = 0
        self._is_drawn = False
        self.on("begin", self._begin)
        ui.timer(TURN_SECONDS, self._turn, immediate=False)

    @property
    def waiting(self) -> int:
        """How many were heard and are not shown yet, of those that will be."""
        return min(self._heard - self._shown, LINES)

    def hear(self, event: Event) -> None:
        """Take one more."""
        self._heard += 1
        self._lines.append((self._heard, event))

    def begin_with(self, events: Iterable[Event]) -> None:
        """Forget what was heard, and show these, the oldest first."""
        self._lines.clear()
        for event in events:
            self.hear(event)
        self._shown = self._heard
        self._begin()

    def _begin(self) -> None:
        self._is_drawn = True
        if not self.held:
            self._shown = self._heard
        self.run_method("show", self._rows(-1, self._shown))

    def _turn(self) -> None:
        if not self._is_drawn or self.held or not self._viewer.is_looking:
            return
        if self._shown < self._heard:
            rows = self._rows(self._shown, self._heard)
            self._shown = self._heard
            self.run_method("add", rows)

    def _rows(self, after: int, until: int) -> list[dict[str, Any]]:
        chosen = [one for one in reversed(self._lines) if after < one[0] <= until]
        return [{"key": key, **self._row(event)} for key, event in chosen]

    def _row(self, event: Event) -> dict[str, Any]:
        """When, what, about whom and with which details."""
        thing = str(event.get("thingArn", "")).rpartition("/")[2]
        details = event.get("statusDetails") or {}
        said = ", ".join(f"{key}: {value}" for key, value in details.items())
        both = self._viewer.both(event.get("timestamp"))
        return {
            "at": both["text"],
            "utc": both["utc"],
            "what": str(event.get("operation", "")).replace("_", " "),
            "status": event.get("status"),
            "said": " ".join(one for one in (str(event.get("jobId", "")), thing, said) if one),
        }
