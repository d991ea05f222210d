"""The tail of what happens, live: to be held, and narrowed to what one looks for."""

from __future__ import annotations

import json
from collections import deque
from typing import Any, Final

from nicegui import ui
from nicegui.events import ValueChangeEventArguments

from broker.audience import SOME_A_SECOND
from broker.console.components import heading, tag, words
from broker.console.event_log import EventLog
from broker.console.feed import Event, Feeds
from broker.console.viewer import Viewer
from broker.console.words import grouped

_SOME: Final = (
    f"All that ends is told here; of what is on its way, at most {SOME_A_SECOND} events a second."
)
_KEPT: Final = 1000
_SAY_SECONDS: Final = 1.0


async def show(viewer: Viewer, feeds: Feeds) -> None:
    """Build the page."""
    page = _Events(viewer)
    page.build()
    viewer.client.on_delete(feeds.listen(viewer, page.hear))
    ui.timer(_SAY_SECONDS, page.say, immediate=False)


class _Events:
    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.wanted = ""
        self._kept: deque[Event] = deque(maxlen=_KEPT)
        self._heard = 0

    def build(self) -> None:
        """The frame of the page."""
        with tag("div", "jb-head"):
            heading("Events").classes("jb-grow")
            box = ui.input(placeholder="Filter: job, thing, operation  /", on_change=self._filter)
            box.props(
                'outlined dense clearable debounce=200 aria-label="Filter events" data-search'
            )
            box.style("width: min(320px, 80vw)")
            self.hold = ui.button("Hold", icon="pause", on_click=self._hold).props(
                "no-caps outline dense"
            )
            self.hold.classes("jb-button")
        with tag("div", "jb-card"):
            self.count = words("", "jb-quiet", as_="p")
            self.log = EventLog(self.viewer, "Events")
            words(_SOME, "jb-quiet", as_="p")
        self.say()

    def hear(self, event: Event) -> None:
        """Take an event of the stream."""
        self._heard += 1
        self._kept.append(event)
        if self._fits(event):
            self.log.hear(event)

    def say(self) -> None:
        """Say how many there were, and how many wait."""
        said = f"{grouped(self._heard)} since this page was opened"
        waits = self.log.waiting if self.log.held else 0
        waiting = f", {grouped(waits)} wait" if waits else ""
        self.count.say(said + waiting if self._heard else "Listening: nothing has happened yet.")

    def _fits(self, event: Event) -> bool:
        return not self.wanted or self.wanted in json.dumps(event).lower()

    def _filter(self, event: ValueChangeEventArguments[Any]) -> None:
        self.wanted = (event.value or "").strip().lower()
        self.log.begin_with(one for one in self._kept if self._fits(one))

    def _hold(self) -> None:
        self.log.held = not self.log.held
        self.hold.set_text("Go on" if self.log.held else "Hold")
        self.hold.set_icon("play_arrow" if self.log.held else "pause")
