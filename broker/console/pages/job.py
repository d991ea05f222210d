"""A job: how far it has come, its things as a table and as a heat map, its document, events, settings and audit."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from nicegui import ui
from nicegui.events import ValueChangeEventArguments

from broker.console.api import sent_as
from broker.console.components import (
    Moment,
    Pager,
    StatusBar,
    Tag,
    at,
    code_block,
    command_button,
    confirmed,
    facts,
    heading,
    section,
    send,
    status_chip,
    table,
    tag,
    words,
)
from broker.console.copies import as_boto3, as_cli, as_curl, as_mosquitto, job_as_created
from broker.console.course import show_course
from broker.console.feed import Event, Feeds
from broker.console.heatmap import HeatMap, Progress, read_progress, thing_at
from broker.console.links import clone_path, execution_path
from broker.console.viewer import Live, Viewer
from broker.console.words import (
    SHOWN,
    abort_distance,
    counted,
    counts,
    cumulated,
    ended,
    grouped,
    lasting,
    sentences,
    word,
)
from schema.forecast import plan
from schema.lifecycle import Status
from schema.rollout import RolloutConfig

_ROWS: Final = 50
_CURVE_POINTS: Final = 240
_LOG_LINES: Final = 200
_COLUMNS: Final = (
    {"name": "thing", "label": "Thing", "field": "thing"},
    {"name": "status", "label": "Status", "field": "status"},
    {"name": "details", "label": "Details", "field": "details"},
    {"name": "attempt", "label": "Attempt", "field": "attempt"},
    {"name": "version", "label": "Version", "field": "version"},
    {"name": "updated", "label": "Last update", "field": "updated"},
)
_ROW: Final = r"""
<q-tr :props="props">
  <q-td><a data-row :href="props.row.href">{{ props.row.thing }}</a></q-td>
  <q-td><span :class="'jb-status st-' + props.row.status">{{ props.row.status_word }}</span></q-td>
  <q-td class="jb-block"><span class="jb-mono">{{ props.row.details }}</span></q-td>
  <q-td class="jb-aside">{{ props.row.attempt }}</q-td>
  <q-td class="jb-aside">{{ props.row.version }}</q-td>
  <q-td class="jb-aside"><time :title="props.row.updated_utc">{{ props.row.updated }}</time></q-td>
