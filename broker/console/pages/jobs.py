"""Jobs: by status with live counts, narrowed in many ways, in pages; several are canceled, held or deleted at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from nicegui import ui

from broker.console.api import ApiError, Body
from broker.console.components import Tag, heading, press, tag, words
from broker.console.links import job_path
from broker.console.listing import Listing
from broker.console.pages.jobs_bulk import Bulk
from broker.console.viewer import Live, Viewer
from broker.console.words import (
    abort_distance,
    bar,
    bar_text,
    counts,
    ended,
    grouped,
    lasting,
    word,
)

_TABS: Final = ("", "IN_PROGRESS", "SCHEDULED", "COMPLETED", "CANCELED", "DELETION_IN_PROGRESS")
_KINDS: Final = {"": "Any kind", "SNAPSHOT": "Snapshot", "CONTINUOUS": "Continuous"}
_ROWS: Final = 25
_WRONG: Final = frozenset({"InvalidRequest", "ResourceNotFound"})
_FIELDS: Final = ("status", "search", "thing", "group", "tag", "kind", "since", "until")
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
    </div><span class="jb-sub">{{ props.row.numbers }}</span>
    <span v-if="props.row.brakes" class="jb-sub">{{ props.row.brakes }}</span></q-td>
  <q-td class="jb-aside"><span class="jb-sub">{{ props.row.pace }}</span></q-td>
  <q-td class="jb-aside"><time :title="props.row.created_utc">{{ props.row.created }}</time></q-td>
</q-tr>
"""


async def show(viewer: Viewer, query: Mapping[str, str]) -> None:
    """Build the page; the query has `after` and what narrows the list: _FIELDS."""
    page = _Jobs(viewer, query)
    page.build()
    await page.refresh()
    live = Live(viewer, page.refresh)
    page.read_again = live.now


