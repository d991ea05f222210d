-- Jobs: created, read, cancelled, deleted. Every statement works inside one tenant ($1).

-- name: find_job
-- What decides about a job, not locked.
-- params: tenant, job id
SELECT job_id, status, request_sha256, total_targets, description FROM jobs WHERE tenant_id = $1 AND job_id = $2;

-- name: find_recent_job
-- The newest job of one content by one operator, among the last thousand and not older than $4.
-- params: tenant, operator, request digest, how old
SELECT job_id, status, request_sha256, total_targets, description
FROM (SELECT * FROM jobs WHERE tenant_id = $1 AND job_uid > 0 ORDER BY job_uid DESC LIMIT 1000) AS last
WHERE created_by = $2 AND request_sha256 = $3 AND created_at > clock_timestamp() - $4::interval
ORDER BY job_uid DESC
LIMIT 1;

-- name: lock_job
-- A job whose status is about to change; nothing but outbox rows may be locked after it.
-- params: tenant, job id
SELECT status, description FROM jobs WHERE tenant_id = $1 AND job_id = $2 FOR NO KEY UPDATE;

-- name: make_job_id
-- An id for a job whose creator gave none.
-- params: none
SELECT gen_random_uuid()::text;

-- name: look_before_create
-- A job of an id, or nulls when there is none, not locked; and which targets name no thing or group, by their places. Then
-- those things among $5 that exist, locked in name order, and the clock after that, as lock_things.
-- params: tenant, job id or null, targets' kinds, names, things to lock sorted or null
SELECT j.job_id, j.status, j.request_sha256, j.total_targets, j.description,
       array(SELECT w.place::text
             FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS w (kind, name, place)
             WHERE (w.kind = 'thing' AND NOT EXISTS (
                       SELECT FROM things t WHERE t.tenant_id = $1 AND t.thing_name = w.name OFFSET 0))
                OR (w.kind = 'thinggroup' AND NOT EXISTS (
                       SELECT FROM thing_groups g WHERE g.tenant_id = $1 AND g.group_name = w.name OFFSET 0))
             ORDER BY w.place) AS missing,
       array(SELECT found.thing_name
             FROM unnest(string_to_array($5, E'\n')) AS wanted (thing_name)
             CROSS JOIN LATERAL (
                 SELECT t.thing_name FROM things t
                 WHERE t.tenant_id = $1 AND t.thing_name = wanted.thing_name
                 FOR NO KEY UPDATE
             ) found) AS thing_names,
       clock_timestamp() AS now
FROM (SELECT) AS one
LEFT JOIN jobs j ON j.tenant_id = $1 AND j.job_id = $2;

-- name: insert_job
-- A job with its counters and its targets; gives the number of this incarnation of it.
-- params: tenant, job id, dialect, document, document_type, document_params, target_device_id, target_group_id,
-- target_all, description, in-progress timeout, expires_at, request digest, created_by, now, target kinds, names, ARNs,
-- document: plain, parameters, source, template ARN, presigned URLs; configurations or nulls: rollout, abort, retry,
-- scheduling; status, holds, when its schedule says something new, priority, exclusive, for how many things as far as known
WITH job AS (
    INSERT INTO jobs (tenant_id, job_id, dialect, document, document_type, document_params, target_device_id,
                      target_group_id, target_all, description, in_progress_timeout_minutes, expires_at,
                      request_sha256, created_by, created_at, updated_at, document_plain, document_parameters,
                      document_source, job_template_arn, presigned_url_config, rollout_config, abort_config,
                      retry_config, scheduling_config, status, holds, schedule_due_at, priority, is_exclusive, total_targets)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15, $19, $20, $21, $22, $23, $24, $25,
            $26, $27, $28, $29, $30, $31, $32, $33)
    RETURNING tenant_id, job_id, job_uid
), counts AS (
    INSERT INTO job_counts (tenant_id, job_id, has_abort) SELECT tenant_id, job_id, $25::text IS NOT NULL FROM job
), targets AS (
    INSERT INTO job_targets (tenant_id, job_id, position, target_kind, target_name, target_arn)
    SELECT job.tenant_id, job.job_id, t.position, t.kind, t.name, t.arn
    FROM job, unnest($16::text[], $17::text[], $18::text[]) WITH ORDINALITY AS t (kind, name, arn, position)
)
SELECT job_uid FROM job;

