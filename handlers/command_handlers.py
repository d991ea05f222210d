"""Who carries out which operator command, by its verb."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from handlers import (
    approvals,
    associations,
    audit,
    cancellations,
    deep_cleaning,
    deprovisioning,
    event_switches,
    failures,
    group_members,
    groups,
    job_executions,
    job_progress,
    job_updates,
    job_views,
    jobs,
    operators,
    pausing,
    previews,
    retry_failed,
    run_views,
    stack_batches,
    stack_credentials,
    stack_desk,
    stack_listing,
    stages,
    system,
    tagging,
    templates,
    thing_credentials,
    things,
    tokens,
)

if TYPE_CHECKING:
    from handlers.context import Context, Outcome
    from schema.topics import OperatorTopic

Handler = Callable[["Context", Any, "OperatorTopic"], Awaitable["Outcome"]]
"""Of a context, a decoded command and its topic."""


def _plain(handler: Callable[[Context, Any], Awaitable[Outcome]]) -> Handler:
    """A handler to which the topic says no more than its verb."""
    return lambda context, command, _topic: handler(context, command)


def _of_job(handler: Callable[[Context, Any, str], Awaitable[Outcome]]) -> Handler:
    return lambda context, command, topic: handler(context, command, topic.job_id)


def _of_execution(handler: Callable[..., Awaitable[Outcome]]) -> Handler:
    return lambda context, command, topic: handler(
        context, command, job_id=topic.job_id, thing=topic.thing
    )


HANDLERS: Final[dict[str, Handler]] = {
    "jobs/create": _plain(jobs.create_job),
    "jobs/preview": _plain(previews.preview_job),
    "jobs/list": _plain(job_views.list_jobs),
    "jobs/get": _of_job(job_views.get_job),
    "jobs/counts": _plain(job_progress.count_jobs),
    "jobs/progress": _of_job(job_progress.show_progress),
    "jobs/cancel": _of_job(cancellations.cancel_job),
    "jobs/delete": _of_job(cancellations.delete_job),
    "jobs/associate": _of_job(associations.associate_targets),
    "jobs/update": _of_job(job_updates.update_job),
    "jobs/pause": _of_job(pausing.pause_job),
    "jobs/resume": _of_job(pausing.resume_job),
    "jobs/approve": _of_job(approvals.approve_job),
    "jobs/deny": _of_job(approvals.deny_job),
    "jobs/start-next-stage": _of_job(stages.start_next_stage),
    "jobs/retry-failed": _of_job(retry_failed.retry_failed),
    "failures/list": _plain(failures.list_failures),
    "failures/retry": _plain(failures.retry_failures),
    "jobs/executions/get": _of_execution(job_executions.get_execution),
    "jobs/executions/cancel": _of_execution(cancellations.cancel_execution),
    "jobs/executions/delete": _of_execution(job_executions.delete_execution),
    "things/executions": _plain(job_executions.list_thing_executions),
    "event-configurations/get": _plain(event_switches.get_event_configurations),
    "event-configurations/update": _plain(event_switches.update_event_configurations),
    "approval/get": _plain(approvals.get_approval),
    "approval/update": _plain(approvals.update_approval),
    "tags/add": _plain(tagging.add_tags),
    "tags/remove": _plain(tagging.remove_tags),
    "tags/list": _plain(tagging.list_tags),
    "templates/create": _plain(templates.create_template),
    "templates/list": _plain(templates.list_templates),
    "templates/get": _plain(templates.get_template),
    "templates/delete": _plain(templates.delete_template),
    "managed-templates/list": _plain(templates.list_managed_templates),
    "managed-templates/get": _plain(templates.get_managed_template),
    "things/create": _plain(things.create_thing),
    "things/list": _plain(things.list_things),
    "things/get": _plain(things.get_thing),
    "things/search": _plain(groups.search_things),
    "things/update": _plain(things.update_thing),
    "things/delete": _plain(things.delete_thing),
    "credentials/list": _plain(thing_credentials.list_credentials),
    "credentials/issue": _plain(thing_credentials.issue_credential),
    "credentials/revoke": _plain(thing_credentials.revoke_credentials),
    "groups/create": _plain(groups.create_group),
    "groups/get": _plain(groups.get_group),
    "groups/update": _plain(groups.update_group),
    "groups/list": _plain(groups.list_groups),
    "groups/members": _plain(group_members.list_members),
    "groups/add": _plain(group_members.add_to_group),
    "groups/remove": _plain(group_members.remove_from_group),
    "groups/delete": _plain(groups.delete_group),
    "operators/create": _plain(operators.create_operator),
    "operators/list": _plain(operators.list_operators),
    "operators/delete": _plain(operators.delete_operator),
    "operators/whoami": _plain(operators.who_am_i),
    "system/get": _plain(system.show_system),
    "tokens/create": _plain(tokens.create_token),
    "tokens/list": _plain(tokens.list_tokens),
    "tokens/revoke": _plain(tokens.revoke_token),
    "audit/list": _plain(audit.list_audit),
    "ttn/connections": _plain(stack_listing.list_connections),
    "ttn/status": _plain(stack_desk.get_status),
    "ttn/credentials/get": _plain(stack_credentials.get_credentials),
    "ttn/credentials/set": _plain(stack_credentials.set_credentials),
    "ttn/provision": _plain(stack_desk.provision),
    "ttn/start-fresh": _plain(stack_desk.start_fresh),
    "ttn/deep-clean": _plain(deep_cleaning.deep_clean),
    "ttn/devices/register": _plain(stack_batches.register_devices),
    "ttn/devices/remove": _plain(stack_batches.remove_devices),
    "ttn/devices/list": _plain(stack_batches.list_devices),
    "ttn/devices/batch": _plain(stack_batches.get_batch),
    "ttn/deprovision": _plain(deprovisioning.deprovision),
    "ttn/runs/list": _plain(run_views.list_runs),
    "ttn/runs/get": _of_job(run_views.get_run),
    "ttn/runs/cancel": _of_job(deprovisioning.cancel_run),
    "ttn/runs/resume": _of_job(deprovisioning.resume_run),
}
