"""Watching a job until it ends: a bar by status on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from broker.cli.callers import Caller
from broker.cli.outcome import Exit, Failure, remark
from broker.cli.outlook import Outlook

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

# Events come in swarms: at least so long lies between two looks.
LEAST_SECONDS: Final = 0.25
PATIENCE_SECONDS: Final = 30.0
_WIDTH: Final = 32
# In the order of the bar: what is done first.
_STATUSES: Final = {
    "Succeeded": "green",
    "Failed": "red",
    "Rejected": "magenta",
    "TimedOut": "yellow",
    "Canceled": "bright_black",
    "Removed": "bright_black",
    "InProgress": "cyan",
    "Queued": "white",
}
_OVER: Final = ("COMPLETED", "CANCELED", "DELETION_IN_PROGRESS")

Job = Mapping[str, Any]


def counts(job: Job) -> dict[str, int]:
    """How many executions have which status, by AWS's names without their frame (`Succeeded`)."""
    details = job.get("jobProcessDetails", {})
    return {name: int(details.get(f"numberOf{name}Things", 0)) for name in _STATUSES}


def told(job: Job) -> str:
    """A job's state in one line: its status and the counts that are not zero."""
    return f"{job['jobId']} {job['status']}: {_counted(job)}"


def exit_of(job: Job) -> Exit:
    """Whether a job that ended did what it was for: all its executions SUCCEEDED."""
    seen = counts(job)
    well = job["status"] == "COMPLETED" and seen["Succeeded"] == sum(seen.values())
    return Exit.OK if well else Exit.UNSUCCESSFUL


def is_over(job: Job) -> bool:
    """Whether nothing will change any more: a canceled job's executions may still finish."""
    seen = counts(job)
    return job["status"] in _OVER and seen["InProgress"] + seen["Queued"] == 0


class Bar:
    """Shows a job's counts as they change, on stderr; use as a context manager."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._last = ""
        self._outlook = Outlook()

    def __enter__(self) -> Self:
        """Take the terminal, when there is one."""
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the bar as it was last."""
        if self._live is not None:
            self._live.stop()

    def show(self, job: Job) -> None:
        """Show the job as it is now, and how it goes on."""
        line = told(job)
        outlook = self._outlook.of(job, time.monotonic())
        if self._live is not None:
            self._live.update(bar(job, outlook))
        elif line != self._last:
            remark("; ".join([line, *outlook]))
        self._last = line


def bar(job: Job, outlook: Sequence[str] = ()) -> Text:
    """A bar of 32 cells, each colour a status with its share of them, and words behind it: counts, and the outlook."""
    from rich.text import Text

    seen = counts(job)
    total = sum(seen.values())
    text = Text(no_wrap=True, overflow="ellipsis")
    drawn, so_far = 0, 0
    for name, colour in _STATUSES.items():
        so_far += seen[name]
        end = _WIDTH * so_far // total if total else 0
        text.append(("░" if name == "Queued" else "█") * (end - drawn), style=colour)
        drawn = end
    text.append("░" * (_WIDTH - drawn), style="white")
    text.append(f" {'; '.join([_counted(job), *outlook])}")
    return text


async def watch(caller: Caller, job_id: str, *, timeout: float | None) -> dict[str, Any]:
    """Show a job until it is over and return it as it was last.

    Raises Failure with the exit code for timeouts after `timeout` seconds, Refused (not found) for
    a job that does not exist or was deleted meanwhile.
    """
    try:
        async with asyncio.timeout(timeout):
            with Bar() as shown:
                while True:
                    job = await _patiently(caller, job_id)
                    shown.show(job)
                    if is_over(job):
                        return job
                    await asyncio.sleep(LEAST_SECONDS)
                    await caller.wait(job_id)
    except TimeoutError:
        raise Failure(f"{job_id} is not over after {timeout:g} s", Exit.TIMEOUT) from None


async def _patiently(caller: Caller, job_id: str) -> dict[str, Any]:
    # The database or the broker may be restarted while somebody watches.
    from handlers.database import TRANSIENT

    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE_SECONDS
    while True:
        try:
            return await get_job(caller, job_id)
        except TRANSIENT:
            if loop.time() > until:
                raise
            await asyncio.sleep(LEAST_SECONDS)


async def get_job(caller: Caller, job_id: str) -> dict[str, Any]:
    """A job with its counts and without its document. Raises Refused when there is none."""
    asked = {"includeDocument": False, "includeExecutions": False}
    body = await caller.call("jobs/get", asked, job_id=job_id)
    job: dict[str, Any] = body["job"]
    # Where its stages are stands beside the job, which has what was asked for.
    return {**job, "stageStates": body["stages"]} if "stages" in body else job


def _counted(job: Job) -> str:
    some = [f"{count} {_words(name)}" for name, count in counts(job).items() if count]
    return ", ".join(some) or "no executions"


def _words(name: str) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
