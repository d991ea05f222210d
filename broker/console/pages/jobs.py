"""Jobs: by status with live counts, searched, in pages; what is chosen is canceled, held, let go on or deleted."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from nicegui import ui
from nicegui.events import ValueChangeEventArguments

from broker.console.api import ApiError, sent_as
from broker.console.components import (
    Pager,
    Tag,
    command_button,
    confirmed,
    empty,
    heading,
    table,
    tag,
    words,
)
from broker.console.links import job_path, with_query
from broker.console.viewer import Live, Viewer
from broker.console.words import bar, bar_text, counted, counts, ended, grouped, lasting, word

_TABS: Final = ("", "IN_PROGRESS", "SCHEDULED", "COMPLETED", "CANCELED", "DELETION_IN_PROGRESS")
_ROWS: Final = 25
_COLUMNS: Final = (
    {"name": "job", "label": "Job", "field": "job"},
    {"name": "status", "label": "Status", "field": "status"},
    {"name": "progress", "label": "Things", "field": "numbers"},
    {"name": "pace", "label": "Pace", "field": "pace"},
    {"name": "created", "label": "Created", "field": "created"},
)
_ROW: Final = r"""
<q-tr :props="props">
  <q-td auto-width><q-checkbox v-model="props.selected" dense :aria-label="'Choose ' + props.row.job" /></q-td>
  <q-td><a data-row :href="props.row.href">{{ props.row.job }}</a>
    <span class="jb-sub">{{ props.row.description }}</span></q-td>
  <q-td class="jb-block"><span :class="'jb-status st-' + props.row.status">{{ props.row.status_word }}</span></q-td>
  <q-td class="jb-block" style="min-width:180px">
    <div class="jb-bar" role="img" :aria-label="props.row.said" :title="props.row.said">
      <span v-for="part in props.row.bar" :key="part.status" :class="'bg-' + part.status"
            :style="{width: part.share + '%'}"></span>
    </div><span class="jb-sub">{{ props.row.numbers }}</span></q-td>
  <q-td class="jb-aside"><span class="jb-sub">{{ props.row.pace }}</span></q-td>
  <q-td class="jb-aside"><time :title="props.row.created_utc">{{ props.row.created }}</time></q-td>
