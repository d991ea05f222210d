-- Stages of jobs and their gates. A job's stages are locked after its counters and before its row.

-- name: draw_first
-- Things for a stage, drawn from those of the last one: the first so many in the order of chance that the chunks have.
-- Returns how many.
-- params: tenant, job id, last stage, stage, how many
WITH counted AS (
    SELECT chunk_no, thing_names,
           sum(cardinality(thing_names)) OVER (ORDER BY chunk_no) - cardinality(thing_names) AS before
    FROM rollout_chunks WHERE tenant_id = $1 AND job_id = $2 AND stage = $3
), taken AS (
    SELECT chunk_no, thing_names[:($5 - before)::integer] AS first, thing_names[($5 - before)::integer + 1:] AS rest
    FROM counted WHERE before < $5
), gone AS (
    DELETE FROM rollout_chunks c USING taken t
    WHERE c.tenant_id = $1 AND c.job_id = $2 AND c.stage = $3 AND c.chunk_no = t.chunk_no AND cardinality(t.rest) = 0
), left_over AS (
    UPDATE rollout_chunks c SET thing_names = t.rest FROM taken t
    WHERE c.tenant_id = $1 AND c.job_id = $2 AND c.stage = $3 AND c.chunk_no = t.chunk_no AND cardinality(t.rest) > 0
), put AS (
    INSERT INTO rollout_chunks (tenant_id, job_id, stage, chunk_no, thing_names)
    SELECT $1, $2, $4, chunk_no, first FROM taken
    RETURNING cardinality(thing_names) AS things
)
SELECT coalesce(sum(things), 0)::integer FROM put;

-- name: draw_matching
-- Things for a stage, drawn from those of the last one: all in a group or one inside it ($5), or with an attribute's
-- value ($6, $7). Returns how many.
-- params: tenant, job id, last stage, stage, group or null, attribute or null, value, chunk size
WITH RECURSIVE groups AS (
    SELECT $5::text AS group_name WHERE $5::text IS NOT NULL
    UNION
    SELECT g.group_name FROM thing_groups g JOIN groups r ON g.parent_group = r.group_name WHERE g.tenant_id = $1
), fits AS MATERIALIZED (
    SELECT m.thing_name FROM groups r JOIN thing_group_members m ON m.tenant_id = $1 AND m.group_name = r.group_name
    UNION
    SELECT t.thing_name FROM things t
    WHERE t.tenant_id = $1 AND $6::text IS NOT NULL AND t.attributes ->> $6 = $7::text
), named AS MATERIALIZED (
    SELECT c.chunk_no, n.place, n.thing_name, f.thing_name IS NOT NULL AS is_fit
    FROM rollout_chunks c
    CROSS JOIN LATERAL unnest(c.thing_names) WITH ORDINALITY AS n (thing_name, place)
    LEFT JOIN fits f USING (thing_name)
    WHERE c.tenant_id = $1 AND c.job_id = $2 AND c.stage = $3
), kept AS (
    SELECT chunk_no, coalesce(array_agg(thing_name ORDER BY place) FILTER (WHERE NOT is_fit), '{}') AS names
    FROM named GROUP BY chunk_no HAVING bool_or(is_fit)
), gone AS (
    DELETE FROM rollout_chunks c USING kept k
    WHERE c.tenant_id = $1 AND c.job_id = $2 AND c.stage = $3 AND c.chunk_no = k.chunk_no AND k.names = '{}'
), left_over AS (
    UPDATE rollout_chunks c SET thing_names = k.names FROM kept k
    WHERE c.tenant_id = $1 AND c.job_id = $2 AND c.stage = $3 AND c.chunk_no = k.chunk_no AND k.names <> '{}'
), fit AS (
    SELECT thing_name, place, chunk_no AS was,
           ((row_number() OVER (ORDER BY chunk_no, place) - 1) / $8::integer)::integer AS chunk_no
    FROM named WHERE is_fit
), put AS (
    INSERT INTO rollout_chunks (tenant_id, job_id, stage, chunk_no, thing_names)
    SELECT $1, $2, $4, chunk_no, array_agg(thing_name ORDER BY was, place) FROM fit GROUP BY chunk_no
    RETURNING cardinality(thing_names) AS things
)
SELECT coalesce(sum(things), 0)::integer FROM put;

