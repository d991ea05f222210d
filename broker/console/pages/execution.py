"""A job on one thing: what happened when, what it reported, and what can be done about it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Final

from nicegui import ui

from broker.console.api import ApiError, sent_as
from broker.console.components import (
    at,
    code_block,
    command_button,
    facts,
    heading,
    section,
    send,
    status_chip,
    tag,
    words,
)
from broker.console.copies import job_as_created
from broker.console.dialogs import confirmed
from broker.console.event_log import EventLog
from broker.console.feed import Event, Feeds
from broker.console.links import job_path, thing_path
from broker.console.viewer import Live, Viewer
from broker.console.words import ENDED, lasting, word
from schema.lifecycle import Status


async def show(viewer: Viewer, feeds: Feeds, job_id: str, thing: str) -> None:
    """Build the page. Raises ApiError when there is no such execution."""
    page = _Execution(viewer, job_id, thing)
    await page.read()
    page.build()
    page.render()
    live = Live(viewer, page.refresh)
    page.read_again = live.now
    viewer.client.on_delete(feeds.listen(viewer, page.hear))


class _Execution:
    def __init__(self, viewer: Viewer, job_id: str, thing: str) -> None:
        self.viewer = viewer
        self.job_id = job_id
        self.thing = thing
        self.one: dict[str, Any] = {}
        self.heard = (0, 0)  # the attempt and the version of the last report in the log
        self.read_again = self.refresh

    async def read(self) -> None:
        """Read the execution."""
        body = await self.viewer.look(
            "jobs/executions/get", jobId=self.job_id, thingName=self.thing
        )
        self.one = body["execution"]

    async def refresh(self) -> None:
        """Read again, and show it if it has changed."""
        before = self.one
        await self.read()
        if self.one != before:
            self.render()
            # Of a busy fleet not each report is told: what it came to is.
            self._take(
                {
                    "jobId": self.job_id,
                    "thingArn": self.one["thingArn"],
                    "timestamp": self.one["lastUpdatedAt"],
                    "operation": self.one["status"].lower(),
                    **self.one,
                }
            )

    def build(self) -> None:
        """The frame of the page."""
        with tag("div", "jb-head"):
            with tag("div", "jb-grow"):
                heading(f"{self.job_id} on {self.thing}")
                with tag("div", "jb-row"):
                    with tag("a", href=self.viewer.link(job_path(self.job_id))):
                        words("The job")
                    with tag("a", href=self.viewer.link(thing_path(self.thing))):
                        words("The thing")
            self.chip = tag("div")
            self.actions = tag("div", "jb-row")
        with tag("div", "jb-grid"):
            with tag("div", "jb-card"):
                section("Timeline")
                self.timeline = tag("ol", "jb-timeline")
            with tag("div", "jb-card"):
                section("Facts")
                self.facts = tag("div")
            with tag("div", "jb-card jb-span"):
                section("Reports, as they come in")
                self.log = EventLog(self.viewer, "Reports", "Nothing since this page was opened.")
                self.heard = _version(self.one)

    def render(self) -> None:
        """Show what was read."""
        one = self.one
        self.chip.clear()
        with self.chip:
            status_chip(one["status"])
        self.timeline.clear()
        with self.timeline:
            self._times()
        self.facts.clear()
        with self.facts:
            facts(
                self.viewer,
                [
                    ("Attempt", one["executionNumber"]),
                    ("Version", one["versionNumber"]),
                    ("Retries before", one.get("retryAttempt")),
                    ("Forced", "yes" if one.get("forceCanceled") else None),
                    ("Time left", _left(one)),
                ],
            )
            details = one.get("statusDetails")
            if details:
                words("Details", "jb-quiet", as_="p")
                code_block(json.dumps(details, indent=2, ensure_ascii=False), "the details")
        self.actions.clear()
        with self.actions:
            self._buttons()

    def _times(self) -> None:
        before = None
        for entry in self.one.get("timeline", []):
            when, what = entry["at"], entry["what"]
            after = "" if before is None else f"{lasting(when - before)} later"
            details = entry.get("statusDetails") or {}
            said = ", ".join(
                f"{key}: {'taken away' if value is None else value}"
                for key, value in details.items()
            )
            self._step(
                _ENTRIES.get(what, word(what)), when, " - ".join(filter(None, (after, said)))
            )
            before = when
        if self.one["status"] not in ENDED:
            with tag("li", "jb-later"):
                words("Not over yet", "jb-quiet")

    def _step(self, what: str, when: float, more: str = "") -> None:
        with tag("li"):
            words(f"{what} ")
            at(self.viewer, when, "jb-quiet")
            if more:
                words(more, "jb-sub")

    def _buttons(self) -> None:
        names = {"jobId": self.job_id, "thingName": self.thing}
        status = self.one["status"]
        if status in ENDED and status != Status.SUCCEEDED:
            command_button(
                self.viewer, "Retry", "jobs/create", self._retry, icon="replay", kind="unelevated"
            )
        if status not in ENDED:
            command_button(
                self.viewer,
                "Cancel",
                "jobs/executions/cancel",
                self._cancel,
                icon="block",
                names=names,
            )
        command_button(
            self.viewer,
            "Delete",
            "jobs/executions/delete",
            self._delete,
            icon="delete",
            names=names,
        )

    async def _retry(self) -> None:
        """A job of the same document for this thing alone: the job that is over stays as it ended."""
        try:
            body = await self.viewer.call("jobs/get", jobId=self.job_id, includeExecutions=False)
        except ApiError as error:
            ui.notify(error.message, type="negative")
            return
        again = f"{self.job_id[:40]}-retry-{int(time.time())}"
        made = job_as_created(body["job"], body["document"], job_id=again)
        made["targets"] = [self.viewer.arn("thing", self.thing)]
        made["targetSelection"] = "SNAPSHOT"
        made["description"] = f"{self.job_id} again, for {self.thing}"
        for whole in ("abortConfig", "schedulingConfig", "jobExecutionsRolloutConfig"):
            made.pop(whole, None)
        if await send(self.viewer, "jobs/create", **made) is not None:
            ui.navigate.to(job_path(again))

    async def _cancel(self) -> None:
        is_running = self.one["status"] == Status.IN_PROGRESS
        sends = sent_as("jobs/executions/cancel", {"jobId": self.job_id, "thingName": self.thing})
        consequence = (
            "The thing is at work on it: it is told that this is over, by force."
            if is_running
            else "The thing will not get it."
        )
        if await confirmed(f"Cancel it on {self.thing}?", consequence, sends, label="Cancel it"):
            await send(
                self.viewer,
                "jobs/executions/cancel",
                "Canceled",
                jobId=self.job_id,
                thingName=self.thing,
                force=True if is_running else None,
            )
            await self.read_again()

    async def _delete(self) -> None:
        sends = sent_as("jobs/executions/delete", {"jobId": self.job_id, "thingName": self.thing})
        if await confirmed(
            "Delete this execution?", "It goes for good, and the job counts it no more.", sends
        ):
            done = await send(
                self.viewer,
                "jobs/executions/delete",
                jobId=self.job_id,
                thingName=self.thing,
                executionNumber=self.one["executionNumber"],
                force=True if self.one["status"] == Status.IN_PROGRESS else None,
            )
            if done is not None:
                ui.navigate.to(job_path(self.job_id))

    def hear(self, event: Event) -> None:
        """Take an event of the stream; those of this job on this thing are shown."""
        mine = event.get("jobId") == self.job_id and str(event.get("thingArn", "")).endswith(
            f"/{self.thing}"
        )
        if mine:
            self._take(event)

    def _take(self, event: Event) -> None:
        if _version(event) > self.heard or event.get("operation") == "deleted":
            self.heard = _version(event)
            self.log.hear(event)


_ENTRIES: Final = {
    "QUEUED": "Queued",
    "NOTIFY_SENT": "Told: the MQTT server has acknowledged the notification",
    "IN_PROGRESS": "At work",
}


def _version(one: Mapping[str, Any]) -> tuple[int, int]:
    """Where in the execution's course an event, or what was read, belongs."""
    return int(one.get("executionNumber", 1)), int(one.get("versionNumber", 0))


def _left(one: dict[str, Any]) -> str:
    seconds = one.get("approximateSecondsBeforeTimedOut")
    return "" if seconds is None else lasting(float(seconds))
