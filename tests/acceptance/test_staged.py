"""A job in stages from a file, approved by another operator, done by simulated things: all by the command line."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.running_broker import RunningBroker
from tests.acceptance.test_cli import fresh, members, simulated
from tests.helpers import eventually

FILE = """
groups: [{group}]
document: {{operation: reboot}}
rollout: 6000/min
stages:
  - {{size: 10%, gate: 100%}}
  - {{size: 50%, gate: 90%}}
  - {{size: 100%, gateErrors: 50% cancel}}
approvals: 1
"""


async def test_three_stages_from_a_file_to_the_end(
    running_broker: RunningBroker, tmp_path: Path
) -> None:
    """Nothing is told before the yes; then 2, 8 and 10 of 20 in turn; everything is shown on the way."""
    group, job, manager = fresh("staged"), fresh("job"), fresh("may")
    path = tmp_path / "job.yaml"
    path.write_text(FILE.format(group=group))
    login = await running_broker.add_operator(manager, "manager")
    as_manager = ("--as", f"mqtt://{manager}:{login.password}@127.0.0.1:{login.port}")
    options = ("--devices", "20", "--latency", "10ms..50ms", "--until-idle", "5m", "--seed", "1")
    async with simulated(running_broker, group, *options):
        await eventually(lambda: members(running_broker, group))
        made = await running_broker.cli("jobs", "create", "--file", str(path), "--job-id", job)
        assert (made["status"], made["execution_count"]) == ("SCHEDULED", 20)
        shown = await running_broker.run("jobs", "show", job)
        assert "approval: PENDING, 0 of 1 approvals" in shown.out
        refused = await running_broker.run("jobs", "approve", job)
        assert "has created the job" in refused.err
        approved = await running_broker.run("jobs", "approve", job, *as_manager)
        assert approved.out == f"{job} APPROVED: 1 of 1 approvals by {manager}\n"
        watched = await running_broker.run("jobs", "watch", job, "--timeout", "150s")
        assert watched.code == 0, watched.err
    body = await running_broker.cli("jobs", "show", job, "--limit", "20")
    assert [one["numberOfSucceededThings"] for one in body["stages"]] == [2, 8, 10]
    starts = [one["startedAt"] for one in body["stages"]]
    assert starts == sorted(starts)
    shown = await running_broker.run("jobs", "show", job)
    assert "approval: APPROVED" in shown.out
    assert "STAGE  STATE" in shown.out


async def test_a_stage_that_fails_is_retried_and_started_by_hand(
    running_broker: RunningBroker,
) -> None:
    """A gate pauses the job and says why; retry-failed and start-next-stage go on with it; failures sends it again."""
    group, job = fresh("ill"), fresh("job")
    fleet = ("--devices", "4", "--latency", "10ms")
    async with simulated(running_broker, group, *fleet, "--fail", "100%", "--until-idle", "5m"):
        await eventually(lambda: members(running_broker, group))
        create = ("jobs", "create", "--group", group, "--job-id", job, "--document-json", "{}")
        gates = ("--stage", "1,rest", "--gate", "100%", "--gate-errors", "1 pause")
        await running_broker.cli(*create, *gates)

        async def stopped() -> str:
            shown = await running_broker.run("jobs", "show", job)
            assert "stopped: stage 1: 1 things failed; numberOfFailures is 1" in shown.out
            return shown.out

        await eventually(stopped)
        paused = await running_broker.cli("jobs", "show", job)
        assert paused["job"]["paused"] is True
        retried = await running_broker.run("jobs", "retry-failed", job, "--stage", "1")
        assert retried.out == f"{job}: 1 thing is tried again\n"

        async def failed_again() -> bool:
            body = await running_broker.cli("jobs", "show", job)
            assert [one["executionNumber"] for one in body["executions"]] == [1, 2]
            return bool(body["job"].get("paused"))

        await eventually(failed_again)
        started = await running_broker.cli("jobs", "start-next-stage", job, "--comment", "known")
        assert started["stage"] == 2

        async def over() -> bool:
            body = await running_broker.cli("jobs", "show", job)
            return [one["numberOfFailedThings"] for one in body["stages"]] == [1, 3]

        await eventually(over)
    again = f"{job}-again"
    shown = await running_broker.run("jobs", "failures", "--job", job)
    assert f"{job} (4)" in shown.out
    sent = await running_broker.run(
        "jobs", "failures", "--job", job, "--retry", "--retry-id", again
    )
    assert sent.out == f"4 things are tried again by {again}\n"
    listed = await running_broker.cli("jobs", "list", "--tag", f"retry={again}")
    assert [one["jobId"] for one in listed] == [again]
    usual = await running_broker.run("approvals")
    assert usual.out == "0 approvals are needed for each new job\n"
