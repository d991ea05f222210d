"""Placeholders of job documents: what is refused at creation, and what devices are given."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schema.errors import Code, Rejected
from schema.placeholders import (
    Parameters,
    Presigning,
    Values,
    check,
    compile_document,
    fill,
    preview,
)
from schema.presign import Method, S3Store

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
STORE = S3Store("https://s3.local", "eu-west-1", "AK", "secret")
PUMP = Values("pump:1", "j-1", 2, {"site": 'La"b\n', "n": "5"})
URL = "https://s3.local/fleet/fw.bin"


def filled(document: object, parameters: Mapping[str, str] | None = None) -> object:
    """What the pump is given for a document, decoded."""
    template = check(json.dumps(document), parameters, signer=STORE)
    return json.loads(fill(template, PUMP, Presigning(STORE, NOW, 300)))


@pytest.mark.parametrize(
    ("written", "given_to_device"),
    [
        ("plain", "plain"),
        ("${thingName}", "pump:1"),
        ("a ${jobId}/${executionNumber} b", "a j-1/2 b"),
        ("${thing:attributes.site}", 'La"b\n'),
        ("${thing:attributes.none}", ""),
        ("$${HOME} $${thingName}", "${HOME} ${thingName}"),
        ("$$${x} $ {} } $$", "$${x} $ {} } $$"),
        ('\u4e16 \\ " ${thingName}\u0001', '\u4e16 \\ " pump:1\u0001'),
        ("${aws:iot:parameter:p-1}", "v\u00fc"),
        ("${aws:iot:parameter:own}", "for pump:1"),
        ("${aws:iot:parameter:cost}{}", "5${}"),
        ("${aws:iot:parameter:cost}${thingName}", "5$pump:1"),
    ],
)
def test_what_a_device_is_given(written: str, given_to_device: str) -> None:
    """Every kind of placeholder, the way out, and text that only looks like one."""
    parameters = {"p-1": "v\u00fc", "own": "for ${thingName}", "cost": "5$"}
    used = {name: text for name, text in parameters.items() if f":{name}}}" in written}
    document = {"a": [1, {"b": written, written.replace("$", "k"): None}], "c": 1.5}
    assert filled(document, used) == {
        "a": [1, {"b": given_to_device, written.replace("$", "k"): None}],
        "c": 1.5,
    }


def test_what_is_not_filled_stays_to_the_byte() -> None:
    """Spaces, escapes and the order of a document are its own."""
    document = '{ "a":"\\u00e9\\/" ,"b": 1e5,"c":"${jobId}"}'
    template = compile_document(document)
    assert fill(template, PUMP) == document.replace("${jobId}", "j-1")
    assert not template.is_fixed
    plain = '{"a": "\\u00e9 $ {}"}'
    assert compile_document(plain).parts == (plain,)
    assert compile_document(plain).is_fixed


def test_an_escaped_placeholder_is_one_too() -> None:
    """JSON may spell `$` as an escape; devices' parsers would not tell, and neither does the check."""
    assert json.loads(fill(compile_document('{"a":"\\u0024{jobId}"}'), PUMP)) == {"a": "j-1"}
    with pytest.raises(Rejected, match=re.escape("${HOME}")):
        check('{"a":"\\u0024\\u007bHOME}"}')


def test_names_are_filled_as_values_are() -> None:
    """A placeholder may be the name of a member."""
    assert filled({"${thingName}": 1}) == {"pump:1": 1}


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("s3-presigned-url", "/fleet/fw.bin?"),
        ("s3-presigned-url-v1", "/fleet/fw.bin?"),
        ("s3-presigned-url-v2", "/fleet/fw.bin?"),
        ("s3-presigned-url-upload", "/fleet/fw.bin?"),
    ],
)
def test_urls_are_signed_when_the_document_is_sent(kind: str, wanted: str) -> None:
    """Each of AWS's kinds, with the time and lifetime of the sending."""
    found = filled({"u": f"${{aws:iot:{kind}:{URL}}}"})
    assert isinstance(found, dict)
    method: Method = "PUT" if kind.endswith("upload") else "GET"
    assert found["u"] == STORE.presign(method, STORE.find(URL, encoded=True), NOW, expires=300)
    assert wanted in found["u"]
    assert "X-Amz-Date=20261122T120000Z&X-Amz-Expires=300" in found["u"]


