"""A process that steps back: others have the cores first."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

_AUTOGROUP: Final = Path("/proc/self/autogroup")


def step_back(niceness: int) -> None:
    """Have this process wait for others where the cores are all in use; 0: leave it as it is, 19: wait for everybody.

    Linux may share the cores out by session first, and counts niceness only inside one (sched(7), "The autogroup
    feature"): a process that leads a session of its own has that stand back as well. And it is a batch process there
    (sched(7), SCHED_BATCH): when it wakes up it waits for who is at work to be done, instead of interrupting them.
    """
    if niceness <= 0:
        return
    reached = os.nice(niceness)
    if hasattr(os, "SCHED_BATCH"):  # Linux alone has it
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # a kernel without it, or who may not write there
            _AUTOGROUP.write_text(str(reached), encoding="ascii")
