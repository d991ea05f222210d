"""What can be done with a job: its buttons, and the questions before them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from nicegui import ui

from broker.console.api import sent_as
from broker.console.components import command_button, send, status_chip, tag, words
from broker.console.dialogs import confirmed, decided
from broker.console.links import clone_path
from broker.console.viewer import Viewer
from broker.console.words import counted, counts, ended
from schema.lifecycle import Status

_BAD: Final = (Status.FAILED, Status.TIMED_OUT, Status.REJECTED)


class Actions:
    """The status and the buttons, built where they stand; `read_again` follows what was done."""

    def __init__(
        self,
        viewer: Viewer,
        job_id: str,
        job: Mapping[str, Any],
        read_again: Callable[[], Awaitable[None]],
    ) -> None:
        """Build the places for them."""
        self.viewer = viewer
        self.job_id = job_id
        self.job = job
        self.read_again = read_again
        self._acted_on: object = None
        self.chip = tag("div")
        self.actions = tag("div", "jb-row")

    def show(self, job: Mapping[str, Any]) -> None:
        """Show what fits a job as it is now."""
        self.job = job
        found = counts(job)
        said = (job["status"], job.get("paused"), any(found[one] for one in _BAD))
        if said != self._acted_on:
            self._acted_on = said
            self._show_actions()

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
            if bad and job["status"] in {"IN_PROGRESS", "COMPLETED"}:
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
            "They get a new job with what this one says, without its schedule and stages."
            if self.job["status"] == "COMPLETED"
            else "Each has another execution of this job, before those who wait to be told.",
            sends,
            label="Try again",
        ):
            body = await send(self.viewer, "jobs/retry-failed", jobId=self.job_id)
            if body is not None:
                by = f" by the job {body['newJobId']}" if "newJobId" in body else ""
                ui.notify(
                    f"{counted(body['numberOfThings'], 'thing')} are tried again{by}",
                    type="positive",
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
        force = await decided(
            f"Cancel {self.job_id}?",
            consequence,
            sends,
            typed=self.job_id,
            label="Cancel the job",
            option="Also on things at work on it (force)",
        )
        if force is not None:
            await send(
                self.viewer, "jobs/cancel", "Canceled", jobId=self.job_id, force=force or None
            )
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
