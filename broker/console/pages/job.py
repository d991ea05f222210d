"""A job: how far it has come, its things as a table and as a heat map, its document, events, settings and audit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from nicegui import ui
from nicegui.events import ValueChangeEventArguments

from broker.console.components import StatusBar, Tag, heading, section, status_chip, tag, words
from broker.console.course import show_course
from broker.console.drawing import Drawing
from broker.console.event_log import EventLog
from broker.console.feed import Event, Feeds
from broker.console.pages.job_actions import Actions
from broker.console.pages.job_panels import (
    show_audit,
    show_copies,
    show_document,
    show_facts,
    show_settings,
)
from broker.console.pages.job_things import ThingsTable
from broker.console.picture import Pictures
from broker.console.viewer import Live, Viewer
from broker.console.words import (
    SHOWN,
    abort_distance,
    counted,
    counts,
    ended,
    grouped,
    lasting,
    sentences,
)
from schema.lifecycle import Status

_NO_EVENT: Final = "Nothing since this page was opened."
_TABS: Final = {
    "overview": "Overview",
    "things": "Things",
    "document": "Document",
    "events": "Events",
    "settings": "Settings",
    "audit": "Audit",
    "copy": "Copy as",
}


async def show(
    viewer: Viewer, feeds: Feeds, pictures: Pictures, job_id: str, query: Mapping[str, str]
) -> None:
    """Build the page of a job; the query has `tab` and `status`. Raises ApiError when there is none."""
    body = await viewer.call("jobs/get", jobId=job_id, includeExecutions=False)
    page = _Job(viewer, job_id, body)
    page.build(query, pictures)
    await page.refresh()
    if page.tab == "overview":
        await page.drawing.open()
    live = Live(viewer, page.refresh)
    page.read_again = live.now
    ui.timer(2.0, page.drawing.draw)
    viewer.client.on_delete(feeds.listen(viewer, page.hear))


class _Job:
    def __init__(self, viewer: Viewer, job_id: str, body: Mapping[str, Any]) -> None:
        self.viewer = viewer
        self.job_id = job_id
        self.job: dict[str, Any] = body["job"]
        self.document: str = body.get("document", "")
        self.read_again = self.refresh
        self.tab = "overview"
        self._legend: dict[Status, tuple[Tag, Tag]] = {}
        self._course: object = (None, None)

    def build(self, query: Mapping[str, str], pictures: Pictures) -> None:
        """Everything but the figures."""
        job = self.job
        with tag("div", "jb-head"):
            with tag("div", "jb-grow"):
                heading(self.job_id)
                words(job.get("description", ""), "jb-quiet")
            self.actions = Actions(self.viewer, self.job_id, job, self._read_again)
        first = self.tab = query.get("tab", "") if query.get("tab") in _TABS else "overview"
        with ui.tabs().props("dense no-caps align=left outside-arrows mobile-arrows") as tabs:
            for name, label in _TABS.items():
                ui.tab(name, label=label)
        tabs.set_value(first)
        with ui.tab_panels(tabs, value=first, animated=False, keep_alive=True).classes("jb-full"):
            with ui.tab_panel("overview"):
                self._build_overview(pictures)
            with ui.tab_panel("things"):
                self.things = ThingsTable(self.viewer, self.job_id, query.get("status", ""))
            with ui.tab_panel("document"):
                show_document(self.document)
            with ui.tab_panel("events"), tag("div", "jb-card"):
                section("As they happen")
                self.log = EventLog(self.viewer, "Events of this job", _NO_EVENT)
            with ui.tab_panel("settings"):
                show_settings(job)
            with ui.tab_panel("audit"):
                self.audit = tag("div", "jb-card")
            with ui.tab_panel("copy"):
                show_copies(self.viewer, job, self.document)
        tabs.on_value_change(self._opened)
        if first == "audit":
            ui.timer(0.05, self._read_audit, once=True)

    def _build_overview(self, pictures: Pictures) -> None:
        with tag("div", "jb-card"):
            with tag("div", "jb-row"):
                self.done = words("", "jb-number")
                self.said = words("", "jb-quiet")
            tag("div", style="height:8px")
            self.bar = StatusBar()
            with tag("div", "jb-legend"):
                for status in SHOWN:
                    with tag("span") as shown:
                        status_chip(status)
                        count = words("", as_="b")
                    self._legend[status] = (shown, count)
            self.brakes = words("", "jb-quiet", as_="p")
        self.course = tag("div")
        with tag("div", "jb-grid"):
            with tag("div", "jb-card"):
                section("What happens")
                with tag("ul", "jb-sentences"):
                    for sentence in sentences(self.job, int(self.job.get("executionCount", 0))):
                        words(sentence, as_="li")
            with tag("div", "jb-card"):
                section("Facts")
                show_facts(self.viewer, self.job)
            self.drawing = Drawing(self.viewer, pictures, self.job_id, {"job": self.job})

    async def _read_again(self) -> None:
        await self.read_again()

    async def _read_audit(self) -> None:
        await show_audit(self.viewer, self.audit, self.job_id)

    async def refresh(self) -> None:
        """Read the job's figures, and the page of things that is shown."""
        body = await self.viewer.look(
            "jobs/get", jobId=self.job_id, includeExecutions=False, includeDocument=False
        )
        self.job = body["job"]
        course = (body.get("stages"), body.get("approval"))
        if course != self._course:
            self._course = course
            show_course(self.viewer, self.course, self.job_id, body, self.read_again)
        found, total = counts(self.job), int(self.job.get("executionCount", 0))
        over = ended(found)
        self.done.say(f"{100 * over // total if total else 100} %")  # 100 % is all of them
        self.said.say(
            f"{grouped(over)} of {counted(total, 'thing')} ended{self._rest(over, total)}"
        )
        self.bar.show(found, total)
        for status, (shown, count) in self._legend.items():
            count.say(f" {grouped(found[status])}")
            shown.set_visibility(bool(found[status]))
        self.brakes.say("; ".join(abort_distance(self.job.get("abortConfig"), found)))
        self.actions.show(self.job)
        self.drawing.look_at(body)
        if self.tab == "things":
            await self.things.refresh()

    def _rest(self, over: int, total: int) -> str:
        if self.job.get("completedAt"):
            return f", in {lasting(self.job['completedAt'] - self.job['createdAt'])}"
        passed = time.time() - self.job["createdAt"]
        if self.job["status"] != "IN_PROGRESS" or not over or passed <= 0:
            return ""
        return f", about {lasting((total - over) * passed / over)} left at this pace"

    def hear(self, event: Event) -> None:
        """Take an event of the stream; those of this job are shown."""
        if event.get("jobId") == self.job_id:
            self.log.hear(event)

    async def _opened(self, event: ValueChangeEventArguments[Any]) -> None:
        self.tab = str(event.value)
        ui.navigate.history.replace(f"?tab={event.value}")
        if self.tab != "overview":
            self.drawing.close()
        match self.tab:
            case "overview":
                await self.drawing.open()
            case "audit":
                await self._read_audit()
            case "things":
                await self.read_again()
