"""What is done to several jobs at once: the buttons, and the question with what it touches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from nicegui import ui

from broker.console.api import ApiError, sent_as
from broker.console.components import command_button, tag, words
from broker.console.dialogs import decided
from broker.console.viewer import Viewer
from broker.console.words import counted, counts, ended, summed
from schema.lifecycle import Status


@dataclass(frozen=True, slots=True)
class _Action:
    verb: str
    label: str
    icon: str
    is_typed: bool = False
    option: str = ""


_ACTIONS: Final = (
    _Action("jobs/pause", "Pause", "pause"),
    _Action("jobs/resume", "Resume", "play_arrow"),
    _Action(
        "jobs/cancel",
        "Cancel",
        "block",
        is_typed=True,
        option="Also on things at work on it (force)",
    ),
    _Action("jobs/delete", "Delete", "delete", is_typed=True),
)


class Bulk:
    """The bar above the jobs, built where it stands; `show` says which are chosen."""

    def __init__(self, viewer: Viewer, done: Callable[[], Awaitable[None]]) -> None:
        """Take who looks, and what follows when something was done."""
        self.viewer = viewer
        self._done = done
        self._jobs: list[Mapping[str, Any]] = []
        with tag("div", "jb-bulk") as self._bar:
            self._said = words("", "jb-grow")
            for one in _ACTIONS:
                command_button(
                    viewer,
                    one.label,
                    one.verb,
                    partial(self._do, one),
                    icon=one.icon,
                    names={"jobId": "{each}"},
                )

    def show(self, jobs: Sequence[Mapping[str, Any]]) -> None:
        """Show that these are chosen, and what they hold."""
        self._jobs = list(jobs)
        self._bar.set_visibility(bool(jobs))
        self._said.say(f"{counted(len(jobs), 'job')} chosen, {_held(jobs)}")

    async def _do(self, action: _Action) -> None:
        jobs = self._jobs
        force = await decided(
            f"{action.label} {counted(len(jobs), 'job')}?",
            touched(action.verb, jobs),
            sent_as(action.verb, {"jobId": "{each of them}"}),
            typed=f"{action.label.lower()} {len(jobs)}" if action.is_typed else "",
            label=action.label,
            option=action.option,
        )
        if force is None:
            return
        refused = []
        for job in jobs:
            is_forced = force or (action.verb == "jobs/delete" and job["status"] == "IN_PROGRESS")
            more = {"force": True} if is_forced else {}
            try:
                await self.viewer.call(action.verb, jobId=job["jobId"], **more)
            except ApiError as error:
                refused.append(f"{job['jobId']}: {error.message}")
        if len(refused) < len(jobs):
            done = counted(len(jobs) - len(refused), "job")
            ui.notify(f"{action.label}: {done}", type="positive")
        for text in refused[:5]:
            ui.notify(text, type="negative", timeout=8000, close_button="Close")
        await self._done()


def _held(jobs: Sequence[Mapping[str, Any]]) -> str:
    return counted(sum(int(job.get("executionCount", 0)) for job in jobs), "execution")


def touched(verb: str, jobs: Sequence[Mapping[str, Any]]) -> str:
    """What a command does to these jobs, with the numbers of what it touches."""
    found = summed([counts(job) for job in jobs])
    total = sum(int(job.get("executionCount", 0)) for job in jobs)
    working = found[Status.IN_PROGRESS]
    waiting = max(0, total - ended(found) - working)
    match verb:
        case "jobs/pause":
            return f"{counted(waiting, 'thing')} that did not begin wait until they are resumed."
        case "jobs/resume":
            return f"They go on: {counted(waiting, 'thing')} did not begin yet."
        case "jobs/cancel":
            return (
                f"{counted(waiting, 'thing')} will not get them; "
                f"{counted(working, 'thing')} at work may finish, unless forced."
            )
        case _:
            return (
                f"They go for good, with {counted(total, 'execution')}; "
                f"{counted(working, 'thing')} at work on them are told that they are gone."
            )
