"""Operators' payloads: each becomes a command or a refusal that names the field, and nothing else ever comes out."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema import paging
from schema.arns import Home, parse_target
from schema.commands import CreateJob, CreateSeedJob
from schema.decode import _MODELS, decode, fingerprint, read_object, readable_token
from schema.errors import Code, Rejected
from schema.group_commands import ChangeMembers

VERBS = ["jobs/create", *_MODELS]
ARN = "arn:aws:iot:us-east-1:000000000000:thing/one"
AWS = {"targets": [ARN], "document": '{"operation":"reboot"}'}
SEED = {"document_type": "reboot", "document_params": {"delay_s": 5}, "target_device_id": "one"}


def refusal(verb: str, fields: dict[str, object] | bytes) -> Rejected:
    """What a payload is refused with."""
    payload = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    with pytest.raises(Rejected) as caught:
        decode(verb, read_object(payload))
    return caught.value


def test_aws_words_make_an_aws_job() -> None:
    """jobs/create with AWS's fields is AWS's CreateJob; the document stays as it was sent."""
    command = decode("jobs/create", {**AWS, "jobId": "j-1", "document": ' {"a": 1} '})
    assert isinstance(command, CreateJob)
    assert (command.job_id, command.document) == ("j-1", ' {"a": 1} ')


def test_seed_words_make_a_seed_job() -> None:
    """jobs/create with the seeds' fields makes the document that devices are given."""
    command = decode("jobs/create", {**SEED, "expires_in_hours": 1})
    assert isinstance(command, CreateSeedJob)
    assert json.loads(command.document) == {"type": "reboot", "params": {"delay_s": 5}}


def test_a_document_may_be_typed_as_an_object() -> None:
    """An object instead of JSON text is taken, for those who type by hand."""
    command = decode("jobs/create", {**AWS, "document": {"a": "ü"}})
    assert isinstance(command, CreateJob)
    assert command.document == '{"a":"ü"}'


def test_null_counts_as_absent() -> None:
    """A field that is null is as good as left out, also for telling the dialects apart."""
    fields = read_object(json.dumps({**SEED, "targets": None, "target_group_id": None}).encode())
    assert isinstance(decode("jobs/create", fields), CreateSeedJob)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({**AWS, "document_type": "x"}, "document_type and document, targets: two dialects"),
        ({**SEED, "timeoutConfig": {}}, "timeoutConfig: two dialects"),
        ({}, "targets: required"),
        ({"document": "{}"}, "targets: required"),
        ({"targets": [ARN]}, "exactly one of document, documentSource and jobTemplateArn"),
        ({**AWS, "documentSource": "https://x/y"}, "exactly one of document, documentSource"),
        ({"targets": [ARN], "jobTemplateArn": "arn:x"}, "jobTemplateArn: 'arn:x' is not arn:aws"),
        ({"targets": [ARN], "documentSource": "a b"}, "documentSource: 'a b'"),
        ({**AWS, "documentParameters": {"a b": "x"}}, "documentParameters: .*'a b'.* not match"),
        ({**AWS, "presignedUrlConfig": {"expiresInSec": 59}}, "expiresInSec: 59"),
        ({**AWS, "targets": []}, "targets: has 0 entries, at least 1"),
        ({**AWS, "targets": [ARN] * 101}, "targets: has 101 entries, at most 100"),
        ({**AWS, "targets": ["one"]}, "targets.0: 'one' is not arn:aws:iot:REGION"),
        ({**AWS, "targets": ARN}, "targets: 'arn"),
        ({**AWS, "jobId": "a b"}, "jobId: 'a b' does not match"),
        ({**AWS, "jobId": 7}, "jobId: 7: "),
        ({**AWS, "document": "{"}, "document: '{' is not JSON"),
        ({**AWS, "document": "[]"}, "must hold a JSON object"),
        ({**AWS, "document": 7}, "document: 7 must be JSON text"),
        ({**AWS, "document": json.dumps({"a": "x" * 32768})}, "1 to 32768 are allowed"),
        ({**AWS, "description": "x" * 2029}, "description: .*1 to 2028"),
        ({**AWS, "description": "a\u0007b"}, "description: .*control characters"),
        (
            {**AWS, "timeoutConfig": {"inProgressTimeoutInMinutes": 10081}},
            "Minutes: 10081: .*10080",
        ),
        ({**AWS, "timeoutConfig": {"x": 1}}, "timeoutConfig.x: jobs/create has no such field"),
        (
            {**AWS, "targetSelection": "LATER"},
            "targetSelection: 'LATER': .*'SNAPSHOT' or 'CONTINUOUS'",
        ),
        ({**AWS, "abortConfig": {}}, "abortConfig.criteriaList: required"),
        (
            {**AWS, "jobExecutionsRolloutConfig": {"maximumPerMinute": 0}},
            "jobExecutionsRolloutConfig.maximumPerMinute: 0: .*greater than or equal to 1",
        ),
        (
            {
                **AWS,
                "jobExecutionsRetryConfig": {
                    "criteriaList": [{"failureType": "REJECTED", "numberOfRetries": 1}]
                },
            },
            "failureType: 'REJECTED': .*'FAILED', 'TIMED_OUT' or 'ALL'",
        ),
        ({**AWS, "namespaceId": "n"}, "namespaceId: not offered by this version"),
        (
            {**AWS, "destinationPackageVersions": [], "namespaceId": "n"},
            "destinationPackageVersions, namespaceId: not offered",
        ),
        ({**AWS, "colour": "red"}, "colour: jobs/create has no such field"),
        ({**AWS, "clientToken": "x" * 1025}, "clientToken: .*1025 bytes, 1 to 1024"),
        ({**AWS, "clientToken": ""}, "clientToken: .*0 bytes"),
        ({**SEED, "target_all": True}, "exactly one of target_device_id"),
        ({"document_type": "x"}, "exactly one of target_device_id"),
        ({**SEED, "expires_in_hours": 0}, "expires_in_hours: 0: .*greater than 0"),
        ({**SEED, "expires_in_hours": 9000}, "expires_in_hours: 9000: .*8760"),
        ({**SEED, "document_type": ""}, "document_type: .*1 to 128"),
        ({**SEED, "document_params": {"a": "\0"}}, "document_params: .*U.0000"),
        ({**SEED, "document_params": {"a": "x" * 32740}}, "document_params: "),
    ],
)
def test_a_wrong_create_is_refused_by_field(fields: dict[str, object], says: str) -> None:
    """Each fault of a jobs/create is an InvalidRequest that names the field, the value and the limit."""
    found = refusal("jobs/create", fields)
    assert found.code is Code.INVALID_REQUEST
    with pytest.raises(Rejected, match=says):
        raise found


