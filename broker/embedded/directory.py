"""The data directory of `up`: who has it, its secrets, and what it told when it was ready."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from broker.atomic import replace_file

PRIVATE: Final = 0o600
_SECRET_BYTES: Final = 32


class DirectoryTakenError(Exception):
    """Another `up` has the directory; the text says which process, and since when."""


@contextlib.contextmanager
def taken(data_dir: Path) -> Iterator[None]:
    """Have a data directory to ourselves, made when it is missing.

    The lock is the kernel's, so that it ends with the process, however that ends.
    Raises DirectoryTakenError when another process has it.
    """
    # Others may walk in and not look around: servers of root run under accounts of their own.
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    with open(os.open(data_dir / "up.lock", os.O_RDWR | os.O_CREAT, PRIVATE), "r+") as file:  # noqa: PTH123 - Path.open can neither create without truncating nor set the mode
        if not _locked(file):
            raise DirectoryTakenError(
                f"{data_dir} is in use by `jobbroker up`, {file.read() or 'just started'}"
            )
        since = datetime.now(UTC).isoformat(timespec="seconds")
        file.truncate()
        file.write(f"process {os.getpid()} since {since}")
        file.flush()
        try:
            yield
        finally:
            (data_dir / "up.json").unlink(missing_ok=True)


def _locked(file: IO[str]) -> bool:
    # More than one try: `running_up` of a command may hold it for an instant.
    for _ in range(5):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.02)
    return False


def running_up(data_dir: Path) -> Mapping[str, Any] | None:
    """Return what the `up` that serves from a directory told when it was ready; None without one."""
    with contextlib.suppress(OSError, ValueError):
        with (data_dir / "up.lock").open("r+") as file, contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        told = json.loads((data_dir / "up.json").read_bytes())
        return told if isinstance(told, dict) else None
    return None


def tell(data_dir: Path, told: Mapping[str, object]) -> None:
    """Write up.json, by which the command line finds us; it holds passwords."""
    text = json.dumps(told, indent=2) + "\n"
    replace_file(data_dir / "up.json", text.encode(), mode=PRIVATE)


class Secrets:
    """The passwords and tokens of one data directory, in its file secrets.env, mode 0600."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "secrets.env"
        self._values = dict(_pairs(self._path))

    def get(self, name: str) -> str | None:
        """Return a secret that was kept; None when there is none."""
        return self._values.get(name)

    def keep(self, name: str, value: str) -> str:
        """Keep a secret on disk before anybody relies on it, and return it."""
        self._values[name] = value
        lines = ["# Written by `jobbroker up`. Who reads this file is the owner of the fleet."]
        lines += [f"{key}={held}" for key, held in sorted(self._values.items())]
        replace_file(self._path, ("\n".join(lines) + "\n").encode(), mode=PRIVATE)
        return value

    def made(self, name: str) -> str:
        """Return a secret, random and kept from its first use on."""
        return self.get(name) or self.keep(name, secrets.token_urlsafe(_SECRET_BYTES))


def _pairs(path: Path) -> Iterable[tuple[str, str]]:
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, equals, value = line.partition("=")
            if equals and not name.startswith("#"):
                yield name.strip(), value.strip()
