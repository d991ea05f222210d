"""A job's stages with their gates, and its approvals: what it waits for, and who may let it go on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

from broker.console.components import StatusBar, Tag, command_button, section, send, tag, words
from broker.console.dialogs import confirmed_sending
from broker.console.viewer import Viewer
from broker.console.words import counted, counts, grouped, lasting

_STATES: Final = {"WAITING": "QUEUED", "RUNNING": "IN_PROGRESS", "PASSED": "SUCCEEDED"}


def show_course(
    viewer: Viewer,
    place: Tag,
    job_id: str,
    body: Mapping[str, Any],
    read_again: Callable[[], Awaitable[None]],
) -> None:
    """Show what jobs/get says of stages and approval in the place for it; nothing for a job without."""
    place.clear()
    stages, approval = body.get("stages") or [], body.get("approval")
    is_live = body["job"]["status"] in {"IN_PROGRESS", "SCHEDULED"}
    with place:
        if approval:
            _show_approval(viewer, job_id, approval, read_again)
        if stages:
            with tag("div", "jb-card", style="margin-top:14px"):
                with tag("div", "jb-row"):
                    section("Stages").classes("jb-grow")
                    if is_live and any(one["state"] == "WAITING" for one in stages):
                        _button(viewer, job_id, "Start next", "jobs/start-next-stage", read_again)
                for one in stages:
                    _show_stage(one)


def foreseen(body: Mapping[str, Any]) -> Iterator[str]:
    """What a jobs/preview says of a job's stages, of whom they wait for and of what that takes for granted."""
    rollout, asked = body["rollout"], body["timestamp"]
    for one in body.get("stages", []):
        if "startsAt" in one:
            yield (
                f"Stage {one['stage']}, {counted(one['numberOfThings'], 'thing')}, "
                f"begins {_in(one['startsAt'] - asked)}."
            )
    if waits := rollout.get("waitsForHand"):
        yield (
            f"{_in(waits['at'] - asked).capitalize()} it waits for somebody: stage {waits['stage']} "
            f"pauses the job; {counted(rollout.get('notTold', 0), 'thing')} come after that."
        )
    for one in rollout.get("assumptions", []):
        yield f"Taken for granted: {one}."


def _in(seconds: int) -> str:
    return f"in {lasting(seconds)}" if seconds > 0 else "at once"


def _show_stage(one: Mapping[str, Any]) -> None:
    with tag("div", style="padding:8px 0"):
        with tag("div", "jb-row"):
            words(f"Stage {one['stage']}")
            words(one["state"].capitalize(), f"jb-status st-{_STATES.get(one['state'], 'QUEUED')}")
            words(f"{grouped(one['numberOfThings'])} things", "jb-quiet")
        bar = StatusBar()
        bar.show(counts({"jobProcessDetails": one}), int(one["numberOfThings"]))
        for name in ("gate", "stoppedBecause"):
            if one.get(name):
                words(str(one[name]), "jb-sub")


def _show_approval(
    viewer: Viewer,
    job_id: str,
    approval: Mapping[str, Any],
    read_again: Callable[[], Awaitable[None]],
) -> None:
    with tag("div", "jb-card", style="margin-top:14px"):
        with tag("div", "jb-row"):
            section("Approval").classes("jb-grow")
            if approval["state"] not in {"APPROVED", "DENIED"}:
                _button(viewer, job_id, "Approve", "jobs/approve", read_again)
                _deny_button(viewer, job_id, read_again)
        words(
            f"{approval['state'].replace('_', ' ').capitalize()}: {approval.get('reason', '')}",
            as_="p",
        )
        for vote in approval.get("votes", []):
            words(f"{vote['operatorName']} ({vote['role']}): {vote['vote'].lower()}", "jb-sub")


def _deny_button(viewer: Viewer, job_id: str, read_again: Callable[[], Awaitable[None]]) -> None:
    async def deny() -> None:
        done = await confirmed_sending(
            viewer,
            "jobs/deny",
            f"Deny {job_id}?",
            "It is canceled before anybody was told of it, for good.",
            label="Deny it",
            done="Denied",
            jobId=job_id,
        )
        if done is not None:
            await read_again()

    command_button(viewer, "Deny", "jobs/deny", deny, names={"jobId": job_id})


def _button(
    viewer: Viewer, job_id: str, label: str, verb: str, read_again: Callable[[], Awaitable[None]]
) -> None:
    async def go() -> None:
        await send(viewer, verb, label, jobId=job_id)
        await read_again()

    command_button(viewer, label, verb, go, names={"jobId": job_id})
