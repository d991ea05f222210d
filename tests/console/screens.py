"""Pictures of every screen, dark and light, wide and phone: `python -m tests.console.screens`.

A fleet of its own is run for it, with jobs in all states; nothing else is looked at. The pictures go into a directory
that is not committed. Each screen is also looked through for what keeps people out of it, in each of the four; it is
not well when anything serious is found, or a browser complains.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from playwright.async_api import Browser

from broker.simulator.things_stack import running_things_stack
from tests.console.barriers import barriers
from tests.console.browser import CHROMIUM, WITHOUT, Reader, chromium, reader
from tests.console.populating import Fleet, populate, reporting, running_fleet

SIZES: Final = {"wide": (1360, 860), "phone": (390, 800)}
SCREENS: Final = {
    "jobs": "/",
    "job": "/jobs/firmware-7-1",
    "job-things": "/jobs/firmware-7-1?tab=things",
    "job-document": "/jobs/firmware-7-1?tab=document",
    "job-events": "/jobs/firmware-7-1?tab=events",
    "job-settings": "/jobs/firmware-7-1?tab=settings",
    "job-audit": "/jobs/firmware-7-1?tab=audit",
    "job-copy": "/jobs/firmware-7-1?tab=copy",
    "staged": "/jobs/calibrate",
    "execution": "/jobs/firmware-7-1/things/pump-002",
    "new": "/new?target=thinggroup/pumps",
    "things": "/things",
    "thing": "/things/pump-002",
    "groups": "/groups",
    "group": "/groups/roof",
    "templates": "/templates",
    "failures": "/failures",
    "filters": "/?group=pumps&since=2020-01-01",
    "clone": "/new?clone=calibrate",
    "things-stack": "/things-stack",
    "stack-run": "/things-stack/runs/{run}",
    "events": "/events",
    "system": "/system",
    "nothing": "/?search=no-such-job",
    "door": "/",  # the last: nobody is signed in any more
}
_SETTLE_MILLISECONDS: Final = 1500
_EVENTS_MILLISECONDS: Final = 8000  # until somebody is known to listen


async def take(browser: Browser, fleet: Fleet, out: Path, only: Sequence[str] | None) -> list[str]:
    """Take the pictures; returns what browsers complained of, and what axe found serious."""
    complaints = []
    for theme in ("light", "dark"):
        for size, (width, height) in SIZES.items():
            async with reader(
                browser,
                fleet.console,
                fleet.token,
                dark=theme == "dark",
                width=width,
                height=height,
            ) as found:
                for name, path in SCREENS.items():
                    if name == "door":
                        await found.context.clear_cookies()
                    if only is None or name in only:
                        file = out / f"{name}-{theme}-{size}.png"
                        await _picture(found, path.format(run=fleet.run), file)
                        in_the_way = await barriers(found.page)
                        complaints += [f"axe, {file.stem}: {one}" for one in in_the_way]
                complaints += [f"browser, {theme} {size}: {one}" for one in found.complaints]
    return complaints


async def _picture(found: Reader, path: str, file: Path) -> None:
    await found.open(path)
    await found.page.wait_for_timeout(
        _EVENTS_MILLISECONDS if "events" in path else _SETTLE_MILLISECONDS
    )
    await found.page.screenshot(path=file, full_page="/runs/" not in path)


async def main() -> int:
    """Run the fleet, take the pictures, say where they are."""
    parser = argparse.ArgumentParser(prog="python -m tests.console.screens", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("screenshots"), help="where they go")
    parser.add_argument("--only", choices=[*SCREENS], nargs="+", help="some screens alone")
    arguments = parser.parse_args()
    if CHROMIUM is None:
        sys.stderr.write(f"{WITHOUT}\n")
        return 1
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="jobbroker-screens-") as directory:
        Path(directory).chmod(0o711)
        async with (
            running_things_stack() as there,
            running_fleet(Path(directory), there) as fleet,
            chromium() as browser,
        ):
            await populate(fleet, there)
            async with reporting(fleet):
                complaints = await take(browser, fleet, arguments.out, arguments.only)
    sys.stdout.write(f"{len([*arguments.out.glob('*.png')])} pictures in {arguments.out}\n")
    for one in complaints:
        sys.stderr.write(f"{one}\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
