"""Replacing a file so that a reader sees the old content or the new, never half of one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def replace_file(path: Path, data: bytes, *, mode: int) -> bool:
    """Make `path` hold `data` with permission bits `mode`; return whether anything was written.

    Written beside `path`, flushed to disk and renamed over it. A file that holds `data` already
    is left alone. As root, the owner of the file replaced keeps the new one. Raises OSError as the
    file system does.
    """
    if _holds(path, data):
        return False
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            _keep_owner(path, file.fileno())
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    return True


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except FileNotFoundError:
        return False


def _keep_owner(path: Path, handle: int) -> None:
    if os.geteuid() == 0 and path.exists():
        status = path.stat()
        os.fchown(handle, status.st_uid, status.st_gid)