</q-tr>
"""
# What may be done to several: verb, label, icon, what it does in words, whether it has to be typed.
_BULK: Final = (
    ("jobs/pause", "Pause", "pause", "Nothing of them is begun until they are resumed.", False),
    ("jobs/resume", "Resume", "play_arrow", "They go on.", False),
    (
        "jobs/cancel",
        "Cancel",
        "block",
        "What is queued is canceled; who works on it may finish.",
        True,
    ),
    (
        "jobs/delete",
        "Delete",
        "delete",
        "They are deleted with all their executions, for good.",
        True,
    ),
)


async def show(viewer: Viewer, query: Mapping[str, str]) -> None:
    """Build the page; the query has `status`, `search` and `after`."""
    page = _Jobs(viewer, query)
    page.build()
    await page.refresh()
    live = Live(viewer, page.refresh)
    page.read_again = live.now


class _Jobs:
    def __init__(self, viewer: Viewer, query: Mapping[str, str]) -> None:
        self.viewer = viewer
        self.status = query.get("status", "") if query.get("status", "") in _TABS else ""
        self.search = query.get("search", "")
        self.after = query.get("after")
        self.read_again = self.refresh
        self._jobs: list[dict[str, Any]] = []
        self._seen: dict[str, deque[tuple[float, int]]] = {}
        self._tabs: dict[str, tuple[Tag, Tag]] = {}

    def build(self) -> None:
        """Everything but the figures."""
        with tag("div", "jb-head"):
            heading("Jobs").classes("jb-grow")
            box = ui.input(
                placeholder="Search  /", value=self.search, on_change=self._search
            ).props('outlined dense clearable debounce=250 aria-label="Search jobs" data-search')
            box.style("width: min(300px, 60vw)")
            if self.viewer.may("jobs/create"):
                with tag("a", "jb-link-button", href=self.viewer.link("/new"), data_new=""):
                    words("New job")
        with tag("div", "jb-tabs", role="group", aria_label="Jobs by status"):
            for status in _TABS:
                button = tag("button", "jb-tab", type="button").on(
                    "click", partial(self._choose, status)
                )
                with button:
                    words(word(status) if status else "All")
                    self._tabs[status] = (button, words("", "jb-count"))
        self.bulk = tag("div", "jb-bulk")
        with self.bulk:
            self.chosen = words("", "jb-grow")
            for verb, label, icon, *_ in _BULK:
                command_button(
                    self.viewer,
                    label,
                    verb,
                    partial(self._do, verb),
                    icon=icon,
                    names={"jobId": "{each}"},
                )
        self.table = table(_COLUMNS, key="job", label="Jobs", selection=True)
        self.table.add_slot("body", _ROW)
        self.table.on("selection", self._show_bulk)
        self.nothing = tag("div")
        self.pager = Pager(self._turn)
        self.pager.first(self.after)
        self._show_bulk()

    async def refresh(self) -> None:
        """Read the page and the counts again."""
        viewer = self.viewer
        body = await viewer.call(
            "jobs/list",
            status=self.status or None,
            search=self.search or None,
            maxResults=_ROWS,
            nextToken=self.pager.token,
        )
        numbers = await viewer.call("jobs/counts")
        self._show_counts(numbers)
        self._jobs = body["jobs"]
        rows = [self._row(job) for job in self._jobs]
        if rows != self.table.rows:
            self.table.rows = rows
        self.table.set_visibility(bool(rows))
        self.pager.show(body, len(rows))
        self._show_nothing(is_empty=not rows)

    def _show_counts(self, body: Mapping[str, Any]) -> None:
        found, most = body["counts"], body["most"]
        for status, (button, count) in self._tabs.items():
            number = found.get(status, 0) if status else sum(found.values())
            capped = any(one >= most for one in found.values()) if not status else number >= most
            count.say(grouped(number) + ("+" if capped else ""))
            button.props["aria-pressed"] = "true" if status == self.status else "false"
            button.set_visibility(status != "DELETION_IN_PROGRESS" or number > 0)
            button.update()

    def _show_nothing(self, *, is_empty: bool) -> None:
        if is_empty == bool(self.nothing.default_slot.children):
            return
        self.nothing.clear()
        if is_empty:
            with self.nothing:
                if self.search or self.status:
                    empty("No job is like this", "Take the search away, or choose another status.")
                else:
                    empty(
                        "No jobs yet",
                        "A job sends a document to things, and they report how it went.",
                        ("Create the first job", self.viewer.link("/new"))
                        if self.viewer.may("jobs/create")
                        else None,
                    )

    def _row(self, job: Mapping[str, Any]) -> dict[str, Any]:
        found, total = counts(job), int(job.get("executionCount", 0))
        status = "PAUSED" if job.get("paused") and job["status"] == "IN_PROGRESS" else job["status"]
        bad = sum(found[one] for one in found if one in {"FAILED", "TIMED_OUT", "REJECTED"})
        numbers = f"{grouped(ended(found))} of {grouped(total)}"
        return {
            "job": job["jobId"],
            "href": self.viewer.link(job_path(job["jobId"])),
            "description": job.get("description", ""),
            "status": status,
            "status_word": "Paused" if status == "PAUSED" else word(status),
            "bar": bar(found, total),
            "said": bar_text(found, total),
            "numbers": numbers + (f", {grouped(bad)} failed" if bad else ""),
            "pace": self._pace(job, ended(found), total),
            "created": self.viewer.at(job["createdAt"]),
            "created_utc": self.viewer.both(job["createdAt"])["utc"],
        }

    def _pace(self, job: Mapping[str, Any], over: int, total: int) -> str:
        """How many end a minute, and when all have, by what was seen lately; how long it took, at the end."""
        if job.get("completedAt"):
            return f"took {lasting(job['completedAt'] - job['createdAt'])}"
        if job["status"] != "IN_PROGRESS":
            return ""
        seen = self._seen.setdefault(job["jobId"], deque(maxlen=30))
        now = time.monotonic()
        seen.append((now, over))
        began, before = seen[0]
        if over == before or now == began:
            return ""
        rate = (over - before) / (now - began)
        return f"{grouped(60 * rate) if rate >= 1 / 60 else '<1'}/min, {lasting((total - over) / rate)} left"

    async def _search(self, event: ValueChangeEventArguments[Any]) -> None:
        self.search = (event.value or "").strip()[:64]
        await self._begin()

    async def _choose(self, status: str) -> None:
        self.status = status
        await self._begin()

    async def _begin(self) -> None:
        self.pager.first()
        await self._turn()

    async def _turn(self) -> None:
        said = {"status": self.status, "search": self.search, "after": self.pager.token}
        ui.navigate.history.replace(self.viewer.link(with_query("/", said)))
        self.table.selected = []
        self._show_bulk()
        await self.read_again()

    def _show_bulk(self) -> None:
        self.bulk.set_visibility(bool(self.table.selected))
        self.chosen.say(f"{counted(len(self.table.selected), 'job')} chosen")

    async def _do(self, verb: str) -> None:
        label, consequence, typed = next(
            (one[1], one[3], one[4]) for one in _BULK if one[0] == verb
        )
        chosen = [row["job"] for row in self.table.selected]
        jobs = [job for job in self._jobs if job["jobId"] in chosen]
        things = sum(int(job.get("executionCount", 0)) for job in jobs)
        what = f"{counted(len(chosen), 'job')} with {counted(things, 'execution')}"
        word_to_type = f"{label.lower()} {len(chosen)}" if typed else ""
        sends = sent_as(verb, {"jobId": "{each of them}"})
        if not await confirmed(
            f"{label} {what}?", consequence, sends, typed=word_to_type, label=label
        ):
            return
        running = {job["jobId"] for job in jobs if job["status"] == "IN_PROGRESS"}
        refused = []
        for job_id in chosen:
            more = {"force": True} if verb == "jobs/delete" and job_id in running else {}
            try:
                await self.viewer.call(verb, jobId=job_id, **more)
            except ApiError as error:
                refused.append(f"{job_id}: {error.message}")
        done = len(chosen) - len(refused)
        if done:
            ui.notify(f"{label}: {counted(done, 'job')}", type="positive")
        for one in refused[:5]:
            ui.notify(one, type="negative", timeout=8000, close_button="Close")
        self.table.selected = []
        self._show_bulk()
        await self.read_again()
