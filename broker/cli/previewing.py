"""What `jobbroker jobs preview` prints of a job that is not created."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import click

from broker.cli.callers import Body
from broker.cli.outcome import print_table

_POINTS: Final = 15  # lines of the curve; --json has them all


def print_preview(found: Body) -> None:
    """Print what a jobs/preview was answered, for people."""
    for line in _lines(found):
        click.echo(line)
    points = found["rollout"]["byMinute"]
    if len(points) > 1:
        click.echo()
        rows = [
            (one["minute"], one["things"], one.get("ratePerMinute", "no limit"))
            for one in _some(points)
        ]
        print_table(("MINUTE", "TOLD", "A MINUTE"), rows)
    if stages := found.get("stages"):
        click.echo()
        print_table(("STAGE", "THINGS", "STARTS", "TOLD BY", "GATE OPENS"), [*map(_stage, stages)])
    if windows := found.get("maintenanceWindows"):
        click.echo()
        rows = [(one["startTime"], one.get("endTime", ""), one["things"]) for one in windows]
        print_table(("WINDOW (UTC)", "UNTIL", "TOLD BY THEN"), rows)


def _stage(one: Body) -> tuple[object, ...]:
    times = (one.get(name) for name in ("startsAt", "toldAt", "gateOpensAt"))
    about = "about " if "isEstimate" in one else ""
    return (
        one["stage"],
        f"{about}{one['numberOfThings']}",
        *("" if at is None else _time(at) for at in times),
    )


def _lines(found: Body) -> Iterator[str]:
    count = found["execution_count"]
    things = "thing" if count == 1 else "things"
    yield f"{found['jobId']} would be {found['status']}: {count} {things}"
    if holds := found.get("holds"):
        yield f"held at first: {', '.join(holds)}"
    if found["exists"]:
        yield "exists: a job of this id and content is there already"
    if first := found["firstThings"]:
        more = f", and {count - len(first)} more" if count > len(first) else ""
        yield f"things: {', '.join(first)}{more}"
    yield f"told: {_told(found)}"
    rollout = found["rollout"]
    if "waitsForHand" in rollout:
        waits = rollout["waitsForHand"]
        yield f"waits for a hand from {_time(waits['at'])} on: {waits['reason']}"
    for one in rollout.get("assumptions", []):
        yield f"taken for granted: {one}"
    if "expiresAt" in found:
        yield f"expires: {_time(found['expiresAt'])}"
    document = found["document"]
    of = f" of {document['thingName']}" if "thingName" in document else ""
    yield f"document{of}: {document['text']}"
    if empty := document.get("emptyPlaceholders"):
        yield f"empty in it: {', '.join(empty)}"


def _told(found: Body) -> str:
    rollout = found["rollout"]
    minutes = rollout["byMinute"][-1]["minute"]
    if "toldAt" in rollout:
        after = f"after {minutes} min" if minutes else "at once"
        return f"all by {_time(rollout['toldAt'])}, {after}"
    told = found["execution_count"] - rollout.get("notTold", 0)
    if "waitsForHand" in rollout:
        return f"{told} until somebody goes on with it"
    return f"{told} in the time it has, not all"


def _time(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _some(points: list[Body]) -> list[Body]:
    """At most so many, evenly, with the first and the last."""
    step = max(1, -(-len(points) // (_POINTS - 1)))
    return [*points[:-1:step], points[-1]]
