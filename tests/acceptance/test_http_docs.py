"""docs/http.md as it is written: every line of its shell blocks, by curl, in one shell."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from tests.acceptance.http_site import http_site
from tests.conftest import Database, StartMosquitto

PAGE = Path(__file__).parents[2] / "docs" / "http.md"
PATIENCE = 400.0
pytestmark = [
    pytest.mark.skipif(not PAGE.exists(), reason="an installation without documents"),
    pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="no curl or jq"),
]


async def test_every_line_works(
    mosquitto_server: StartMosquitto, database: Database, tmp_path: Path
) -> None:
    """A shell that stops at the first failure runs them all, and shows what the page says."""
    text = PAGE.read_text("utf-8")
    blocks = re.findall(r"^```bash http\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 7
    async with http_site(mosquitto_server, database, tmp_path) as served:
        lines = "".join(blocks).replace("http://127.0.0.1:8000", served.url)
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        shell = await asyncio.create_subprocess_exec(
            *("bash", "--norc", "-eu", "-o", "pipefail", "-c", lines),
            stdout=PIPE,
            stderr=STDOUT,
            env={
                **kept,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "JOBBROKER_DATABASE_URL": database.url,
            },
        )
        async with asyncio.timeout(PATIENCE):
            output, _ = await shell.communicate()
    seen = output.decode()
    assert shell.returncode == 0, seen
    for expected in (
        '"document":{"type":"reboot","params":{"delay_s":5}}',
        '"status":"SUCCEEDED"',
        '"status":"COMPLETED"',
        '"jobId":"fw-7"',
        "retry: 1000",
        "this page",
        "revoked ",
        '{"status":"ready"}',
        'jobbroker_http_requests_total{operation="POST /customer/jobs",status="201"} 1.0',
    ):
        assert expected in seen, (expected, seen)
