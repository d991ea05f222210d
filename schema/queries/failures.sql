-- What failed, over all jobs. Every statement works inside one tenant ($1). A thing has failed in a job when its latest
-- execution has, and that was not sent again by failures/retry.

-- name: find_failing_jobs
-- Jobs newest first, from before a key down to a floor, included, that have failures of some kinds.
-- params: tenant, before job_uid, floor, most, FAILED counts, TIMED_OUT counts, REJECTED counts
SELECT x.job_id, x.job_uid
FROM jobs x
CROSS JOIN LATERAL (SELECT * FROM job_counts y WHERE y.tenant_id = $1 AND y.job_id = x.job_id OFFSET 0) c
WHERE x.tenant_id = $1 AND x.job_uid > 0 AND x.job_uid < $2 AND x.job_uid >= $3
  AND ($5::boolean AND c.failed > 0 OR $6::boolean AND c.timed_out > 0 OR $7::boolean AND c.rejected > 0)
ORDER BY x.job_uid DESC
LIMIT $4;

-- name: find_failing_floor
-- The job at which a page stops looking; null when it looks at all that are left.
-- params: tenant, before job_uid, how many it looks at
SELECT x.job_uid FROM jobs x
WHERE x.tenant_id = $1 AND x.job_uid > 0 AND x.job_uid < $2
ORDER BY x.job_uid DESC
OFFSET $3::bigint - 1
LIMIT 1;

-- name: group_failures
-- The failures of some jobs by status and reason, the largest groups first, each with its numbers by job and the first
-- few things; looked_at is how many failures that are.
-- params: tenant, job ids, statuses, a part of the reason in lower case or null, most failures, most groups
WITH bad AS (
    SELECT e.job_id, e.thing_name, e.status, failure_reason(e.status_details) AS reason
    FROM unnest($2::text[]) AS w (job_id)
    CROSS JOIN LATERAL (
        SELECT * FROM executions x
        WHERE x.tenant_id = $1 AND x.job_id = w.job_id AND x.status = ANY ($3::text[])
          AND x.status IN ('FAILED', 'TIMED_OUT', 'REJECTED')
        OFFSET 0
    ) e
    WHERE NOT EXISTS (
        SELECT FROM executions l
        WHERE l.tenant_id = $1 AND l.thing_name = e.thing_name AND l.job_id = e.job_id
          AND l.execution_number > e.execution_number)
      AND NOT EXISTS (
        SELECT FROM retried_failures r
        WHERE r.tenant_id = $1 AND r.job_id = e.job_id AND r.thing_name = e.thing_name
          AND r.execution_number = e.execution_number)
    LIMIT $5
), by_job AS (
    SELECT status, reason, job_id, count(*) AS things, (array_agg(thing_name ORDER BY thing_name))[1:6] AS first_things
    FROM bad
    WHERE $4::text IS NULL OR strpos(lower(reason), $4) > 0
    GROUP BY status, reason, job_id
)
SELECT status, reason, sum(things)::bigint AS things,
       json_agg(json_build_object('jobId', job_id, 'numberOfThings', things, 'things', first_things)
                ORDER BY things DESC, job_id)::text AS jobs,
       (SELECT count(*) FROM bad) AS looked_at
FROM by_job
GROUP BY status, reason
ORDER BY sum(things) DESC, status, reason
LIMIT $6;

-- name: find_failures
-- Failures of some jobs, of these statuses with these reasons: one for each thing and job, at most so many.
-- params: tenant, job ids, statuses, reasons (of the statuses at the same places), most
SELECT e.job_id, e.thing_name, e.execution_number
FROM unnest($2::text[]) AS w (job_id)
CROSS JOIN LATERAL (
    SELECT * FROM executions x
    WHERE x.tenant_id = $1 AND x.job_id = w.job_id AND x.status = ANY ($3::text[])
      AND x.status IN ('FAILED', 'TIMED_OUT', 'REJECTED')
    OFFSET 0
) e
WHERE (e.status, failure_reason(e.status_details)) IN (SELECT s, r FROM unnest($3::text[], $4::text[]) AS asked (s, r))
  AND NOT EXISTS (
    SELECT FROM executions l
    WHERE l.tenant_id = $1 AND l.thing_name = e.thing_name AND l.job_id = e.job_id
      AND l.execution_number > e.execution_number)
  AND NOT EXISTS (
    SELECT FROM retried_failures r
    WHERE r.tenant_id = $1 AND r.job_id = e.job_id AND r.thing_name = e.thing_name
      AND r.execution_number = e.execution_number)
LIMIT $5;

-- name: load_failed_jobs
-- What new jobs are made of: some jobs, newest first.
-- params: tenant, job ids
SELECT job_id, dialect, document, document_type, document_params, document_parameters, job_template_arn,
       presigned_url_config, in_progress_timeout_minutes, rollout_config, abort_config, retry_config, priority, is_exclusive
FROM jobs WHERE tenant_id = $1 AND job_id = ANY ($2::text[]) AND status <> 'DELETION_IN_PROGRESS'
ORDER BY job_uid DESC;

-- name: keep_retried
-- These failures were sent again with another job.
-- params: tenant, job ids, things, execution numbers, the other job
INSERT INTO retried_failures (tenant_id, job_id, thing_name, execution_number, retry_job_id)
SELECT $1, j, t, n, $5 FROM unnest($2::text[], $3::text[], $4::bigint[]) AS f (j, t, n)
ON CONFLICT (tenant_id, job_id, thing_name, execution_number) DO NOTHING;

-- name: hold_failures
-- Of those who send failures again one goes on at a time, until this transaction ends.
-- params: tenant
SELECT pg_advisory_xact_lock(hashtextextended('failures/' || $1, 0));
