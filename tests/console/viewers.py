"""What people who look cost the devices: `python -m tests.console.viewers`.

The bench's updates (200 devices, answers awaited), in turn without and with ten operators who look at a job, in a real
console (`tests.console.looking`). All the while two executions of that job a second come to an end, so that its page
has something to draw, whether it is looked at or not. Without viewers there is no console either, and events are not
kept for them for the 15 minutes in which they might come back. What stands for the viewers' own machines is reckoned
apart. Windows take turns, so that a slower machine is not taken for the viewers' doing; since throughput varies more
than what is looked for, the CPU time for one update is told as well.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from broker.bench.children import Served
from broker.bench.device_plane import begin
from broker.bench.figures import interval_of_median, median, medians
from broker.bench.measuring import Alternated, alternating
from broker.bench.plan import FULL, Rounds
from broker.bench.slow_http import told
from broker.bench.stage import EVERYTHING, JOB, Stage, staged
from broker.embedded.ports import free_port
from tests.console import looking
from tests.console.browser import running_console

_NOBODY_FOLLOWS: Final = "UPDATE event_streams SET followed_until = '-infinity'"
_SECONDS: Final = 5.0
_LOOKED_AT: Final = "looked-at"
_END_SECONDS: Final = 0.5
_TELL: Final = "NOTIFY jobbroker_streams"


@dataclass(slots=True)
class Audience:
    """Has the viewers come and go, and counts what they hear."""

    stage: Stage
    page: str
    tokens: list[str] = field(default_factory=list)
    heard: Counter[str] = field(default_factory=Counter)

    async def gather(self, many: int) -> None:
        """So many operators who may look."""
        for number in range(many):
            made = {"operatorName": f"viewer-{number}", "role": "viewer", "issueToken": True}
            answer = await self.stage.caller.call("operators/create", made)
            self.tokens.append(str(answer["token"]))

    @asynccontextmanager
    async def around(self) -> AsyncIterator[None]:
        """All of them are there with their console, and have been told something, while the block runs."""
        api = f"http://127.0.0.1:{self.stage.http_port}"
        async with running_console(api, self.stage.directory / "console.log") as console:
            self.stage.beside["console"] = console.process.pid
            try:
                async with self._looking(console.url):
                    yield
            finally:
                del self.stage.beside["console"]
        sys.stderr.write(console.log.read_text(errors="replace"))
        await self.stage.admin.execute(_NOBODY_FOLLOWS)
        await self.stage.admin.execute(_TELL)

    @asynccontextmanager
    async def _looking(self, console: str) -> AsyncIterator[None]:
        viewers = Served("viewers", self.stage.directory / "viewers.log")
        given = {
            looking.CONSOLE: console,
            looking.PAGE: self.page,
            looking.TOKENS: json.dumps(self.tokens),
        }
        try:
            await viewers.serve(["tests.console.looking"], given)
            self.stage.beside["viewers"] = viewers.process_id
            yield
        finally:
            await viewers.finish()
            self.stage.beside.pop("viewers", None)
        self.heard.update(json.loads(viewers.log.read_text().splitlines()[-1]))


@asynccontextmanager
async def going_on(stage: Stage) -> AsyncIterator[None]:
    """A job for all things, whose executions end one by one while the block runs. Raises what stopped that before."""
    await stage.create_job(_LOOKED_AT, EVERYTHING)
    await stage.settle()
    going = asyncio.create_task(_end_one_by_one(stage))
    try:
        yield
        if going.done():
            raise LookupError(f"{_LOOKED_AT}: it was over too early") from going.exception()
    finally:
        going.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await going


async def _end_one_by_one(stage: Stage) -> None:
    """First those of things that are away."""
    for thing in reversed(stage.things):
        asked = {"force": True}
        await stage.caller.call("jobs/executions/cancel", asked, job_id=_LOOKED_AT, thing=thing)
        await asyncio.sleep(_END_SECONDS)


def cpu(windows: Alternated) -> dict[str, Any]:
    """The CPU time of all processes for one update with the viewers, as a multiple of that without them."""
    ratios = windows.ratios(_all_of_it)
    sure = interval_of_median(ratios)
    return {
        "ratio": round(median(ratios), 3),
        "ratio_interval": [round(sure.low, 3), round(sure.high, 3)],
        "ratio_confidence": round(sure.confidence, 3),
    }


def _all_of_it(run: dict[str, Any]) -> float:
    spent = sum(own for name, own in run["cpu_s"].items() if name != "viewers")
    return float(spent / (run["per_s"] * run["seconds"]))


def summed(found: dict[str, Any], audience: Audience, rounds: Rounds) -> dict[str, Any]:
    """What it comes to: the ratio with how sure that is, and the CPU time of each process for one update."""
    seconds = 2 * rounds.count * rounds.seconds * len(audience.tokens)
    return {
        "viewers": len(audience.tokens),
        "page": audience.page,
        "updates_per_s": {"without": found["without_per_s"], "with": found["per_s"]},
        **{name: found[name] for name in ("ratio", "ratio_interval", "ratio_confidence", "ratios")},
        "microseconds_an_update": {
            "without": _microseconds(found["without"]["runs"]),
            "with": _microseconds(found["runs"]),
        },
        "cores": {
            name: round(found["cpu_s"][name] / rounds.seconds, 3) for name in ("console", "viewers")
        },
        "messages_per_s": {
            name: round(number / seconds, 2) for name, number in audience.heard.items()
        },
        "verdict": found["verdict"],
    }


def _microseconds(runs: list[dict[str, Any]]) -> dict[str, float]:
    done = median(run["per_s"] * run["seconds"] for run in runs)
    spent = medians(runs, "cpu_s")
    return {name: round(1e6 * own / done, 1) for name, own in spent.items() if name != "viewers"}


async def measure(stage: Stage, viewers: int, page: str, rounds: Rounds) -> dict[str, Any]:
    """Run the windows on a stage whose broker listens for HTTP, and a console of its own."""
    stage.http_port = free_port()
    await begin(stage)
    audience = Audience(stage, page)
    await audience.gather(viewers)
    async with going_on(stage):
        windows = await alternating(
            stage,
            f"{viewers} viewers",
            audience.around,
            rounds,
            kind="updates",
            things=stage.devices,
            jobs=[JOB],
            outstanding=stage.plan.outstanding,
        )
    return summed(told(windows, "viewers"), audience, rounds) | {"cpu": cpu(windows)}


async def main() -> int:
    """Start all that is needed, measure, and print JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.console.viewers", description=__doc__)
    parser.add_argument("--viewers", type=int, default=10, help="pages that are open  [10]")
    parser.add_argument("--rounds", type=int, default=10, help="of four windows of 5 s  [10]")
    parser.add_argument(
        "--page", default=f"jobs/{_LOOKED_AT}", help="what they look at  [that job]"
    )
    given = parser.parse_args()
    async with AsyncExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="jobbroker-viewers-"))
        place = Path(name)
        place.chmod(0o711)
        stage = await stack.enter_async_context(staged(FULL, place))
        found = await measure(stage, given.viewers, given.page, Rounds(given.rounds, _SECONDS))
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
