"""What AWS answers, made of what our commands answer: its members and no others.

Source: AWS IoT API reference, "Response Syntax" of each operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from schema import paging
from schema.errors import Code, Rejected

Body = dict[str, Any]

_JOB_SUMMARY: Final = (
    "jobArn jobId targetSelection status createdAt lastUpdatedAt completedAt isConcurrent"
)
_JOB: Final = (
    f"{_JOB_SUMMARY} forceCanceled reasonCode comment targets description presignedUrlConfig"
    " jobExecutionsRolloutConfig abortConfig jobProcessDetails timeoutConfig jobTemplateArn"
    " jobExecutionsRetryConfig documentParameters schedulingConfig scheduledJobRollouts"
)
_EXECUTION: Final = (
    "jobId status forceCanceled thingArn queuedAt startedAt lastUpdatedAt executionNumber versionNumber"
    " approximateSecondsBeforeTimedOut"
)
_EXECUTION_SUMMARY: Final = "status queuedAt startedAt lastUpdatedAt executionNumber retryAttempt"
_GROUP: Final = "groupName groupArn"


def members(found: Mapping[str, Any], words: str) -> Body:
    """Those members of an object that there are."""
    return {name: found[name] for name in words.split() if name in found}


def nothing(_done: Body, _asked: Body) -> Body:
    """An operation without output."""
    return {}


def pick(words: str) -> Callable[[Body, Body], Body]:
    """An answer that has some members of ours, as they are."""
    return lambda done, _asked: members(done, words)


def job(done: Body, _asked: Body) -> Body:
    """DescribeJob."""
    return {**members(done, "documentSource"), "job": members(done["job"], _JOB)}


def jobs(done: Body, asked: Body) -> Body:
    """ListJobs; thingGroupId as it was asked for."""
    group = members(asked, "thingGroupId")
    shown = [{**members(one, _JOB_SUMMARY), **group} for one in done["jobs"]]
    return {"jobs": shown, **members(done, "nextToken")}


def execution(done: Body, _asked: Body) -> Body:
    """DescribeJobExecution of the control plane, whose details are one level deeper."""
    found = done["execution"]
    details = {"detailsMap": found["statusDetails"]} if "statusDetails" in found else {}
    return {"execution": {**members(found, _EXECUTION), "statusDetails": details}}


def executions_of_job(done: Body, _asked: Body) -> Body:
    """ListJobExecutionsForJob."""
    shown = [
        {"thingArn": one["thingArn"], "jobExecutionSummary": members(one, _EXECUTION_SUMMARY)}
        for one in done["executions"]
    ]
    return {"executionSummaries": shown, **members(done, "nextToken")}


def groups(done: Body, _asked: Body) -> Body:
    """ListThingGroups."""
    shown = [members(one, _GROUP) for one in done["thingGroups"]]
    return {"thingGroups": shown, **members(done, "nextToken")}


def groups_of_thing(done: Body, asked: Body) -> Body:
    """ListThingGroupsForThing: all of them come with the thing, a page of them is shown.

    Raises Rejected (InvalidRequest) for a page that is none.
    """
    most = asked.get("maxResults", paging.PAGE_USUAL)
    if type(most) is not int or not 1 <= most <= paging.PAGE_MOST:
        raise Rejected(Code.INVALID_REQUEST, f"maxResults: {most!r} is not 1 to {paging.PAGE_MOST}")
    listing = f"things/{done['thingName']}/groups"
    (after,) = paging.decode(listing, asked.get("nextToken"), (str,)) or ("",)
    found = sorted(done["thingGroups"], key=lambda one: str(one["groupName"]))
    rest = [one for one in found if one["groupName"] > after]
    answer: Body = {"thingGroups": [members(one, _GROUP) for one in rest[:most]]}
    if len(rest) > most:
        answer["nextToken"] = paging.encode(listing, rest[most - 1]["groupName"])
    return answer
