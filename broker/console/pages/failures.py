"""Failures over all jobs, by status and reason: what goes wrong, how often, where, and all of it sent again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from nicegui import ui
from nicegui.events import ValueChangeEventArguments

from broker.console.components import (
    StatusBar,
    Tag,
    command_button,
    empty,
    heading,
    section,
    status_chip,
    tag,
    words,
)
from broker.console.dialogs import confirmed_sending
from broker.console.links import execution_path, job_path, with_query
from broker.console.listing import Fields, whole_page
from broker.console.viewer import Live, Viewer
from broker.console.words import counted, counts, ended, grouped, summed

_JOBS: Final = 250
_PAGES: Final = 4  # of jobs with failures, at first
_JOBS_SHOWN: Final = 8
_KINDS: Final = {
    "": "All kinds",
    "FAILED": "Failed",
    "TIMED_OUT": "Timed out",
    "REJECTED": "Rejected",
}


@dataclass(slots=True)
class Group:
    """Executions that ended alike; by_job has for each job how many and the first few things."""

    status: str
    reason: str
    by_job: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    chosen: bool = False

    @property
    def things(self) -> int:
        """How many executions."""
        return sum(number for number, _ in self.by_job.values())


def merged(groups: list[Group], page: list[dict[str, Any]]) -> list[Group]:
    """Groups with those of a further page of failures/list, the largest first."""
    found = {(one.status, one.reason): one for one in groups}
    for one in page:
        group = found.setdefault(
            (one["status"], one["reason"]), Group(one["status"], one["reason"])
        )
        for job in one["jobs"]:
            group.by_job[job["jobId"]] = (job["numberOfThings"], job["things"])
    return sorted(found.values(), key=lambda group: (-group.things, group.status, group.reason))


async def show(viewer: Viewer, query: Mapping[str, str]) -> None:
    """Build the page; the query has `kind`, `search`, `job`, and `retry`, the id of a retry that is followed."""
    page = _Failures(viewer, query)
    page.build()
    await page.read()
    if page.retry:
        await page.follow()
        Live(viewer, page.follow)


class _Failures:
    def __init__(self, viewer: Viewer, query: Mapping[str, str]) -> None:
        self.viewer = viewer
        self.retry = query.get("retry", "")
        self.fields = Fields(viewer, "/failures", query, ("kind", "search", "job"), self.read)
        if self.fields.said["kind"] not in _KINDS:
            self.fields.said["kind"] = ""
        self.groups: list[Group] = []
        self._next: str | None = None
        self._is_whole = True
        self._boxes: list[ui.checkbox] = []

    def build(self) -> None:
        """Everything but what was read."""
        with tag("div", "jb-head"):
            heading("Failures").classes("jb-grow")
            self.fields.search("search", "Reason has", main=True)
            self.fields.search("job", "Job")
            kind = ui.select(_KINDS, value="").props('outlined dense aria-label="Kind"')
            self.fields.bound(kind, "kind")
        self.followed = tag("div")
        if self.retry:
            with self.followed, tag("div", "jb-card", style="margin-bottom:14px"):
                section(f"Retry {self.retry}")
                self.said = words("", as_="p")
                self.bar = StatusBar()
                self.links = tag("div", "jb-row", style="margin-top:8px")
        with tag("div", "jb-bulk") as self.bulk:
            self.every = ui.checkbox("Select all that match", on_change=self._choose_all)
            self.every.props("dense")
            self.chosen = words("", "jb-grow")
            self.again = command_button(
                self.viewer, "Try again", "failures/retry", self._retry, icon="replay"
            )
        self.cards = tag("div")
        with tag("div", "jb-pager"):
            self.older = ui.button("Look at older jobs", on_click=self._read_older)
            self.older.props("no-caps flat dense")

    async def read(self) -> None:
        """Read from the newest job on, and choose nothing."""
        self.groups, self._next, self._is_whole = [], None, True
        for _ in range(_PAGES):
            await self._read_page()
            if self._next is None:
                break
        self._show()
        self.every.set_value(False)

    async def _read_page(self) -> None:
        said = self.fields.said
        body = await self.viewer.call(
            "failures/list",
            failureType=said["kind"] or None,
            search=said["search"] or None,
            jobId=said["job"] or None,
            maxResults=_JOBS,
            nextToken=self._next,
        )
        self.groups = merged(self.groups, body["failures"])
        self._next = body.get("nextToken")
        self._is_whole = self._is_whole and body["isWhole"]

    async def _read_older(self) -> None:
        async with self.fields.reading:
            await self._read_page()
        for group in self.groups:
            group.chosen = group.chosen or bool(self.every.value)
        self._show()

    def _show(self) -> None:
        self.older.set_visibility(self._next is not None)
        self.bulk.set_visibility(bool(self.groups))
        self._boxes = []
        self.cards.clear()
        with self.cards:
            for group in self.groups:
                self._show_group(group)
            if not self.groups:
                is_narrowed = any(self.fields.said.values())
                empty(
                    "Nothing has failed like this" if is_narrowed else "Nothing has failed",
                    "Take the search away, or look at another kind."
                    if is_narrowed
                    else "What fails is gathered here, by its reason, and can be sent again.",
                )
        self._say_chosen()

    def _show_group(self, group: Group) -> None:
        with tag("section", "jb-card", style="margin-bottom:14px", aria_label=group.reason):
            with tag("div", "jb-row"):
                box = ui.checkbox(value=group.chosen).props("dense")
                box.props["aria-label"] = f"Choose {group.status} {group.reason}"
                box.on_value_change(lambda event: self._choose(group, chosen=bool(event.value)))
                self._boxes.append(box)
                words(grouped(group.things), "jb-number")
                status_chip(group.status)
                words(group.reason, "jb-mono jb-grow")
            shown = list(group.by_job.items())[:_JOBS_SHOWN]
            for job_id, (number, things) in shown:
                self._show_job(group, job_id, number, things)
            if len(group.by_job) > len(shown):
                rest = counted(len(group.by_job) - len(shown), "job")
                words(f"and {rest} more", "jb-quiet", as_="p")

    def _show_job(self, group: Group, job_id: str, number: int, things: list[str]) -> None:
        viewer = self.viewer
        with tag("div", "jb-row", style="margin-top:8px"):
            path = with_query(job_path(job_id), {"tab": "things", "status": group.status})
            with tag("a", href=viewer.link(path), data_row=""):
                words(f"{job_id} ({grouped(number)})")
            for thing in things:
                with tag("a", "jb-mono", href=viewer.link(execution_path(job_id, thing))):
                    words(thing)
            if number > len(things):
                words(f"and {grouped(number - len(things))} more", "jb-quiet")

    def _choose(self, group: Group, *, chosen: bool) -> None:
        group.chosen = chosen
        self._say_chosen()

    def _choose_all(self, event: ValueChangeEventArguments[Any]) -> None:
        for group, box in zip(self.groups, self._boxes, strict=True):
            group.chosen = bool(event.value)
            box.value = group.chosen

    @property
    def _asked(self) -> tuple[list[Group], list[str]]:
        """The groups that are chosen, and the jobs that they are of."""
        groups = [one for one in self.groups if one.chosen]
        return groups, sorted({job for one in groups for job in one.by_job})

    def _say_chosen(self) -> None:
        groups, jobs = self._asked
        total = sum(one.things for one in self.groups)
        every = {job for one in self.groups for job in one.by_job}
        more = "" if self._is_whole and self._next is None else ", and there are more"
        text = f"{counted(total, 'failure')} of {counted(len(every), 'job')}{more}"
        if groups:
            number = sum(one.things for one in groups)
            text = f"{counted(number, 'failure')} of {counted(len(jobs), 'job')} chosen, of {text}"
        self.chosen.say(text)
        if self.viewer.may("failures/retry"):
            self.again.set_enabled(bool(groups))

    async def _retry(self) -> None:
        groups, jobs = self._asked
        number = sum(one.things for one in groups)
        retry_id = f"again-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        body = await confirmed_sending(
            self.viewer,
            "failures/retry",
            f"Try {counted(number, 'failure')} of {counted(len(jobs), 'job')} again?",
            f"Things are sent the documents that they had: one new job for each document, followed as one, {retry_id}.",
            label="Try again",
            failures=[{"status": one.status, "reason": one.reason} for one in groups],
            jobIds=jobs,
            retryId=retry_id,
        )
        if body is not None:
            ui.navigate.to(with_query("/failures", {"retry": retry_id}))

    async def follow(self) -> None:
        """Read how far the jobs of a retry have come, and show them as one."""
        asked = {"tagKey": "retry", "tagValue": self.retry}
        body = await whole_page(self.viewer, "jobs/list", "jobs", _JOBS, **asked)
        jobs = body["jobs"]
        found = summed([counts(job) for job in jobs])
        total = sum(int(job.get("executionCount", 0)) for job in jobs)
        over = all("completedAt" in job for job in jobs)
        number = counted(len(jobs), "job")
        self.said.say(
            f"{grouped(ended(found))} of {counted(total, 'thing')} ended, in {number}"
            + (": over" if over and jobs else "")
        )
        self.bar.show(found, total)
        names = [job["jobId"] for job in jobs]
        if len(names) != len(self.links.default_slot.children):
            self._link(names, self.links)

    def _link(self, names: list[str], place: Tag) -> None:
        place.clear()
        with place:
            for name in names:
                with tag("a", href=self.viewer.link(job_path(name))):
                    words(name)
