"""Runs under faults and kills: what a run says was released is held nowhere, and what it does not say is left."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.simulator.things_stack import masks, seeding
from broker.simulator.things_stack.faults import USUAL, Kind
from handlers import run_ledger
from handlers.database import Pool
from tests.conftest import Database
from tests.integration.run_site import Site, run_site

CLUSTERS = ("eu1", "nam1", "au1")
REGISTRIES = ("is", "ns", "as", "js")
MOST_STINTS = 400
_SAID = """
    SELECT dev_eui FROM ttn_run_devices
    WHERE run_id = $1 AND verify_status = 'OK' AND dev_eui IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Planted:
    """A device as a drawn case has it: where it is, and where its entry at the identity server says, if it does."""

    host: str
    registries: frozenset[str]
    has_eui: bool
    said: str | None


@dataclass(frozen=True, slots=True)
class Case:
    """One drawn case.

    rate, faults: each request may go wrong, until so many did. bursts: so many requests in a row that do, by method and
    what is in their path. kills: after how many moments, each counted from the last, a worker dies.
    """

    devices: tuple[Planted, ...]
    admin: bool
    seed: int
    rate: float
    faults: int
    bursts: tuple[tuple[str, str, Kind, int], ...]
    kills: tuple[int, ...]


_PLANTED = st.builds(
    Planted,
    host=st.sampled_from(CLUSTERS),
    registries=st.sets(st.sampled_from(REGISTRIES[1:])).map(lambda some: frozenset(some) | {"is"}),
    has_eui=st.sampled_from((True, True, True, False)),
    said=st.sampled_from((*CLUSTERS, None)),
)
_CASES = st.builds(
    Case,
    devices=st.lists(_PLANTED, max_size=5).map(tuple),
    admin=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
    rate=st.sampled_from((0.0, 0.05, 0.2, 0.5)),
    faults=st.integers(0, 40),
    bursts=st.lists(
        st.tuples(
            st.sampled_from(("DELETE", "GET", "*")),
            st.sampled_from(("/as/", "/ns/", "/js/", "/applications/", "device-1", "device-2")),
            st.sampled_from(USUAL),
            st.integers(1, 12),
        ),
        max_size=4,
    ).map(tuple),
    kills=st.lists(st.integers(1, 60), max_size=4).map(tuple),
)


def _drawn() -> list[Case]:
    """What hypothesis draws, collected first: its tests are not asynchronous."""
    found: list[Case] = []

    @settings(max_examples=20, database=None, suppress_health_check=list(HealthCheck))
    @given(_CASES)
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


