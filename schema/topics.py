"""Topics, to and from values: what we subscribe to, what a request is, where its answer and its notifications go.

Inside the MQTT server each topic has its tenant in front (`default/$aws/things/...`), because each listener is mounted;
`plain` mode speaks `$aws/...` as the tenant `default` (architecture, "On the wire").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from schema.errors import shorten
from schema.limits import JOB_ID, OPERATOR_NAME, TENANT_ID, THING_NAME

DEFAULT_TENANT: Final = "default"
SHARE_GROUP: Final = "jobbroker"


class TopicMode(StrEnum):
    """How tenants are told apart in topics."""

    MOUNTED = "mounted"
    PLAIN = "plain"


class Operation(StrEnum):
    """A device's four requests (AWS: "Jobs device MQTT API operations")."""

    GET_PENDING = "get"
    START_NEXT = "start-next"
    DESCRIBE = "describe"
    UPDATE = "update"


DEVICE_FILTERS: Final = (
    "$aws/things/+/jobs/get",
    "$aws/things/+/jobs/start-next",
    "$aws/things/+/jobs/+/get",
    "$aws/things/+/jobs/+/update",
)
# One level may be a wildcard where no answer of ours can match it; answers end in /accepted or /rejected.
JOB_VERBS: Final = (
    *("get", "update", "cancel", "delete", "associate", "pause", "resume", "progress"),
    *("approve", "deny", "start-next-stage", "retry-failed"),
)
EXECUTION_VERBS: Final = ("get", "cancel", "delete")
RUN_VERBS: Final = ("get", "cancel", "resume")
OPERATOR_FILTERS: Final = (
    "operators/+/jobs/create",
    "operators/+/jobs/preview",
    "operators/+/jobs/list",
    "operators/+/jobs/counts",
    *(f"operators/+/jobs/+/{verb}" for verb in JOB_VERBS),
    *(f"operators/+/jobs/+/executions/+/{verb}" for verb in EXECUTION_VERBS),
    "operators/+/event-configurations/+",
    "operators/+/approval/+",
    "operators/+/failures/+",
    "operators/+/tags/+",
    "operators/+/templates/+",
    "operators/+/managed-templates/+",
    "operators/+/things/+",
    "operators/+/credentials/+",
    "operators/+/groups/+",
    "operators/+/operators/+",
    "operators/+/tokens/+",
    "operators/+/audit/+",
    "operators/+/system/+",
    "operators/+/ttn/+",
    "operators/+/ttn/credentials/+",
    "operators/+/ttn/devices/+",
    "operators/+/ttn/runs/list",
    *(f"operators/+/ttn/runs/+/{verb}" for verb in RUN_VERBS),
)


class DeviceTopic(NamedTuple):
    """A device's request. job_id is "" for get and start-next, and may be the literal `$next` for describe."""

    tenant: str
    thing: str
    operation: Operation
    job_id: str = ""


@dataclass(frozen=True, slots=True)
class OperatorTopic:
    """An operator's command: verb such as `jobs/create` or `jobs/executions/cancel`, and what the topic names.

    job_id is a run's for `ttn/runs/...`.
    """

    tenant: str
    operator: str
    verb: str
    job_id: str = ""
    thing: str = ""


@dataclass(frozen=True, slots=True)
class UnknownTopic:
    """A topic in a room of ours that maps to no operation: answered InvalidTopic on itself + `/rejected`."""

    tenant: str
    reason: str


def subscriptions(mode: TopicMode) -> list[str]:
    """Filters that cover every request and none of our own answers (reference/mosquitto.md 0 and 1)."""
    filters = [*DEVICE_FILTERS, *OPERATOR_FILTERS]
    if mode is TopicMode.PLAIN:
        return filters
    return [f"$share/{SHARE_GROUP}/+/{one}" for one in filters]


def parse(topic: str, mode: TopicMode) -> DeviceTopic | OperatorTopic | UnknownTopic | None:
    """What a topic asks for; None when it is none of ours (an answer, or somebody else's topic)."""
    # A device asks on few topics, again and again. Names come from outside: what is kept is bounded in number and size.
    return _parse_known(topic, mode) if len(topic) <= _LONGEST else _parse(topic, mode)


def _parse(topic: str, mode: TopicMode) -> DeviceTopic | OperatorTopic | UnknownTopic | None:
    levels = topic.split("/")
    tenant = DEFAULT_TENANT
    if mode is TopicMode.MOUNTED:
        tenant = levels.pop(0)
    if TENANT_ID.fullmatch(tenant) is None or topic.endswith(("/accepted", "/rejected")):
        return None
    match levels:
        case ["$aws", "things", _, "jobs", "notify" | "notify-next"]:
            return None
        case ["$aws", "things", thing, "jobs", *rest] if rest:
            return _device(tenant, thing, rest)
        case ["operators", operator, *rest] if rest:
            return _operator(tenant, operator, rest)
        case _:
            return None