-- name: freeze_snapshot
-- The things a job's targets reach now, each once, child groups included, put away in chunks; returns how many.
-- With a seed ($4) they are drawn by chance, which is the same again by the same seed; else they are in order of name.
-- params: tenant, job id, chunk size, seed or null, stage
WITH RECURSIVE wanted AS (
    SELECT target_kind, target_name FROM job_targets WHERE tenant_id = $1 AND job_id = $2
), reached AS (
    SELECT target_name AS group_name FROM wanted WHERE target_kind = 'thinggroup'
    UNION
    SELECT g.group_name
    FROM thing_groups g
    JOIN reached r ON g.parent_group = r.group_name
    WHERE g.tenant_id = $1
), members AS (
    SELECT found.thing_name
    FROM wanted w
    CROSS JOIN LATERAL (
        SELECT t.thing_name FROM things t WHERE t.tenant_id = $1 AND t.thing_name = w.target_name OFFSET 0
    ) found
    WHERE w.target_kind = 'thing'
    UNION
    SELECT found.thing_name
    FROM reached r
    CROSS JOIN LATERAL (
        SELECT m.thing_name FROM thing_group_members m
        WHERE m.tenant_id = $1 AND m.group_name = r.group_name
          -- always true, and only the key can tell: beside one large group the other index looks as good
          AND (m.group_name, m.thing_name) > (r.group_name, '')
        OFFSET 0
    ) found
    UNION
    SELECT t.thing_name
    FROM things t
    WHERE t.tenant_id = $1 AND EXISTS (SELECT FROM wanted WHERE target_kind = 'all')
), numbered AS (
    SELECT thing_name, row_number() OVER (ORDER BY hashtextextended(thing_name, $4::bigint), thing_name) - 1 AS place
    FROM members
), frozen AS (
    INSERT INTO rollout_chunks (tenant_id, job_id, chunk_no, thing_names, stage)
    SELECT $1, $2, place / $3::integer, array_agg(thing_name ORDER BY place), $5 FROM numbered GROUP BY place / $3::integer
    RETURNING cardinality(thing_names) AS members
)
SELECT coalesce(sum(members), 0)::integer FROM frozen;

-- name: set_total_targets
-- How many things a job is for, and whether background work rolls it out.
-- params: tenant, job id, total, pending work or null
UPDATE jobs SET total_targets = $3, pending_work = $4 WHERE tenant_id = $1 AND job_id = $2;

-- name: load_rollout
-- What a job's new executions take from it.
-- params: tenant, job id
SELECT target_selection = 'CONTINUOUS' AS is_continuous, priority, stage FROM jobs WHERE tenant_id = $1 AND job_id = $2;

-- name: take_chunk
-- The next chunk of a rollout, of the stages that have started ($3, or 0), which is then no longer owed.
-- params: tenant, job id, stage
DELETE FROM rollout_chunks
WHERE tenant_id = $1 AND job_id = $2 AND (stage, chunk_no) = (
    SELECT stage, chunk_no FROM rollout_chunks
    WHERE tenant_id = $1 AND job_id = $2 AND stage <= $3 ORDER BY stage, chunk_no LIMIT 1)
RETURNING thing_names, stage, is_retry;

-- name: take_part
-- The first so many names of a rollout's next chunk, at most as many as it has; they are then no longer owed.
-- params: tenant, job id, stage, how many
WITH first AS (
    SELECT stage, chunk_no, thing_names, is_retry FROM rollout_chunks
    WHERE tenant_id = $1 AND job_id = $2 AND stage <= $3 ORDER BY stage, chunk_no LIMIT 1
), whole AS (
    DELETE FROM rollout_chunks c USING first f
    WHERE c.tenant_id = $1 AND c.job_id = $2 AND c.stage = f.stage AND c.chunk_no = f.chunk_no
      AND cardinality(f.thing_names) <= $4
), part AS (
    UPDATE rollout_chunks c SET thing_names = f.thing_names[$4 + 1:] FROM first f
    WHERE c.tenant_id = $1 AND c.job_id = $2 AND c.stage = f.stage AND c.chunk_no = f.chunk_no
      AND cardinality(f.thing_names) > $4
)
SELECT thing_names[:$4] AS thing_names, stage, is_retry FROM first;

