"""Operators' payloads: bytes to a command or a refusal, for each verb."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

from hypothesis import strategies as st

from schema import commands, decode
from schema.errors import Rejected
from schema.template_commands import CreateTemplate
from tests.fuzz import odd
from tests.fuzz.oracle import ACCEPTED, JOB_ID, NAME, check_details, check_refusal, strict_json
from tests.fuzz.requests import a_token, some_details

Example = tuple[str, bytes, bool]
Make = Callable[[Random], Any]

_THINGS: Final = ("t0", "t1", "t2", "t3", "T:4_-")
_GROUPS: Final = ("g0", "g1", "g2", "G:3_-")
JOBS: Final = ("j0", "j1", "j2", "J_3-")


def _pick(*values: object) -> Make:
    return lambda rng: rng.choice(values)


def _arns(rng: Random) -> list[str]:
    kinds = [f"thing/{name}" for name in _THINGS] + [f"thinggroup/{name}" for name in _GROUPS]
    home = rng.choice(("us-east-1:000000000000", ":", "eu-central-1:123456789012"))
    return [f"arn:aws:iot:{home}:{kind}" for kind in rng.sample(kinds, rng.randint(1, 4))]


def _document(rng: Random) -> object:
    as_object: dict[str, object] = {"operation": odd.plain_text(rng, 200), "n": [1, 1.5, None, {}]}
    as_text = json.dumps(as_object, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 2)))
    full = '{"a":"' + "x" * (32_768 - 8) + '"}'
    return rng.choice((as_object, as_text, "{}", " \n{}\n ", full, {}))


def _template_arn(rng: Random) -> str:
    managed = rng.choice(("AWS-Reboot:1.0", "AWS-Run-Command:1.0", "no-such:1.1"))
    custom = rng.choice(("t0", "t1", "T_2-"))
    home = rng.choice(("us-east-1:000000000000", ":"))
    return (
        f"arn:aws:iot:{rng.choice(('us-east-1:', ':'))}:jobtemplate/{managed}"
        if (rng.random() < 0.5)
        else f"arn:aws:iot:{home}:jobtemplate/{custom}"
    )


def _open_document(rng: Random) -> object:
    filled = ("${thingName}", "${aws:iot:parameter:x}", "$${", "${thing:attributes.a.0}")
    return rng.choice((_document(rng), {"a": rng.choice(filled), "b": [rng.choice(filled)]}))


def _attributes(rng: Random) -> dict[str, str]:
    return {
        f"a.{n}": rng.choice(("", "1", "x,y@z/[]", "v" * 800))
        for n in range(rng.choice((0, 1, 50)))
    }


def _params(rng: Random) -> dict[str, object]:
    return {odd.plain_text(rng, 40): rng.choice((1, 2.5, None, "\n\\N", ["x"], {"y": 2**70}))}


def _seed_target(rng: Random) -> dict[str, object]:
    kinds: list[dict[str, object]] = [
        {"target_device_id": rng.choice(_THINGS)},
        {"target_group_id": rng.choice(_GROUPS)},
        {"target_all": True},
    ]
    return rng.choice(kinds)


_SEED_JOB: Final = "jobs/create, seed"
_FROM_TEMPLATE: Final = "jobs/create, template"
_TEMPLATE: Final = _pick("t0", "t1", "T_2-")
_FLAG: Final = _pick(True, False)
_TEXT: Make = lambda rng: odd.plain_text(rng, 2028)  # noqa: E731 - one of a table of makers
_VERSION: Final = _pick(0, 1, 2, 2**63 - 1)
_THING, _GROUP, _OPERATOR = _pick(*_THINGS), _pick(*_GROUPS), _pick("ann", "bob", "x" * 128)
_PAGE: Final[dict[str, Make]] = {"maxResults": _pick(1, 100, 250), "nextToken": _pick("WyJ4Il0")}
_TAGGED: Make = _pick(
    "arn:aws:iot:us-east-1:000000000000:job/j0",
    "arn:aws:iot:us-east-1:000000000000:jobtemplate/t0",
    "arn:aws:iot:us-east-1:000000000000:thinggroup/g0",
)
_STAGES: Final = [
    {"thingGroupName": "g0", "successPercentage": 0},
    {"attribute": {"name": "a.0", "value": ""}, "errorPercentage": 100, "errorAction": "CANCEL"},
    {"numberOfThings": 2, "numberOfFailures": 1, "successAction": "PAUSE"},
    {"percentage": 100},
]
_PAYLOAD: Final[Make] = lambda rng: {"attributes": _attributes(rng)}  # noqa: E731 - as above

_UUID: Final = _pick("7c9e6679-7425-40de-944b-e07fc1f90ae7")
_STACK: Final[dict[str, Make]] = {"organization_id": _UUID}
_STACK_ID: Final = _pick("a-1b", "abc", "x" * 36, "0-0-0")


def _devices(rng: Random) -> list[dict[str, object]]:
    euis = ("70B3D57ED0000001", "ffffffffffffffff", "0123456789abcdef")
    more: dict[str, object] = {"name": "d", "nwk_key": "Ff" * 16, "lorawan_version": "MAC_V1_1"}
    return [
        {
            **odd.some(rng, {name: _pick(value) for name, value in more.items()}),
            "device_id": f"dev-{number}",
            "dev_eui": eui,
            "join_eui": rng.choice(euis),
            "app_key": rng.choice(("0" * 32, "aB" * 16)),
            "frequency_plan_id": rng.choice(("EU_863_870_TTN", "US_902_928_FSB_2")),
        }
        for number, eui in enumerate(rng.sample(euis, rng.randint(1, 3)))
    ]


# Each verb's required and optional members, as docs/protocol.md has them.
_FIELDS: Final[dict[str, tuple[dict[str, Make], dict[str, Make]]]] = {
    "jobs/create": (
        {"targets": _arns, "document": _open_document},
        {
            "jobId": _pick(*JOBS),
            "description": _TEXT,
            "timeoutConfig": _pick({}, {"inProgressTimeoutInMinutes": 1}),
            "targetSelection": _pick("SNAPSHOT", "CONTINUOUS"),
            "documentParameters": _pick({"x": "${thingName}"}, {"x" * 128: "x" * 30_720}),
            "stages": _pick([{}], _STAGES, [{"percentage": 5, "soakMinutes": 1}, {}]),
            "approvalConfig": _pick({"requiredApprovals": 0}, {"requiredApprovals": 10}),
        },
    ),
    _FROM_TEMPLATE: (
        {"targets": _arns, "jobTemplateArn": _template_arn},
        {
            "jobId": _pick(*JOBS),
            "documentParameters": _pick({"runAsUser": "u"}, {"x": "${thingName}"}, {}),
            "presignedUrlConfig": _pick({}, {"expiresInSec": 60}),
        },
    ),
    _SEED_JOB: (
        {"document_type": lambda rng: odd.plain_text(rng, 128)},
        {
            "job_id": _pick(*JOBS),
            "document_params": _params,
            "expires_in_hours": _pick(1, 0.5, 8760, 1e-9),
        },
    ),
    "jobs/preview": (
        {"targets": _arns, "document": _open_document},
        {
            "jobId": _pick(*JOBS),
            "jobExecutionsRolloutConfig": _pick({}, {"maximumPerMinute": 100}),
            "documentParameters": _pick({"x": "${thingName}"}, {"x" * 128: "x" * 30_720}),
        },
    ),
    "jobs/list": (
        {},
        {
            **_PAGE,
            "status": _pick("IN_PROGRESS", "COMPLETED", "SCHEDULED"),
            "search": lambda rng: odd.plain_text(rng, 64),
        },
    ),
    "jobs/list, filtered": (
        {"targetSelection": _pick("SNAPSHOT", "CONTINUOUS")},
        {
            "thingGroupName": _GROUP,
            "thingName": _THING,
            "tagKey": _pick("a", "x" * 128),
            "createdAfter": _pick(0, 253_402_214_400),
            "createdBefore": _pick(0, 253_402_214_400),
        },
    ),
    "jobs/counts": ({}, {}),
    "jobs/progress": (
        {},
        {
            "mostThings": _pick(1, 10_000),
            "bucketSeconds": _pick(1, 86_400),
            "includeNames": _FLAG,
            "nextToken": _pick("WyJ4Il0"),
        },
    ),
    "jobs/get": (
        {},
        {
            **_PAGE,
            "status": _pick("QUEUED", "TIMED_OUT"),
            "includeDocument": _FLAG,
            "includeExecutions": _FLAG,
            "beforeSubstitution": _FLAG,
        },
    ),
    "jobs/cancel": (
        {},
        {"force": _FLAG, "reasonCode": _pick("A_1", "X" * 128), "comment": _TEXT},
    ),
    "jobs/delete": ({}, {"force": _FLAG}),
    "jobs/associate": ({"targets": _arns}, {"comment": _TEXT}),
    "jobs/update": (
        {"description": _TEXT},
        {
            "jobExecutionsRolloutConfig": _pick({}, {"maximumPerMinute": 100}),
            "timeoutConfig": _pick({}, {"inProgressTimeoutInMinutes": 1}),
            "stages": _pick([{}], _STAGES),
        },
    ),
    "jobs/approve": ({}, {"comment": _TEXT}),
    "jobs/deny": ({}, {"comment": _TEXT}),
    "jobs/start-next-stage": ({}, {"comment": _TEXT}),
    "jobs/retry-failed": (
        {},
        {"failureType": _pick("ALL", "FAILED", "TIMED_OUT"), "stage": _pick(1, 2, 100)},
    ),
    "failures/list": (
        {},
        {
            **_PAGE,
            "failureType": _pick("ALL", "FAILED", "TIMED_OUT", "REJECTED"),
            "jobId": _pick(*JOBS),
            "search": lambda rng: odd.plain_text(rng, 64),
        },
    ),
    "failures/retry": (
        {"failures": _pick([{"status": "FAILED", "reason": "x"}])},
        {"retryId": _pick("again", "x" * 60), "jobIds": _pick([*JOBS]), "description": _TEXT},
    ),
    "approval/get": ({}, {}),
    "approval/update": ({"approvalConfig": _pick({"requiredApprovals": 0})}, {}),
    "jobs/pause": ({}, {"comment": _TEXT}),
    "jobs/resume": ({}, {"comment": _TEXT}),
    "jobs/executions/cancel": (
        {},
        {"force": _FLAG, "expectedVersion": _VERSION, "statusDetails": some_details},
    ),
    "jobs/executions/get": ({}, {"executionNumber": _VERSION}),
    "jobs/executions/delete": ({"executionNumber": _VERSION}, {"force": _FLAG}),
    "things/executions": ({"thingName": _THING}, {**_PAGE, "status": _pick("QUEUED", "FAILED")}),
    "event-configurations/get": ({}, {}),
    "event-configurations/update": (
        {"eventConfigurations": _pick({}, {"JOB": {"Enabled": True}})},
        {},
    ),
    "tags/add": ({"resourceArn": _TAGGED, "tags": _pick([], [{"Key": "a", "Value": "b"}])}, {}),
    "tags/remove": ({"resourceArn": _TAGGED, "tagKeys": _pick([], ["a"])}, {}),
    "tags/list": ({"resourceArn": _TAGGED}, _PAGE),
    "templates/create": (
        {"jobTemplateId": _TEMPLATE, "description": _TEXT, "document": _open_document},
        {
            "timeoutConfig": _pick({}, {"inProgressTimeoutInMinutes": 1}),
            "maintenanceWindows": _pick(
                [], [{"startTime": "cron(0 2 ? * SUN *)", "durationInMinutes": 60}]
            ),
        },
    ),
    "templates/list": ({}, _PAGE),
    "templates/get": ({"jobTemplateId": _TEMPLATE}, {}),
    "templates/delete": ({"jobTemplateId": _TEMPLATE}, {}),
    "managed-templates/list": ({}, {**_PAGE, "templateName": _pick("AWS-Reboot", "x" * 64)}),
    "managed-templates/get": (
        {"templateName": _pick("AWS-Reboot", "x")},
        {"templateVersion": _pick("1.0", "1.1")},
    ),
    "things/create": (
        {"thingName": _THING},
        {"thingTypeName": _THING, "attributePayload": _PAYLOAD, "issueToken": _FLAG},
    ),
    "things/list": (
        {},
        {
            **_PAGE,
            "attributeName": _pick("a.0"),
            "usePrefixAttributeValue": _FLAG,
            "thingTypeName": _THING,
            "namePrefixFilter": _pick("t", "T:", "_", "-"),
        },
    ),
    "things/get": ({"thingName": _THING}, {}),
    "things/search": ({"queryString": _pick("*", "attributes.a.0:1 OR NOT t*")}, _PAGE),
    "things/update": (
        {"thingName": _THING, "attributePayload": _PAYLOAD},
        {"thingTypeName": _THING, "expectedVersion": _VERSION},
    ),
    "things/delete": ({"thingName": _THING}, {"expectedVersion": _VERSION}),
    "credentials/list": ({"thingName": _THING}, {}),
    "credentials/issue": ({"thingName": _THING}, {}),
    "credentials/revoke": (
        {"thingName": _THING},
        {"kind": _pick("token", "certificate"), "serial": _pick("0", "a1" * 20)},
    ),
    "groups/create": (
        {"thingGroupName": _GROUP},
        {
            "parentGroupName": _GROUP,
            "thingGroupProperties": _pick({}, {"thingGroupDescription": "d"}),
        },
    ),
    "groups/get": ({"thingGroupName": _GROUP}, {}),
    "groups/update": (
        {"thingGroupName": _GROUP, "queryString": _pick("*", "attributes.a.0:1 OR NOT t*")},
        {"indexName": _pick("AWS_Things"), "expectedVersion": _VERSION},
    ),
    "groups/list": ({}, {**_PAGE, "parentGroup": _GROUP, "recursive": _FLAG}),
    "groups/members": ({"thingGroupName": _GROUP}, {**_PAGE, "recursive": _FLAG}),
    "groups/add": ({"thingGroupName": _GROUP, "thingName": _THING}, {}),
    "groups/remove": (
        {"thingGroupName": _GROUP, "thingNames": lambda rng: rng.sample(_THINGS, 3)},
        {},
    ),
    "groups/delete": ({"thingGroupName": _GROUP}, {"expectedVersion": _VERSION}),
    "operators/create": (
        {"operatorName": _OPERATOR, "role": _pick("owner", "admin", "viewer")},
        {"issueToken": _FLAG},
    ),
    "operators/list": ({}, _PAGE),
    "operators/delete": ({"operatorName": _OPERATOR}, {}),
    "operators/whoami": ({}, {}),
    "system/get": ({}, {}),
    "ttn/status": ({}, _STACK),
    "ttn/connections": ({}, {"limit": _pick(1, 250), "next_token": _pick("WyJ4Il0")}),
    "ttn/credentials/get": ({}, _STACK),
    "ttn/credentials/set": (
        {},
        {
            **_STACK,
            "organization_name": _pick("Acme", "x" * 50, "ü"),
            "api_key": _pick("NNSXS." + "A" * 39 + "." + "7" * 52),
            "app_api_key": _pick("NNSXS." + "Z" * 39 + "." + "2" * 52),
            "region": _pick("eu1", "nam1", "au1"),
            "ttn_organization_id": _STACK_ID,
            "application_id": _STACK_ID,
        },
    ),
    "ttn/provision": (
        {},
        {
            **_STACK,
            "owner": _pick("user", "organization"),
            "application_id": _STACK_ID,
            "webhook_url": _pick("https://a.example/up?x=%20", "http://127.0.0.1:1/"),
            "gateway_key": _FLAG,
        },
    ),
    "ttn/start-fresh": ({}, _STACK),
    "ttn/deep-clean": ({}, {**_STACK, "dry_run": _FLAG}),
    "ttn/devices/register": ({"devices": _devices}, {**_STACK, "batch_id": _UUID}),
    "ttn/devices/remove": (
        {"device_ids": lambda rng: [f"dev-{n}" for n in range(rng.choice((1, 2, 500)))]},
        {**_STACK, "batch_id": _UUID},
    ),
    "ttn/devices/list": ({}, {**_STACK, "limit": _pick(1, 250), "next_token": _pick("WyJ4Il0")}),
    "ttn/devices/batch": (
        {"batch_id": _UUID},
        {"status": _pick("PENDING", "OK", "ERROR"), "limit": _pick(1, 250)},
    ),
    "ttn/deprovision": (
        {},
        {
            "organization_id": _UUID,
            "application_id": _pick("abc", "a" * 36, "acme-sensors"),
            "device": _pick("sensor-1", "0123456789abcdef"),
            "dry_run": _FLAG,
        },
    ),
    "ttn/runs/list": (
        {},
        {
            "organization_id": _UUID,
            "status": _pick("RUNNING", "RUNNING,QUEUED", "FAILED, PARTIAL"),
            "limit": _pick(1, 250),
        },
    ),
    "ttn/runs/get": ({}, {"limit": _pick(1, 250)}),
    "ttn/runs/cancel": ({}, {}),
    "ttn/runs/resume": ({}, {}),
}


def _valid(verb: str) -> st.SearchStrategy[dict[str, Any]]:
    required, optional = _FIELDS[verb]

    def make(rng: Random) -> dict[str, Any]:
        fields = odd.some(rng, {"clientToken": a_token, **optional})
        fields |= {name: one(rng) for name, one in required.items()}
        return fields | (_seed_target(rng) if verb == _SEED_JOB else {})

    return odd.corpus(make)


_VALID: Final = {verb: _valid(verb) for verb in _FIELDS}
PAYLOADS: Final = {verb: odd.payloads(one) for verb, one in _VALID.items()}
VALID_PAYLOADS: Final = {verb: odd.written(one) for verb, one in _VALID.items()}


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """A verb, a payload, and whether it must be accepted."""
    verb = draw(st.sampled_from(tuple(_FIELDS)))
    payload, valid = draw(PAYLOADS[verb])
    return verb.partition(",")[0], payload, valid


def check(example: Example) -> list[str]:
    """Decode as the broker does; what is accepted keeps to the limits, what is valid is accepted."""
    verb, payload, valid = example
    try:
        fields = decode.read_object(payload)
        token = decode.readable_token(fields)
        command = decode.decode(verb, fields)
    except Rejected as error:
        if valid:
            raise
        return [check_refusal(error)]
    assert len(payload) <= 262_144
    assert payload == b"" or isinstance(strict_json(payload), dict)
    assert command.client_token == token
    digest = decode.fingerprint(verb, ("j1", "t1"), command)
    assert digest == decode.fingerprint(verb, ("j1", "t1"), command)
    assert len(digest) == 32
    for name, value in command:
        _check_field(name, value)
    _check_document(command)
    return [ACCEPTED]


def _check_field(name: str, value: object) -> None:
    """One member of an accepted command by its name's limits; null is absent."""
    if isinstance(value, str) and name not in {"document", "next_token"}:
        value.encode()
        assert "\0" not in value, name
    if value is None or isinstance(value, bool):
        return
    if name in _NAMED:
        assert isinstance(value, str)
        assert NAME.fullmatch(value), value
    elif name == "job_id":
        assert JOB_ID.fullmatch(str(value)), value
    elif name in {"description", "comment"}:
        assert 1 <= len(str(value)) <= 2028
        assert not any(one in "\r\n\t" for one in str(value))
    elif name == "status_details":
        check_details(str(value))
    elif name == "max_results":
        assert 1 <= int(str(value)) <= 250
    elif name == "expected_version":
        assert 0 <= int(str(value)) < 2**63


_NAMED: Final = frozenset(
    {
        *("thing_name", "thing_type_name", "thing_group_name", "parent_group_name", "parent_group"),
        *("operator_name", "target_device_id", "target_group_id", "name_prefix_filter"),
    }
)


def _check_document(command: commands.Command) -> None:
    if not isinstance(command, commands.CreateJob | commands.CreateSeedJob | CreateTemplate):
        return
    if command.document is None:
        return
    assert 1 <= len(command.document.encode()) <= 32_768
    assert isinstance(strict_json(command.document), dict)
    if isinstance(command, commands.CreateSeedJob):
        assert 0 < (command.expires_in_hours or 1) <= 8760
