"""The machine's Mosquitto, found and run as a child with a configuration file of ours.

Under root it runs as `mosquitto` (or `nobody`) from its first instruction, and the files that its
configuration names are handed to that account, so that it can read them again at each reload.
Nothing else beside them is: a CA's private key stays root's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from broker.embedded.accounts import (
    Account,
    EmbeddedServerError,
    launcher,
    unprivileged_account,
)
from broker.embedded.children import Child, end_leftover
from broker.embedded.ports import LOOPBACK

# Earlier ones do not take a listener's mount_point off again on the way out (ChangeLog of 2.0.12).
OLDEST = (2, 0, 12)
START_SECONDS = 15.0
_SYSTEM_PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", "/opt/homebrew/bin")
_SECRET_FILES = ("password_file", "acl_file", "keyfile", "psk_file")
_PUBLIC_FILES = ("cafile", "certfile", "crlfile")
_HOW_TO_GET = "`make install` tries to get one; or install the package `mosquitto` yourself"


@dataclass(frozen=True, slots=True)
class MosquittoProgram:
    """A usable `mosquitto`: its path, its version, and where its own libraries are, if unpacked."""

    path: Path
    version: tuple[int, int, int]
    libraries: Path | None = None

    @property
    def env(self) -> dict[str, str]:
        """What the environment needs beside the usual."""
        return {"LD_LIBRARY_PATH": str(self.libraries)} if self.libraries else {}


def find_mosquitto() -> MosquittoProgram:
    """Return the first Mosquitto that is new enough: of PATH, of the system, else an unpacked one.

    Raises EmbeddedServerError saying what was found instead and what to do.
    """
    too_old = []
    for program in _candidates():
        if program.version >= OLDEST:
            return program
        too_old.append(f"{program.path} is {'.'.join(map(str, program.version))}")
    found = f" ({'; '.join(too_old)})" if too_old else ""
    wanted = ".".join(map(str, OLDEST))
    raise EmbeddedServerError(f"no Mosquitto of version {wanted} or newer{found}: {_HOW_TO_GET}")


def unpacked_places() -> list[Path]:
    """Return where `.ci/ensure-mosquitto` unpacks a Mosquitto that nobody installed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [Path(sys.prefix) / "mosquitto", cache / "jobbroker" / "mosquitto"]


def _candidates() -> Iterator[MosquittoProgram]:
    on_path = shutil.which("mosquitto")
    system = [Path(place) / "mosquitto" for place in _SYSTEM_PLACES]
    for path in dict.fromkeys([*([Path(on_path)] if on_path else []), *system]):
        if os.access(path, os.X_OK) and (version := _version_of(path, {})):
            yield MosquittoProgram(path, version)
    for root in unpacked_places():
        path = root / "usr" / "sbin" / "mosquitto"
        libraries = next(root.glob("usr/lib/*/libmosquitto.so.1"), path).parent
        env = {"LD_LIBRARY_PATH": str(libraries)}
        if os.access(path, os.X_OK) and (version := _version_of(path, env)):
            yield MosquittoProgram(path, version, libraries)


def _version_of(path: Path, env: dict[str, str]) -> tuple[int, int, int] | None:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        answer = subprocess.run(
            [path, "-h"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            env={**os.environ, **env},
        )
        if told := re.search(r"mosquitto version (\d+)\.(\d+)\.(\d+)", answer.stdout):
            major, minor, patch = map(int, told.groups())
            return major, minor, patch
    return None


class EmbeddedMosquitto:
    """One Mosquitto in the foreground with the configuration file `config`.

    What it prints goes to `log` (default: mosquitto.log beside the configuration), so the
    configuration should log to stderr. The ports are those of its `listener` lines.
    """

    def __init__(
        self, config: Path, *, log: Path | None = None, program: MosquittoProgram | None = None
    ) -> None:
        self.config = config.absolute()
        self.log = log or self.config.with_name("mosquitto.log")
        self.program = program or find_mosquitto()
        self._pid_file = self.config.with_name("mosquitto.pid")
        self._child = Child("Mosquitto", self.log)

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs, else None."""
        return self._child.pid

    async def start(self) -> None:
        """Start the server and wait until each of its listeners accepts connections.

        A server that an earlier, killed run left with the same configuration is ended first.
        Raises EmbeddedServerError with the end of the server's log when it does not start.
        """
        account = unprivileged_account("mosquitto")
        await self._end_leftover()
        hand_over(self.config, account)
        reach = (self.config.parent, self.program.path.parent)
        words = launcher(account, reach=reach, death=signal.SIGTERM)
        command = [*words, str(self.program.path), "-c", str(self.config)]
        await self._child.start(command, env=self.program.env)
        self._pid_file.write_text(f"{self.pid}\n", encoding="ascii")
        try:
            await self._child.until(self._accepts, START_SECONDS)
        except EmbeddedServerError:
            await self.stop()
            raise

    def reload(self) -> None:
        """Have the server read its users, rules and revocations again.

        Call it after the files were written: they are handed to the server's account first. Only
        clients whose user is gone are dropped.
        """
        hand_over(self.config, unprivileged_account("mosquitto"))
        self._child.send(signal.SIGHUP)

    async def stop(self) -> None:
        """Stop the server, which saves its sessions. Harmless when stopped."""
        await self._child.end((signal.SIGTERM, 15.0))
        self._pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """End the server as a power cut would, for tests of what survives it."""
        self._child.send(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait until the server process has ended, for whatever reason; return its exit code."""
        return await self._child.wait()

    async def _accepts(self) -> bool:
        for host, port in listeners(self.config):
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                return False
            writer.close()
        return True

    async def _end_leftover(self) -> None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid = int(self._pid_file.read_text(encoding="ascii"))
            marks = ("mosquitto", str(self.config))
            await end_leftover(pid, marks=marks, how=signal.SIGTERM)


def directives(config: Path) -> list[tuple[str, str]]:
    """Return the (name, value) lines of a configuration file, in order."""
    lines = (line.strip() for line in config.read_text(encoding="utf-8").splitlines())
    words = (line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    return [(pair[0], pair[1] if len(pair) > 1 else "") for pair in words]


def listeners(config: Path) -> list[tuple[str, int]]:
    """Return the (host, port) at which each listener of a configuration is reached from here."""
    found = []
    for name, value in directives(config):
        if name == "listener":
            port, _, host = value.partition(" ")
            found.append((_reachable(host.strip()), int(port)))
    return found


def _reachable(host: str) -> str:
    return {"": LOOPBACK, "0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound to


def hand_over(config: Path, account: Account | None) -> None:
    """Let `account` read the files that a configuration names, and write where it keeps sessions.

    Without an account (not root) only that directory is made.
    """
    for name, value in directives(config):
        path = Path(value)
        if name == "persistence_location":
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if account is None:
            continue
        if name == "persistence_location":
            for each in (path, *path.iterdir()):
                # Never through a link: what is in there is for the server's account to say.
                os.chown(each, account.uid, account.gid, follow_symlinks=False)
        elif name in _SECRET_FILES and path.is_file():
            _give(path, account, 0o600)
        elif name in _PUBLIC_FILES and path.is_file():
            path.chmod(0o644)


def _give(path: Path, account: Account, mode: int) -> None:
    os.chown(path, account.uid, account.gid)
    path.chmod(mode)
