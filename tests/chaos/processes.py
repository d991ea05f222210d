"""Processes and their descendants as Linux shows them: PostgreSQL is a family, and each member must feel the blow."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Final

_PARENT: Final = 1  # in /proc/PID/stat, counted from behind the name in brackets


def family(pid: int) -> list[int]:
    """A process and all its descendants, parents first."""
    children: dict[int, list[int]] = {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[_PARENT]), []).append(int(place.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def send(pid: int, what: signal.Signals) -> None:
    """Send a signal to a process and all its descendants, its parents first."""
    for one in family(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, what)
