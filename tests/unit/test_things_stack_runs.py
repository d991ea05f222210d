"""How a run ends: the one place that says SUCCEEDED asks for what must have happened, and not only for no error."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.run_messages import LISTED, of_run
from schema.things_stack_runs import (
    EUIS_SHOWN,
    Action,
    Result,
    RunStatus,
    StepName,
    StepStatus,
    Tally,
    conclude,
    required_steps,
    response,
    summarize,
)

OK, ERROR, SKIPPED = Result(StepStatus.OK), Result(StepStatus.ERROR), Result(StepStatus.SKIPPED)
DONE = Tally(found=2, deleted=2, purged=2, verified=2, done=2, released_euis=["A" * 16])


def all_ok(action: Action) -> dict[StepName, Result]:
    """Results of a run in which everything went well."""
    return dict.fromkeys(required_steps(action, dry_run=False), OK)


@pytest.mark.parametrize("action", list(Action))
def test_a_run_that_did_nothing_did_not_succeed(action: Action) -> None:
    """The seed's rule alone, no critical step failed, would call this a success."""
    assert conclude(action, Tally(), {}, dry_run=False, stopped=False) is RunStatus.FAILED


@pytest.mark.parametrize("action", list(Action))
def test_each_required_step_is_required(action: Action) -> None:
    """Missing or ERROR, and it is no success; SKIPPED for a reason is as good as OK."""
    results = all_ok(action)
    assert conclude(action, DONE, results, dry_run=False, stopped=False) is RunStatus.SUCCEEDED
    for name in results:
        missing = {one: result for one, result in results.items() if one is not name}
        assert conclude(action, DONE, missing, dry_run=False, stopped=False) is RunStatus.PARTIAL
        wrong = {**results, name: ERROR}
        assert conclude(action, DONE, wrong, dry_run=False, stopped=False) is RunStatus.PARTIAL
        skipped = {**results, name: SKIPPED}
        assert conclude(action, DONE, skipped, dry_run=False, stopped=False) is RunStatus.SUCCEEDED


@given(
    action=st.sampled_from(list(Action)),
    purged=st.integers(0, 5),
    left=st.integers(0, 5),
    results=st.dictionaries(st.sampled_from(list(StepName)), st.sampled_from([OK, ERROR, SKIPPED])),
    stopped=st.booleans(),
)
def test_no_success_while_something_is_left(
    action: Action, purged: int, left: int, results: dict[StepName, Result], *, stopped: bool
) -> None:
    """SUCCEEDED means: not stopped, no device left, and each required step good; FAILED means nothing was reached."""
    tally = Tally(found=purged + left, purged=purged, done=purged, left=left)
    status = conclude(action, tally, results, dry_run=False, stopped=stopped)
    good = all(results.get(name) in (OK, SKIPPED) for name in required_steps(action, dry_run=False))
    assert (status is RunStatus.SUCCEEDED) == (good and not stopped and left == 0)
    if status is RunStatus.FAILED:
        assert purged == 0


def test_a_dry_run_needs_its_list_alone() -> None:
    """Devices that are there are no failure of it."""
    tally = Tally(found=3, left=3)
    results = {StepName.LIST_DEVICES: OK}
    for action in Action:
        assert conclude(action, tally, results, dry_run=True, stopped=False) is RunStatus.SUCCEEDED
        assert conclude(action, tally, {}, dry_run=True, stopped=False) is RunStatus.FAILED


def test_the_answer_is_the_seeds() -> None:
    """Members and their places (seed 000 C4); success only when SUCCEEDED."""
    results = all_ok(Action.ORGANIZATION) | {
        StepName.PURGE_APPLICATION: Result(StepStatus.SKIPPED, "not_permitted")
    }
    summary = summarize(DONE, results, db_cleared=True, dry_run=False)
    assert summary["app_purged"] is False
    assert summary["org_purged"] is True
    assert summary["reasons"] == {"purge_application": "not_permitted"}
    for status in RunStatus:
        body = response("id", status, "r", summary)
        assert body["success"] is (status is RunStatus.SUCCEEDED)
        assert set(body) == {
            *("success", "job_id", "status", "request_id", "summary", "failed_euis"),
            *("released_euis", "version"),
        }
        assert body["released_euis"] == ["A" * 16]
    many = Tally(released_euis=["B" * 16] * (EUIS_SHOWN + 1))
    shown = summarize(many, {}, db_cleared=False, dry_run=False)["released_euis"]
    assert isinstance(shown, list)
    assert len(shown) == EUIS_SHOWN


def test_the_local_command_line_has_no_room() -> None:
    """Its runs are told as events alone."""
    run = {
        "id": "i",
        "organization_id": "o",
        "action": "deprovision",
        "status": "RUNNING",
        "phase": "LIST",
        "requested_by": "cli:root",
        "now": datetime(2026, 1, 1, tzinfo=UTC),
        "summary": {},
        "request_id": None,
        "error": None,
    }
    assert [topic for topic, _ in of_run(run, {}, "progress")] == ["$aws/events/ttnRun/i/progress"]
    topics = [topic for topic, _ in of_run({**run, "requested_by": "ann"}, {}, "progress")]
    assert topics == ["operators/ann/ttn/runs/i", "$aws/events/ttnRun/i/progress"]


def test_the_end_of_a_fleet_fits_into_a_packet() -> None:
    """The message has the first EUIs of each list and says so: ten thousand are more than the MQTT server takes."""
    euis = [f"{number:016X}" for number in range(EUIS_SHOWN)]
    tally = Tally(
        released_euis=euis,
        failed_euis=euis,
        failed_devices=["d" * 36] * EUIS_SHOWN,
        problems={f"{number:036}": "p" * 400 for number in range(100)},
    )
    summary = summarize(tally, {}, db_cleared=False, dry_run=False)
    run = {
        "id": "i",
        "organization_id": "o",
        "action": "deprovision",
        "status": "PARTIAL",
        "phase": "CLEAR",
        "requested_by": "ann",
        "now": datetime(2026, 1, 1, tzinfo=UTC),
        "summary": summary,
        "request_id": "r",
        "error": None,
    }
    (_, text), _ = of_run(run, {}, "finished")
    assert len(text) < 128 * 1024
    said = json.loads(text)
    assert said["failed_euis"] == said["summary"]["failed_euis"] == euis[:LISTED]
    assert said["summary"]["is_cut"]
    few = {**summary, "released_euis": [], "failed_euis": euis[:1], "failed_devices": []}
    (_, text), _ = of_run({**run, "summary": few}, {}, "finished")
    assert json.loads(text)["summary"] == few


def test_each_awkward_case_names_tests_that_are_there() -> None:
    """The table in docs/things-stack.md has all 24 cases, and no test in it was renamed."""
    root = Path(__file__).parents[2]
    text = (root / "docs" / "things-stack.md").read_text("utf-8")
    section = text.split("### Awkward cases of deprovisioning")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([0-9, ]*) \|", section, re.MULTILINE)
    numbers = {int(one) for row in rows for one in row.split(",") if one.strip()}
    assert numbers == set(range(1, 25))
    written = "".join(one.read_text("utf-8") for one in (root / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", section):
        assert f"def {name}(" in written, name
