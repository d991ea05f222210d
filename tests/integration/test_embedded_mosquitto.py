"""The Mosquitto that `up` runs as a child: which program is taken, what it may read, its end."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from broker.embedded import mosquitto
from broker.embedded.accounts import EmbeddedServerError
from broker.embedded.children import command_line
from broker.embedded.mosquitto import EmbeddedMosquitto, find_mosquitto, listeners
from broker.embedded.ports import LOOPBACK, free_ports
from tests.helpers import eventually
from tests.ports import reserved_port

STARTS_AND_WAITS = """
import asyncio, sys
from pathlib import Path
from broker.embedded.mosquitto import EmbeddedMosquitto

async def main():
    server = EmbeddedMosquitto(Path(sys.argv[1]))
    await server.start()
    print(server.pid, flush=True)
    await server.wait()

asyncio.run(main())
"""


def _configured(directory: Path, port: int) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "passwd").write_text("")
    config = directory / "mosquitto.conf"
    config.write_text(
        f"allow_anonymous false\npassword_file {directory}/passwd\npersistence true\n"
        f"persistence_location {directory}/data/\nlog_dest stderr\nlistener {port} {LOOPBACK}\n"
    )
    return config


def _program(path: Path, version: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho mosquitto version {version}\n")
    path.chmod(0o755)


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any Mosquitto; programs put into the returned directory are on PATH."""
    monkeypatch.setattr(mosquitto, "_SYSTEM_PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    return tmp_path


def test_none_and_old_ones_are_told_with_what_to_do(bare_machine: Path) -> None:
    """The error names the version needed, and what was found instead."""
    with pytest.raises(EmbeddedServerError, match=r"2\.0\.12 or newer: .*make install"):
        find_mosquitto()
    _program(bare_machine / "bin" / "mosquitto", "2.0.11")
    with pytest.raises(EmbeddedServerError, match=r"bin/mosquitto is 2\.0\.11"):
        find_mosquitto()


@pytest.mark.parametrize("place", ["venv/mosquitto", "cache/jobbroker/mosquitto"])
def test_an_unpacked_one_is_found_behind_an_old_one(bare_machine: Path, place: str) -> None:
    """Where the system's is too old, the one that `make install` unpacked is taken."""
    _program(bare_machine / "bin" / "mosquitto", "2.0.11")
    unpacked = bare_machine / place / "usr" / "sbin" / "mosquitto"
    _program(unpacked, "2.0.21")
    libraries = bare_machine / place / "usr" / "lib" / "any-machine"
    libraries.mkdir(parents=True)
    (libraries / "libmosquitto.so.1").touch()
    found = find_mosquitto()
    assert (found.path, found.version) == (unpacked, (2, 0, 21))
    assert found.env == {"LD_LIBRARY_PATH": str(libraries)}


def test_each_listener_is_reached_by_its_address(tmp_path: Path) -> None:
    """A listener on all addresses is waited for on loopback; comments and blank lines are none."""
    config = tmp_path / "mosquitto.conf"
    config.write_text(
        "# listener 1\n\nlistener 1883\nlistener 1884 0.0.0.0\nlistener 8883 ::\n"
        "listener 8884 127.0.0.2\nlog_dest stderr\n"
    )
    assert listeners(config) == [
        (LOOPBACK, 1883),
        (LOOPBACK, 1884),
        ("::1", 8883),
        ("127.0.0.2", 8884),
    ]


async def test_a_faulty_configuration_is_told_in_the_servers_words(tmp_path: Path) -> None:
    """A server that does not start is one error with the end of its log, at once."""
    config = _configured(tmp_path, reserved_port())
    config.write_text(config.read_text() + "no_such_thing true\n")
    server = EmbeddedMosquitto(config)
    with pytest.raises(EmbeddedServerError, match="no_such_thing"):
        await server.start()
    assert server.pid is None


async def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """A kill -9 of our process leaves no server behind that would keep the ports."""
    config = _configured(tmp_path, reserved_port())
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTS_AND_WAITS, str(config), stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    pid = int(await owner.stdout.readline())
    assert "mosquitto" in command_line(pid)
    owner.kill()
    await owner.wait()
    server = EmbeddedMosquitto(config)
    await server.start()
    await server.stop()
    await eventually(lambda: not command_line(pid))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
async def test_under_root_it_has_another_account_which_may_read_what_it_must(
    tmp_path: Path,
) -> None:
    """Its account owns what the configuration names, and gets no other file of the directory."""
    config = _configured(tmp_path, reserved_port())
    (tmp_path / "ca.key").write_text("secret")
    (tmp_path / "ca.key").chmod(0o600)
    server = EmbeddedMosquitto(config)
    await server.start()
    uid = Path(f"/proc/{server.pid}").stat().st_uid
    assert uid != 0
    passwd, data, key = (tmp_path / name for name in ("passwd", "data", "ca.key"))
    assert (passwd.stat().st_uid, stat.S_IMODE(passwd.stat().st_mode)) == (uid, 0o600)
    assert (data.stat().st_uid, stat.S_IMODE(data.stat().st_mode)) == (uid, 0o700)
    assert key.stat().st_uid == 0
    await server.stop()
    assert (data / "mosquitto.db").exists()


def test_free_ports_are_different() -> None:
    """Asked for together, ports are never the same one twice."""
    assert len(set(free_ports(50))) == 50
