"""What the pages say: numbers, moments, bars, and what a job's settings mean, in a sentence each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from broker.console.draft_rows import window_words
from schema.lifecycle import Status

Json = Mapping[str, Any]

# In the order in which bars show them: what is done first.
SHOWN: Final = (
    Status.SUCCEEDED,
    Status.FAILED,
    Status.TIMED_OUT,
    Status.REJECTED,
    Status.REMOVED,
    Status.CANCELED,
    Status.IN_PROGRESS,
    Status.QUEUED,
)
ENDED: Final = frozenset(SHOWN[:6])
WORDS: Final = {
    "QUEUED": "Queued",
    "IN_PROGRESS": "In progress",
    "SUCCEEDED": "Succeeded",
    "FAILED": "Failed",
    "TIMED_OUT": "Timed out",
    "REJECTED": "Rejected",
    "REMOVED": "Removed",
    "CANCELED": "Canceled",
    "SCHEDULED": "Scheduled",
    "COMPLETED": "Completed",
    "DELETION_IN_PROGRESS": "Being deleted",
}
_DETAIL: Final = {
    status: "numberOf" + "".join(part.capitalize() for part in status.split("_")) + "Things"
    for status in Status
}


def word(status: str) -> str:
    """A status in words."""
    return WORDS.get(status, status)


def grouped(number: float | None) -> str:
    """A number with its thousands apart; nothing for None."""
    return "" if number is None else f"{number:,.0f}"


def counted(number: int, one: str, many: str = "") -> str:
    """So many of something, in words: `1 thing`, `1,240 things`."""
    return f"{grouped(number)} {one if number == 1 else many or one + 's'}"


def counts(job: Json) -> dict[Status, int]:
    """A job's things by status, from its jobProcessDetails."""
    details = job.get("jobProcessDetails", {})
    return {status: int(details.get(_DETAIL[status], 0)) for status in SHOWN}


def bar(found: Mapping[Status, int], total: int) -> list[dict[str, Any]]:
    """The parts of a stacked bar: status, share in per cent, count; a part that is there is never invisible."""
    whole = max(total, sum(found.values()), 1)
    return [
        {"status": status, "share": max(round(100 * number / whole, 2), 0.6), "count": number}
        for status, number in found.items()
        if number
    ]


def bar_text(found: Mapping[Status, int], total: int) -> str:
    """The same bar for who cannot see it."""
    parts = [
        f"{grouped(number)} {word(status).lower()}" for status, number in found.items() if number
    ]
    return f"{counted(total, 'thing')}: {', '.join(parts) or 'nothing told yet'}"


def ended(found: Mapping[Status, int]) -> int:
    """How many are over."""
    return sum(number for status, number in found.items() if status in ENDED)


def summed(found: Sequence[Mapping[Status, int]]) -> dict[Status, int]:
    """Counts by status of several jobs, together."""
    return {status: sum(one[status] for one in found) for status in SHOWN}


