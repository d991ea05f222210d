"""jobs/{id}/update: what may change of a job that is not over (AWS: UpdateJob), and its rate, brakes and retries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers import approvals, stages, store
from handlers.context import Context, Outcome, told_of
from handlers.holds import lock_live
from handlers.jobs import usual_rate
from schema.counts import Counts
from schema.sql import queries

if TYPE_CHECKING:
    from schema.configs import Config
    from schema.job_commands import UpdateJob

_SQL = queries("jobs")
# What is approved when a job is (schema.approval).
_APPROVED = frozenset(
    {"job_executions_rollout_config", "abort_config", "job_executions_retry_config", "stages"}
)


async def update_job(context: Context, command: UpdateJob, job_id: str) -> Outcome:
    """Replace what the command names. It holds from now on: for who is not told yet, not started, not failed yet.

    AWS lets retries only be set to 0; here all of them may change. An abort criterion that is met already aborts at
    once. A rate without a maximum has the installation's, as at creation. A job that needs approvals needs them anew
    for another rate, other brakes, retries or gates. Raises Rejected: ResourceNotFound, InvalidStateTransition for a
    job that is over, InvalidRequest for stages of other sizes.
    """
    connection, tenant_id = context.connection, context.tenant_id
    # The counters before the job's row, as everyone does.
    counts = await connection.fetchrow(_SQL["hold_counts"], tenant_id, job_id)
    staged = await stages.lock(connection, tenant_id, job_id)
    job = await lock_live(connection, tenant_id, job_id)
    await connection.execute(
        _SQL["update_job"],
        tenant_id,
        job_id,
        command.description,
        _text(command.presigned_url_config),
        _text(command.abort_config),
        _text(command.job_executions_retry_config),
        None if command.timeout_config is None else True,
        None
        if command.timeout_config is None
        else command.timeout_config.in_progress_timeout_in_minutes,
        context.now,
    )
    if command.job_executions_rollout_config is not None:
        rate = usual_rate(context, command.job_executions_rollout_config)
        await connection.execute(_SQL["change_rate"], tenant_id, job_id, _text(rate))
        await connection.execute(_SQL["announce_work"])
    if command.stages is not None:
        await stages.change_gates(job, staged, command.stages)
    if command.model_fields_set & _APPROVED:
        await approvals.void(job, context.now)
    messages = []
    if command.abort_config is not None and counts is not None:
        await connection.execute(_SQL["watch_aborts"], tenant_id, job_id)
        found = Counts(*(counts[name] for name in Counts._fields))
        messages = await store.abort(connection, tenant_id, {job_id: found}, now=context.now)
    told = await store.tell(connection, tenant_id, messages=messages, slot=context.slot)
    return Outcome(
        {"jobId": job_id, "jobArn": context.home.arn("job", job_id)},
        told_of(told),
        subject=f"job/{job_id}",
        details=command.model_dump(
            mode="json", by_alias=True, exclude_unset=True, exclude={"client_token"}
        ),
    )


def _text(config: Config | None) -> str | None:
    return None if config is None else config.to_text()
