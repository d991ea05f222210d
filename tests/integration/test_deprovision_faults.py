"""Runs under faults and kills: what a run says was released is held nowhere, and what it does not say is left."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest

from broker.simulator.things_stack import seeding
from broker.simulator.things_stack.faults import USUAL
from handlers import run_ledger
from handlers.database import Pool
from tests.conftest import Database
from tests.integration.fault_cases import Case, Deed, World, drawn
from tests.integration.run_site import Site, run_site

MOST_STINTS = 400
_SAID = """
    SELECT dev_eui FROM ttn_run_devices
    WHERE run_id = $1 AND verify_status = 'OK' AND dev_eui IS NOT NULL
"""
_REFUSED = "the key is refused: 401"


@dataclass(slots=True)
class Fate:
    """Lets deeds happen at drawn moments: ahead of an HTTP call, and on either side of what is written down.

    When a worker dies, all that it has under way ends at once, wherever it is, as when its process is killed.
    """

    world: World
    deeds: list[tuple[int, Deed]]
    victim: asyncio.Task[bool] | None = None
    cancels: bool = False
    _left: int = field(init=False)

    def __post_init__(self) -> None:
        """Wait for the first."""
        self._left = self.deeds[0][0] if self.deeds else -1

    def moment(self, _of: object = None) -> None:
        """Let one moment pass; it may be the worker's last."""
        self._left -= 1
        if self._left or not self.deeds:
            return
        _, deed = self.deeds.pop(0)
        self._left = self.deeds[0][0] if self.deeds else -1
        self.cancels = self.cancels or deed is Deed.CANCEL
        if deed not in (Deed.KILL, Deed.CANCEL):
            self.world.act(deed)
        elif self.victim is not None:
            self.victim.cancel()

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


async def _site_of(base: Site, number: int, case: Case) -> tuple[Site, World, dict[str, object]]:
    """The case's organization with its fleet, on the server that all cases share, and what is asked for."""
    made = seeding.tenant(base.server.stack, f"case{number}", admin=case.admin)
    world = World(base.server.stack, made, number, case, set())
    world.plant()
    site = Site(base.server, base.pool, base.database, base.ring, made)
    organization = uuid4()
    await site.connect(made.application_key if case.own_key else None, organization=organization)
    wanted: dict[str, object] = {"organization_id": str(organization)}
    return site, world, wanted | ({"application_id": site.application} if case.own_key else {})


async def _live(site: Site, run_id: str, fate: Fate) -> dict[str, Any]:
    """Work on a run until it has ended, with a new worker after each death, and never believe it blindly."""
    for _ in range(MOST_STINTS):
        worker = site.worker(before=fate.moment)
        fate.victim = asyncio.create_task(worker.run_once())
        await asyncio.wait([fate.victim])
        await worker.close()
        if not fate.victim.cancelled():
            fate.victim.result()
        await _says_nothing_untrue(site, run_id, fate.world)
        run = await site.run(run_id)
        if run["status"] not in {"QUEUED", "RUNNING"}:
            return run
        if fate.cancels:
            fate.cancels = False
            await site.desk.accepted(f"ttn/runs/{run_id}/cancel")
    raise AssertionError(f"run {run_id} does not end: {run}")


async def _says_nothing_untrue(site: Site, run_id: str, world: World) -> None:
    """What was said to be released is held nowhere, but for what others registered again after that."""
    said = {row["dev_eui"] for row in await site.desk.rows(_SAID, UUID(run_id))}
    run = await site.run(run_id)
    said |= set(run["summary"].get("released_euis", ()))
    for topic, body in site.told:
        if run_id in topic:
            said |= set(body.get("released_euis", ()))
    untrue = (said & site.held()) - world.again
    assert not untrue, f"released, and held: {untrue}"


def _says_what_is_left(site: Site, world: World, run: dict[str, Any]) -> None:
    """Every EUI is told as released or as failed, none as both, and what is held is among the failed.

    A run that failed before it had listed a device knows of none: it says why, and that nothing is released.
    """
    failed, released = set(run["failed_euis"]), set(run["released_euis"])
    assert not failed & released
    if run["status"] == "FAILED" and not run["summary"]["devices_found"]:
        assert run["error"] or run["summary"]["reasons"], run
        assert not released
        assert run["summary"]["db_cleared"] is False
        return
    assert (world.planted & site.held()) - world.again <= failed, run
    if run["status"] == "SUCCEEDED":
        _is_all_gone(site, world)
        assert (failed, released) == (set(), world.planted)
        assert run["summary"]["devices_found"] == len(world.case.devices)
    else:
        assert (
            run["error"] or failed or run["summary"]["failed_devices"] or run["summary"]["reasons"]
        )
        assert run["summary"]["db_cleared"] is False


def _is_all_gone(site: Site, world: World) -> None:
    assert not world.planted & site.held()
    application = site.server.stack.find("application", site.application)
    assert application is None or world.came_back, "the application is still there"


@pytest.fixture
def fated(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fate], None]:
    """Let a fate stand beside everything that is written of runs."""

    def stand(fate: Fate) -> None:
        for name in ("claim", "save", "end"):
            monkeypatch.setattr(run_ledger, name, fate.around(_ORIGINALS[name]))

    return stand


_ORIGINALS = {name: getattr(run_ledger, name) for name in ("claim", "save", "end")}


# Whoever is ended in the middle of connecting leaves a socket behind, as a killed process does to its system.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_no_run_says_released_of_what_is_held(
    base: Site, fated: Callable[[Fate], None]
) -> None:
    """Whatever goes wrong, whatever others do, and whenever workers die: nothing untrue; without faults all is done."""
    statuses = set()
    for number, case in enumerate(drawn(20), start=1):
        site, world, wanted = await _site_of(base, number, case)
        fate = Fate(world, list(case.deeds))
        fated(fate)
        faults = base.server.faults
        faults.at_random(case.seed, case.rate, USUAL, most=case.faults)
        for method, part, kind, times in case.bursts:
            faults.next(method, f"*{part}*", kind, times)
        run_id = await site.deprovision(**wanted)
        run = await _live(site, run_id, fate)
        _says_what_is_left(site, world, run)
        faults.stop()
        fate.deeds.clear()
        statuses.add(run["status"])
        if run["status"] != "SUCCEEDED":
            assert run["status"] in {"PARTIAL", "FAILED"}, case
            if case.by_resume:
                await site.desk.accepted(f"ttn/runs/{run_id}/resume")
            else:
                run_id = await site.deprovision(**wanted)
            run = await _live(site, run_id, fate)
        _ends_well(site, world, run)
    assert "SUCCEEDED" in statuses
    gc.collect()  # here, where such sockets are expected


def _ends_well(site: Site, world: World, run: dict[str, Any]) -> None:
    """Without faults: all is gone; or the application's own key went with it, and the run says that it is refused."""
    if run["status"] == "SUCCEEDED":
        _is_all_gone(site, world)
        return
    application = site.server.stack.find("application", site.application)
    assert world.case.own_key, (world.case, run)
    assert application is None or not application.keys, (world.case, run)
    assert run["error"].startswith(_REFUSED), (world.case, run)
