"""The README's tour, run as it is written: each fenced block marked `up`, `tour`, `boto3` or `sdk`, word for word.

Two things are different from a reader's machine. The ports 18830, 18883 and 18800 are replaced by free
ones, in every line. And `.venv` in the working directory is a stand-in whose `activate` puts the
Python that runs the tests on PATH.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import aiomqtt
import pytest

from tests.acceptance.running_broker import run_command
from tests.helpers import eventually
from tests.ports import reserved_ports

ROOT = Path(__file__).parents[2]
PATIENCE = 180.0
PORTS = ("18830", "18883", "18800")  # without TLS, for certificates, for HTTP
pytestmark = [
    pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="an installation without README"),
    pytest.mark.skipif(
        shutil.which("mosquitto_rr") is None, reason="needs the programs of mosquitto-clients"
    ),
]


def blocks(mark: str) -> list[str]:
    """The README's fenced blocks of that mark."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(rf"^```bash {mark}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no block that begins with ```bash {mark}"
    return found


@dataclass(slots=True)
class Terminal:
    """A reader's shell: what is typed into it, and all that was seen on it so far."""

    shell: Process
    ports: dict[str, str]
    seen: str = ""
    reading: asyncio.Task[None] | None = None
    typed: int = field(default=0)

    @classmethod
    async def open(cls, directory: Path, ports: dict[str, str]) -> Terminal:
        """Start a shell that stops at the first thing that fails."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        shell = await asyncio.create_subprocess_exec(
            *("bash", "--norc", "-eu", "-o", "pipefail"),
            cwd=directory,
            env=kept,
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
        )
        terminal = cls(shell, ports)
        terminal.reading = asyncio.create_task(terminal._read())
        return terminal

    async def _read(self) -> None:
        assert self.shell.stdout
        while read := await self.shell.stdout.read(4096):
            self.seen += read.decode()

    def type(self, text: str) -> None:
        """Give the shell lines, with this run's ports in them."""
        assert self.shell.stdin
        for written, used in self.ports.items():
            text = text.replace(written, used)
        self.shell.stdin.write(text.encode())

    async def run(self, text: str) -> None:
        """Give the shell a block and wait until all of it was done well."""
        self.typed += 1
        self.type(f"{text}\necho block {self.typed} is done\n")
        await self.shows(f"block {self.typed} is done")

    async def shows(self, text: str) -> None:
        """Wait until a text stands on it; what stands there else is in the error."""

        def is_there() -> bool:
            if text in self.seen:
                return True
            if self.shell.returncode is not None:
                raise RuntimeError(f"the shell ended without {text!r}:\n{self.seen}")
            raise AssertionError(f"no {text!r} in:\n{self.seen}")

        await eventually(is_there, timeout=PATIENCE)

    async def close(self) -> None:
        """End the shell and what it left in the background."""
        with suppress(ProcessLookupError):
            os.killpg(self.shell.pid, signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            await self.shell.wait()
        if self.reading is not None:
            await self.reading


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory as after `make`: with .venv and examples."""
    directory = tmp_path_factory.mktemp("clone")
    activate = directory / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f'PATH="{Path(sys.executable).parent}:$PATH"\n')
    (directory / "examples").symlink_to(ROOT / "examples")
    return directory


@pytest.fixture(scope="module")
def ports() -> dict[str, str]:
    """The README's ports, each with the one used here."""
    return dict(zip(PORTS, map(str, reserved_ports(len(PORTS))), strict=True))


@pytest.fixture(scope="module")
async def up(clone: Path, ports: dict[str, str]) -> AsyncIterator[Terminal]:
    """Terminal one, where everything runs."""
    terminal = await Terminal.open(clone, ports)
    (block,) = blocks("up")
    terminal.type(block)
    await terminal.shows("ready mqtt://")
    yield terminal
    os.kill(json.loads((clone / "data" / "up.json").read_text())["pid"], signal.SIGTERM)
    assert terminal.shell.stdin
    terminal.shell.stdin.close()
    async with asyncio.timeout(PATIENCE):
        assert await terminal.shell.wait() == 0, terminal.seen
    await terminal.close()


@pytest.fixture
async def terminal(clone: Path, ports: dict[str, str]) -> AsyncIterator[Terminal]:
    """Terminal two, for the rest."""
    terminal = await Terminal.open(clone, ports)
    yield terminal
    await terminal.close()


async def until_heard(clone: Path, terminal: Terminal) -> None:
    """Wait until both listeners listen: say something to them, as the broker may, until it is heard."""
    url = urlsplit(json.loads((clone / "data" / "up.json").read_text())["broker_mqtt"])
    name, password = (unquote(part or "") for part in (url.username, url.password))
    server = aiomqtt.Client(
        str(url.hostname), url.port or 0, username=name, password=password, timeout=PATIENCE
    )
    async with server as client:

        async def heard() -> bool:
            await client.publish("default/$aws/things/pump-1/jobs/notify-next", "is-anybody-there")
            await client.publish("default/$aws/events/job/probe/probe", "is-anybody-there")
            return all(f"{end} is-anybody-there" in terminal.seen for end in ("next", "probe"))

        await eventually(heard, timeout=PATIENCE)


async def test_the_tour_works_as_written(
    up: Terminal, terminal: Terminal, clone: Path, ports: dict[str, str]
) -> None:
    """Every line of the tour succeeds, and its reader sees what the README says."""
    mqtt, mqtts, http = ports.values()
    ready = f"ready mqtt://127.0.0.1:{mqtt} mqtts://127.0.0.1:{mqtts} http://127.0.0.1:{http}"
    assert ready in up.seen
    register, listen, *rest = blocks("tour")
    await terminal.run(register)
    assert "fail" not in terminal.seen
    await terminal.run(listen)
    await until_heard(clone, terminal)
    for block in rest:
        await terminal.run(block)
    for operation in ("queued", "in_progress", "succeeded"):
        await terminal.shows(f"$aws/events/jobExecution/reboot-1/{operation} ")
    await terminal.shows("$aws/events/job/reboot-1/completed ")
    await terminal.shows('jobs/notify-next {"execution":{"jobId":"reboot-1"')
    assert '"status":"IN_PROGRESS","queuedAt"' in terminal.seen
    assert '"clientToken":"any-1"' in terminal.seen
    assert "reboot-1 COMPLETED: 1 succeeded" in terminal.seen
    (block,) = blocks("boto3")
    await terminal.run(f"export AWS_EC2_METADATA_DISABLED=true\n{block}")
    await terminal.shows("\nIN_PROGRESS\n")


async def test_the_device_on_awss_sdk_works_as_written(
    up: Terminal, terminal: Terminal, clone: Path
) -> None:
    """The README's lines for AWS's SDK make a certificate and a device that does jobs."""
    terminal.type("source .venv/bin/activate\nexport JOBBROKER_DATA_DIR=data\n")
    (block,) = blocks("sdk")
    terminal.type(block)
    environment = {"PATH": os.environ["PATH"], "JOBBROKER_DATA_DIR": str(clone / "data")}

    async def created() -> str:
        document = ("--document-json", '{"operation":"reboot"}')
        ended = await run_command(
            environment, "jobs", "create", "--target", "thing/pump-2", *document, "--json"
        )
        assert ended.code == 0, ended.err
        return str(json.loads(ended.out)["jobId"])

    job_id = await eventually(created, timeout=PATIENCE)
    await terminal.shows(f"done: {job_id}")
