"""CPU seconds and memory of processes, as Linux counts them in /proc; elsewhere nothing is known."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_KILO = 1024
# Fields of /proc/PID/stat, counted from behind the name in brackets (proc(5) counts from 1).
_PARENT, _USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM = 1, 11, 12, 13, 14
_RESET_PEAK = "5"


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the CPU time of each named process since its start, with all that it started."""
    children = _children()
    return {name: _cpu_of(pid, children) for name, pid in pids.items()}


def _cpu_of(pid: int, children: Mapping[int, list[int]]) -> float:
    fields = _stat(pid)
    if fields is None:
        return 0.0
    # Ended children are counted by their parent, living ones by themselves.
    wanted = (_USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM)
    own = sum(int(fields[at]) for at in wanted) / _TICKS
    return own + sum(_cpu_of(child, children) for child in children.get(pid, ()))


def peak_megabytes(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the most memory that each named process had since `forget_peaks`, in 10^6 bytes.

    With children (PostgreSQL) it is each one's own memory, and once what they share.
    """
    children = _children()
    return {name: round(_peak_of(pid, children) / 1e6, 1) for name, pid in pids.items()}


def _peak_of(pid: int, children: Mapping[int, list[int]]) -> int:
    family = [pid, *children.get(pid, ())]
    if len(family) == 1:
        return _status(pid).get("VmHWM", 0)
    found = [_status(one) for one in family]
    own = sum(one.get("RssAnon", 0) for one in found)
    return own + max(one.get("RssShmem", 0) + one.get("RssFile", 0) for one in found)


def forget_peaks(pids: Mapping[str, int]) -> None:
    """Let the highest memory use be counted from now on."""
    for pid in pids.values():
        with contextlib.suppress(OSError):
            (_PROC / str(pid) / "clear_refs").write_text(_RESET_PEAK)


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for pid in _pids():
        fields = _stat(pid)
        if fields is not None:
            found.setdefault(int(fields[_PARENT]), []).append(pid)
    return found


def _pids() -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from (int(one.name) for one in _PROC.iterdir() if one.name.isdigit())


def _stat(pid: int) -> list[str] | None:
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return None


def _status(pid: int) -> dict[str, int]:
    found = {}
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            name, _, value = line.partition(":")
            number, _, unit = value.strip().partition(" ")
            if unit == "kB":
                found[name] = int(number) * _KILO
    return found
