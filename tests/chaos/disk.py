"""A disk of its own for PostgreSQL, small enough to be filled: a file system in a file, else in memory, else none."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Final

_BYTES: Final = 6 * 1024**3
_LEFT_BYTES: Final = 64 * 1024


class SmallDisk:
    """Mounted on `place` between `mount` and `unmount`. `why_not` says why it could not be made."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.why_not: str | None = None
        self.kind = ""
        self._image = place.with_suffix(".img")

    async def mount(self) -> None:
        """Make and mount it: ext4 in a sparse file, or tmpfs; else say in `why_not` that it cannot be."""
        self.place.mkdir(parents=True)
        if os.geteuid() != 0:
            self.why_not = "mounting a small disk needs root"
            return
        self._image.touch()
        os.truncate(self._image, _BYTES)
        image, place = str(self._image), str(self.place)
        made = await _run("mkfs.ext4", "-q", "-F", "-m", "0", image)
        if not made and not await _run("mount", "-o", "loop", image, place):
            self.kind = "ext4"
            return
        self._image.unlink()
        problem = await _run("mount", "-t", "tmpfs", "-o", f"size={_BYTES // 4}", "chaos", place)
        if problem:
            self.why_not = f"no small disk can be mounted here: {problem}"
        else:
            self.kind = "tmpfs"

    def fill(self) -> None:
        """Take all that is free, but for some pages, by a ballast file."""
        with self._ballast.open("ab") as ballast:
            free = shutil.disk_usage(self.place).free - _LEFT_BYTES
            while free > 0:
                try:
                    os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), free)
                except OSError:  # what the file system itself needs is more than it says
                    free //= 2
                else:
                    free = shutil.disk_usage(self.place).free - _LEFT_BYTES

    def free(self) -> None:
        """Take the ballast away."""
        self._ballast.unlink(missing_ok=True)

    async def unmount(self) -> None:
        """Take it away with all that is on it."""
        if self.kind:
            self.why_not = await _run("umount", str(self.place)) or None
            if self.why_not:
                await _run("umount", "-l", str(self.place))
        self._image.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self.place / "ballast"


async def _run(*words: str) -> str:
    """Run a program; returns what was wrong, nothing when all was well."""
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        return f"{words[0]}: {error.strerror}"
    told, _ = await process.communicate()
    return (told.decode().strip() or f"{words[0]} failed") if process.returncode else ""
