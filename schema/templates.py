"""Job templates: names, ARNs, and AWS's managed templates as data.

The managed templates' names, documents and parameters' keys are those of AWS "Use AWS managed templates to deploy
common remote operations". Their descriptions, and the expressions of downloadUrl, filePath, runAsUser and
pathToHandler, are those of AWS "Create a job from AWS managed templates by using the AWS CLI"; the parameters'
descriptions are ours. For other parameters AWS publishes no expression: ours is that of downloadUrl. The device's side
is any handler of such documents, the AWS IoT Device Client for one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, Field

from schema.errors import Code, Rejected, shorten
from schema.fields import compact_json
from schema.limits import JOB_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schema.arns import Home

VERSION: Final = "1.0"
_ARN: Final = re.compile(
    r"arn:aws[a-z-]{0,16}:iot:[a-zA-Z0-9-]{0,64}:[a-zA-Z0-9-]{0,32}:jobtemplate/"
    r"(?P<name>[a-zA-Z0-9_-]{1,64})(:(?P<version>[1-9][0-9]*\.[0-9]+))?"
)


@dataclass(frozen=True, slots=True)
class TemplateRef:
    """What an ARN names: a custom template by its id, or a managed one, which has a version too."""

    name: str
    version: str | None = None

    @property
    def is_managed(self) -> bool:
        """Whether it is one of AWS's: custom ones have no version."""
        return self.version is not None


def parse_arn(arn: str) -> TemplateRef:
    """The template an ARN names, of any region and account. Raises ValueError saying which form is expected."""
    found = _ARN.fullmatch(arn)
    if found is None:
        msg = (
            "is not arn:aws:iot:REGION:ACCOUNT:jobtemplate/ID or"
            " arn:aws:iot:REGION::jobtemplate/NAME:VERSION"
        )
        raise ValueError(msg)
    return TemplateRef(found["name"], found["version"])


def custom_arn(home: Home, template_id: str) -> str:
    """The ARN of a tenant's own template."""
    return f"arn:aws:iot:{home.region}:{home.account}:jobtemplate/{template_id}"


def _id(value: str) -> str:
    if JOB_ID.fullmatch(value) is None:
        msg = f"does not match {JOB_ID.pattern}"
        raise ValueError(msg)
    return value


def _arn(value: str) -> str:
    parse_arn(value)
    return value


# AWS: jobTemplateId, jobTemplateArn, templateName, templateVersion.
TemplateId = Annotated[str, AfterValidator(_id)]
TemplateArn = Annotated[str, Field(min_length=1, max_length=1600), AfterValidator(_arn)]
TemplateName = Annotated[str, Field(pattern=r"^[!-~]+$", min_length=1, max_length=64)]
TemplateVersion = Annotated[str, Field(pattern=r"^[1-9][0-9]*\.[0-9]+$", max_length=16)]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a managed template (AWS: DocumentParameter); the whole value fits the expression."""

    key: str
    description: str
    regex: str
    example: str
    optional: bool = False

    def described(self) -> dict[str, object]:
        """In AWS's shape."""
        return {
            "key": self.key,
            "description": self.description,
            "regex": self.regex,
            "example": self.example,
            "optional": self.optional,
        }


