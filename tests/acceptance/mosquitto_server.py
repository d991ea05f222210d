"""A real Mosquitto on a free loopback port, for tests of the link alone."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from pathlib import Path

_BASE = """\
user root
per_listener_settings false
set_tcp_nodelay true
persistence false
max_inflight_messages {receive_max}
max_queued_messages 0
"""


def free_port() -> int:
    """Return a loopback port nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MosquittoServer:
    """A child `mosquitto` with its own configuration; `start` and `stop` as often as wanted."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.configure()

    def configure(
        self,
        extra: str = "",
        *,
        listener: str = "",
        anonymous: bool = True,
        receive_max: int = 1000,
    ) -> None:
        """Write the configuration that the next `start` reads; `listener` lines follow its port."""
        access = f"allow_anonymous {str(anonymous).lower()}\n"
        text = _BASE.format(receive_max=receive_max) + access + extra
        text += f"listener {self.port} 127.0.0.1\n{listener}"
        (self.directory / "mosquitto.conf").write_text(text)

    async def start(self) -> None:
        """Start the child and wait until it accepts connections."""
        process = self._spawn()
        async with asyncio.timeout(10):
            while not await self._accepts():
                if process.poll() is not None:
                    raise RuntimeError(self.log()[-2000:])
                await asyncio.sleep(0.01)

    def _spawn(self) -> subprocess.Popen[bytes]:
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
        if program is None:
            raise FileNotFoundError("mosquitto is not installed")
        command = [program, "-c", str(self.directory / "mosquitto.conf")]
        with (self.directory / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        return self._process

    def stop(self) -> None:
        """Kill the child, if it runs, without a chance to say goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def log(self) -> str:
        """Return what the child wrote so far."""
        return (self.directory / "mosquitto.log").read_text()

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True