-- name: load_pace
-- What decides how many things a rollout may tell now: its rate, its counters, how far it has come, the clock.
-- params: tenant, job id
SELECT j.rollout_config, j.stage, c.queued, c.in_progress, c.succeeded, c.failed, c.timed_out, c.rejected, c.removed, c.canceled,
       p.credit, p.credited_at, clock_timestamp() AS now
FROM jobs j
JOIN job_counts c USING (tenant_id, job_id)
LEFT JOIN rollout_paces p USING (tenant_id, job_id)
WHERE j.tenant_id = $1 AND j.job_id = $2;

-- name: keep_pace
-- How far a rollout has come, and when it goes on.
-- params: tenant, job id, credit, when that was so, when the next thing is due
INSERT INTO rollout_paces (tenant_id, job_id, credit, credited_at, due_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, job_id)
DO UPDATE SET credit = excluded.credit, credited_at = excluded.credited_at, due_at = excluded.due_at;

-- name: has_chunks
-- Whether a rollout still owes a chunk.
-- params: tenant, job id
SELECT EXISTS (SELECT FROM rollout_chunks WHERE tenant_id = $1 AND job_id = $2);

-- name: announce_work
-- Wake the processes that do background work, once this commits.
-- params: none
SELECT pg_notify('jobbroker_work', '');

-- name: cancel_job
-- A job's cancellation begins. A rollout still owed is owed no more.
-- params: tenant, job id, status, forced, reason code, comment, now
UPDATE jobs
SET status = $3, force_canceled = $4, reason_code = $5, comment = $6, updated_at = $7, pending_work = 'CANCEL',
    schedule_due_at = NULL
WHERE tenant_id = $1 AND job_id = $2;

-- name: delete_job
-- A job's deletion begins.
-- params: tenant, job id, status, now
UPDATE jobs SET status = $3, updated_at = $4, pending_work = 'DELETE', schedule_due_at = NULL
WHERE tenant_id = $1 AND job_id = $2;

-- name: list_jobs
-- Jobs newest first, from before a key on.
-- params: tenant, before job_uid, most
SELECT j.job_id, j.job_uid, j.status, j.pending_work, j.holds, j.target_selection, j.description, j.dialect, j.total_targets,
       j.rollout_config, j.abort_config, j.created_at, j.updated_at, j.completed_at,
       c.queued, c.in_progress, c.succeeded, c.failed, c.timed_out, c.rejected, c.removed, c.canceled
FROM (
    SELECT * FROM jobs x
    WHERE x.tenant_id = $1 AND x.job_uid > 0 AND x.job_uid < $2
    ORDER BY x.job_uid DESC
    LIMIT $3
) j
CROSS JOIN LATERAL (SELECT * FROM job_counts x WHERE x.tenant_id = $1 AND x.job_id = j.job_id OFFSET 0) c
ORDER BY j.job_uid DESC;

-- name: list_jobs_in_status
-- Jobs of one status newest first, from before a key on.
-- params: tenant, before job_uid, most, status
SELECT j.job_id, j.job_uid, j.status, j.pending_work, j.holds, j.target_selection, j.description, j.dialect, j.total_targets,
       j.rollout_config, j.abort_config, j.created_at, j.updated_at, j.completed_at,
       c.queued, c.in_progress, c.succeeded, c.failed, c.timed_out, c.rejected, c.removed, c.canceled
FROM (
    SELECT * FROM jobs x
    WHERE x.tenant_id = $1 AND x.status = $4 AND x.job_uid >= 0 AND x.job_uid < $2
    ORDER BY x.job_uid DESC
    LIMIT $3
) j
CROSS JOIN LATERAL (SELECT * FROM job_counts x WHERE x.tenant_id = $1 AND x.job_id = j.job_id OFFSET 0) c
ORDER BY j.job_uid DESC;

-- name: find_list_floor
-- The job at which a page of a filtered list stops looking; no row when it looks at all that are left.
-- params: tenant, before created_at and job_uid, from created_at on, how many it looks at
SELECT x.created_at, x.job_uid FROM jobs x
WHERE x.tenant_id = $1 AND x.created_at > '-infinity' AND (x.created_at, x.job_uid) < ($2::timestamptz, $3::bigint)
  AND x.created_at >= $4::timestamptz
ORDER BY x.created_at DESC, x.job_uid DESC
OFFSET $5::bigint - 1
LIMIT 1;

