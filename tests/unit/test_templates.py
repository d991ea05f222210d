"""Job templates: ARNs, and AWS's managed templates as AWS shows and fills them."""

from __future__ import annotations

import json

import pytest

from schema.arns import Home
from schema.errors import Code, Rejected
from schema.placeholders import Values, check, fill
from schema.templates import (
    MANAGED,
    TemplateRef,
    custom_arn,
    find_managed,
    list_managed,
    parse_arn,
)

HOME = Home("eu-west-1", "123456789012")


def test_arns_of_templates() -> None:
    """A tenant's own by id; AWS's by name and version, without an account."""
    own = parse_arn(custom_arn(HOME, "nightly_1"))
    assert (own, own.is_managed) == (TemplateRef("nightly_1"), False)
    managed = parse_arn("arn:aws:iot:us-east-1::jobtemplate/AWS-Reboot:1.0")
    assert (managed, managed.is_managed) == (TemplateRef("AWS-Reboot", "1.0"), True)


@pytest.mark.parametrize(
    "arn",
    [
        "AWS-Reboot",
        "arn:aws:iot:r:a:job/x",
        "arn:aws:iot:r::jobtemplate/",
        "arn:aws:iot:r::jobtemplate/AWS-Reboot:0.1",
        "arn:aws:iot:r::jobtemplate/a b",
        "arn:aws:iot:r::jobtemplate/" + "x" * 65,
    ],
)
def test_what_is_no_arn_of_a_template(arn: str) -> None:
    """The expected forms are told."""
    with pytest.raises(ValueError, match="jobtemplate/ID"):
        parse_arn(arn)


def test_the_managed_set_is_that_of_aws() -> None:
    """The templates of AWS's page, in order of name, and one by its name."""
    names = [one["templateName"] for one in list_managed("us-east-1")]
    assert names == sorted(
        f"AWS-{name}"
        for name in (
            "Download-File",
            "Install-Application",
            "Reboot",
            "Remove-Application",
            "Restart-Application",
            "Run-Command",
            "Start-Application",
            "Stop-Application",
        )
    )
    assert list_managed("us-east-1", "AWS-Reboot") == [
        {
            "templateArn": "arn:aws:iot:us-east-1::jobtemplate/AWS-Reboot:1.0",
            "templateName": "AWS-Reboot",
            "description": "A managed job template for rebooting the device.",
            "environments": ["LINUX"],
            "templateVersion": "1.0",
        }
    ]
    assert list_managed("us-east-1", "none") == []


def test_a_template_is_described_as_aws_does() -> None:
    """DescribeManagedJobTemplate's example: members, parameters in order, the document to the byte."""
    shown = find_managed("AWS-Download-File", "1.0").described("us-east-1")
    assert shown["document"] == (
        '{"version":"1.0","steps":[{"action":{"name":"Download-File","type":"runHandler","input":'
        '{"handler":"download-file.sh","args":["${aws:iot:parameter:downloadUrl}",'
        '"${aws:iot:parameter:filePath}"],"path":"${aws:iot:parameter:pathToHandler}"},'
        '"runAsUser":"${aws:iot:parameter:runAsUser}"}}]}'
    )
    parameters = shown["documentParameters"]
    assert isinstance(parameters, list)
    assert [(one["key"], one["regex"], one["optional"]) for one in parameters] == [
        ("downloadUrl", "(.*?)", False),
        ("filePath", "(.*?)", False),
        ("runAsUser", "(.){0,256}", True),
        ("pathToHandler", "(.){0,4096}", True),
    ]


@pytest.mark.parametrize("name", MANAGED)
def test_every_template_can_be_filled(name: str) -> None:
    """With its own examples, all of them and the required ones alone, nothing is left of the placeholders."""
    template = MANAGED[name]
    for required in (True, False):
        given = {
            one.key: one.example for one in template.parameters if not (required and one.optional)
        }
        filled = check(template.document, template.filled_with(given))
        assert filled.is_fixed
        text = fill(filled, Values("t", "j", 1, {}))
        assert "${" not in text
        action = json.loads(text)["steps"][0]["action"]
        assert f"AWS-{action['name']}" == name
        assert action["runAsUser"] == ("" if required else "user1")


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("AWS-Download-File", {"filePath": "/f"}, "AWS-Download-File needs downloadUrl, e.g. http"),
        ("AWS-Reboot", {"packages": "x"}, "AWS-Reboot has no 'packages'; it has runAsUser, path"),
        ("AWS-Run-Command", {"command": "ls", "pathToHandler": "/"}, "has no 'pathToHandler'"),
        ("AWS-Reboot", {"runAsUser": "u" * 257}, r"does not match (.){0,256}"),
    ],
)
def test_parameters_are_checked(name: str, given: dict[str, str], told: str) -> None:
    """A missing, an unknown and one that is too long, by name."""
    with pytest.raises(Rejected) as refused:
        find_managed(name).filled_with(given)
    assert refused.value.message.startswith("documentParameters: ")
    assert told in refused.value.message


@pytest.mark.parametrize(("name", "version"), [("AWS-None", None), ("AWS-Reboot", "2.0")])
def test_a_template_that_is_not_there(name: str, version: str | None) -> None:
    """Another name or version is not found."""
    with pytest.raises(Rejected, match="does not exist") as refused:
        find_managed(name, version)
    assert refused.value.code is Code.RESOURCE_NOT_FOUND