def test_a_device_has_a_key_of_its_own() -> None:
    """AWS: ${thingName}, ${jobId} and ${executionNumber} in an upload's key; a version by v2."""
    key = "logs/${thingName}/${jobId}-${executionNumber}"
    found = filled({"u": f"${{aws:iot:s3-presigned-url-upload:https://s3.local/fleet/{key}}}"})
    assert "/fleet/logs/pump%3A1/j-1-2?" in str(found)
    found = filled({"u": f"${{aws:iot:s3-presigned-url-v2:{URL}%3FversionId%3Dv9}}"})
    assert "versionId=v9" in str(found)


def test_a_preview_signs_nothing() -> None:
    """Whoever looks sees the device's values and no URL that could be used; the attributes in it are known by name."""
    url = f"${{aws:iot:s3-presigned-url:{URL}}}"
    template = check(
        json.dumps({"u": url, "a": "${thingName} ${thing:attributes.site} ${thing:attributes.n}"}),
        signer=STORE,
    )
    assert json.loads(preview(template, PUMP)) == {"u": url, "a": 'pump:1 La"b\n 5'}
    assert template.attributes == ("site", "n")


def test_a_parameter_may_bring_a_url() -> None:
    """AWS-Download-File's downloadUrl is given as a placeholder to sign."""
    parameters = {"url": f"${{aws:iot:s3-presigned-url:{URL}}}"}
    template = check('{"u":"${aws:iot:parameter:url}"}', parameters, signer=STORE)
    assert template.shown == f'{{"u":"{parameters["url"]}"}}'
    assert "X-Amz-Signature" in fill(template, PUMP, Presigning(STORE, NOW, 60))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("${HOME}", "document.steps[1].a: '${HOME}': is not a placeholder that is offered"),
        ("x ${thingName", "document.steps[1].a: '${thingName': has no } at its end"),
        ("${}", "'${}': is not a placeholder"),
        ("${thingname}", "'${thingname}': is not a placeholder"),
        ("${attribute}", "'${attribute}': is not a placeholder"),
        ("${thing:attributes.}", "'${thing:attributes.}': the name does not match"),
        ("${aws:iot:parameter:q}", "documentParameters has no such parameter"),
        ("${aws:iot:parameter:p}", "a parameter's value cannot hold another parameter"),
        ("${aws:iot:package:p:version:v:artifact:location}", "is not a placeholder"),
        ("${aws:iot:s3-presigned-url:https://evil.com/fleet/k}", "is not in the store"),
        ("${aws:iot:s3-presigned-url:}", "is not in the store"),
        ("${aws:iot:s3-presigned-url:https://s3.local/fl${thingName}/k}", "no bucket"),
        ("${aws:iot:s3-presigned-url:https://s3.local/b/${HOME}}", "'${HOME}': is not"),
        (
            "${aws:iot:s3-presigned-url-upload:https://s3.local/fleet/${jobId}${jobId}${jobId}}",
            "more than 2 times",
        ),
        ("${aws:iot:s3-presigned-url:${aws:iot:s3-presigned-url:x}}", "cannot hold another URL"),
        ("${thingName}" * 51, "has 51 placeholders, at most 50"),
        ("${aws:iot:parameter:p}", "${aws:iot:parameter:q}"),
    ],
)
def test_what_is_refused_at_creation(text: str, told: str) -> None:
    """The placeholder and the place where it stands."""
    document = json.dumps({"b": "x", "steps": [{}, {"a": text}]})
    with pytest.raises(Rejected) as refused:
        check(
            document,
            {"p": "${aws:iot:parameter:q}"} if "parameter:p" in text else None,
            signer=STORE,
        )
    assert told in refused.value.message
    assert refused.value.code is Code.INVALID_REQUEST