-- name: list_jobs_filtered
-- Jobs by creation, newest first, from before a key down to a floor, included: of a status, a selection, with a group or a
-- thing among their targets, with a tag, and with a text in their id or description, or created by it.
-- params: tenant, before created_at and job_uid, floor's created_at and job_uid, most; or null: status, selection, group,
-- thing, tag's key, its value, text in lower case
SELECT j.job_id, j.job_uid, j.status, j.pending_work, j.holds, j.target_selection, j.description, j.dialect, j.total_targets,
       j.rollout_config, j.abort_config, j.created_at, j.updated_at, j.completed_at,
       c.queued, c.in_progress, c.succeeded, c.failed, c.timed_out, c.rejected, c.removed, c.canceled
FROM (
    SELECT * FROM jobs x
    WHERE x.tenant_id = $1 AND x.created_at > '-infinity' AND (x.created_at, x.job_uid) < ($2::timestamptz, $3::bigint)
      AND (x.created_at, x.job_uid) >= ($4::timestamptz, $5::bigint)
      AND ($7::text IS NULL OR x.status = $7)
      AND ($8::text IS NULL OR x.target_selection = $8)
      AND ($9::text IS NULL OR x.job_id IN (
          SELECT t.job_id FROM job_targets t
          WHERE t.tenant_id = $1 AND t.target_kind = 'thinggroup' AND t.target_name = $9 AND t.target_name <> ''))
      AND ($10::text IS NULL OR x.job_id IN (
          SELECT t.job_id FROM job_targets t
          WHERE t.tenant_id = $1 AND t.target_kind = 'thing' AND t.target_name = $10 AND t.target_name <> ''))
      AND ($11::text IS NULL OR x.tags ? $11)
      AND ($12::text IS NULL OR x.tags ->> $11 = $12)
      AND ($13::text IS NULL
           OR strpos(lower(x.job_id), $13) > 0 OR strpos(lower(x.description), $13) > 0 OR lower(x.created_by) = $13)
    ORDER BY x.created_at DESC, x.job_uid DESC
    LIMIT $6
) j
CROSS JOIN LATERAL (SELECT * FROM job_counts x WHERE x.tenant_id = $1 AND x.job_id = j.job_id OFFSET 0) c
ORDER BY j.created_at DESC, j.job_uid DESC;

-- name: find_group
-- A group's name, by its name or its id.
-- params: tenant, name or null, id or null
SELECT group_name FROM thing_groups
WHERE tenant_id = $1 AND (group_name = $2 OR group_id = $3::uuid);

-- name: get_job
-- A job with its targets and counts, its stages' configurations, and how many approvals it needs.
-- params: tenant, job id
SELECT j.*, clock_timestamp() AS now,
       array(SELECT s.config FROM job_stages s WHERE s.tenant_id = $1 AND s.job_id = j.job_id ORDER BY s.stage)
           AS stage_configs,
       (SELECT a.required FROM job_approvals a WHERE a.tenant_id = $1 AND a.job_id = j.job_id) AS required_approvals,
       array(SELECT t.target_arn FROM job_targets t WHERE t.tenant_id = $1 AND t.job_id = j.job_id ORDER BY t.position)
           AS targets,
       c.queued, c.in_progress, c.succeeded, c.failed, c.timed_out, c.rejected, c.removed, c.canceled
FROM jobs j
JOIN job_counts c USING (tenant_id, job_id)
WHERE j.tenant_id = $1 AND j.job_id = $2;

-- name: hold_counts
-- A job's counters, held: before its row, as everyone does.
-- params: tenant, job id
SELECT queued, in_progress, succeeded, failed, timed_out, rejected, removed, canceled
FROM job_counts WHERE tenant_id = $1 AND job_id = $2 FOR NO KEY UPDATE;

-- name: update_job
-- What is named of a job that is held; null leaves what is there. A timeout may also be taken away ($7).
-- params: tenant, job id, description, presigned URLs, abort, retry, whether the timeout changes, its minutes, now
UPDATE jobs
SET description = coalesce($3, description), presigned_url_config = coalesce($4, presigned_url_config),
    abort_config = coalesce($5, abort_config), retry_config = coalesce($6, retry_config),
    in_progress_timeout_minutes = CASE WHEN $7::boolean THEN $8 ELSE in_progress_timeout_minutes END,
    updated_at = $9
WHERE tenant_id = $1 AND job_id = $2;

