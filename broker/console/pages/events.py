"""The tail of what happens, live: to be held, and narrowed to what one looks for."""

from __future__ import annotations

import json
from collections import deque
from typing import Any, Final

from nicegui import ui
from nicegui.events import ValueChangeEventArguments

from broker.console.components import heading, tag, words
from broker.console.event_log import event_line
from broker.console.feed import Event, Feeds
from broker.console.viewer import Viewer
from broker.console.words import grouped

_LINES: Final = 200
_KEPT: Final = 1000
_TURN_SECONDS: Final = 0.5


async def show(viewer: Viewer, feeds: Feeds) -> None:
    """Build the page."""
    page = _Events(viewer)
    page.build()
    viewer.client.on_delete(feeds.listen(viewer.session.token, page.hear))
    ui.timer(_TURN_SECONDS, page.turn)


class _Events:
    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.wanted = ""
        self.held = False
        self._kept: deque[Event] = deque(maxlen=_KEPT)
        self._new: deque[Event] = deque(maxlen=_LINES)
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
            self.log = tag("div", "jb-log", role="log", aria_label="Events", tabindex="0")
        self._say()

    def hear(self, event: Event) -> None:
        """Take an event of the stream."""
        self._heard += 1
        self._kept.append(event)
        if self._fits(event):
            self._new.append(event)

    def turn(self) -> None:
        """Show what came since the last turn, in one go."""
        self._say()
        if self.held or not self._new or not self.viewer.visible:
            return
        with self.log:
            while self._new:
                event_line(self.viewer, self._new.popleft()).move(self.log, 0)
        children = self.log.default_slot.children
        while len(children) > _LINES:
            self.log.remove(children[-1])

    def _say(self) -> None:
        said = f"{grouped(self._heard)} since this page was opened"
        waiting = f", {grouped(len(self._new))} wait" if self.held and self._new else ""
        self.count.say(said + waiting if self._heard else "Listening: nothing has happened yet.")

    def _fits(self, event: Event) -> bool:
        return not self.wanted or self.wanted in json.dumps(event).lower()

    def _filter(self, event: ValueChangeEventArguments[Any]) -> None:
        self.wanted = (event.value or "").strip().lower()
        self.log.clear()
        self._new.clear()
        self._new.extend(one for one in self._kept if self._fits(one))

    def _hold(self) -> None:
        self.held = not self.held
        self.hold.set_text("Go on" if self.held else "Hold")
        self.hold.set_icon("play_arrow" if self.held else "pause")
