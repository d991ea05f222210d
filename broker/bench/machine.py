"""What the numbers were measured on."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from broker.bench.figures import percentile
from broker.embedded.mosquitto import find_mosquitto

_SYNCS = 50
_PAGE = 8192


def describe(directory: Path) -> dict[str, Any]:
    """Return the machine, its load before we began, the programs, and the disk of `directory`."""
    mosquitto = ".".join(map(str, find_mosquitto().version))
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_average_before": round(os.getloadavg()[0], 2),
        "filesystem": _filesystem(directory),
        "sync_ms": round(_sync_seconds(directory) * 1000, 3),
        "python": platform.python_version(),
        "jobbroker": version("jobbroker"),
        "mosquitto": mosquitto,
    }


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _filesystem(directory: Path) -> str:
    """The kind of file system that a directory is on: durable means nothing on tmpfs."""
    best, kind = "", "unknown"
    with contextlib.suppress(OSError):
        for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
            mounted, found = line.split()[1:3]
            inside = directory.resolve().is_relative_to(mounted)
            if inside and len(mounted) >= len(best):
                best, kind = mounted, found
    return kind


def _sync_seconds(directory: Path) -> float:
    """How long the disk takes to have one page of a log for certain: the floor of each commit."""
    path = directory / "sync"
    took = []
    with path.open("wb") as file:
        for _ in range(_SYNCS):
            file.write(bytes(_PAGE))
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno()) if hasattr(os, "fdatasync") else os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    path.unlink()
    return percentile(sorted(took), 0.5)