-- name: change_rate
-- A job's rate from now on, or none. What it may tell at once stays as it was, and the next tick is due now.
-- params: tenant, job id, configuration or null
WITH gone AS (
    DELETE FROM rollout_paces WHERE tenant_id = $1 AND job_id = $2 AND $3::text IS NULL
), due AS (
    UPDATE rollout_paces SET due_at = clock_timestamp()
    WHERE tenant_id = $1 AND job_id = $2 AND $3::text IS NOT NULL
)
UPDATE jobs SET rollout_config = $3 WHERE tenant_id = $1 AND job_id = $2;

-- name: watch_aborts
-- A job has an abortConfig now. Its counters are held.
-- params: tenant, job id
UPDATE job_counts SET has_abort = true WHERE tenant_id = $1 AND job_id = $2;

-- name: load_timeline
-- What became of an execution, and when the MQTT server had acknowledged that its thing was told of it; null for not yet.
-- params: tenant, job id, thing, execution number
SELECT e.timeline, (
    SELECT t.told_at FROM told_executions t
    WHERE t.tenant_id = $1 AND t.job_id = $2 AND t.told_at >= e.queued_at AND $3 || '/' || $4::bigint = ANY (t.executions)
    ORDER BY t.told_id
    LIMIT 1) AS told_at
FROM executions e
WHERE e.tenant_id = $1 AND e.thing_name = $3 AND e.job_id = $2 AND e.execution_number = $4;

-- name: has_thing
-- params: tenant, thing
SELECT EXISTS (SELECT FROM things WHERE tenant_id = $1 AND thing_name = $2);

-- name: list_thing_executions
-- A thing's executions by job and number, from after a key on.
-- params: tenant, thing, job id or null, status or null, after job id and number, most
SELECT e.job_id, e.execution_number, e.status, e.queued_at, e.started_at, e.last_updated_at,
       coalesce(e.retry_attempt, e.execution_number - 1) AS retry_attempt
FROM (
    SELECT * FROM executions x
    WHERE x.tenant_id = $1 AND x.thing_name = $2 AND ($3::text IS NULL OR x.job_id = $3)
      AND ($4::text IS NULL OR x.status = $4) AND (x.job_id, x.execution_number) > ($5::text, $6::bigint)
    ORDER BY x.job_id, x.execution_number
    LIMIT $7
) e
ORDER BY e.job_id, e.execution_number;

-- name: list_executions
-- A job's executions by thing, from after a key on.
-- params: tenant, job id, status or null, after thing and number, most
SELECT e.thing_name, e.execution_number, e.status, e.version_number, e.status_details, e.queued_at, e.started_at,
       e.last_updated_at, e.force_canceled, coalesce(e.retry_attempt, e.execution_number - 1) AS retry_attempt
FROM (
    SELECT * FROM executions x
    WHERE x.tenant_id = $1 AND x.job_id = $2 AND ($3::text IS NULL OR x.status = $3)
      AND (x.thing_name, x.execution_number) > ($4::text, $5::bigint)
    ORDER BY x.thing_name, x.execution_number
    LIMIT $6
) e
ORDER BY e.thing_name, e.execution_number;

-- name: find_executions
-- Keys of a job's executions in some statuses, from after a key on: what a chunk will lock.
-- params: tenant, job id, statuses, after thing and number, most
SELECT thing_name, execution_number
FROM executions
WHERE tenant_id = $1 AND job_id = $2 AND status = ANY ($3::text[])
  AND (thing_name, execution_number) > ($4::text, $5::bigint)
ORDER BY thing_name, execution_number
LIMIT $6;

-- name: find_work
-- Jobs that background work is owed to now, over all tenants: keys only. A row without them says in how many seconds a
-- job that rolls out at a rate is due.
-- params: none
SELECT tenant_id, job_id, pending_work, NULL::float8 AS due_in FROM sweep_job_work()
UNION ALL
SELECT tenant_id, job_id, 'EXPIRE', NULL FROM sweep_expired_jobs()
UNION ALL
SELECT tenant_id, job_id, 'TELL', NULL FROM sweep_job_tells()
UNION ALL
SELECT NULL, NULL, NULL, extract(epoch FROM due_at - clock_timestamp())
FROM sweep_next_rollout() AS due_at WHERE due_at IS NOT NULL;

-- name: try_job_work
-- Become the one process that works on a job until this transaction ends.
-- params: tenant, job id
SELECT pg_try_advisory_xact_lock(hashtextextended($1 || '/' || $2, 0));