</q-tr>
"""


async def show(viewer: Viewer, feeds: Feeds, job_id: str, query: Mapping[str, str]) -> None:
    """Build the page of a job; the query has `tab` and `status`. Raises ApiError when there is none."""
    body = await viewer.call("jobs/get", jobId=job_id, includeExecutions=False)
    page = _Job(viewer, job_id, body)
    page.build(query)
    await page.refresh()
    live = Live(viewer, page.refresh)
    page.read_again = live.now
    ui.timer(0.1, page.draw, once=True)
    ui.timer(2.0, page.draw_again, immediate=False)
    token = viewer.session.token
    viewer.client.on_delete(feeds.listen(token, page.hear))


class _Job:
    def __init__(self, viewer: Viewer, job_id: str, body: Mapping[str, Any]) -> None:
        self.viewer = viewer
        self.job_id = job_id
        self.job: dict[str, Any] = body["job"]
        self.document: str = body.get("document", "")
        self.read_again = self.refresh
        self._legend: dict[Status, tuple[Tag, Tag]] = {}
        self._progress = Progress()
        self._drawn_at = 0.0
        self._took = 0.0
        self._course: object = (None, None)
        self._acted_on: object = None
        self._drawn_counts: dict[Status, int] | None = None

    def build(self, query: Mapping[str, str]) -> None:
        """Everything but the figures."""
        job = self.job
        with tag("div", "jb-head"):
            with tag("div", "jb-grow"):
                heading(self.job_id)
                words(job.get("description", ""), "jb-quiet")
            self.chip = tag("div")
            self.actions = tag("div", "jb-row")
        first = query.get("tab", "overview")
        with ui.tabs().props("dense no-caps align=left outside-arrows mobile-arrows") as tabs:
            for name in ("overview", "things", "document", "events", "settings", "audit", "copy"):
                ui.tab(name, label=_TABS[name])
        tabs.set_value(first)
        with ui.tab_panels(tabs, value=first, animated=False, keep_alive=True).classes("jb-full"):
            with ui.tab_panel("overview"):
                self._build_overview()
            with ui.tab_panel("things"):
                self._build_things(query.get("status", ""))
            with ui.tab_panel("document"):
                self._build_document()
            with ui.tab_panel("events"), tag("div", "jb-card"):
                section("As they happen")
                self.log = tag(
                    "div", "jb-log", role="log", aria_label="Events of this job", tabindex="0"
                )
            with ui.tab_panel("settings"):
                self._build_settings()
            with ui.tab_panel("audit"):
                self.audit = tag("div", "jb-card")
            with ui.tab_panel("copy"):
                self._build_copies()
        tabs.on_value_change(self._opened)
        if first == "audit":
            ui.timer(0.05, self._read_audit, once=True)

    def _build_overview(self) -> None:
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
                self._facts()
            with tag("div", "jb-card jb-span"):
                section("Planned and actual")
                self.chart = ui.echart(_chart_options()).classes("jb-chart")
                self.chart.props["role"] = "img"
                self.chart.props["aria-label"] = "Things told and ended over time, and the plan"
            with tag("div", "jb-card jb-span"):
                section("Every thing, by name")
                self.heat = HeatMap(self._pick)
                self.heat_note = words("", "jb-quiet")

    def _facts(self) -> None:
        job = self.job
        rows = [
            ("Targets", ", ".join(arn.rpartition(":")[2] for arn in job.get("targets", []))),
            ("Selection", job.get("targetSelection", "").lower()),
            ("Created", Moment(job["createdAt"])),
            ("By", job.get("createdBy")),
            ("Completed", job.get("completedAt") and Moment(job["completedAt"])),
            ("Template", job.get("jobTemplateArn", "").rpartition("/")[2]),
            ("Reason", job.get("reasonCode")),
            ("Comment", job.get("comment")),
            ("Priority", job.get("priority")),
            ("Exclusive", "yes" if job.get("exclusive") else None),
        ]
        facts(self.viewer, rows)

    def _build_things(self, status: str) -> None:
        self.status = status if status in {*Status} else ""
        with tag("div", "jb-tabs", role="group", aria_label="Things by status"):
            self._filters: dict[str, Tag] = {}
            for one in ("", *SHOWN):
                button = tag("button", "jb-tab", type="button").on(
                    "click", partial(self._filter, str(one))
                )
                with button:
                    words(word(one) if one else "All")
                self._filters[str(one)] = button
        self.table = table(_COLUMNS, key="key", label="Things of this job")
        self.table.add_slot("body", _ROW)
        self.nobody = words("", "jb-empty", as_="p")
        self.pager = Pager(self._turn)

    def _build_document(self) -> None:
        with tag("div", "jb-card"):
            section("The document, as things are given it")
            code_block(_pretty(self.document), "the document")

    def _build_settings(self) -> None:
        shown = {
            name: self.job[name]
            for name in (
                *("jobExecutionsRolloutConfig", "abortConfig", "jobExecutionsRetryConfig"),
                *("timeoutConfig", "schedulingConfig", "presignedUrlConfig", "stages", "holds"),
                *("targets", "targetSelection", "documentParameters", "jobTemplateArn"),
            )
            if self.job.get(name)
        }
        with tag("div", "jb-card"):
            section("Settings, in AWS's words")
            code_block(json.dumps(shown, indent=2, ensure_ascii=False), "the settings")

    def _build_copies(self) -> None:
        made = job_as_created(self.job, self.document, job_id=f"{self.job_id[:58]}-again")
        api = self.viewer.api.url
        with tag("div", "jb-card"):
            section("Another job like this one")
            for name, text in (
                ("Command line", as_cli(made)),
                ("curl", as_curl(api, "jobs/create", made)),
                ("mosquitto_rr", as_mosquitto(self.viewer.name, "jobs/create", made)),
                ("boto3", as_boto3(api, made)),
            ):
                words(name, "jb-quiet", as_="p")
                code_block(text, name)

    async def refresh(self) -> None:
        """Read the job's figures, and the page of things that is shown."""
        body = await self.viewer.call(
            "jobs/get", jobId=self.job_id, includeExecutions=False, includeDocument=False
        )
        self.job = body["job"]
        course = (body.get("stages"), body.get("approval"))
        if course != self._course:
            self._course = course
            show_course(self.viewer, self.course, self.job_id, body, self.read_again)
        found, total = counts(self.job), int(self.job.get("executionCount", 0))
        over = ended(found)
        share = 100 * over / total if total else 100
        self.done.say(f"{share:.0f} %" if share < 100 or over == total else "99 %")  # noqa: PLR2004 - all
        self.said.say(
            f"{grouped(over)} of {counted(total, 'thing')} ended{self._rest(over, total)}"
        )
        self.bar.show(found, total)
        for status, (shown, count) in self._legend.items():
            count.say(f" {grouped(found[status])}")
            shown.set_visibility(bool(found[status]))
        self.brakes.say("; ".join(abort_distance(self.job.get("abortConfig"), found)))
        said = (
            self.job["status"],
            self.job.get("paused"),
            any(found[one] for one in _BAD),
        )
        if said != self._acted_on:
            self._acted_on = said
            self._show_actions()
        await self._refresh_things()

    def _rest(self, over: int, total: int) -> str:
        if self.job.get("completedAt"):
            return f", in {lasting(self.job['completedAt'] - self.job['createdAt'])}"
        passed = time.time() - self.job["createdAt"]
        if self.job["status"] != "IN_PROGRESS" or not over or passed <= 0:
            return ""
        return f", about {lasting((total - over) * passed / over)} left at this pace"

    async def _refresh_things(self) -> None:
        body = await self.viewer.call(
            "jobs/get",
            jobId=self.job_id,
            includeDocument=False,
            maxResults=_ROWS,
            status=self.status or None,
            nextToken=self.pager.token,
        )
        rows = [self._row(one) for one in body["executions"]]
        if rows != self.table.rows:
            self.table.rows = rows
        self.table.set_visibility(bool(rows))
        self.nobody.set_visibility(not rows)
        self.nobody.say("Nobody is in this status." if self.status else "Nobody has been told yet.")
        self.pager.show(body, len(rows))
        for status, button in self._filters.items():
            button.props["aria-pressed"] = "true" if status == self.status else "false"
            button.update()

    def _row(self, one: Mapping[str, Any]) -> dict[str, Any]:
        details = one.get("statusDetails", {})
        return {
            "key": f"{one['thingName']}/{one['executionNumber']}",
            "thing": one["thingName"],
            "href": self.viewer.link(execution_path(self.job_id, one["thingName"])),
            "status": one["status"],
            "status_word": word(one["status"]),
            "details": ", ".join(f"{key}: {value}" for key, value in details.items()),
            "attempt": one.get("executionNumber", 1),
            "version": one["versionNumber"],
            "updated": self.viewer.at(one["lastUpdatedAt"]),
            "updated_utc": self.viewer.both(one["lastUpdatedAt"])["utc"],
        }

    async def _turn(self) -> None:
        await self.read_again()

    async def _filter(self, status: str) -> None:
        self.status = status
        self.pager.first()
        ui.navigate.history.replace(f"?tab=things&status={status}" if status else "?tab=things")
        await self.read_again()

    async def draw(self) -> None:
        """Read all things and draw them, and the curves."""
        began = time.monotonic()
        passed = max(60, (self.job.get("completedAt") or time.time()) - self.job["createdAt"])
        width = max(1, round(passed / _CURVE_POINTS))
        self._drawn_counts = counts(self.job)
        self._progress = await read_progress(self.viewer, self.job_id, width)
        self.heat.draw(self._progress.letters, self._progress.statuses)
        if not self._progress.is_whole:
            self.heat_note.say(f"the first {counted(len(self._progress.letters), 'thing')}")
        self._draw_curves(width)
        self._drawn_at, self._took = time.monotonic(), time.monotonic() - began

    async def draw_again(self) -> None:
        """Draw when something has changed, and no more often than a twentieth of the time it takes."""
        rests = max(2.0, 20 * self._took)
        if not self.viewer.visible or time.monotonic() - self._drawn_at < rests:
            return
        if self._drawn_counts != counts(self.job):
            await self.draw()

    def _draw_curves(self, width: int) -> None:
        begun = self.job["createdAt"]
        until = round((self.job.get("completedAt") or time.time()) - begun)
        curves = self._progress.curves
        told = cumulated(curves.get("queued", {}), width, until)
        over = cumulated(curves.get("ended", {}), width, until)
        drawn: tuple[Sequence[tuple[float, int]], ...] = (self._planned(), told, over)
        lines: list[dict[str, Any]] = self.chart.options["series"]
        for series, points in zip(lines, drawn, strict=True):
            series["data"] = [[1000 * (begun + seconds), number] for seconds, number in points]
        self.chart.update()

    def _planned(self) -> list[tuple[float, int]]:
        config = self.job.get("jobExecutionsRolloutConfig") or {}
        if not config:
            return []
        made = plan(
            RolloutConfig.model_validate(config),
            int(self.job.get("executionCount", 0)),
            succeed_after=60.0,
        )
        points = [(60.0 * minute, told) for minute, told in made.by_minute(_CURVE_POINTS)]
        return [one for one in points if one[0] < made.lasts] + [(made.lasts, made.things)]

    async def _pick(self, number: int) -> None:
        thing = await thing_at(self.viewer, self.job_id, number)
        if thing is not None:
            ui.navigate.to(execution_path(self.job_id, thing))

    def hear(self, event: Event) -> None:
        """Take an event of the stream; those of this job are shown."""
        if event.get("jobId") != self.job_id or self.viewer.client.is_deleted:
            return
        with self.log:
            line = event_line(self.viewer, event)
            line.move(self.log, 0)
        children = self.log.default_slot.children
        while len(children) > _LOG_LINES:
            self.log.remove(children[-1])

    async def _opened(self, event: ValueChangeEventArguments[Any]) -> None:
        ui.navigate.history.replace(f"?tab={event.value}")
        if event.value == "audit":
            await self._read_audit()

    async def _read_audit(self) -> None:
        self.audit.clear()
        with self.audit:
            section("Who did what")
            if lacking := self.viewer.lacks("audit/list"):
                words(f"The audit log {lacking}.", "jb-quiet")
                return
            body = await self.viewer.call(
                "audit/list", subject=f"job/{self.job_id}", maxResults=100
            )
            for line in body["lines"]:
                with tag("div", "jb-log-line"):
                    at(self.viewer, line["at"])
                    words(f"{line['actor']} ({line['role']})")
                    words(f"{line['action']} {json.dumps(line['details'])}", "jb-mono")

    def _show_actions(self) -> None:
        job = self.job
        self.chip.clear()
        with self.chip:
            paused = job.get("paused") and job["status"] == "IN_PROGRESS"
            chip = status_chip("PAUSED" if paused else job["status"])
            if paused:
                chip.say("Paused")
        self.actions.clear()
        names = {"jobId": self.job_id}
        is_live = job["status"] in {"IN_PROGRESS", "SCHEDULED"}
        with self.actions:
            if is_live and not job.get("paused"):
                command_button(
                    self.viewer, "Pause", "jobs/pause", self._pause, icon="pause", names=names
                )
            if is_live and job.get("paused"):
                command_button(
                    self.viewer,
                    "Resume",
                    "jobs/resume",
                    self._resume,
                    icon="play_arrow",
                    names=names,
                )
            if is_live:
                command_button(
                    self.viewer, "Cancel", "jobs/cancel", self._cancel, icon="block", names=names
                )
            bad = sum(counts(self.job)[one] for one in _BAD)
            if bad and job["status"] == "IN_PROGRESS":
                command_button(
                    self.viewer,
                    "Retry failed",
                    "jobs/retry-failed",
                    self._retry_failed,
                    icon="replay",
                    names=names,
                )
            if self.viewer.may("jobs/create"):
                with tag("a", "jb-plain-link", href=self.viewer.link(clone_path(self.job_id))):
                    words("Clone")
            command_button(
                self.viewer, "Delete", "jobs/delete", self._delete, icon="delete", names=names
            )

    async def _pause(self) -> None:
        await send(self.viewer, "jobs/pause", "Paused", jobId=self.job_id)
        await self.read_again()

    async def _resume(self) -> None:
        await send(self.viewer, "jobs/resume", "Resumed", jobId=self.job_id)
        await self.read_again()

    async def _retry_failed(self) -> None:
        bad = sum(counts(self.job)[one] for one in _BAD)
        sends = sent_as("jobs/retry-failed", {"jobId": self.job_id})
        if await confirmed(
            f"Try {counted(bad, 'thing')} again?",
            "Each has another execution of this job, before those who wait to be told.",
            sends,
            label="Try again",
        ):
            body = await send(self.viewer, "jobs/retry-failed", jobId=self.job_id)
            if body is not None:
                ui.notify(
                    f"{counted(body['numberOfThings'], 'thing')} are tried again", type="positive"
                )
            await self.read_again()

    async def _cancel(self) -> None:
        found = counts(self.job)
        total = int(self.job.get("executionCount", 0))
        waiting = total - ended(found) - found[Status.IN_PROGRESS]
        consequence = (
            f"{counted(waiting, 'thing')} will not get it; {counted(found[Status.IN_PROGRESS], 'thing')}"
            " at work on it may finish."
        )
        sends = sent_as("jobs/cancel", {"jobId": self.job_id})
        if await confirmed(
            f"Cancel {self.job_id}?", consequence, sends, typed=self.job_id, label="Cancel the job"
        ):
            await send(self.viewer, "jobs/cancel", "Canceled", jobId=self.job_id)
            await self.read_again()

    async def _delete(self) -> None:
        total = int(self.job.get("executionCount", 0))
        is_live = self.job["status"] == "IN_PROGRESS"
        consequence = f"It goes for good, with {counted(total, 'execution')}." + (
            " It is not over: who works on it is told that it is gone." if is_live else ""
        )
        sends = sent_as("jobs/delete", {"jobId": self.job_id})
        if await confirmed(
            f"Delete {self.job_id}?", consequence, sends, typed=self.job_id, label="Delete the job"
        ):
            force = True if is_live else None
            if await send(self.viewer, "jobs/delete", jobId=self.job_id, force=force) is not None:
                ui.navigate.to("/")


