"""The same command in other hands: as mosquitto_pub, boto3, curl and our command line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any, Final

from broker.console.api import request_of

# AWS's CreateJob has these and no others; what is ours alone is left out where AWS's client would refuse it.
_OURS: Final = frozenset({"priority", "exclusive", "stages", "approvalConfig", "clientToken"})


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def job_as_created(job: Mapping[str, Any], document: str, *, job_id: str) -> dict[str, Any]:
    """What jobs/create was or would be told for a job like this one (as jobs/get shows it), under another id."""
    members = (
        *("description", "targetSelection", "timeoutConfig", "jobExecutionsRolloutConfig"),
        *("abortConfig", "jobExecutionsRetryConfig", "schedulingConfig", "presignedUrlConfig"),
        *("priority", "exclusive", "stages", "approvalConfig", "documentParameters"),
    )
    made: dict[str, Any] = {"jobId": job_id, "targets": list(job.get("targets", []))}
    made |= {name: job[name] for name in members if job.get(name)}
    if job.get("jobTemplateArn"):
        made["jobTemplateArn"] = job["jobTemplateArn"]
    else:
        made["document"] = document
        made.pop("documentParameters", None)
    return made


def as_curl(api: str, verb: str, given: Mapping[str, object]) -> str:
    """With curl; the token stands in a variable."""
    request = request_of(verb, given)
    lines = [f"curl -X {request.method} {shlex.quote(api + request.path)}"]
    lines.append('-H "Authorization: Bearer $TOKEN"')
    if request.body:
        lines.append("-H 'Content-Type: application/json'")
        lines.append(f"-d {shlex.quote(_pretty(request.body))}")
    return " \\\n  ".join(lines)


def as_mosquitto(operator: str, path: str, payload: Mapping[str, object]) -> str:
    """With mosquitto_rr, which shows the answer, too; path such as jobs/create."""
    topic = f"operators/{operator}/{path}"
    return (
        f'mosquitto_rr -h HOST -p 1883 -u {operator} -P "$TOKEN" -q 1 -W 10 \\\n'
        f"  -t {topic} -e {topic}/accepted \\\n  -m {shlex.quote(_pretty(payload))}"
    )


def as_boto3(api: str, made: Mapping[str, Any]) -> str:
    """With AWS's client for Python, sent to us instead of AWS; what AWS does not have is left out."""
    arguments = {name: value for name, value in made.items() if name not in _OURS}
    if isinstance(arguments.get("document"), dict):
        arguments["document"] = json.dumps(arguments["document"])
    lines = ",\n".join(f"    {name}={value!r}" for name, value in arguments.items())
    return f'import boto3\n\niot = boto3.client("iot", endpoint_url="{api}")\niot.create_job(\n{lines},\n)'


def as_cli(made: Mapping[str, Any]) -> str:
    """With our command line; what it has no option for goes into a file, as --config takes it."""
    parts = ["jobbroker jobs create", f"--job-id {shlex.quote(str(made['jobId']))}"]
    for arn in made.get("targets", []):
        name = str(arn).rpartition(":")[2]
        kind, _, bare = name.partition("/")
        option = (
            f"--group {shlex.quote(bare)}"
            if kind == "thinggroup"
            else f"--target {shlex.quote(name)}"
        )
        parts.append(option)
    if "document" in made:
        document = made["document"]
        text = document if isinstance(document, str) else json.dumps(document)
        parts.append(f"--document-json {shlex.quote(text)}")
    if "jobTemplateArn" in made:
        parts.append(f"--template {shlex.quote(made['jobTemplateArn'])}")
    if made.get("description"):
        parts.append(f"--description {shlex.quote(str(made['description']))}")
    if made.get("targetSelection") == "CONTINUOUS":
        parts.append("--continuous")
    rest = {name: value for name, value in made.items() if name not in _IN_OPTIONS}
    if rest:
        parts.append(f"--config <(echo {shlex.quote(json.dumps(rest))})")
    return " \\\n  ".join(parts)


_IN_OPTIONS: Final = frozenset(
    {
        *("jobId", "targets", "document", "jobTemplateArn", "description", "targetSelection"),
    }
)
