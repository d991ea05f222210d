"""docs/aws.md as it is written: every line of its shell blocks, by the AWS CLI as it comes from PyPI."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from broker.cli.outcome import Exit
from schema.aws_operations import OPERATIONS
from tests.acceptance.aws_site import aws_site
from tests.acceptance.running_broker import run_command
from tests.conftest import Database, StartMosquitto

PAGE = Path(__file__).parents[2] / "docs" / "aws.md"
PATIENCE = 400.0
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="an installation without documents")


def blocks() -> list[str]:
    """The page's shell blocks, in order."""
    text = PAGE.read_text("utf-8")
    return re.findall(r"^```bash aws\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_the_page_names_every_operation() -> None:
    """The page's table has the operations of the program's, and no others."""
    rows = re.findall(r"^\| `iot[^|]*\| ([^|]+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    named = [name for row in rows for name in row.split(", ")]
    assert sorted(named) == sorted(one.name for one in OPERATIONS)


async def test_every_line_works(
    mosquitto_server: StartMosquitto, database: Database, tmp_path: Path
) -> None:
    """A shell that stops at the first failure runs them all, and shows what the page says."""
    async with aws_site(mosquitto_server, database, tmp_path) as site:
        await site.operator("ann", "admin")
        lines = "".join(blocks()).replace("http://127.0.0.1:8000", site.url)
        assert lines.count("--endpoint-url") == len(re.findall(r"^aws ", lines, re.MULTILINE)) >= 10
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        shell = await asyncio.create_subprocess_exec(
            *("bash", "--norc", "-eu", "-o", "pipefail", "-c", lines),
            stdout=PIPE,
            stderr=STDOUT,
            env={
                **kept,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "JOBBROKER_DATABASE_URL": database.url,
                "JOBBROKER_SECRET_KEY": site.secret_key,
                "AWS_EC2_METADATA_DISABLED": "true",
            },
        )
        async with asyncio.timeout(PATIENCE):
            output, _ = await shell.communicate()
        seen = output.decode()
        assert shell.returncode == 0, seen
        for expected in ("fw-8\tIN_PROGRESS", '"versionNumber": 3', '"numberOfSucceededThings": 1'):
            assert expected in seen, seen
        place = {"JOBBROKER_DATABASE_URL": database.url, "JOBBROKER_SECRET_KEY": site.secret_key}
        nobody = await run_command(place, "things", "key", "ann")
        assert (nobody.code, "no thing 'ann' with a token" in nobody.err) == (Exit.NOT_FOUND, True)
        keyless = await run_command(
            {**place, "JOBBROKER_SECRET_KEY": ""}, "operators", "key", "ann"
        )
        assert (keyless.code, "need JOBBROKER_SECRET_KEY" in keyless.err) == (Exit.USAGE, True)
        looked = await site.desk.accepted("audit/list", {"subject": "operator/ann"})
        assert "operators/key" in [line["action"] for line in looked["lines"]]
        assert json.dumps(site.keys["ann"]["secretAccessKey"]) not in site.http.broker.text()
