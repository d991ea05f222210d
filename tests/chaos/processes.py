"""Processes and their descendants as Linux shows them: PostgreSQL is a family, and each member must feel the blow."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from pathlib import Path
from typing import Final

from broker.embedded.ports import is_free

_PARENT: Final = 1  # in /proc/PID/stat, counted from behind the name in brackets
_PORTS: Final = (15_000, 32_000)


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


def quiet_ports(count: int) -> list[int]:
    """Return free ports below those that the system gives to outgoing connections.

    A server that is away must find its port again: a client that dials it meanwhile could be given that very port for
    its own end, and be connected to itself.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.randint(*_PORTS)  # noqa: S311 - no secret
        if port not in found and is_free(port):
            found.append(port)
    return found