def zone_of(name: str | None) -> ZoneInfo:
    """The reader's zone by its name; UTC for none that is known."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def moment(at: float | None, zone: ZoneInfo, now: float | None = None) -> str:
    """A moment in the reader's zone; the day is left out when it is today's."""
    if at is None:
        return ""
    then = datetime.fromtimestamp(at, zone)
    if now is not None and datetime.fromtimestamp(now, zone).date() == then.date():
        return then.strftime("%H:%M:%S")
    return then.strftime("%-d %b %Y, %H:%M:%S")


def in_utc(at: float | None) -> str:
    """A moment in UTC, for the hint."""
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def lasting(seconds: float) -> str:
    """A duration as people say it: `3 s`, `4 min`, `2 h 5 min`, `3 days`."""
    whole = max(0, round(seconds))
    if whole < 90:  # noqa: PLR2004 - until then seconds say more
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 90:  # noqa: PLR2004 - as above
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:  # noqa: PLR2004 - as above
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{round(hours / 24)} days"


def rollout_words(
    config: Json | None, things: int | None = None, *, whom: str = "all things"
) -> str:
    """How fast a job tells its things (AWS: jobExecutionsRolloutConfig); whom: who they are, without a number."""
    config = config or {}
    whom = whom if things is None else counted(things, "thing")
    ramp = config.get("exponentialRate")
    most = config.get("maximumPerMinute")
    if ramp:
        base, factor = ramp.get("baseRatePerMinute"), ramp.get("incrementFactor")
        grows = ramp.get("rateIncreaseCriteria", {})
        when = (
            f"{grouped(grows['numberOfSucceededThings'])} have succeeded"
            if "numberOfSucceededThings" in grows
            else f"{grouped(grows.get('numberOfNotifiedThings', 0))} were told"
        )
        words = f"Tells {whom}, {grouped(base)} a minute at first, {factor} times as fast each time {when}"
        return words + (f", at most {grouped(most)} a minute." if most else ".")
    if most:
        words = f"Tells {whom}, at most {grouped(most)} a minute"
        if things is not None:
            words += f": about {lasting(60 * things / most)}"
        return words + "."
    return f"Tells {whom} at once."


def abort_words(config: Json | None) -> str:
    """When a job cancels itself (AWS: abortConfig)."""
    criteria = (config or {}).get("criteriaList", [])
    if not criteria:
        return "Goes on, however many fail."
    parts = []
    for one in criteria:
        kind = one.get("failureType", "ALL")
        what = "have failed in any way" if kind == "ALL" else f"are {word(kind).lower()}"
        parts.append(
            f"{one.get('thresholdPercentage'):g} % {what}, once"
            f" {counted(int(one.get('minNumberOfExecutedThings', 1)), 'thing has', 'things have')} ended"
        )
    return f"Cancels itself when {' or '.join(parts)}."


def abort_distance(config: Json | None, found: Mapping[Status, int]) -> list[str]:
    """How far a job is from each of its abort criteria: `7 % failed, stops at 10 %`."""
    over = ended(found)
    said = []
    for one in (config or {}).get("criteriaList", []):
        kind = one.get("failureType", "ALL")
        bad = (
            sum(
                found.get(status, 0)
                for status in (Status.FAILED, Status.REJECTED, Status.TIMED_OUT)
            )
            if kind == "ALL"
            else found.get(Status(kind), 0)
        )
        share = 100 * bad / over if over else 0
        least = int(one.get("minNumberOfExecutedThings", 1))
        words = f"{share:.3g} % {'failed' if kind == 'ALL' else word(kind).lower()}, stops at"
        words += f" {one.get('thresholdPercentage'):g} %"
        if over < least:
            words += f" (counts from {counted(least, 'thing')} on)"
        said.append(words)
    return said


def timeout_words(config: Json | None) -> str:
    """How long a thing may take (AWS: timeoutConfig)."""
    minutes = (config or {}).get("inProgressTimeoutInMinutes")
    if not minutes:
        return "A thing may take as long as it likes."
    return f"A thing that has not ended {lasting(60 * minutes)} after it began has timed out."


def retry_words(config: Json | None) -> str:
    """How often is tried again (AWS: jobExecutionsRetryConfig)."""
    criteria = [one for one in (config or {}).get("criteriaList", []) if one.get("numberOfRetries")]
    if not criteria:
        return "Nothing is tried again by itself."
    parts = [
        f"{'any failure' if one.get('failureType') == 'ALL' else word(str(one.get('failureType'))).lower()}"
        f" up to {counted(int(one['numberOfRetries']), 'time')}"
        for one in criteria
    ]
    return f"Tries again after {' and after '.join(parts)}."


def schedule_words(config: Json | None) -> str:
    """When a job begins and ends (AWS: schedulingConfig)."""
    config = config or {}
    start, end = config.get("startTime"), config.get("endTime")
    windows = config.get("maintenanceWindows") or []
    words = f"Begins on {start}" if start else "Begins when it is created"
    if windows:
        said = "; ".join(map(window_words, windows))
        words += f", and tells things only in its windows ({said})"
    if end:
        then = {
            "STOP_ROLLOUT": "tells nobody any more",
            "CANCEL": "cancels what is queued",
            "FORCE_CANCEL": "cancels what is not over",
        }.get(config.get("endBehavior", "STOP_ROLLOUT"), "ends")
        words += f". On {end} it {then}"
    return words + "."


def stages_words(stages: Sequence[Json] | None) -> str:
    """In which steps a job comes to its things (beyond AWS: stages)."""
    if not stages:
        return ""
    steps = [_stage_size(one) for one in stages]
    shares = [f"{one.get('successPercentage', 100):g} %" for one in stages[:-1] or stages]
    needed = shares[0] if len(set(shares)) == 1 else f"{', then '.join(shares)}"
    words = f"Comes in {counted(len(stages), 'stage')}: {', then '.join(steps)}"
    words += f"; the next begins when {needed} of one have succeeded"
    if stages[0].get("soakMinutes"):
        words += f" and {lasting(60 * stages[0]['soakMinutes'])} have passed"
    held = [
        f"{number}"
        for number, one in enumerate(stages[:-1], start=2)
        if one.get("successAction") == "PAUSE"
    ]
    if held:
        words += f", but stage {' and '.join(held)} not before somebody starts it"
    return words + "."


def _stage_size(stage: Json) -> str:
    if "percentage" in stage:
        return f"{stage['percentage']:g} %"
    if "numberOfThings" in stage:
        return counted(stage["numberOfThings"], "thing")
    if "thingGroupName" in stage:
        return f"group {stage['thingGroupName']}"
    if "attribute" in stage:
        return f"{stage['attribute']['name']}={stage['attribute']['value']}"
    return "the rest"


def approval_words(config: Json | None) -> str:
    """Who must say yes before anybody is told (beyond AWS: approvalConfig)."""
    needed = (config or {}).get("requiredApprovals")
    return (
        f"Waits until {counted(needed, 'other operator has', 'other operators have')} approved it."
        if needed
        else ""
    )


def sentences(job: Json, things: int | None = None) -> list[str]:
    """All that will happen with a job, a sentence each."""
    kind = (
        "Things that come to a target later get it too."
        if job.get("targetSelection") == "CONTINUOUS"
        else ""
    )
    stages = job.get("stages")
    told = (
        rollout_words(job.get("jobExecutionsRolloutConfig"), whom="the things of a stage")
        if stages
        else rollout_words(job.get("jobExecutionsRolloutConfig"), things)
    )
    said = [
        approval_words(job.get("approvalConfig")),
        schedule_words(job.get("schedulingConfig")),
        stages_words(stages),
        told,
        timeout_words(job.get("timeoutConfig")),
        retry_words(job.get("jobExecutionsRetryConfig")),
        abort_words(job.get("abortConfig")),
        kind,
    ]
    return [one for one in said if one]


def cumulated(buckets: Mapping[str, int], width: int, until: int) -> list[tuple[int, int]]:
    """A curve of so many by each moment: seconds since the begin and how many by then, from counts by bucket."""
    total, curve = 0, [(0, 0)]
    for bucket in sorted(map(int, buckets)):
        total += buckets[str(bucket)]
        curve.append(((max(bucket, 0) + 1) * width, total))
    if until > curve[-1][0]:
        curve.append((until, total))
    return curve


def added(pages: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Counts by bucket of several pages, together."""
    total: dict[str, int] = {}
    for page in pages:
        for bucket, number in page.items():
            total[bucket] = total.get(bucket, 0) + number
    return total