@dataclass(slots=True)
class Reaper:
    """Ends workers at drawn moments: ahead of an HTTP call, and on either side of what is written down.

    All that the worker has under way ends at once, wherever it is, as when its process is killed.
    """

    kills: list[int]
    victim: asyncio.Task[bool] | None = None
    _left: int = field(init=False)

    def __post_init__(self) -> None:
        """Wait for the first."""
        self._next()

    def _next(self) -> None:
        self._left = self.kills.pop(0) if self.kills else -1

    def moment(self, _of: object = None) -> None:
        """Let one moment pass; it may be the worker's last."""
        self._left -= 1
        if self._left == 0 and self.victim is not None:
            self.victim.cancel()
            self._next()

    def around(self, write: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """The same with a moment before it, and one between the commit and whoever waits for it."""

        async def written(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - as the original
            self.moment()
            done = await write(*given, **named)
            self.moment()
            return done

        return written


@pytest.fixture
async def base(pool: Pool, database: Database) -> AsyncIterator[Site]:
    """A server and a database for many organizations."""
    async with run_site(pool, database) as site:
        yield site


async def _site_of(base: Site, number: int, case: Case) -> tuple[Site, UUID]:
    """The case's organization, its fleet and its connection, on the server that all cases share."""
    stack = base.server.stack
    made = seeding.tenant(stack, f"case{number}", admin=case.admin)
    for index, planted in enumerate(case.devices, start=1):
        entry = seeding.device(
            stack,
            (made.application.id, f"device-{index}"),
            seeding.eui_of(number * 100 + index) if planted.has_eui else None,
            host=planted.host,
            registries=planted.registries,
            addresses=False,
        )
        if planted.said is not None:
            address = stack.hosts[planted.said].address
            entry |= dict.fromkeys(masks.SERVER_ADDRESSES, address)
    site = Site(base.server, base.pool, base.database, base.ring, made)
    organization = uuid4()
    await site.connect(organization=organization)
    return site, organization


async def _live(site: Site, run_id: str, reaper: Reaper) -> dict[str, Any]:
    """Work on a run until it has ended, with a new worker after each death, and never believe it blindly."""
    for _ in range(MOST_STINTS):
        worker = site.worker(before=reaper.moment)
        reaper.victim = asyncio.create_task(worker.run_once())
        await asyncio.wait([reaper.victim])
        await worker.close()
        if not reaper.victim.cancelled():
            reaper.victim.result()
        await _says_nothing_untrue(site, run_id)
        run = await site.run(run_id)
        if run["status"] not in {"QUEUED", "RUNNING"}:
            return run
    raise AssertionError(f"run {run_id} does not end: {run}")


async def _says_nothing_untrue(site: Site, run_id: str) -> None:
    said = {row["dev_eui"] for row in await site.desk.rows(_SAID, UUID(run_id))}
    run = await site.run(run_id)
    said |= set(run["summary"].get("released_euis", ()))
    for topic, body in site.told:
        if run_id in topic:
            said |= set(body.get("released_euis", ()))
    assert not said & site.held(), f"released, and held: {said & site.held()}"


def _says_what_is_left(site: Site, case: Case, number: int, run: dict[str, Any]) -> None:
    """Every EUI is told as released or as failed, none as both, and what is held is among the failed.

    A run that failed before it had listed a device knows of none: it says why, and that nothing is released.
    """
    planted = {
        seeding.eui_of(number * 100 + index)
        for index, each in enumerate(case.devices, start=1)
        if each.has_eui
    }
    failed, released = set(run["failed_euis"]), set(run["released_euis"])
    assert not failed & released
    if run["status"] == "FAILED" and not run["summary"]["devices_found"]:
        assert run["error"], run
        assert not released
        assert run["summary"]["db_cleared"] is False
        return
    assert (planted & site.held()) <= failed, run
    if run["status"] == "SUCCEEDED":
        assert (failed, released) == (set(), planted)
        assert run["summary"]["devices_found"] == len(case.devices)
        application = site.server.stack.find("application", site.application)
        assert application is None, "the application is still there"
    else:
        assert (
            run["error"] or failed or run["summary"]["failed_devices"] or run["summary"]["reasons"]
        )
        assert run["summary"]["db_cleared"] is False


@pytest.fixture
def reaped(monkeypatch: pytest.MonkeyPatch) -> Callable[[Reaper], None]:
    """Let a reaper stand beside everything that is written of runs."""

    def stand(reaper: Reaper) -> None:
        for name in ("claim", "save", "end"):
            monkeypatch.setattr(run_ledger, name, reaper.around(_ORIGINALS[name]))

    return stand


_ORIGINALS = {name: getattr(run_ledger, name) for name in ("claim", "save", "end")}


# Whoever is ended in the middle of connecting leaves a socket behind, as a killed process does to its system.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_no_run_says_released_of_what_is_held(
    base: Site, reaped: Callable[[Reaper], None]
) -> None:
    """Whatever goes wrong and whenever workers die: nothing untrue meanwhile; when faults stop, all is done."""
    statuses = set()
    for number, case in enumerate(_drawn(), start=1):
        site, organization = await _site_of(base, number, case)
        reaper = Reaper(list(case.kills))
        reaped(reaper)
        faults = base.server.faults
        faults.at_random(case.seed, case.rate, USUAL, most=case.faults)
        for method, part, kind, times in case.bursts:
            faults.next(method, f"*{part}*", kind, times)
        run_id = await site.deprovision(organization_id=str(organization))
        run = await _live(site, run_id, reaper)
        _says_what_is_left(site, case, number, run)
        faults.stop()
        statuses.add(run["status"])
        if run["status"] != "SUCCEEDED":
            assert run["status"] in {"PARTIAL", "FAILED"}, case
            again = await site.deprovision(organization_id=str(organization))
            run = await _live(site, again, reaper)
        assert run["status"] == "SUCCEEDED", (case, run)
    assert "SUCCEEDED" in statuses
    gc.collect()  # here, where such sockets are expected