class _Jobs:
    def __init__(self, viewer: Viewer, query: Mapping[str, str]) -> None:
        self.viewer = viewer
        self.list = Listing(viewer, "/", query, _FIELDS, self._turned)
        for name, known in (("status", _TABS), ("kind", _KINDS)):
            if self.list.said[name] not in known:
                self.list.said[name] = ""
        self.read_again = self.refresh
        self._jobs: list[dict[str, Any]] = []
        self._seen: dict[str, deque[tuple[float, int]]] = {}
        self._tabs: dict[str, tuple[Tag, Tag]] = {}

    def build(self) -> None:
        """Everything but the figures."""
        with tag("div", "jb-head"):
            heading("Jobs").classes("jb-grow")
            box = self.list.search("search", "Search jobs", main=True)
            box.style("width: min(300px, 60vw)")
            more = ui.button("Filters", icon="tune").props("no-caps flat dense")
            if self.viewer.may("jobs/create"):
                with tag("a", "jb-link-button", href=self.viewer.link("/new"), data_new=""):
                    words("New job")
        with tag("div", "jb-fields jb-filters", role="group", aria_label="Filters") as filters:
            self._build_filters()
        filters.set_visibility(any(self.list.said[name] for name in _FIELDS[2:]))
        more.on_click(lambda: filters.set_visibility(not filters.visible))
        with tag("div", "jb-tabs", role="group", aria_label="Jobs by status"):
            for status in _TABS:
                button = tag("button", "jb-tab", type="button").on(
                    "click", partial(self.list.narrow, "status", status)
                )
                with button:
                    words(word(status) if status else "All")
                    self._tabs[status] = (button, words("", "jb-count"))
        self.bulk = Bulk(self.viewer, self._done)
        self.list.rows(_COLUMNS, _ROW, key="job", label="Jobs", selection=True)
        self.list.table.on("selection", self._choose)
        self._choose()

    def _build_filters(self) -> None:
        for name, label in (
            ("thing", "Names the thing"),
            ("group", "Names the group"),
            ("tag", "Tag, or tag=value"),
        ):
            self.list.search(name, label)
        kind = ui.select(_KINDS, value="").props('outlined dense aria-label="Kind"')
        self.list.bound(kind, "kind")
        for name, label in (("since", "Created from"), ("until", "Created until")):
            day = ui.input(label).props("outlined dense type=date stack-label clearable")
            self.list.bound(day, name)

    def _asked(self) -> dict[str, object]:
        said = self.list.said
        key, _, value = said["tag"].partition("=")
        return {
            "status": said["status"] or None,
            "search": said["search"][:64] or None,
            "thingName": said["thing"] or None,
            "thingGroupName": said["group"] or None,
            "tagKey": key or None,
            "tagValue": value or None,
            "targetSelection": said["kind"] or None,
            "createdAfter": self._day(said["since"]),
            "createdBefore": self._day(said["until"], after=1),
        }

    def _day(self, text: str, *, after: int = 0) -> int | None:
        """When a day of the reader's begins, or one so many after it; None for no day."""
        try:
            begin = datetime.fromisoformat(text).replace(tzinfo=self.viewer.zone)
        except ValueError:
            return None
        return max(0, int((begin + timedelta(days=after)).timestamp()))

    async def refresh(self) -> None:
        """Read the page and the counts again."""
        body, hint = await self._read()
        self._show_counts(await self.viewer.look("jobs/counts"))
        self._jobs = body["jobs"]
        link = ("Create the first job", self.viewer.link("/new"))
        self.list.show(
            body,
            [self._row(job) for job in self._jobs],
            ("No job is like this", hint),
            none_yet=(
                "No jobs yet",
                "A job sends a document to things, and they report how it went.",
                link if self.viewer.may("jobs/create") else None,
            ),
        )

    async def _read(self) -> tuple[Body, str]:
        """The page, and what to do when it is empty; a filter that cannot be is said there, once for all looks."""
        try:
            body = await self.list.page("jobs/list", "jobs", _ROWS, **self._asked())
        except ApiError as error:
            if error.code not in _WRONG:
                raise
            return {"jobs": []}, error.message
        return body, "Take filters and the search away, or choose another status."

    def _show_counts(self, body: Mapping[str, Any]) -> None:
        found, most = body["counts"], body["most"]
        for status, (button, count) in self._tabs.items():
            number = found.get(status, 0) if status else sum(found.values())
            capped = any(one >= most for one in found.values()) if not status else number >= most
            count.say(grouped(number) + ("+" if capped else ""))
            press(button, pressed=status == self.list.said["status"])
            button.set_visibility(status != "DELETION_IN_PROGRESS" or number > 0)

    def _row(self, job: Mapping[str, Any]) -> dict[str, Any]:
        found, total = counts(job), int(job.get("executionCount", 0))
        is_live = job["status"] == "IN_PROGRESS"
        status = "PAUSED" if job.get("paused") and is_live else job["status"]
        bad = sum(found[one] for one in found if one in {"FAILED", "TIMED_OUT", "REJECTED"})
        numbers = f"{grouped(ended(found))} of {grouped(total)}"
        brakes = abort_distance(job.get("abortConfig"), found) if is_live else []
        return {
            "job": job["jobId"],
            "href": self.viewer.link(job_path(job["jobId"])),
            "description": job.get("description", ""),
            "status": status,
            "status_word": "Paused" if status == "PAUSED" else word(status),
            "bar": bar(found, total),
            "said": bar_text(found, total),
            "numbers": numbers + (f", {grouped(bad)} failed" if bad else ""),
            "brakes": "; ".join(brakes),
            "pace": self._pace(job, ended(found), total),
            "created": self.viewer.at(job["createdAt"]),
            "created_utc": self.viewer.both(job["createdAt"])["utc"],
        }

    def _pace(self, job: Mapping[str, Any], over: int, total: int) -> str:
        """How many end a minute, its limit, and when all have, by what was seen lately; at the end how long it took."""
        if job.get("completedAt"):
            return f"took {lasting(job['completedAt'] - job['createdAt'])}"
        if job["status"] != "IN_PROGRESS":
            return ""
        most = (job.get("jobExecutionsRolloutConfig") or {}).get("maximumPerMinute")
        limit = f"at most {grouped(most)}/min" if most else ""
        seen = self._seen.setdefault(job["jobId"], deque(maxlen=30))
        now = time.monotonic()
        seen.append((now, over))
        began, before = seen[0]
        if over == before or now == began:
            return limit
        rate = (over - before) / (now - began)
        pace = f"{grouped(60 * rate) if rate >= 1 / 60 else '<1'}/min"
        left = f"{lasting((total - over) / rate)} left"
        return ", ".join(filter(None, (pace, limit, left)))

    async def _turned(self) -> None:
        self.list.table.selected = []
        self._choose()
        await self.read_again()

    def _choose(self) -> None:
        chosen = {row["job"] for row in self.list.table.selected}
        self.bulk.show([job for job in self._jobs if job["jobId"] in chosen])

    async def _done(self) -> None:
        await self._turned()
