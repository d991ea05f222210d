"""From an operator's bytes to a command, or to a refusal that names the field, the value and the limit."""

from __future__ import annotations

import hashlib
import json
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schema import (
    commands,
    device,
    failure_commands,
    group_commands,
    job_commands,
    run_commands,
    stack_commands,
    tag_commands,
    template_commands,
    token_commands,
    view_commands,
)
from schema.errors import Code, Rejected, shorten
from schema.limits import COMMAND_BYTES

_MODELS: Final[dict[str, type[commands.Command]]] = {
    "jobs/list": commands.ListJobs,
    "jobs/get": commands.GetJob,
    "jobs/counts": view_commands.CountJobs,
    "jobs/progress": view_commands.JobProgress,
    "jobs/cancel": commands.CancelJob,
    "jobs/delete": commands.DeleteJob,
    "jobs/associate": commands.AssociateTargets,
    "jobs/update": job_commands.UpdateJob,
    "jobs/pause": job_commands.CommentedCommand,
    "jobs/resume": job_commands.CommentedCommand,
    "jobs/approve": job_commands.CommentedCommand,
    "jobs/deny": job_commands.CommentedCommand,
    "jobs/start-next-stage": job_commands.CommentedCommand,
    "jobs/retry-failed": job_commands.RetryFailed,
    "failures/list": failure_commands.ListFailures,
    "failures/retry": failure_commands.RetryFailures,
    "jobs/executions/get": job_commands.GetExecution,
    "jobs/executions/cancel": commands.CancelExecution,
    "jobs/executions/delete": job_commands.DeleteExecution,
    "things/executions": job_commands.ListThingExecutions,
    "event-configurations/get": job_commands.GetEventConfigurations,
    "event-configurations/update": job_commands.UpdateEventConfigurations,
    "approval/get": job_commands.GetApproval,
    "approval/update": job_commands.UpdateApproval,
    "tags/add": tag_commands.AddTags,
    "tags/remove": tag_commands.RemoveTags,
    "tags/list": tag_commands.ListTags,
    "templates/create": template_commands.CreateTemplate,
    "templates/list": template_commands.ListTemplates,
    "templates/get": template_commands.GetTemplate,
    "templates/delete": template_commands.DeleteTemplate,
    "managed-templates/list": template_commands.ListManagedTemplates,
    "managed-templates/get": template_commands.GetManagedTemplate,
    "things/create": commands.CreateThing,
    "things/list": commands.ListThings,
    "things/get": commands.GetThing,
    "things/search": view_commands.SearchThings,
    "things/update": commands.UpdateThing,
    "things/delete": commands.DeleteThing,
    "credentials/list": view_commands.ListCredentials,
    "credentials/issue": view_commands.IssueCredential,
    "credentials/revoke": view_commands.RevokeCredentials,
    "groups/create": group_commands.CreateGroup,
    "groups/get": group_commands.GetGroup,
    "groups/update": group_commands.UpdateGroup,
    "groups/list": group_commands.ListGroups,
    "groups/members": group_commands.ListMembers,
    "groups/add": group_commands.ChangeMembers,
    "groups/remove": group_commands.ChangeMembers,
    "groups/delete": group_commands.DeleteGroup,
    "operators/create": commands.CreateOperator,
    "operators/list": commands.ListOperators,
    "operators/delete": commands.DeleteOperator,
    "operators/whoami": view_commands.WhoAmI,
    "system/get": view_commands.ShowSystem,
    "tokens/create": token_commands.CreateToken,
    "tokens/list": token_commands.ListTokens,
    "tokens/revoke": token_commands.RevokeToken,
    "audit/list": token_commands.ListAudit,
    "ttn/connections": stack_commands.ListConnections,
    "ttn/status": stack_commands.GetStatus,
    "ttn/credentials/get": stack_commands.GetCredentials,
    "ttn/credentials/set": stack_commands.SetCredentials,
    "ttn/provision": stack_commands.Provision,
    "ttn/start-fresh": stack_commands.StartFresh,
    "ttn/deep-clean": stack_commands.DeepClean,
    "ttn/devices/register": stack_commands.RegisterDevices,
    "ttn/devices/remove": stack_commands.RemoveDevices,
    "ttn/devices/list": stack_commands.ListDevices,
    "ttn/devices/batch": stack_commands.GetBatch,
    "ttn/deprovision": run_commands.Deprovision,
    "ttn/runs/list": run_commands.ListRuns,
    "ttn/runs/get": run_commands.GetRun,
    "ttn/runs/cancel": run_commands.RunCommand,
    "ttn/runs/resume": run_commands.RunCommand,
}
# What takes a job in either dialect.
CREATING: Final = frozenset({"jobs/create", "jobs/preview"})
_SHARED: Final = frozenset({"clientToken"})
SEED_MEMBERS: Final = frozenset(commands.CreateSeedJob.model_fields) - {"client_token"}
# What AWS's CreateJob has and this version does not do. Taken silently, a job would roll out without its brakes.
_LATER: Final = frozenset(
    {
        "destinationPackageVersions",
        "namespaceId",
    }
)
_AWS: Final = (
    _LATER
    | {field.alias or name for name, field in commands.CreateJob.model_fields.items()} - _SHARED
)


