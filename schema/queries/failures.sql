-- What failed, over all jobs. Every statement works inside one tenant ($1). Open are failures that count: see open_failures
-- in schema.sql.

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
-- The open failures of some jobs by status and reason, the largest groups first, each with its numbers by job and the first
-- few things; looked_at is how many failures that are, also in the one row of nulls when nothing is in any group.
-- params: tenant, job ids, statuses, a part of the reason in lower case or null, most failures, most groups
WITH bad AS (
    SELECT f.job_id, f.thing_name, f.status, failure_reason(f.status_details) AS reason
    FROM unnest($2::text[]) AS w (job_id)
    CROSS JOIN LATERAL open_failures($1, w.job_id, $3::text[]) f
    LIMIT $5
), by_job AS (
    SELECT status, reason, job_id, count(*) AS things, (array_agg(thing_name ORDER BY thing_name))[1:6] AS first_things
    FROM bad
    WHERE $4::text IS NULL OR strpos(lower(reason), $4) > 0
    GROUP BY status, reason, job_id
), grouped AS (
    SELECT status, reason, sum(things)::bigint AS things,
           json_agg(json_build_object('jobId', job_id, 'numberOfThings', things, 'things', first_things)
                    ORDER BY things DESC, job_id)::text AS jobs
    FROM by_job
    GROUP BY status, reason
    ORDER BY sum(things) DESC, status, reason
    LIMIT $6
)
SELECT g.status, g.reason, g.things, g.jobs, n.looked_at
FROM (SELECT count(*) AS looked_at FROM bad) n
LEFT JOIN grouped g ON true
ORDER BY g.things DESC, g.status, g.reason;

-- name: find_failures
-- Open failures of some jobs, of these statuses with these reasons: one for each thing and job, at most so many.
-- params: tenant, job ids, statuses, reasons (of the statuses at the same places), most
SELECT f.job_id, f.thing_name, f.execution_number
FROM unnest($2::text[]) AS w (job_id)
CROSS JOIN LATERAL open_failures($1, w.job_id, $3::text[]) f
WHERE (f.status, failure_reason(f.status_details)) IN (SELECT s, r FROM unnest($3::text[], $4::text[]) AS asked (s, r))
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