-- name: get_work
-- What is owed to a job now that it is ours: a job that has expired rolls out no further, and whoever must be told that
-- the job is shown or hidden is told before new ones come.
-- params: tenant, job id
SELECT CASE
           WHEN status IN ('SCHEDULED', 'IN_PROGRESS') AND NOT expiry_done AND expires_at <= clock_timestamp()
                AND (pending_work IS NULL OR pending_work = 'ROLLOUT') THEN 'EXPIRE'
           WHEN tell_mark IS NOT NULL AND (pending_work IS NULL OR pending_work IN ('ROLLOUT', 'REACH')) THEN 'TELL'
           WHEN pending_work <> 'ROLLOUT' OR pending_work = 'ROLLOUT' AND holds = '{}' THEN pending_work
       END AS work,
       force_canceled, job_uid, CASE WHEN tell_mark IS NOT NULL THEN tell_mark ELSE reach_mark END AS mark,
       rollout_config IS NOT NULL AS has_rate, scheduling_config, stage
FROM jobs
WHERE tenant_id = $1 AND job_id = $2;

-- name: lock_counts
-- Hold a job's counters, so that its last execution cannot end beside us; gives the clock after that, and how many of
-- its executions are QUEUED.
-- params: tenant, job id
WITH held AS MATERIALIZED (
    SELECT queued FROM job_counts WHERE tenant_id = $1 AND job_id = $2 FOR NO KEY UPDATE
)
SELECT clock_timestamp() AS now, queued FROM held;

-- name: finish_work
-- Nothing of this work is left to do.
-- params: tenant, job id, work
UPDATE jobs SET pending_work = NULL WHERE tenant_id = $1 AND job_id = $2 AND pending_work = $3;

-- name: finish_cancel
-- A cancellation has reached every execution; what was not rolled out never will be.
-- params: tenant, job id, now
WITH chunks AS (
    DELETE FROM rollout_chunks WHERE tenant_id = $1 AND job_id = $2
)
UPDATE jobs SET pending_work = NULL, completed_at = $3, updated_at = $3
WHERE tenant_id = $1 AND job_id = $2 AND pending_work = 'CANCEL';

-- name: finish_expiry
-- Every execution that was QUEUED when the job expired is timed out; what a hold kept back never comes.
-- params: tenant, job id
WITH chunks AS (
    DELETE FROM rollout_chunks WHERE tenant_id = $1 AND job_id = $2
)
UPDATE jobs SET expiry_done = true, pending_work = NULL
WHERE tenant_id = $1 AND job_id = $2 AND (pending_work IS NULL OR pending_work = 'ROLLOUT');

-- name: finish_end
-- A job whose endTime has come has nothing left to do for that.
-- params: tenant, job id
UPDATE jobs SET pending_work = NULL WHERE tenant_id = $1 AND job_id = $2 AND pending_work = 'END';

-- name: finish_tell
-- All things with a QUEUED execution have been told; not when the job was shown or hidden once more meanwhile.
-- params: tenant, job id, mark
UPDATE jobs SET tell_mark = NULL WHERE tenant_id = $1 AND job_id = $2 AND tell_mark = $3;

-- name: remove_job
-- A job whose executions are gone.
-- params: tenant, job id
DELETE FROM jobs WHERE tenant_id = $1 AND job_id = $2;

-- name: find_forgettable
-- Jobs in a status that may be deleted ($2) which ended longer ago than $3, locked; those that others work on are left.
-- params: tenant, statuses, how long ago, most
SELECT job_id, status, clock_timestamp() AS now
FROM jobs
WHERE tenant_id = $1 AND status = ANY ($2::text[]) AND pending_work IS NULL
  AND coalesce(completed_at, updated_at) < clock_timestamp() - $3::interval
ORDER BY job_id
LIMIT $4
FOR NO KEY UPDATE SKIP LOCKED;

-- name: forget_audit
-- Audit lines older than $2; returns how many. Only the first ones are looked at: lines are written in order of time.
-- params: tenant, how old, most
WITH gone AS (
    DELETE FROM audit_log a
    WHERE a.tenant_id = $1 AND a.audit_id = ANY (array(
        SELECT o.audit_id
        FROM (SELECT audit_id, at FROM audit_log WHERE tenant_id = $1 ORDER BY audit_id LIMIT $3) o
        WHERE o.at < clock_timestamp() - $2::interval))
    RETURNING 1
)
SELECT count(*) FROM gone;