_LONGEST: Final = 400  # characters; no request's topic is longer
_parse_known = lru_cache(maxsize=16_384)(_parse)


def _device(tenant: str, thing: str, rest: list[str]) -> DeviceTopic | UnknownTopic:
    if THING_NAME.fullmatch(thing) is None:
        return UnknownTopic(
            tenant, f"thing name {shorten(thing)} does not match {THING_NAME.pattern}"
        )
    match rest:
        case ["get"]:
            return DeviceTopic(tenant, thing, Operation.GET_PENDING)
        case ["start-next"]:
            return DeviceTopic(tenant, thing, Operation.START_NEXT)
        case [job_id, "get"] if job_id == "$next" or JOB_ID.fullmatch(job_id):
            return DeviceTopic(tenant, thing, Operation.DESCRIBE, job_id)
        case [job_id, "update"] if JOB_ID.fullmatch(job_id):
            return DeviceTopic(tenant, thing, Operation.UPDATE, job_id)
        case _:
            asked = shorten("/".join(["jobs", *rest]), 120)
            return UnknownTopic(tenant, f"{asked} is no operation of AWS IoT Jobs")


_FLAT_VERBS: Final = frozenset(
    {
        "jobs/create",
        "jobs/preview",
        "jobs/list",
        "jobs/counts",
        *(f"failures/{verb}" for verb in ("list", "retry")),
        *(f"templates/{verb}" for verb in ("create", "list", "get", "delete")),
        *(f"managed-templates/{verb}" for verb in ("list", "get")),
        *(f"things/{verb}" for verb in ("create", "list", "get", "update", "delete")),
        "things/executions",
        "things/search",
        *(f"credentials/{verb}" for verb in ("list", "issue", "revoke")),
        *(f"tags/{verb}" for verb in ("add", "remove", "list")),
        *(f"event-configurations/{verb}" for verb in ("get", "update")),
        *(f"approval/{verb}" for verb in ("get", "update")),
        *(f"groups/{verb}" for verb in ("create", "get", "list", "update", "delete")),
        *(f"groups/{verb}" for verb in ("add", "remove", "members")),
        *(f"operators/{verb}" for verb in ("create", "list", "delete", "whoami")),
        *(f"tokens/{verb}" for verb in ("create", "list", "revoke")),
        "audit/list",
        "system/get",
        *(f"ttn/{verb}" for verb in ("status", "connections", "provision")),
        *(f"ttn/{verb}" for verb in ("start-fresh", "deep-clean")),
        *(f"ttn/credentials/{verb}" for verb in ("get", "set")),
        *(f"ttn/devices/{verb}" for verb in ("register", "remove", "list", "batch")),
        "ttn/deprovision",
        "ttn/runs/list",
    },
)
_OF_ONE: Final = {"jobs": JOB_VERBS, "ttn/runs": RUN_VERBS}


def _operator(tenant: str, operator: str, rest: list[str]) -> OperatorTopic | UnknownTopic:
    if OPERATOR_NAME.fullmatch(operator) is None:
        return UnknownTopic(
            tenant, f"operator name {shorten(operator)} does not match {OPERATOR_NAME.pattern}"
        )
    match rest:
        case [_, _, *_] if "/".join(rest) in _FLAT_VERBS:
            return OperatorTopic(tenant, operator, "/".join(rest))
        case [*group, job_id, verb] if verb in _OF_ONE.get(
            "/".join(group), ()
        ) and JOB_ID.fullmatch(job_id):
            return OperatorTopic(tenant, operator, f"{'/'.join(group)}/{verb}", job_id)
        case ["jobs", job_id, "executions", thing, verb] if (
            verb in EXECUTION_VERBS and JOB_ID.fullmatch(job_id) and THING_NAME.fullmatch(thing)
        ):
            return OperatorTopic(tenant, operator, f"jobs/executions/{verb}", job_id, thing)
        case _:
            return UnknownTopic(
                tenant, f"{shorten('/'.join(rest), 120)} is no command of jobbroker"
            )


def mounted(tenant: str, topic: str, mode: TopicMode) -> str:
    """A topic as the MQTT server knows it."""
    return f"{tenant}/{topic}" if mode is TopicMode.MOUNTED else topic


def notify_topic(thing: str) -> str:
    """Where a thing hears that its pending list changed (AWS: JobExecutionsChanged)."""
    return f"$aws/things/{thing}/jobs/notify"


def notify_next_topic(thing: str) -> str:
    """Where a thing hears of its next execution (AWS: NextJobExecutionChanged)."""
    return f"$aws/things/{thing}/jobs/notify-next"


def operator_room(operator: str) -> str:
    """An operator's own room; the MQTT server's ACL lets nobody else publish in it."""
    return f"operators/{operator}/"