@pytest.mark.parametrize(
    ("verb", "fields", "says"),
    [
        ("jobs/list", {"status": "LOST"}, "status: 'LOST': .*COMPLETED"),
        ("jobs/list", {"maxResults": 251}, "maxResults: 251: .*250"),
        ("jobs/list", {"maxResults": True}, "maxResults: True"),
        ("jobs/cancel", {"force": "yes"}, "force: 'yes'"),
        ("jobs/cancel", {"reasonCode": "because"}, "reasonCode: 'because' does not match"),
        ("jobs/executions/cancel", {"statusDetails": {"a": 1}}, "statusDetails"),
        ("jobs/executions/cancel", {"expectedVersion": -1}, "expectedVersion: -1"),
        ("things/create", {}, "thingName: required"),
        ("things/create", {"thingName": "a/b"}, "thingName: 'a/b' does not match"),
        ("things/create", {"thingName": "a", "attributes": {"a b": ""}}, "attribute name 'a b'"),
        (
            "things/create",
            {"thingName": "a", "attributes": {f"a{n}": "" for n in range(51)}},
            "51 attributes, at most 50",
        ),
        (
            "things/create",
            {"thingName": "a", "attributes": {}, "attributePayload": {}},
            "attributes: given twice",
        ),
        ("things/list", {"attributeValue": "x"}, "attributeName: required"),
        ("groups/add", {"thingGroupName": "g"}, "exactly one of thingName and thingNames"),
        ("operators/create", {"operatorName": "ann", "role": "king"}, "role: 'king': .*'owner'"),
    ],
)
def test_a_wrong_command_is_refused_by_field(
    verb: str, fields: dict[str, object], says: str
) -> None:
    """The other commands name what is wrong as well."""
    with pytest.raises(Rejected, match=says):
        raise refusal(verb, fields)


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff",
        b"{",
        b"[]",
        b"7",
        b'"text"',
        b"null",
        b'{"a":NaN}',
        b"[" * 100_000,
        b'{"a":"\xed\xa0\x80"}',
    ],
)
def test_what_is_no_json_object_is_invalid_json(payload: bytes) -> None:
    """Bytes that are no UTF-8, no JSON, no object or nested without end are InvalidJson."""
    assert refusal("jobs/list", payload).code is Code.INVALID_JSON


def test_nothing_at_all_is_an_empty_object() -> None:
    """A zero-byte payload asks for the first page of everything."""
    assert decode("jobs/list", read_object(b"")).client_token is None


def test_an_oversized_payload_is_refused_before_it_is_read() -> None:
    """Ten megabytes are answered with the limit."""
    with pytest.raises(Rejected, match="10485760 bytes, at most 262144"):
        read_object(b"x" * 10_485_760)


def test_huge_numbers_survive() -> None:
    """A number of five thousand digits is a refusal, whatever field it stands in."""
    for verb in VERBS:
        digits = b'{"maxResults":' + b"9" * 5000 + b',"document":{"a":' + b"9" * 4000 + b"}}"
        assert refusal(verb, digits).code in (Code.INVALID_JSON, Code.INVALID_REQUEST)
    number = b'{"targets":["x"],"document":{"a":1e999}}'
    assert refusal("jobs/create", number).code is Code.INVALID_REQUEST


