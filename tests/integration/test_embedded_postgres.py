"""The PostgreSQL that `up` runs as a child: what it survives and what it refuses."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from broker.embedded.accounts import EmbeddedServerError
from broker.embedded.children import command_line
from broker.embedded.postgres import EmbeddedPostgres, connected
from tests.helpers import eventually
from tests.ports import reserved_port

STARTS_AND_WAITS = """
import asyncio, sys
from pathlib import Path
from broker.embedded.postgres import EmbeddedPostgres

async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]), durable=False)
    print(await server.start(), server.pid, flush=True)
    await server.wait()

asyncio.run(main())
"""


async def test_what_was_committed_is_there_after_a_kill(tmp_path: Path) -> None:
    """A kill -9 of the server loses nothing committed, and the next start recovers by itself."""
    server = EmbeddedPostgres(tmp_path / "postgres")
    async with connected(await server.start()) as connection:
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
    first = server.pid
    server.kill()
    await server.wait()
    async with connected(await server.start()) as connection:
        assert await connection.fetchval("SELECT number FROM kept") == 1
        assert await connection.fetchval("SHOW fsync") == "on"
    assert server.pid != first
    await server.stop()
    assert server.pid is None


async def test_it_keeps_its_port_though_a_killed_ones_session_lives_on(tmp_path: Path) -> None:
    """Its memory is held until that session has ended; who was told the address finds it there again."""
    server = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    address = await server.start()
    session = await asyncpg.connect(address)
    os.kill(session.get_server_pid(), signal.SIGSTOP)
    server.kill()
    await server.wait()
    starting = asyncio.create_task(server.start())
    try:
        await eventually(lambda: "pre-existing shared memory block" in server.log.read_text())
    finally:
        os.kill(session.get_server_pid(), signal.SIGCONT)
    assert await starting == address
    session.terminate()
    async with connected(address) as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await server.stop()


async def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """A kill -9 of our process leaves no server behind that would keep the directory."""
    owner = subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS, str(tmp_path / "postgres")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline().split()[1])
    assert "postgres" in command_line(pid)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    server = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    async with connected(await server.start()) as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await server.stop()
    await eventually(lambda: not command_line(pid))


async def test_a_stale_pid_of_another_program_is_no_hindrance(tmp_path: Path) -> None:
    """A pid file that by now names some other program neither ends it nor stops a start."""
    server = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    await server.start()
    server.kill()
    await server.wait()
    file = tmp_path / "postgres" / "cluster" / "postmaster.pid"
    _, *rest = file.read_text().splitlines()
    other = subprocess.Popen(["sleep", "60"])
    file.write_text("\n".join([str(other.pid), *rest]) + "\n")
    await server.start()
    assert other.poll() is None
    other.kill()
    other.wait()
    await server.stop()


async def test_without_the_password_nobody_enters(tmp_path: Path) -> None:
    """Loopback is shared with every account of the machine, so even there a password is asked."""
    server = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    url = await server.start()
    password = (tmp_path / "postgres" / "password").read_text()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(url.replace(password, "guess"))
    assert (tmp_path / "postgres" / "password").stat().st_mode & 0o077 == 0
    await server.stop()


async def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    """A given port in use ends in one error that holds the server's own words."""
    port = reserved_port()
    first = EmbeddedPostgres(tmp_path / "first", port=port, durable=False)
    await first.start()
    second = EmbeddedPostgres(tmp_path / "second", port=port, durable=False)
    with pytest.raises(EmbeddedServerError, match="Address already in use"):
        await second.start()
    assert second.pid is None
    await first.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
async def test_it_runs_without_root_also_below_roots_own_directory(tmp_path: Path) -> None:
    """Under root the server has another account, even where only root may walk."""
    tmp_path.chmod(0o700)
    server = EmbeddedPostgres(tmp_path / "closed" / "postgres", durable=False)
    await server.start()
    assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    await server.stop()


async def test_it_is_reached_through_a_socket_of_its_own(tmp_path: Path) -> None:
    """The near address is the same database, wants the password, and survives what a killed server left there."""
    server = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    await server.start()
    async with connected(server.near_url) as connection:
        assert await connection.fetchval("SELECT inet_server_addr()") is None
        assert await connection.fetchval("SELECT current_database()") == server.database
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.near_url.replace(":", ":x", 2).replace("x//", "//"))
    server.kill()
    await server.wait()
    # As if the number of the killed server's process were another process's by now.
    (lock,) = (tmp_path / "postgres" / "socket").glob("*.lock")
    lock.write_text(lock.read_text().replace(lock.read_text().split()[0], "1", 1))
    await server.start()
    async with connected(server.near_url) as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await server.stop()


async def test_a_directory_too_deep_for_sockets_is_reached_over_tcp(tmp_path: Path) -> None:
    """Where a socket's path would be too long, the near address is the other one."""
    deep = tmp_path / ("d" * 100)
    server = EmbeddedPostgres(deep / "postgres", durable=False)
    await server.start()
    assert server.near_url == server.url
    async with connected(server.near_url) as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await server.stop()