@dataclass(frozen=True, slots=True)
class ManagedTemplate:
    """One of AWS's templates; document is JSON text."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    document: str

    def listed(self, region: str) -> dict[str, object]:
        """As ListManagedJobTemplates shows it."""
        return {
            "templateArn": f"arn:aws:iot:{region}::jobtemplate/{self.name}:{VERSION}",
            "templateName": self.name,
            "description": self.description,
            "environments": ["LINUX"],
            "templateVersion": VERSION,
        }

    def described(self, region: str) -> dict[str, object]:
        """As DescribeManagedJobTemplate shows it."""
        return self.listed(region) | {
            "documentParameters": [one.described() for one in self.parameters],
            "document": self.document,
        }

    def filled_with(self, given: Mapping[str, str]) -> dict[str, str]:
        """The document's parameters for a job: those given, and the optional ones that were left out as empty texts.

        Raises Rejected (InvalidRequest) for one that is missing, unknown, or does not fit its expression.
        """
        known = {one.key: one for one in self.parameters}
        if unknown := sorted(given.keys() - known.keys()):
            raise _refused(f"{self.name} has no {shorten(unknown[0])}; it has {', '.join(known)}")
        for one in self.parameters:
            if one.key not in given and not one.optional:
                raise _refused(f"{self.name} needs {one.key}, e.g. {one.example}")
            value = given.get(one.key, "")
            if re.fullmatch(one.regex, value, re.DOTALL) is None:
                raise _refused(f"{one.key} {shorten(value)} does not match {one.regex}")
        return {key: given.get(key, "") for key in known}


def _refused(what: str) -> Rejected:
    return Rejected(Code.INVALID_REQUEST, f"documentParameters: {what}")


def find_managed(name: str, version: str | None = None) -> ManagedTemplate:
    """The managed template of a name, in its only version or the one asked for. Raises Rejected (ResourceNotFound)."""
    found = MANAGED.get(name)
    if found is None or version not in (None, VERSION):
        asked = name if version is None else f"{name}:{version}"
        raise Rejected(
            Code.RESOURCE_NOT_FOUND, f"managed job template {shorten(asked)} does not exist"
        )
    return found


def list_managed(region: str, name: str | None = None) -> list[dict[str, object]]:
    """All managed templates in order of name, or the one of a name (AWS: ListManagedJobTemplates)."""
    return [one.listed(region) for one in MANAGED.values() if name in (None, one.name)]


_RUN_AS_USER: Final = Parameter(
    "runAsUser",
    "User that runs the handler; when left out, the user of the device's client.",
    "(.){0,256}",
    "user1",
    optional=True,
)
_PATH_TO_HANDLER: Final = Parameter(
    "pathToHandler",
    "Path to the handler on the device; when left out, the current directory of the device's client.",
    "(.){0,4096}",
    "/path/to/handler/script",
    optional=True,
)


def _text(key: str, description: str, example: str) -> Parameter:
    return Parameter(key, description, "(.*?)", example)


def _placeholder(key: str) -> str:
    return f"${{aws:iot:parameter:{key}}}"


def _document(action: dict[str, object]) -> str:
    run_as = {"runAsUser": _placeholder("runAsUser")}
    return compact_json({"version": "1.0", "steps": [{"action": action | run_as}]})


def _handled(name: str, description: str, handler: str, *parameters: Parameter) -> ManagedTemplate:
    """A template whose action is a script on the device."""
    args = {"args": [_placeholder(one.key) for one in parameters]} if parameters else {}
    steps = {"handler": handler} | args | {"path": _placeholder("pathToHandler")}
    return ManagedTemplate(
        f"AWS-{name}",
        description,
        (*parameters, _RUN_AS_USER, _PATH_TO_HANDLER),
        _document({"name": name, "type": "runHandler", "input": steps}),
    )


def _services(what: str) -> Parameter:
    return _text("services", f"Services to {what}, separated by spaces.", "nginx mosquitto")


def _packages(what: str) -> Parameter:
    return _text("packages", f"Packages to {what}, separated by spaces.", "curl htop")


_COMMAND: Final = _text(
    "command",
    "Command and its arguments, separated by commas; a comma inside of one is escaped.",
    "sudo,systemctl,restart,nginx",
)
_ALL: Final = (
    _handled(
        "Download-File",
        "A managed job template for downloading a file.",
        "download-file.sh",
        _text("downloadUrl", "URL of the file to download.", "http://www.example.com/index.html"),
        _text("filePath", "Path on the device where the file is written.", "/path/to/file"),
    ),
    _handled(
        "Install-Application",
        "A managed job template for installing one or more applications.",
        "install-packages.sh",
        _packages("install"),
    ),
    _handled("Reboot", "A managed job template for rebooting the device.", "reboot.sh"),
    _handled(
        "Remove-Application",
        "A managed job template for uninstalling one or more applications.",
        "remove-packages.sh",
        _packages("remove"),
    ),
    _handled(
        "Restart-Application",
        "A managed job template for restarting one or more system services.",
        "restart-services.sh",
        _services("restart"),
    ),
    ManagedTemplate(
        "AWS-Run-Command",
        "A managed job template for running a shell command.",
        (_COMMAND, _RUN_AS_USER),
        _document(
            {
                "name": "Run-Command",
                "type": "runCommand",
                "input": {"command": _placeholder("command")},
            }
        ),
    ),
    _handled(
        "Start-Application",
        "A managed job template for starting one or more system services.",
        "start-services.sh",
        _services("start"),
    ),
    _handled(
        "Stop-Application",
        "A managed job template for stopping one or more system services.",
        "stop-services.sh",
        _services("stop"),
    ),
)
MANAGED: Final[Mapping[str, ManagedTemplate]] = {one.name: one for one in _ALL}