def test_a_token_is_readable_beside_a_fault() -> None:
    """The clientToken can be echoed though another field is wrong; one that is itself wrong cannot."""
    assert readable_token({"clientToken": "t", "force": 7}) == "t"
    assert readable_token({"clientToken": 7}) is None


# What JSON can say, with the field names that exist mixed in, so that models are reached.
_NAMES = sorted(
    {
        field.alias or name
        for model in _MODELS.values()
        for name, field in model.model_fields.items()
    }
    | {field.alias or name for name, field in CreateJob.model_fields.items()}
    | set(CreateSeedJob.model_fields)
    | {"abortConfig", "statusDetails"}
)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.just(ARN),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(string.ascii_letters, max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
_objects = st.dictionaries(st.sampled_from(_NAMES) | st.text(max_size=4), _values, max_size=6)


@given(st.sampled_from(VERBS), st.binary(max_size=200))
def test_any_bytes_are_a_command_or_a_refusal(verb: str, payload: bytes) -> None:
    """No bytes raise anything but Rejected."""
    try:
        decode(verb, read_object(payload))
    except Rejected as found:
        assert found.message  # noqa: PT017 - both ways are fine


@given(st.sampled_from(VERBS), _objects)
def test_any_object_is_a_command_or_a_refusal(verb: str, fields: dict[str, object]) -> None:
    """No JSON object raises anything but Rejected, and the refusal is short and writable."""
    payload = json.dumps(fields).encode()
    try:
        command = decode(verb, read_object(payload))
    except Rejected as found:
        assert 0 < len(found.message) < 2000  # noqa: PT017 - both ways are fine
        found.message.encode()
    else:
        assert len(fingerprint(verb, (), command)) == 32


@given(st.text(max_size=60))
def test_any_text_is_a_target_or_no_target(text: str) -> None:
    """parse_target gives a name that fits, or a ValueError."""
    try:
        target = parse_target(text)
    except ValueError:
        return
    assert Home("r", "1").target(target.kind, target.name).name == target.name


def test_targets_of_any_account_are_taken() -> None:
    """A script's ARNs for another region and account work here: the name decides."""
    found = parse_target("arn:aws-cn:iot:cn-north-1:123456789012:thinggroup/all:of-them")
    assert (found.kind, found.name) == ("thinggroup", "all:of-them")


def test_equal_commands_have_equal_fingerprints() -> None:
    """The clientToken and the order of fields do not count, everything else does."""
    one = decode("jobs/create", {**AWS, "clientToken": "a"})
    two = decode("jobs/create", {"document": AWS["document"], "targets": [ARN]})
    assert fingerprint("jobs/create", (), one) == fingerprint("jobs/create", (), two)
    other = decode("jobs/create", {**AWS, "description": "x"})
    assert fingerprint("jobs/create", (), one) != fingerprint("jobs/create", (), other)
    assert fingerprint("jobs/create", ("j",), one) != fingerprint("jobs/create", ("k",), one)


def test_members_are_named_once() -> None:
    """ThingNames come out sorted and without repetitions."""
    command = decode("groups/add", {"thingGroupName": "g", "thingNames": ["b", "a", "b"]})
    assert isinstance(command, ChangeMembers)
    assert command.names == ["a", "b"]


@given(st.text(max_size=100))
def test_any_text_is_a_page_token_or_a_refusal(text: str) -> None:
    """A forged nextToken never reaches the database."""
    try:
        assert paging.decode("jobs", text, (int,)) is not None
    except Rejected as found:
        assert "nextToken" in found.message  # noqa: PT017 - both ways are fine


@pytest.mark.parametrize("key", [(2**63,), (-1,), ("a\0",), (True,), (1.5,), (None,), ()])
def test_forged_page_keys_are_refused(key: tuple[object, ...]) -> None:
    """Keys of the wrong type, beyond a bigint or with what PostgreSQL cannot hold are refused."""
    token = paging.encode("jobs", *key)  # type: ignore[arg-type] # that is what is tested
    for kinds in ((int,), (str,)):
        with pytest.raises(Rejected, match="nextToken"):
            paging.decode("jobs", token, kinds)


def test_page_tokens_come_back() -> None:
    """What was encoded is decoded, for its own list only."""
    token = paging.encode("jobs/j", "thing-1", 2)
    assert paging.decode("jobs/j", token, (str, int)) == ("thing-1", 2)
    with pytest.raises(Rejected, match="no token of jobs/k"):
        paging.decode("jobs/k", token, (str, int))


def test_a_managed_template_has_a_printable_name() -> None:
    """A name that no template can have is refused by name, and reaches no table."""
    assert "templateName" in refusal("managed-templates/get", {"templateName": "\0"}).message
