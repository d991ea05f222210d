-- Why jobs do not roll out now, and when their schedules say something new.

-- name: lock_holds
-- A job whose holds are about to change; nothing but outbox rows may be locked after it.
-- params: tenant, job id
SELECT status, description, holds, has_ended, stage FROM jobs WHERE tenant_id = $1 AND job_id = $2 FOR NO KEY UPDATE;

-- name: set_holds
-- Other holds, and the status that goes with them. When that shows or hides QUEUED executions, their things are still to
-- be told. The job is held.
-- params: tenant, job id, holds, status, now
UPDATE jobs
SET holds = $3, status = $4, updated_at = $5, look_at_gates = stage IS NOT NULL,
    tell_mark = CASE WHEN is_hidden <> ($3::text[] && '{PAUSE,WINDOW}'::text[])
                     THEN pg_current_xact_id()::text::bigint ELSE tell_mark END
WHERE tenant_id = $1 AND job_id = $2;

-- name: find_schedules
-- Jobs whose schedules say something new, over all tenants: keys only.
-- params: most
SELECT tenant_id, job_id FROM sweep_schedules($1);

-- name: lock_schedule
-- A job's schedule, and the clock; of a job that somebody else works on, nothing.
-- params: tenant, job id
SELECT status, holds, scheduling_config, schedule_due_at, clock_timestamp() AS now
FROM jobs
WHERE tenant_id = $1 AND job_id = $2 AND schedule_due_at IS NOT NULL
FOR NO KEY UPDATE;

-- name: set_due
-- When a job's schedule says something new.
-- params: tenant, job id, when or null
UPDATE jobs SET schedule_due_at = $3 WHERE tenant_id = $1 AND job_id = $2;

-- name: end_job
-- A job's endTime has come: nobody is told of it any more, nobody joins. What else it means is background work.
-- params: tenant, job id, now
WITH chunks AS (
    DELETE FROM rollout_chunks WHERE tenant_id = $1 AND job_id = $2
), paces AS (
    DELETE FROM rollout_paces WHERE tenant_id = $1 AND job_id = $2
), targets AS (
    UPDATE job_targets SET continuous = false WHERE tenant_id = $1 AND job_id = $2 AND continuous
)
UPDATE jobs
SET has_ended = true, pending_work = 'END', schedule_due_at = NULL, reach_mark = NULL, updated_at = $3
WHERE tenant_id = $1 AND job_id = $2;

-- name: was_told
-- Whether any thing has an execution of a job.
-- params: tenant, job id
SELECT queued + in_progress + succeeded + failed + timed_out + rejected + removed + canceled > 0
FROM job_counts WHERE tenant_id = $1 AND job_id = $2;
