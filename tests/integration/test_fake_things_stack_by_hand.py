"""The simulated Things Stack as its page tells it: the command, and the example."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import httpx
import pytest

from tests.helpers import PATIENCE

PAGE = Path(__file__).parents[2] / "docs" / "things-stack-simulator.md"


async def test_the_command_prints_hosts_and_keys_that_work() -> None:
    """What it prints is enough to ask it something; SIGTERM ends it in order."""
    command = ("-m", "broker.simulator.things_stack", "--devices", "3", "--clusters", "eu1,nam1")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    told = json.loads(await process.stdout.readuntil(b"\n}\n"))
    headers = {"Authorization": f"Bearer {told['organization']['key']}"}
    path = f"/applications/{told['application']['id']}/devices"
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE) as http:
        listed = await http.get(f"{told['identity']}{path}", params={"limit": 2})
        regional = await http.get(f"{told['hosts']['nam1']}/ns{path}/sensor-0001")
    assert (listed.headers["x-total-count"], regional.status_code) == ("3", 200)
    process.terminate()
    assert await process.wait() == 0


@pytest.mark.skipif(not PAGE.exists(), reason="an installation without documents")
async def test_the_example_of_the_page_runs() -> None:
    """The page's Python is run as it stands there."""
    (example,) = re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    names: dict[str, object] = {}
    exec(example, names)  # noqa: S102 - our own page
    main = names["main"]
    assert callable(main)
    await main()
