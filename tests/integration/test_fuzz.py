"""The short form of the fuzzer on PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest

from tests.conftest import Database
from tests.fuzz import targets
from tests.fuzz.engine import fuzz


@pytest.mark.parametrize("name", targets.DATABASE)
async def test_nothing_is_found_among_a_few_hundred_inputs(database: Database, name: str) -> None:
    """Each request has one answer with a code, what is rejected leaves no trace, counters equal rows."""
    found = {one.name: one for one in targets.on_database(database.url, database.url)}
    # Hypothesis runs no coroutines: the target has a loop of its own, in a thread of its own.
    outcome = await asyncio.to_thread(fuzz, found[name], 400, seed=7)
    assert outcome.found is None, outcome.found and outcome.found.as_test()
    assert outcome.inputs >= 400
