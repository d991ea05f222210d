"""Topics: whatever an MQTT server could deliver, to a request, a refusal, or nothing of ours."""

from __future__ import annotations

import re
from typing import Final

from hypothesis import strategies as st

from schema import topics
from schema.topics import DeviceTopic, Operation, OperatorTopic, TopicMode, UnknownTopic
from tests.fuzz import odd
from tests.fuzz.oracle import ACCEPTED, JOB_ID, NAME, check_message

Example = tuple[str, bool, bool]

_MOST_BYTES: Final = 65_535
_LEVELS: Final = (
    *("$aws", "things", "jobs", "get", "start-next", "update", "notify", "notify-next", "accepted"),
    *("rejected", "$next", "operators", "groups", "create", "list", "cancel", "delete", "add"),
    *(
        "executions",
        "remove",
        "members",
        "default",
        "t1",
        "j1",
        "",
        "$share",
        "namespace-x",
        "x" * 129,
    ),
)
_THINGS: Final = ("t1", "T:1_-", "get", "accepted", "x" * 128, "update")
_JOBS: Final = ("j1", "J_-", "get", "notify", "update", "x" * 64)
_VERBS: Final = (
    *("jobs/counts", "credentials/list", "credentials/issue", "credentials/revoke"),
    *(
        "operators/whoami",
        "system/get",
        "ttn/connections",
        "jobs/create",
        "jobs/list",
        "things/create",
        "things/list",
        "things/get",
        "things/delete",
    ),
    *(
        "things/update",
        "groups/get",
        "groups/update",
        "groups/create",
        "groups/delete",
        "groups/list",
        "groups/add",
        "groups/remove",
    ),
    *("groups/members", "operators/create", "operators/list", "operators/delete"),
    *("templates/create", "templates/list", "templates/get", "templates/delete"),
    *("managed-templates/list", "managed-templates/get"),
)


def _forms(thing: str, job: str, operator: str) -> list[str]:
    head, room = f"$aws/things/{thing}/jobs", f"operators/{operator}"
    return [
        f"{head}/get",
        f"{head}/start-next",
        f"{head}/{job}/get",
        f"{head}/$next/get",
        f"{head}/{job}/update",
        *(f"{room}/jobs/{job}/{verb}" for verb in ("get", "cancel", "delete", "associate")),
        f"{room}/jobs/{job}/executions/{thing}/cancel",
        *(f"{room}/{verb}" for verb in _VERBS),
    ]


_REQUESTS: Final = st.sampled_from(
    [one for thing, job in zip(_THINGS, _JOBS, strict=True) for one in _forms(thing, job, thing)]
)
_LEVEL: Final = st.one_of(st.sampled_from(_LEVELS), odd.texts())
_NEW_LEVELS: Final = st.lists(_LEVEL, max_size=2)
_ANY_LEVELS: Final = st.lists(st.sampled_from(_LEVELS), min_size=1, max_size=9)
_ENDS: Final = st.one_of(st.sampled_from(("/", "a/", "$aws/things/")), odd.texts())
_TIMES: Final = st.sampled_from((1, 3, 200, 30_000))
_UP_TO_TWO: Final = st.integers(0, 2)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """A topic, whether tenants are mounted, and whether it is a request as it is."""
    kind = draw(st.integers(0, 11))
    mounted, kind = kind % 2 == 0, kind // 2
    if kind == 4:
        return _deliverable("/".join(draw(_ANY_LEVELS))), mounted, False
    topic = ("default/" if mounted else "") + draw(_REQUESTS)
    if kind < 2:
        return topic, mounted, True
    if kind == 5:
        topic += draw(_ENDS)[:8] * draw(_TIMES)
        return _deliverable(topic), mounted, False
    levels = topic.split("/")
    for _ in range(kind - 1):
        at = draw(st.integers(0, len(levels)))
        levels[at : at + draw(_UP_TO_TWO)] = draw(_NEW_LEVELS)
    return _deliverable("/".join(levels)), mounted, False


def _deliverable(topic: str) -> str:
    """What MQTT lets through: UTF-8 without U+0000 and wildcards, 65,535 bytes at most (MQTT 5, 1.5.4 and 4.7)."""
    data = re.sub("[\0+#]", "", topic).encode("utf-8", "ignore")
    return data[:_MOST_BYTES].decode("utf-8", "ignore")


def check(example: Example) -> list[str]:
    """A request names what it is about by AWS's patterns and can be written back; an answer is never a request."""
    topic, mounted, valid = example
    mode = TopicMode.MOUNTED if mounted else TopicMode.PLAIN
    match found := topics.parse(topic, mode):
        case DeviceTopic():
            assert topics.mounted(found.tenant, _device(found), mode) == topic
            assert NAME.fullmatch(found.thing)
            assert found.job_id in {"", "$next"} or JOB_ID.fullmatch(found.job_id)
            assert not (found.job_id == "$next" and found.operation is Operation.UPDATE)
        case OperatorTopic():
            assert topics.mounted(found.tenant, _operator(found), mode) == topic
            assert NAME.fullmatch(found.operator)
        case UnknownTopic():
            assert not valid, found.reason
            check_message(f"topic: {found.reason}")
            return ["InvalidTopic"]
        case None:
            assert not valid
            return ["not ours"]
    assert not topic.endswith(("/accepted", "/rejected", "/notify", "/notify-next"))
    assert JOB_ID.fullmatch(found.tenant)
    return [ACCEPTED]


def _device(found: DeviceTopic) -> str:
    job = f"{found.job_id}/" if found.job_id else ""
    verb = "get" if found.operation is Operation.DESCRIBE else str(found.operation)
    return f"$aws/things/{found.thing}/jobs/{job}{verb}"


def _operator(found: OperatorTopic) -> str:
    room = f"operators/{found.operator}"
    if found.thing:
        return f"{room}/jobs/{found.job_id}/executions/{found.thing}/cancel"
    family, verb = found.verb.split("/", 1)
    return f"{room}/{family}/{found.job_id}/{verb}" if found.job_id else f"{room}/{found.verb}"