-- name: insert_stages
-- A new job's stages, with the things that were drawn for them; the gates are to be looked at.
-- params: tenant, job id, configurations in order
WITH drawn AS (
    SELECT stage, sum(cardinality(thing_names)) AS things FROM rollout_chunks
    WHERE tenant_id = $1 AND job_id = $2 GROUP BY stage
), job AS (
    UPDATE jobs SET stage = 0, look_at_gates = true WHERE tenant_id = $1 AND job_id = $2
)
INSERT INTO job_stages (tenant_id, job_id, stage, config, waiting)
SELECT $1, $2, n.stage, n.config, coalesce(d.things, 0)
FROM unnest($3::text[]) WITH ORDINALITY AS n (config, stage)
LEFT JOIN drawn d ON d.stage = n.stage;

-- name: list_stages
-- A job's stages in order.
-- params: tenant, job id
SELECT stage, config, waiting, queued, in_progress, succeeded, failed, timed_out, rejected, removed, canceled,
       started_at, reached_at, forgiven, reason
FROM job_stages WHERE tenant_id = $1 AND job_id = $2 ORDER BY stage;

-- name: lock_stages
-- A job's stages in order, held.
-- params: tenant, job id
SELECT stage, config, waiting, queued, in_progress, succeeded, failed, timed_out, rejected, removed, canceled,
       started_at, reached_at, forgiven, reason
FROM job_stages WHERE tenant_id = $1 AND job_id = $2 ORDER BY stage FOR NO KEY UPDATE;

-- name: lock_stages_of
-- The stages of some jobs, held in order.
-- params: tenant, job ids
SELECT job_id FROM job_stages WHERE tenant_id = $1 AND job_id = ANY ($2::text[]) ORDER BY job_id, stage FOR NO KEY UPDATE;

-- name: set_stages
-- What was decided about a job's stages, which are held; rows that stay as they are are not written.
-- params: tenant, job id, stages, started, reached, forgiven, due, reasons, configurations
UPDATE job_stages s
SET started_at = n.started_at, reached_at = n.reached_at, forgiven = n.forgiven, due_at = n.due_at, reason = n.reason,
    config = n.config
FROM unnest($3::bigint[], $4::text[]::timestamptz[], $5::text[]::timestamptz[], $6::bigint[], $7::text[]::timestamptz[],
            $8::text[], $9::text[])
     AS n (stage, started_at, reached_at, forgiven, due_at, reason, config)
WHERE s.tenant_id = $1 AND s.job_id = $2 AND s.stage = n.stage
  AND (s.started_at, s.reached_at, s.forgiven, s.due_at, s.reason, s.config)
      IS DISTINCT FROM (n.started_at, n.reached_at, n.forgiven, n.due_at, n.reason, n.config);

-- name: set_running
-- The stage that started last; the gates have been looked at. The job is held, and most looks leave its row as it is.
-- params: tenant, job id, stage
UPDATE jobs SET stage = $3, look_at_gates = false
WHERE tenant_id = $1 AND job_id = $2 AND (stage IS DISTINCT FROM $3 OR look_at_gates);

-- name: look_at_gates
-- A job's gates are to be looked at; the job is held.
-- params: tenant, job id
UPDATE jobs SET look_at_gates = true WHERE tenant_id = $1 AND job_id = $2 AND stage IS NOT NULL;

-- name: add_stage_counts
-- Counters of stages by deltas, locked in order of job and stage; forgiven is never more than what fails.
-- params: tenant, job ids, stages, and a delta for each of the eight statuses
WITH locked AS MATERIALIZED (
    SELECT s.job_id, s.stage FROM job_stages s
    WHERE s.tenant_id = $1 AND s.job_id = ANY ($2::text[])
      AND (s.job_id, s.stage) IN (SELECT d.job_id, d.stage FROM unnest($2::text[], $3::text[]::bigint[]) AS d (job_id, stage))
    ORDER BY s.job_id, s.stage
    FOR NO KEY UPDATE
)
UPDATE job_stages s
SET queued = s.queued + d.queued, in_progress = s.in_progress + d.in_progress, succeeded = s.succeeded + d.succeeded,
    failed = s.failed + d.failed, timed_out = s.timed_out + d.timed_out, rejected = s.rejected + d.rejected,
    removed = s.removed + d.removed, canceled = s.canceled + d.canceled,
    forgiven = least(s.forgiven, s.failed + d.failed + s.timed_out + d.timed_out + s.rejected + d.rejected),
    due_at = '-infinity'