def test_what_belongs_to_the_installation_and_the_job() -> None:
    """No store, a parameter that nothing names, and a document that its parameters make too long."""
    with pytest.raises(Rejected, match="no store for presigned URLs"):
        check(json.dumps({"u": f"${{aws:iot:s3-presigned-url:{URL}}}"}))
    with pytest.raises(Rejected, match=re.escape("has no ${aws:iot:parameter:q}")):
        check('{"u":"${aws:iot:parameter:p}"}', {"p": "1", "q": "2"})
    long = {"p": "x" * 30720}
    assert check('{"u":"${aws:iot:parameter:p}"}', long).is_fixed
    with pytest.raises(Rejected, match="has 61449 bytes with its parameters"):
        check('{"u":"${aws:iot:parameter:p} ${aws:iot:parameter:p}"}', long)


def test_a_store_that_is_gone_is_our_fault() -> None:
    """A device asked for nothing wrong."""
    template = check(json.dumps({"u": f"${{aws:iot:s3-presigned-url:{URL}}}"}), signer=STORE)
    other = S3Store("https://s3.other", "eu-west-1", "AK", "secret")
    for presigning in (None, Presigning(other, NOW, 60)):
        with pytest.raises(Rejected) as refused:
            fill(template, PUMP, presigning)
        assert refused.value.code is Code.INTERNAL_ERROR


def test_what_a_template_needs_is_known() -> None:
    """Attributes are loaded only for documents that name one, in a URL's key too."""
    assert compile_document('{"a":"${thing:attributes.n}"}').needs_attributes
    key = "https://s3.local/fleet/${thing:attributes.n}"
    assert compile_document(f'{{"a":"${{aws:iot:s3-presigned-url:{key}}}"}}').needs_attributes
    assert not compile_document('{"a":"${thingName}"}').needs_attributes


@pytest.mark.parametrize(
    "parameters", [{"a b": "x"}, {"": "x"}, {"a": ""}, {"a": "x" * 30721}, {"a": "x\n"}, {"a": 1}]
)
def test_parameters_have_limits(parameters: dict[str, object]) -> None:
    """AWS: names of 1 to 128, values of 1 to 30720 characters without control characters."""
    adapter = TypeAdapter(Parameters)
    assert adapter.validate_python({"a-Z_9": "x" * 30720})
    with pytest.raises(ValidationError):
        adapter.validate_python(parameters)


texts = st.text(
    st.sampled_from('a$ {}"\\\n\u00e9\U0001f600') | st.characters(exclude_categories=["Cs"])
)


@given(
    st.recursive(
        texts | st.none() | st.integers() | st.just("x${thingName}y"),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    ),
    texts,
    st.booleans(),
)
def test_no_value_breaks_the_json(document: object, name: str, ascii_only: bool) -> None:
    """Any document with any value is the document with the value in it."""

    def escaped(value: object, *, whole: bool) -> object:
        if isinstance(value, str):
            if value == "x${thingName}y":
                return f"x{name}y" if whole else value
            return value if whole else re.sub(r"\$\{", "$${", value)
        if isinstance(value, list):
            return [escaped(one, whole=whole) for one in value]
        if isinstance(value, dict):
            return {
                escaped(key, whole=whole): escaped(one, whole=whole) for key, one in value.items()
            }
        return value

    text = json.dumps({"d": escaped(document, whole=False)}, ensure_ascii=ascii_only)
    values = Values(name, "j", 1, {})
    assert json.loads(fill(compile_document(text), values)) == {"d": escaped(document, whole=True)}