_AXIS: Final = {"color": "#808a97"}  # to be read in the dark and in the light
_BAD: Final = (Status.FAILED, Status.TIMED_OUT, Status.REJECTED)
_TABS: Final = {
    "overview": "Overview",
    "things": "Things",
    "document": "Document",
    "events": "Events",
    "settings": "Settings",
    "audit": "Audit",
    "copy": "Copy as",
}


def event_line(viewer: Viewer, event: Event) -> Tag:
    """A line of the log: when, what, about whom and with which details."""
    thing = str(event.get("thingArn", "")).rpartition("/")[2]
    details = event.get("statusDetails") or {}
    said = ", ".join(f"{key}: {value}" for key, value in details.items())
    with tag("div", "jb-log-line") as line:
        at(viewer, event.get("timestamp"))
        words(
            str(event.get("operation", "")).replace("_", " "), f"jb-status st-{event.get('status')}"
        )
        words(" ".join(one for one in (str(event.get("jobId", "")), thing, said) if one))
    return line


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def _chart_options() -> dict[str, Any]:
    line = {"type": "line", "showSymbol": False, "data": []}
    return {
        "animation": False,
        "grid": {"left": 56, "right": 20, "top": 34, "bottom": 30},
        "legend": {
            "data": ["planned", "told", "ended"],
            "top": 0,
            "textStyle": {"color": "#808a97"},
        },
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "time", "splitLine": {"show": False}, "axisLabel": _AXIS},
        "yAxis": {
            "type": "value",
            "minInterval": 1,
            "axisLabel": _AXIS,
            "splitLine": {"lineStyle": {"opacity": 0.25}},
        },
        "series": [
            {
                **line,
                "name": "planned",
                "lineStyle": {"type": "dashed"},
                "itemStyle": {"color": "#98a3b2"},
            },
            {**line, "name": "told", "step": "end", "itemStyle": {"color": "#2f7de1"}},
            {
                **line,
                "name": "ended",
                "step": "end",
                "areaStyle": {"opacity": 0.15},
                "itemStyle": {"color": "#2e9e5b"},
            },
        ],
    }
