"""A `jobbroker up` of a test's own: the process, where it listens, and its command line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

READY_SECONDS = 60.0
COMMAND_SECONDS = 30.0


@dataclass(slots=True)
class EmbeddedUp:
    """What runs: `told` is what `up --json` printed, `environment` what its commands need."""

    process: asyncio.subprocess.Process
    data_dir: Path
    told: dict[str, Any]
    environment: dict[str, str]

    @property
    def port(self) -> int:
        """Of the listener for names with tokens."""
        return _port(self.told["mqtt"])

    @property
    def tls_port(self) -> int:
        """Of the listener for certificates."""
        return _port(self.told["mqtts"])

    @property
    def operator_token(self) -> str:
        """Of the operator `admin`."""
        return unquote(urlsplit(self.told["operator"]).password or "")

    async def cli(self, *arguments: str) -> Any:  # noqa: ANN401 - what a command prints as JSON
        """Run a command with --json and return what it printed; raises AssertionError when it fails."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "broker",
            *arguments,
            "--json",
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(COMMAND_SECONDS):
            out, err = await process.communicate()
        assert process.returncode == 0, f"{arguments}: {err.decode()}"
        return json.loads(out)

    async def stop(self) -> int:
        """End it as ctrl-C would; return its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(READY_SECONDS):
            return await self.process.wait()


async def start_embedded_up(data_dir: Path) -> EmbeddedUp:
    """Start it on free ports and wait until it serves."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment["JOBBROKER_DATA_DIR"] = str(data_dir)
    with (data_dir.parent / f"{data_dir.name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "broker",
            "up",
            "--json",
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout
    async with asyncio.timeout(READY_SECONDS):
        line = await process.stdout.readline()
    assert line, (data_dir.parent / f"{data_dir.name}.log").read_text()
    return EmbeddedUp(process, data_dir, json.loads(line), environment)


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port
