"""A process that steps back, in one of its own: nobody can step forward again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_SAY = (
    "import os; from broker.priority import step_back; step_back({}); "
    "print(os.nice(0), os.sched_getscheduler(0))"
)


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux has batch processes")
@pytest.mark.parametrize(
    ("niceness", "becomes"), [(0, (0, "SCHED_OTHER")), (10, (10, "SCHED_BATCH"))]
)
def test_who_steps_back_waits_and_interrupts_nobody(
    niceness: int, becomes: tuple[int, str]
) -> None:
    """It is nicer by so much, and a batch process; with 0 it is left as it was."""
    program = [sys.executable, "-c", _SAY.format(niceness)]
    said = subprocess.run(program, capture_output=True, check=True, text=True).stdout
    nicer, policy = becomes
    reached = min(19, os.nice(0) + nicer)
    assert said.split() == [str(reached), str(getattr(os, policy))]
