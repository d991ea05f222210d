"""What people who look cost the devices: `python -m tests.console.viewers`.

The bench's updates (200 devices, answers awaited), in turn without and with ten operators who look at a job, in a real
console (`tests.console.looking`). All the while two executions of that job a second come to an end, so that its page
has something to draw, whether it is looked at or not. The console is always there; without viewers it has nothing to
do, and events are not kept for them for the 15 minutes in which they might come back. What stands for the viewers' own
machines is reckoned apart. Windows are short and take turns, so that a slower machine is not taken for the viewers'
doing; since throughput varies more than what is looked for, the CPU time for one update is told as well.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from broker.bench.device_plane import begin
from broker.bench.figures import interval_of_median, median, medians
from broker.bench.measuring import Alternated, alternating
from broker.bench.plan import FULL, Rounds
from broker.bench.slow_http import told
from broker.bench.stage import EVERYTHING, JOB, Stage, staged
from broker.embedded.ports import free_port
from tests.console import looking
from tests.console.browser import running_console
from tests.helpers import elapse

_NOBODY_FOLLOWS: Final = "UPDATE event_streams SET followed_until = '-infinity'"
_SECONDS: Final = 2.0
_LOOKED_AT: Final = "looked-at"
_END_SECONDS: Final = 0.5
_TELL: Final = "NOTIFY jobbroker_streams"


@dataclass(slots=True)
class Audience:
    """Has the viewers come and go, and counts what they hear."""

    stage: Stage
    viewers: asyncio.subprocess.Process
    heard: Counter[str] = field(default_factory=Counter)

    @asynccontextmanager
    async def around(self) -> AsyncIterator[None]:
        """All of them have the page, and have been told something of it, while the block runs."""
        await self._tell("look")
        try:
            yield
        finally:
            self.heard.update(await self._tell("leave"))
            await self.stage.admin.execute(_NOBODY_FOLLOWS)
            await self.stage.admin.execute(_TELL)

    async def _tell(self, do: str) -> dict[str, int]:
        assert self.viewers.stdin
        assert self.viewers.stdout
        self.viewers.stdin.write(f"{do}\n".encode())
        line = await self.viewers.stdout.readline()
        if not line:
            raise LookupError(f"the viewers ended when told to {do}")
        heard: dict[str, int] = json.loads(line)
        return heard


@asynccontextmanager
async def gathered(stage: Stage, many: int, page: str) -> AsyncIterator[Audience]:
    """So many operators who may look, away from the page yet, and their console."""
    tokens = [await _new_operator(stage, f"viewer-{number}") for number in range(many)]
    api = f"http://127.0.0.1:{stage.http_port}"
    async with running_console(api, stage.directory / "console.log") as console:
        given = {
            looking.CONSOLE: console.url,
            looking.PAGE: page,
            looking.TOKENS: json.dumps(tokens),
        }
        viewers = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.console.looking"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | given,
        )
        stage.beside |= {"console": console.process.pid, "viewers": viewers.pid}
        try:
            yield Audience(stage, viewers)
        finally:
            assert viewers.stdin
            viewers.stdin.close()
            await viewers.wait()
            sys.stderr.write(console.log.read_text(errors="replace"))


async def _new_operator(stage: Stage, name: str) -> str:
    made = {"operatorName": name, "role": "viewer", "issueToken": True}
    return str((await stage.caller.call("operators/create", made))["token"])


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
        await elapse(_END_SECONDS)


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


def summed(found: dict[str, Any], audience: Audience, many: int, rounds: Rounds) -> dict[str, Any]:
    """What it comes to: the ratio with how sure that is, and the CPU time of each process for one update."""
    seconds = 2 * rounds.count * rounds.seconds * many
    return {
        "viewers": many,
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
    async with gathered(stage, viewers, page) as audience, going_on(stage):
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
    found = summed(told(windows, "viewers"), audience, viewers, rounds)
    return found | {"page": page, "cpu": cpu(windows)}


async def main() -> int:
    """Start all that is needed, measure, and print JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.console.viewers", description=__doc__)
    parser.add_argument("--viewers", type=int, default=10, help="pages that are open  [10]")
    parser.add_argument("--rounds", type=int, default=30, help="of four windows of 2 s  [30]")
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
