"""Serving as a whole process does it: the broker, and the MQTT server's access files beside it."""

from __future__ import annotations

import asyncio
import gc
import resource
from collections.abc import Callable
from typing import Final

import structlog

from broker.access import AccessFiles, reload_by_pid_file
from broker.ca import CertificateAuthority
from broker.runtime import serve
from broker.settings import Settings
from handlers.credentials import load_access
from handlers.database import Pool, create_pool
from schema.access import DEFAULT_TENANT, AccessSnapshot

OPEN_FILES: Final = 65536

log = structlog.get_logger(__name__)


async def serve_with_access(
    settings: Settings, *, stop: asyncio.Event, on_ready: Callable[[], None]
) -> None:
    """Serve until `stop`; with settings.access_dir, keep the MQTT server's files current as well.

    They are current before anything is served, so whoever `on_ready` is told to may connect.
    Raises what `broker.runtime.serve` raises, and AuthorityMissingError.
    """
    _collect_garbage_rarely()
    if settings.access_dir is None:
        await serve(settings, stop=stop, on_ready=on_ready)
        return
    pool = await create_pool(settings.database_url.get_secret_value(), size=1)
    try:
        files = access_files(settings, pool)
        files.prepare()
        try:
            await files.run_once()
        except ProcessLookupError as error:
            # It reads them when it starts; until then there is nobody to let in.
            log.warning("mqtt_server_not_reloaded", reason=str(error))
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(files.run(), name="access")
            await serve(settings, stop=stop, on_ready=on_ready, on_access=files.announce)
            keeping.cancel()
    finally:
        await pool.close()


def _collect_garbage_rarely() -> None:
    # What a batch makes is gone by its end without the collector, which would look through it again and again: 4 % of
    # our time under load (py-spy). What is there before the first request stays, and need not be looked at ever again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def access_files(settings: Settings, pool: Pool) -> AccessFiles:
    """The files that `settings` describe, filled from the database. Raises AuthorityMissingError."""
    if settings.access_dir is None:
        raise ValueError("access_dir is not set")
    pid_file = settings.mqtt_pid_file

    async def load() -> AccessSnapshot:
        async with pool.acquire() as connection:
            return await load_access(connection)

    def reload() -> None:
        if pid_file is not None:
            reload_by_pid_file(pid_file)

    return AccessFiles(
        settings.access_dir,
        load=load,
        reload=reload,
        broker_password=settings.mqtt.password or "",
        authorities=_authorities(settings),
        topics_mode=settings.mqtt_topics.value,
    )


def _authorities(settings: Settings) -> dict[str, CertificateAuthority]:
    root = settings.authority_dir
    found = {DEFAULT_TENANT: CertificateAuthority.open(root)}
    for place in sorted(root.glob("tenants/*/ca.crt")):
        found[place.parent.name] = CertificateAuthority.open(place.parent)
    return found


def allow_many_files() -> int:
    """Raise this process's limit of open files as far as it may itself; return the new limit.

    Each MQTT connection is an open file; children inherit the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return soft