FROM locked l
JOIN unnest($2::text[], $3::text[]::bigint[], $4::text[]::bigint[], $5::text[]::bigint[], $6::text[]::bigint[],
            $7::text[]::bigint[], $8::text[]::bigint[], $9::text[]::bigint[], $10::text[]::bigint[], $11::text[]::bigint[])
     AS d (job_id, stage, queued, in_progress, succeeded, failed, timed_out, rejected, removed, canceled)
     USING (job_id, stage)
WHERE s.tenant_id = $1 AND s.job_id = l.job_id AND s.stage = l.stage AND s.job_id = ANY ($2::text[]);

-- name: take_waiting
-- So many things of a stage wait no more.
-- params: tenant, job id, stage, how many
UPDATE job_stages SET waiting = waiting - $4, due_at = '-infinity'
WHERE tenant_id = $1 AND job_id = $2 AND stage = $3;

-- name: forget_waiting
-- No thing of a job waits any more: those who did will not be told. Its counters are held.
-- params: tenant, job id
UPDATE job_stages SET waiting = 0 WHERE tenant_id = $1 AND job_id = $2 AND waiting > 0;

-- name: add_waiting
-- Things that have come to jobs with stages wait in the stage that runs. The stages are held.
-- params: tenant, job ids, stages, how many
UPDATE job_stages s SET waiting = s.waiting + n.things, due_at = '-infinity'
FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS n (job_id, stage, things)
WHERE s.tenant_id = $1 AND s.job_id = n.job_id AND s.stage = n.stage AND s.job_id = ANY ($2::text[]);

-- name: next_chunk_stage
-- The stage of a rollout's next chunk; null when nothing is left of it.
-- params: tenant, job id
SELECT min(stage) FROM rollout_chunks WHERE tenant_id = $1 AND job_id = $2;

-- name: find_gates
-- Jobs whose gates are to be looked at, over all tenants: keys only.
-- params: most
SELECT tenant_id, job_id FROM sweep_gates($1);

-- name: hold_work
-- Nobody else works on a job until this transaction ends; comes before all other locks.
-- params: tenant, job id
SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 0));

-- name: retry_failed
-- Things whose latest execution of a job ended in one of these statuses are put before those who wait for its rollout, in
-- the stages they were told by; returns how many. Those who are put there already are left. Nobody else works on the job.
-- params: tenant, job id, statuses, stage or null, chunk size
WITH latest AS (
    SELECT DISTINCT ON (thing_name) thing_name, status, coalesce(stage, 0) AS stage
    FROM executions WHERE tenant_id = $1 AND job_id = $2
    ORDER BY thing_name DESC, execution_number DESC
), wanted AS (
    SELECT thing_name, stage FROM latest
    WHERE status = ANY ($3::text[]) AND ($4::smallint IS NULL OR stage = $4)
      AND thing_name NOT IN (SELECT unnest(thing_names) FROM rollout_chunks
                             WHERE tenant_id = $1 AND job_id = $2 AND is_retry)
), numbered AS (
    SELECT thing_name, stage,
           -1 - (row_number() OVER (PARTITION BY stage ORDER BY thing_name) - 1) / $5::integer AS chunk_no
    FROM wanted
), put AS (
    INSERT INTO rollout_chunks (tenant_id, job_id, stage, chunk_no, thing_names, is_retry)
    SELECT $1, $2, n.stage,
           n.chunk_no + coalesce((SELECT min(c.chunk_no) FROM rollout_chunks c
                                  WHERE c.tenant_id = $1 AND c.job_id = $2 AND c.stage = n.stage AND c.chunk_no < 0), 0),
           array_agg(n.thing_name ORDER BY n.thing_name), true
    FROM numbered n
    GROUP BY n.stage, n.chunk_no
    RETURNING cardinality(thing_names) AS things
)
SELECT coalesce(sum(things), 0)::integer FROM put;

