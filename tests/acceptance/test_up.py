"""`jobbroker up`: one process with everything below it, and one directory with everything in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.acceptance.mqtt_probe import Probe
from tests.acceptance.running_broker import READY_SECONDS, clean_environment, running_up
from tests.conftest import Database
from tests.helpers import PATIENCE, eventually

READY = re.compile(
    "ready" + "".join(rf" {one}://127\.0\.0\.1:\d+" for one in ("mqtt", "mqtts", "http")) + "\n"
)


@asynccontextmanager
async def up_process(
    environment: Mapping[str, str], *arguments: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """An `up` and the first line it printed; ended when the block is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "broker",
        "up",
        *(() if "--console" in arguments else ("--no-console",)),
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout
    try:
        async with asyncio.timeout(READY_SECONDS):
            line = await process.stdout.readline()
        yield process, line.decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def is_running(pid: int) -> bool:
    """Whether a process lives; one that ended and was not yet waited for does not."""
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False


def told(data_dir: Path) -> dict[str, object]:
    """What up.json says."""
    found = json.loads((data_dir / "up.json").read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_one_line_when_it_serves_and_nothing_left_when_it_ends(
    tmp_path: Path, how: signal.Signals
) -> None:
    """It prints its one ready line, and a signal ends it and its children with exit code 0."""
    async with up_process(clean_environment(tmp_path / "data")) as (process, line):
        assert READY.fullmatch(line)
        pids = told(tmp_path / "data")["pids"]
        assert isinstance(pids, dict)
        assert sorted(pids) == ["Mosquitto", "PostgreSQL"]
        assert all(is_running(pid) for pid in pids.values())
        process.send_signal(how)
        assert await asyncio.wait_for(process.wait(), READY_SECONDS) == 0
        assert not any(is_running(pid) for pid in pids.values())
        assert not (tmp_path / "data" / "up.json").exists()


async def test_it_says_where_everything_is_and_keeps_secrets(tmp_path: Path) -> None:
    """up.json has the servers' addresses, data_dir and ca_file; what holds secrets is for the owner alone."""
    async with running_up(tmp_path):
        object_ = told(tmp_path / "data")
        assert {"mqtt", "mqtts", "broker_mqtt", "database", "data_dir", "ca_file"} <= set(object_)
        assert object_["data_dir"] == str(tmp_path / "data")
        certificate = Path(str(object_["ca_file"])).read_bytes()
        assert certificate.startswith(b"-----BEGIN CERTIFICATE-----")
        for name in ("secrets.env", "up.json", "ca/ca.key"):
            assert (tmp_path / "data" / name).stat().st_mode & 0o777 == 0o600, name


async def test_a_second_up_says_who_has_the_directory(tmp_path: Path) -> None:
    """It ends with exit code 4 and one sentence with the other's process and time."""
    async with running_up(tmp_path) as broker:
        ended = await broker.run("up")
        assert ended.code == 4
        assert re.search(
            rf"in use by `jobbroker up`, process {broker.pid} since \d{{4}}-", ended.err
        )
        assert "Traceback" not in ended.err
        assert (await broker.run("health")).code == 0


async def test_a_restart_keeps_ports_data_and_credentials(tmp_path: Path) -> None:
    """Devices find it where it was, with their tokens still good."""
    async with running_up(tmp_path) as broker:
        login = await broker.add_thing("stays")
        before = broker.admin_token
    async with running_up(tmp_path) as again:
        assert again.token_port == login.port
        assert again.admin_token == before
        async with Probe(login):
            pass


async def test_children_end_with_a_killed_parent_and_the_next_up_copes(tmp_path: Path) -> None:
    """A kill -9 of `up` leaves no server behind, and what was committed is there afterwards."""
    async with running_up(tmp_path) as broker:
        await broker.add_thing("survivor")
        pids = told(tmp_path / "data")["pids"]
        assert isinstance(pids, dict)
        await broker.kill()
        await eventually(lambda: not any(is_running(pid) for pid in pids.values()))
        await broker.start()
        assert [one["thingName"] for one in await broker.cli("things", "list")] == ["survivor"]


@pytest.mark.parametrize("which", ["Mosquitto", "PostgreSQL"])
async def test_a_crashed_child_is_started_again(tmp_path: Path, which: str) -> None:
    """A server that dies alone comes back, and the broker with it."""
    async with running_up(tmp_path) as broker:
        pids = told(tmp_path / "data")["pids"]
        assert isinstance(pids, dict)
        os.kill(pids[which], signal.SIGKILL)

        async def answers() -> bool:
            listed = await broker.run("jobs", "list", "--as", broker.operator_url)
            return listed.code == 0

        await eventually(answers)


async def test_a_running_database_is_used_when_it_is_named(
    tmp_path: Path, database: Database
) -> None:
    """With JOBBROKER_DATABASE_URL no PostgreSQL is started."""
    named = {
        "JOBBROKER_DATABASE_URL": database.url,
        "JOBBROKER_MIGRATION_URL": database.admin_url,
    }
    async with running_up(tmp_path, **named) as broker:
        pids = told(tmp_path / "data")["pids"]
        assert isinstance(pids, dict)
        assert list(pids) == ["Mosquitto"]
        assert broker.database == database.url
        assert (await broker.run("health")).code == 0


async def test_another_address_is_in_the_certificate(tmp_path: Path) -> None:
    """--host binds the listeners with TLS there, and clients can verify them by that name."""
    async with running_up(tmp_path) as broker:
        login = await broker.add_thing_with_certificate("elsewhere", tmp_path)
    environment = clean_environment(tmp_path / "data")
    async with up_process(environment, "--host", "127.0.0.2") as (_, line):
        url = urlsplit(line.split()[2])
        assert url.hostname == "127.0.0.2"
        context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
        assert login.certificate
        context.load_cert_chain(*login.certificate)
        _, writer = await asyncio.open_connection("127.0.0.2", url.port, ssl=context)
        writer.close()


async def test_plain_topics_serve_everything_too(tmp_path: Path) -> None:
    """With JOBBROKER_MQTT_TOPICS=plain nothing is mounted, and the whole way works the same."""
    async with running_up(tmp_path, JOBBROKER_MQTT_TOPICS="plain") as broker:
        assert "mount_point" not in (tmp_path / "data/mosquitto/mosquitto.conf").read_text()
        states = {one["what"]: one["state"] for one in await broker.cli("check")}
        assert (states["round trip"], states["HTTP"]) == ("ok", "ok")


async def test_an_unknown_setting_is_named_with_what_it_may_mean(tmp_path: Path) -> None:
    """A misspelt variable ends `up` with exit code 2 before anything is started."""
    environment = clean_environment(tmp_path / "data") | {"JOBBROKER_LOG_LEVLE": "debug"}
    async with up_process(environment) as (process, line):
        assert line == ""
        assert await process.wait() == 2
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(find_spec("nicegui") is None, reason="the console is not installed")
async def test_the_console_comes_and_goes_with_it(tmp_path: Path) -> None:
    """Its address is the second line; it asks this broker's API, and outlives no `up`, however that ends."""
    environment = clean_environment(tmp_path / "data")
    async with (
        httpx.AsyncClient(timeout=PATIENCE) as http,
        up_process(environment, "--console") as (process, line),
    ):
        assert READY.fullmatch(line)
        assert process.stdout
        second = (await process.stdout.readline()).decode()
        assert re.fullmatch(r"console http://127\.0\.0\.1:\d+/\n", second)
        address = second.split()[1]

        async def answers() -> bool:
            try:
                return (await http.get(f"{address}healthz")).text == "ok"
            except httpx.TransportError:
                return False

        assert await eventually(answers)
        assert str(told(tmp_path / "data")["http"]) in (await http.get(f"{address}sign-in")).text
        process.kill()

        async def is_gone() -> bool:
            return not await answers()

        assert await eventually(is_gone)
