"""Processes that this one starts, watches and ends: a server in the foreground with a log file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from broker.embedded.accounts import EmbeddedServerError

POLL_SECONDS = 0.02
LOG_BYTES = 10 * 1024 * 1024
_TOLD_LINES = 12


class Child:
    """One server process: started in a session of its own, so that a ctrl-C is ours to pass on."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        return self._process.pid if self.is_running() and self._process else None

    def is_running(self) -> bool:
        """Tell whether the process was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self, command: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
        """Start the process; what it prints is added to the log file."""
        turn_over(self.log)
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    async def until(self, ready: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Wait until `ready` says so.

        Raises EmbeddedServerError with the end of the log when the process ends before or the
        seconds run out.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.is_running():
                    if await ready():
                        return
                    await asyncio.sleep(POLL_SECONDS)
        how = f"was not ready after {seconds:g} s" if self.is_running() else "ended at once"
        raise EmbeddedServerError(f"{self.name} {how}; its log {self.log} ends:\n{self.tail()}")

    async def wait(self) -> int:
        """Wait until the process has ended; return its exit code (negative: by that signal)."""
        return await self._process.wait() if self._process else 0

    def send(self, what: signal.Signals) -> None:
        """Send the process a signal; nothing happens when it has ended."""
        if self._process is not None and self.is_running():
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(what)

    async def end(self, *ways: tuple[signal.Signals, float]) -> None:
        """Send each signal and give it its seconds, until the process ends; SIGKILL at last."""
        for what, seconds in (*ways, (signal.SIGKILL, 10.0)):
            self.send(what)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.wait(), seconds)
                return

    def tail(self) -> str:
        """Return the last lines of the log."""
        with contextlib.suppress(FileNotFoundError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            return "\n".join(f"  {line}" for line in lines[-_TOLD_LINES:])
        return "  (nothing)"


def turn_over(log: Path) -> None:
    """Begin a new log file when this one has grown large; one older one is kept beside it."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))


def command_line(pid: int) -> str:
    """Return the command line of a process, or an empty text when there is none."""
    if Path("/proc/self/cmdline").exists():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            return b" ".join(words).decode(errors="replace")
        return ""
    answer = subprocess.run(
        ["/bin/ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip()


async def end_leftover(pid: int, *, marks: Sequence[str], how: signal.Signals) -> bool:
    """End a server that an earlier, killed process left running; return whether it is one of ours.

    It is ours only when its command line holds all `marks` (the program and our directory): a pid
    from a file may long belong to somebody else.
    Raises EmbeddedServerError when it does not end within 30 s.
    """

    def is_ours() -> bool:
        line = command_line(pid)
        return bool(line) and all(mark in line for mark in marks)

    if not is_ours():
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)
    try:
        async with asyncio.timeout(30):
            while is_ours():  # noqa: ASYNC110 - not our child: there is no event of its end to wait for
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise EmbeddedServerError(
            f"process {pid}, left by an earlier run, does not end: end it and start again"
        ) from None
    return True