def read_object(payload: bytes) -> dict[str, object]:
    """The JSON object in a command's payload, without its nulls; nothing at all counts as `{}`.

    Raises Rejected: InvalidRequest over 262144 bytes, InvalidJson for anything that is no JSON object in UTF-8.
    """
    if len(payload) > COMMAND_BYTES:
        raise Rejected(
            Code.INVALID_REQUEST,
            f"payload: has {len(payload)} bytes, at most {COMMAND_BYTES} are allowed",
        )
    found = device.read_object(payload)
    return {name: value for name, value in found.items() if value is not None}


def readable_token(fields: dict[str, object]) -> str | None:
    """The clientToken, when it may be echoed; None when there is none or it is itself what is wrong."""
    try:
        return device.read_token(fields)
    except Rejected:
        return None


def decode(verb: str, fields: dict[str, object]) -> commands.Command:
    """The command in a payload's object.

    Raises Rejected (InvalidRequest) with the first thing that is wrong.
    """
    model = _create_model(fields) if verb in CREATING else _MODELS[verb]
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Rejected(Code.INVALID_REQUEST, _explain(first, verb)) from None


def models_of(verb: str) -> tuple[type[commands.Command], ...]:
    """What a command's payload may be: one model, or those of both dialects."""
    if verb in CREATING:
        return (commands.CreateJob, commands.CreateSeedJob)
    return (_MODELS[verb],)


def fingerprint(verb: str, names: tuple[str, ...], command: commands.Command) -> bytes:
    """A digest of what is asked for: equal for equal commands, whatever their clientToken (32 bytes).

    names are what the topic adds: job id, thing.
    """
    content = command.model_dump(mode="json", exclude={"client_token"})
    text = json.dumps([verb, type(command).__name__, *names, content], sort_keys=True)
    return hashlib.sha256(text.encode()).digest()


def _create_model(fields: dict[str, object]) -> type[commands.Command]:
    seed, aws = sorted(SEED_MEMBERS & fields.keys()), sorted(_AWS & fields.keys())
    if seed and aws:
        raise Rejected(
            Code.INVALID_REQUEST,
            f"{', '.join(seed)} and {', '.join(aws)}: two dialects in one command; use either "
            "document_type, target_device_id, ... or AWS's document, targets, ...",
        )
    if later := sorted(_LATER & fields.keys()):
        raise Rejected(Code.INVALID_REQUEST, f"{', '.join(later)}: not offered by this version")
    if not seed and not aws:
        raise Rejected(
            Code.INVALID_REQUEST,
            "targets: required, with document (AWS); or document_type with target_device_id, "
            "target_group_id or target_all",
        )
    return commands.CreateSeedJob if seed else commands.CreateJob


def _explain(error: ErrorDetails, verb: str) -> str:  # noqa: PLR0911 - one for each kind of fault
    field = ".".join(shorten(part).strip("'") for part in error["loc"])
    match error["type"]:
        case "missing":
            return f"{field}: required"
        case "extra_forbidden":
            return f"{field}: {verb} has no such field"
        case stack_commands.NOT_SHOWN:
            return f"{field}: {error['msg']}"
        case "value_error" if not field:
            return str(error["ctx"]["error"])
        case "value_error":
            return f"{field}: {_show(error['input'])} {error['ctx']['error']}"
        case "too_long" | "too_short":
            limits = error["ctx"]
            most = limits.get("max_length")
            bound = "at least 1 is needed" if most is None else f"at most {most} are allowed"
            return f"{field}: has {limits['actual_length']} entries, {bound}"
        case _:
            message = error["msg"]
            return f"{field}: {_show(error['input'])}: {message[0].lower()}{message[1:]}"


def _show(value: object) -> str:
    try:
        return shorten(value)
    except (ValueError, RecursionError):
        return "(a value too large to show)"
