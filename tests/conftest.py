"""The servers and databases that tests ask for; which servers, tests/servers.py tells."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from broker.embedded.postgres import connected
from handlers.database import create_pool
from handlers.migrate import migrate
from tests.servers import (
    Choice,
    MosquittoServer,
    PostgresServer,
    choose,
    describe,
    make_mosquitto,
    make_postgres,
)

if TYPE_CHECKING:
    from handlers.database import Pool

CHOICE = pytest.StashKey[Choice]()
# How long one example takes, to draw or to try, is the machine's business: a busy one is no failure. The same code is
# tried with the same examples, so that a run says the same twice; what is drawn anew each time is `make fuzz`.
settings.register_profile(
    "jobbroker", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("jobbroker")
SERVERS = "JOBBROKER_TEST_SERVERS"
TEMPLATE = "jobbroker_template"
LONGEST = {"test_plans.py", "test_thousand.py", "test_soak.py", "test_console.py"}
LOGIN, LOGIN_PASSWORD = "jobbroker_login", "of-a-test"


@dataclass(frozen=True, slots=True)
class Database:
    """One test's own database: `url` as the application logs in, `admin_url` as superuser."""

    name: str
    url: str
    admin_url: str


def pytest_configure(config: pytest.Config) -> None:
    """Decide once for each process of the run; a broker started by a test must not find our setting among its."""
    config.stash[CHOICE] = choose(os.environ.get(SERVERS, "auto"))
    starts_workers = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if not starts_workers:  # they are told by the environment
        os.environ.pop(SERVERS, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that the workers end together; units, which are short, come last anyhow."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_report_header(config: pytest.Config) -> str:
    """Say which servers the run uses."""
    return describe(config.stash[CHOICE])


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Choice:
    """Where this run's servers come from."""
    return request.config.stash[CHOICE]


@pytest.fixture(scope="session")
async def postgres_server(
    servers: Choice, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[PostgresServer]:
    """The PostgreSQL that all tests share; leave it running (`own_postgres` may be stopped)."""
    server = make_postgres(servers, tmp_path_factory.mktemp("shared"))
    await server.start()
    yield server
    await server.remove()


@pytest.fixture(scope="session")
async def template_database(postgres_server: PostgresServer) -> str:
    """The name of a database with all migrations, to be cloned; nobody stays connected to it."""
    await _prepare(postgres_server, TEMPLATE)
    return TEMPLATE


@pytest.fixture
async def database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncIterator[Database]:
    """A migrated database of the test's own."""
    async with clone(postgres_server, template_database) as database:
        yield database


@asynccontextmanager
async def clone(server: PostgresServer, template: str) -> AsyncIterator[Database]:
    """A database made from a template, dropped afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    async with connected(server.url_of("postgres")) as admin:
        await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield _database(server, name)
    finally:
        async with connected(server.url_of("postgres")) as admin:
            await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """The application's connections to the test's database, in the serving role."""
    pool = await create_pool(database.url)
    yield pool
    await pool.close()


@pytest.fixture
async def admin(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection to the test's database, which row-level security does not bind."""
    async with connected(database.admin_url) as connection:
        yield connection


@pytest.fixture
async def own_postgres(
    servers: Choice, tmp_path: Path
) -> AsyncIterator[tuple[PostgresServer, Database]]:
    """A PostgreSQL of the test's own, to stop and start, with one migrated database."""
    server = make_postgres(servers, tmp_path)
    await server.start()
    await _prepare(server, "jobbroker_own")
    yield server, _database(server, "jobbroker_own")
    await server.remove()


StartMosquitto = Callable[[str, Mapping[str, str]], Awaitable[MosquittoServer]]


@pytest.fixture
async def mosquitto_server(servers: Choice, tmp_path: Path) -> AsyncIterator[StartMosquitto]:
    """Start Mosquittos: call it with a configuration and the other files by name.

    `{directory}` in the configuration is replaced by where the files are (a directory of this
    server alone). Listeners name free ports on 127.0.0.1. Each server is ended after the test.
    """
    async with mosquittos(servers, tmp_path) as start:
        yield start


@asynccontextmanager
async def mosquittos(servers: Choice, place: Path) -> AsyncIterator[StartMosquitto]:
    """Start Mosquittos, as `mosquitto_server` says, which end with this."""
    started: list[MosquittoServer] = []

    async def start(config: str, files: Mapping[str, str]) -> MosquittoServer:
        directory = place / f"mosquitto-{len(started)}"
        directory.mkdir()
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8")
        path = directory / "mosquitto.conf"
        path.write_text(config.replace("{directory}", str(directory)), encoding="utf-8")
        server = make_mosquitto(servers, path)
        started.append(server)
        await server.start()
        return server

    try:
        yield start
    finally:
        for server in started:
            await server.remove()


async def _prepare(server: PostgresServer, name: str) -> None:
    async with connected(server.url_of("postgres")) as connection:
        await connection.execute(f'CREATE DATABASE "{name}"')
    async with connected(server.url_of(name)) as connection:
        await migrate(connection)
        await connection.execute(f"CREATE ROLE {LOGIN} LOGIN PASSWORD '{LOGIN_PASSWORD}'")
        await connection.execute(f"GRANT jobbroker_serve TO {LOGIN}")


def _database(server: PostgresServer, name: str) -> Database:
    admin_url = server.url_of(name)
    parts = urlsplit(admin_url)
    netloc = f"{LOGIN}:{LOGIN_PASSWORD}@{parts.hostname}:{parts.port}"
    return Database(name, urlunsplit(parts._replace(netloc=netloc)), admin_url)