-- name: get_live_job
-- Whether a job may have further executions, and what decides about it. The job is held.
-- params: tenant, job id
SELECT has_ended, coalesce(expires_at <= clock_timestamp(), false) AS expired FROM jobs WHERE tenant_id = $1 AND job_id = $2;

-- name: forget_due
-- The gates of a job that is over need not be looked at. Its stages are held.
-- params: tenant, job id
WITH job AS (
    UPDATE jobs SET look_at_gates = false WHERE tenant_id = $1 AND job_id = $2 AND look_at_gates
)
UPDATE job_stages SET due_at = NULL WHERE tenant_id = $1 AND job_id = $2 AND due_at IS NOT NULL;

-- name: count_failed
-- Things whose latest execution of a job ended in one of these statuses, of a stage or of all.
-- params: tenant, job id, statuses, stage or null
SELECT count(*) FROM (
    SELECT DISTINCT ON (thing_name) status, coalesce(stage, 0) AS stage
    FROM executions WHERE tenant_id = $1 AND job_id = $2
    ORDER BY thing_name DESC, execution_number DESC
) latest
WHERE status = ANY ($3::text[]) AND ($4::smallint IS NULL OR stage = $4);

-- name: insert_retry_job
-- A job like another one that is over, with nothing of its schedule and its stages; what it was to expire after, it is again.
-- params: tenant, the other job's id, job id, request digest, created_by, now, status, holds, how many things
WITH job AS (
    INSERT INTO jobs (tenant_id, job_id, retry_of, request_sha256, created_by, created_at, updated_at, status, holds,
                      total_targets, pending_work, expires_at, dialect, document, document_type, document_params,
                      document_plain, document_parameters, document_source, job_template_arn, presigned_url_config,
                      target_device_id, target_group_id, target_all, description, in_progress_timeout_minutes,
                      rollout_config, abort_config, retry_config, priority, is_exclusive, tags)
    SELECT $1, $3, job_id, $4, $5, $6, $6, $7, $8, $9, 'ROLLOUT', $6::timestamptz + (expires_at - created_at), dialect, document,
           document_type, document_params, document_plain, document_parameters, document_source, job_template_arn,
           presigned_url_config, target_device_id, target_group_id, target_all, description,
           in_progress_timeout_minutes, rollout_config, abort_config, retry_config, priority, is_exclusive, tags
    FROM jobs WHERE tenant_id = $1 AND job_id = $2
    RETURNING job_id, abort_config
), counts AS (
    INSERT INTO job_counts (tenant_id, job_id, has_abort) SELECT $1, job_id, abort_config IS NOT NULL FROM job
)
INSERT INTO job_targets (tenant_id, job_id, position, target_kind, target_name, target_arn)
SELECT $1, job.job_id, t.position, t.target_kind, t.target_name, t.target_arn
FROM job, job_targets t WHERE t.tenant_id = $1 AND t.job_id = $2;

-- name: freeze_failed
-- The same things as count_failed has, put away in chunks for another job.
-- params: tenant, job id, statuses, stage or null, the other job's id, chunk size
WITH latest AS (
    SELECT DISTINCT ON (thing_name) thing_name, status, coalesce(stage, 0) AS stage
    FROM executions WHERE tenant_id = $1 AND job_id = $2
    ORDER BY thing_name DESC, execution_number DESC
), numbered AS (
    SELECT thing_name, (row_number() OVER (ORDER BY thing_name) - 1) / $6::integer AS chunk_no FROM latest
    WHERE status = ANY ($3::text[]) AND ($4::smallint IS NULL OR stage = $4)
)
INSERT INTO rollout_chunks (tenant_id, job_id, chunk_no, thing_names)
SELECT $1, $5, chunk_no, array_agg(thing_name ORDER BY thing_name) FROM numbered GROUP BY chunk_no;
