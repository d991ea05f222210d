-- Executions, their counts and what must be told. Every statement works on a set, inside one tenant ($1).
--
-- A column of a set travels as one text: its values joined by newlines, NULL as \N. The driver would look at each element
-- of an array several times, which cost more than all the deciding; no value can hold a newline (names are patterns,
-- details are compact JSON).

-- name: lock_things
-- The things that exist among $2, locked in name order (whoever changes a thing's executions holds its row), and the
-- database's clock, which orders things; read after the locks, so that a later holder reads a later time.
-- params: tenant, thing names sorted
SELECT array(
    SELECT found.thing_name
    FROM unnest(string_to_array($2, E'\n')) AS wanted (thing_name)
    CROSS JOIN LATERAL (
        SELECT t.thing_name FROM things t
        WHERE t.tenant_id = $1 AND t.thing_name = wanted.thing_name
        FOR NO KEY UPDATE
    ) found
) AS thing_names, clock_timestamp() AS now;

-- name: find_things
-- The things that exist among $2, not locked: for requests that only read.
-- params: tenant, thing names
SELECT found.thing_name
FROM unnest($2::text[]) AS wanted (thing_name)
CROSS JOIN LATERAL (
    SELECT t.thing_name FROM things t WHERE t.tenant_id = $1 AND t.thing_name = wanted.thing_name OFFSET 0
) found;

-- name: load_queues
-- Each thing's live executions in AWS's order, at most as many as $3 says of it, with what their jobs say; without the
-- QUEUED ones of jobs that are paused or outside their windows, which are few and looked up once.
-- OFFSET 0 keeps the planner from beginning with all of the tenant's jobs, which it does when it believes them few.
-- params: tenant, thing names, how many of each
SELECT e.thing_name, e.job_id, e.execution_number, e.status, e.version_number, e.status_details, e.queued_at,
       e.started_at, e.last_updated_at, e.in_progress_deadline, e.step_deadline, e.force_canceled, e.recent, e.priority, e.stage,
       j.job_uid, j.status AS job_status, j.in_progress_timeout_minutes, j.is_exclusive, false AS is_hidden,
       clock_timestamp() AS read_at, coalesce(j.expires_at <= clock_timestamp(), false) AS expired
FROM unnest(string_to_array($2, E'\n'), string_to_array($3, E'\n')::bigint[]) AS wanted (thing_name, most)
CROSS JOIN LATERAL (
    SELECT x.*
    FROM executions x
    WHERE x.tenant_id = $1 AND x.thing_name = wanted.thing_name AND x.status IN ('QUEUED', 'IN_PROGRESS')
      AND (x.status = 'IN_PROGRESS' OR x.job_id <> ALL (array(
          SELECT h.job_id FROM jobs h WHERE h.tenant_id = $1 AND h.is_hidden AND h.status IN ('SCHEDULED', 'IN_PROGRESS'))))
    ORDER BY (x.status = 'QUEUED'), x.priority DESC, x.queued_at, x.job_id
    LIMIT wanted.most
) e
CROSS JOIN LATERAL (SELECT * FROM jobs x WHERE x.tenant_id = $1 AND x.job_id = e.job_id OFFSET 0) j;

-- name: load_executions
-- Executions named by thing, job and number; number 0 means the latest.
-- params: tenant, thing names, job ids, numbers
SELECT e.thing_name, e.job_id, e.execution_number, e.status, e.version_number, e.status_details, e.queued_at,
       e.started_at, e.last_updated_at, e.in_progress_deadline, e.step_deadline, e.force_canceled, e.recent, e.priority, e.stage,
       j.job_uid, j.status AS job_status, j.in_progress_timeout_minutes, j.is_exclusive,
       j.is_hidden AND e.status = 'QUEUED' AS is_hidden,
       clock_timestamp() AS read_at, coalesce(j.expires_at <= clock_timestamp(), false) AS expired, wanted.number AS wanted_number
FROM unnest($2::text[], $3::text[], $4::text[]::bigint[]) AS wanted (thing_name, job_id, number)
CROSS JOIN LATERAL (
    SELECT x.*
    FROM executions x
    WHERE x.tenant_id = $1 AND x.thing_name = wanted.thing_name AND x.job_id = wanted.job_id
      AND (wanted.number = 0 OR x.execution_number = wanted.number)
    ORDER BY x.execution_number DESC
    LIMIT 1
) e
CROSS JOIN LATERAL (SELECT * FROM jobs x WHERE x.tenant_id = $1 AND x.job_id = e.job_id OFFSET 0) j;

-- name: load_documents
-- Documents by job incarnation, with what those that are not plain are filled with.
-- params: tenant, job uids
SELECT found.job_uid, found.document, found.document_plain, found.document_parameters, found.presigned_url_config
FROM unnest($2::text[]::bigint[]) AS wanted (job_uid)
CROSS JOIN LATERAL (
    SELECT x.* FROM jobs x
    WHERE x.tenant_id = $1 AND x.job_uid > 0 AND x.job_uid = wanted.job_uid
    OFFSET 0
) found;

-- name: load_attributes
-- The things' attributes, for documents that have some filled in.
-- params: tenant, thing names
SELECT found.thing_name, found.attributes
FROM unnest($2::text[]) AS wanted (thing_name)
CROSS JOIN LATERAL (
    SELECT t.thing_name, t.attributes FROM things t
    WHERE t.tenant_id = $1 AND t.thing_name = wanted.thing_name
    OFFSET 0
) found;

-- name: insert_executions
-- New executions of one job, all QUEUED at the same time and counted so. Also how the tenant's events are written, which
-- saves a round trip.
-- params: tenant, thing names, job id, execution numbers, priorities, stages, now
WITH added AS (
    INSERT INTO executions (tenant_id, thing_name, job_id, execution_number, priority, stage, queued_at, last_updated_at)
    SELECT $1, n.thing_name, $3, n.execution_number, n.priority, n.stage, $7, $7
    FROM unnest(string_to_array($2, E'\n'), string_to_array($4, E'\n')::bigint[],
                string_to_array($5, E'\n')::smallint[], string_to_array($6, E'\n', '\N')::smallint[])
         AS n (thing_name, execution_number, priority, stage)
    RETURNING 1
), counted AS (
    UPDATE job_counts SET queued = queued + (SELECT count(*) FROM added) WHERE tenant_id = $1 AND job_id = $3
)
SELECT aws_region, aws_account, events FROM tenants WHERE tenant_id = $1;

-- name: insert_retries
-- Executions that follow failed ones, all QUEUED at the same time, with the requests that changed those before them.
-- params: tenant, thing names, job ids, execution numbers, recent, priorities, stages, now
INSERT INTO executions (tenant_id, thing_name, job_id, execution_number, recent, priority, stage, queued_at,
                        last_updated_at, retry_attempt)
SELECT $1, n.thing_name, n.job_id, n.execution_number, n.recent, n.priority, n.stage, $8, $8,
       1 + coalesce((SELECT coalesce(x.retry_attempt, x.execution_number - 1) FROM executions x
                     WHERE x.tenant_id = $1 AND x.thing_name = n.thing_name AND x.job_id = n.job_id
                       AND x.execution_number = n.execution_number - 1), 0)
FROM unnest(string_to_array($2, E'\n'), string_to_array($3, E'\n'), string_to_array($4, E'\n')::bigint[],
            string_to_array($5, E'\n')::bytea[], string_to_array($6, E'\n')::smallint[],
            string_to_array($7, E'\n', '\N')::smallint[])
     AS n (thing_name, job_id, execution_number, recent, priority, stage);

-- name: find_retries
-- Of executions that failed, those whose jobs have a jobExecutionsRetryConfig: what it says, and how the last one of that
-- job on that thing, and those that it was tried again for, have ended.
-- params: tenant, thing names, job ids
SELECT wanted.thing_name, wanted.job_id, j.retry_config, j.status, j.expires_at,
       array(SELECT x.status FROM executions x
             WHERE x.tenant_id = $1 AND x.thing_name = wanted.thing_name AND x.job_id = wanted.job_id
               AND x.execution_number >= last.begun
             ORDER BY x.execution_number) AS ended
FROM unnest($2::text[], $3::text[]) AS wanted (thing_name, job_id)
CROSS JOIN LATERAL (
    SELECT x.retry_config, x.status, x.expires_at FROM jobs x
    WHERE x.tenant_id = $1 AND x.job_id = wanted.job_id AND x.retry_config IS NOT NULL AND NOT x.has_ended
    OFFSET 0
) j
CROSS JOIN LATERAL (
    SELECT x.execution_number - coalesce(x.retry_attempt, x.execution_number - 1) AS begun FROM executions x
    WHERE x.tenant_id = $1 AND x.thing_name = wanted.thing_name AND x.job_id = wanted.job_id
    ORDER BY x.execution_number DESC
    LIMIT 1
) last;

-- name: may_retry
-- Whether these jobs may still have new executions, their counters being held: whoever ends them holds those next.
-- params: tenant, job ids
SELECT count(*) = cardinality($2::text[])
FROM unnest($2::text[]) AS wanted (job_id)
CROSS JOIN LATERAL (
    SELECT FROM jobs x
    WHERE x.tenant_id = $1 AND x.job_id = wanted.job_id AND x.status IN ('SCHEDULED', 'IN_PROGRESS')
      AND NOT x.has_ended AND (x.expires_at IS NULL OR x.expires_at > clock_timestamp())
    OFFSET 0
) j;

-- name: find_predecessors
-- How the executions before these ended, for counters that have each thing by its latest one.
-- params: tenant, thing names, job ids, execution numbers
SELECT wanted.job_id, e.status, e.stage
FROM unnest($2::text[], $3::text[], $4::text[]::bigint[]) AS wanted (thing_name, job_id, execution_number)
CROSS JOIN LATERAL (
    SELECT x.status, x.stage FROM executions x
    WHERE x.tenant_id = $1 AND x.thing_name = wanted.thing_name AND x.job_id = wanted.job_id
      AND x.execution_number < wanted.execution_number
    ORDER BY x.execution_number DESC
    LIMIT 1
) e;

-- name: update_executions
-- Changed executions. The guard of the transition table is repeated: status and version must be what was decided on.
-- Each row is looked up by its key and updated where it was found: joined plainly, a plan made while the table was small
-- reads all of the tenant's executions, and is kept. Also how the tenant's events are written, which saves a round trip.
-- params: tenant, key (things, jobs, numbers), from (statuses, versions), to (statuses, versions, details, started or
-- NULL for as it was, updated, in-progress deadlines, step deadlines, forced, recent), what the timelines begin with now or NULL
WITH changed AS (
    UPDATE executions e
    SET status = c.status, version_number = c.version_number, status_details = c.status_details,
        started_at = coalesce(c.started_at, e.started_at), last_updated_at = c.last_updated_at,
        in_progress_deadline = c.in_progress_deadline, step_deadline = c.step_deadline,
        timeout_at = least(c.in_progress_deadline, c.step_deadline),
        force_canceled = c.force_canceled, recent = c.recent,
        timeline = CASE
            WHEN c.entries IS NULL THEN e.timeline
            WHEN octet_length(e.timeline) + octet_length(c.entries) <= 800 THEN c.entries || e.timeline
            ELSE c.entries || left(e.timeline, 500)
        END
    FROM unnest(string_to_array($2, E'\n', '\N'),
                string_to_array($3, E'\n', '\N'),
                string_to_array($4, E'\n', '\N')::bigint[],
                string_to_array($5, E'\n', '\N'),
                string_to_array($6, E'\n', '\N')::bigint[],
                string_to_array($7, E'\n', '\N'),
                string_to_array($8, E'\n', '\N')::bigint[],
                string_to_array($9, E'\n', '\N'),
                string_to_array($10, E'\n', '\N')::timestamptz[],
                string_to_array($11, E'\n', '\N')::timestamptz[],
                string_to_array($12, E'\n', '\N')::timestamptz[],
                string_to_array($13, E'\n', '\N')::timestamptz[],
                string_to_array($14, E'\n', '\N')::boolean[],
                string_to_array($15, E'\n', '\N')::bytea[],
                string_to_array($16, E'\n', '\N'))
         AS c (thing_name, job_id, execution_number, from_status, from_version, status, version_number, status_details,
               started_at, last_updated_at, in_progress_deadline, step_deadline, force_canceled, recent, entries)
    CROSS JOIN LATERAL (
        SELECT x.ctid
        FROM executions x
        WHERE x.tenant_id = $1 AND x.thing_name = c.thing_name AND x.job_id = c.job_id
          AND x.execution_number = c.execution_number AND x.status = c.from_status AND x.version_number = c.from_version
        OFFSET 0
    ) found
    WHERE e.ctid = found.ctid AND e.tenant_id = $1
    RETURNING 1
)
SELECT (SELECT count(*) FROM changed) AS written, t.aws_region, t.aws_account, t.events
FROM tenants t WHERE t.tenant_id = $1;

-- name: delete_executions
-- Executions that go with their job; how many, and which of them had later ones after them: those are not counted.
-- params: tenant, thing names, job ids, execution numbers
WITH gone AS (
    DELETE FROM executions e
    USING unnest(string_to_array($2, E'\n'), string_to_array($3, E'\n'), string_to_array($4, E'\n')::bigint[])
          AS d (thing_name, job_id, execution_number)
    CROSS JOIN LATERAL (
        SELECT x.ctid, EXISTS (
            SELECT FROM executions y
            WHERE y.tenant_id = $1 AND y.thing_name = d.thing_name AND y.job_id = d.job_id
              AND y.execution_number > d.execution_number
        ) AS followed
        FROM executions x
        WHERE x.tenant_id = $1 AND x.thing_name = d.thing_name AND x.job_id = d.job_id
          AND x.execution_number = d.execution_number
        OFFSET 0
    ) found
    WHERE e.ctid = found.ctid AND e.tenant_id = $1
    RETURNING e.thing_name, e.job_id, e.execution_number, found.followed
)
SELECT thing_name, job_id, execution_number, followed FROM gone;

-- name: add_counts
-- Counters by deltas, locked in job order; returns those of jobs whose last live execution has just ended, and of jobs
-- that have an abortConfig.
-- params: tenant, job ids, and a delta for each of the eight statuses
WITH locked AS MATERIALIZED (
    SELECT c.job_id FROM job_counts c
    WHERE c.tenant_id = $1 AND c.job_id = ANY ($2::text[])
    ORDER BY c.job_id
    FOR NO KEY UPDATE
), changed AS (
    UPDATE job_counts c
    SET queued = c.queued + d.queued, in_progress = c.in_progress + d.in_progress,
        succeeded = c.succeeded + d.succeeded, failed = c.failed + d.failed, timed_out = c.timed_out + d.timed_out,
        rejected = c.rejected + d.rejected, removed = c.removed + d.removed, canceled = c.canceled + d.canceled
    FROM locked l
    JOIN unnest($2::text[], $3::text[]::bigint[], $4::text[]::bigint[], $5::text[]::bigint[], $6::text[]::bigint[],
                $7::text[]::bigint[], $8::text[]::bigint[], $9::text[]::bigint[], $10::text[]::bigint[])
         AS d (job_id, queued, in_progress, succeeded, failed, timed_out, rejected, removed, canceled) USING (job_id)
    WHERE c.tenant_id = $1 AND c.job_id = l.job_id AND c.job_id = ANY ($2::text[])
    RETURNING c.*
)
SELECT job_id, has_abort, queued, in_progress, succeeded, failed, timed_out, rejected, removed, canceled
FROM changed
WHERE queued + in_progress = 0 OR has_abort;

-- name: load_aborts
-- What jobs that are not over say about aborting them.
-- params: tenant, job ids
SELECT j.job_id, j.status, j.abort_config
FROM unnest($2::text[]) AS wanted (job_id)
CROSS JOIN LATERAL (
    SELECT x.job_id, x.status, x.abort_config FROM jobs x
    WHERE x.tenant_id = $1 AND x.job_id = wanted.job_id AND x.abort_config IS NOT NULL
      AND x.status IN ('SCHEDULED', 'IN_PROGRESS')
    OFFSET 0
) j
ORDER BY j.job_id;

-- name: complete_jobs
-- Jobs that are over: rolled out, nothing owed, no live execution left. A CONTINUOUS job waits for more until its end.
-- Returns what load_jobs_for_events says of them.
-- params: tenant, job ids sorted, now
WITH due AS MATERIALIZED (
    SELECT j.job_id FROM jobs j
    WHERE j.tenant_id = $1 AND j.job_id = ANY ($2::text[])
      AND j.status = 'IN_PROGRESS' AND j.pending_work IS NULL
      AND (j.target_selection = 'SNAPSHOT' OR j.has_ended)
    ORDER BY j.job_id
    FOR NO KEY UPDATE
)
UPDATE jobs j
SET status = 'COMPLETED', completed_at = $3, updated_at = $3
FROM due
JOIN job_counts c ON c.tenant_id = $1 AND c.job_id = due.job_id AND c.job_id = ANY ($2::text[])
    AND c.queued + c.in_progress = 0
WHERE j.tenant_id = $1 AND j.job_id = due.job_id AND j.job_id = ANY ($2::text[])
RETURNING j.job_id, j.target_selection, j.description, j.comment, j.reason_code, j.created_at, j.updated_at, j.completed_at,
          array(SELECT t.target_arn FROM job_targets t WHERE t.tenant_id = $1 AND t.job_id = j.job_id ORDER BY t.position)
              AS targets,
          c.queued, c.in_progress, c.succeeded, c.failed, c.timed_out, c.rejected, c.removed, c.canceled;

-- name: load_jobs_for_events
-- What a job event says, with the counts.
-- params: tenant, job ids
SELECT j.job_id, j.target_selection, j.description, j.comment, j.reason_code, j.created_at, j.updated_at, j.completed_at,
       array(SELECT t.target_arn FROM job_targets t WHERE t.tenant_id = $1 AND t.job_id = j.job_id ORDER BY t.position)
           AS targets,
       c.queued, c.in_progress, c.succeeded, c.failed, c.timed_out, c.rejected, c.removed, c.canceled
FROM jobs j
JOIN job_counts c ON c.tenant_id = $1 AND c.job_id = j.job_id AND c.job_id = ANY ($2::text[])
WHERE j.tenant_id = $1 AND j.job_id = ANY ($2::text[]);

-- name: load_tenant
-- How a tenant's ARNs are written and which events it wants.
-- params: tenant
SELECT aws_region, aws_account, events FROM tenants WHERE tenant_id = $1;

-- name: insert_outbox
-- What must be told, one row for a batch.
-- params: tenant, owner slot, notify, notify_next, topics, payloads, new executions as job/thing/number
INSERT INTO outbox (tenant_id, owner_slot, notify, notify_next, topics, payloads, queued)
VALUES ($1, $2, string_to_array($3, E'\n'), string_to_array($4, E'\n'), string_to_array($5, E'\n'),
        string_to_array($6, E'\n'), string_to_array($7, E'\n'))
RETURNING outbox_id;

-- name: find_due
-- Keys of the things' executions whose timer has fired, first ones first. The caller holds the things.
-- params: tenant, thing names, now, most
SELECT e.thing_name, e.job_id, e.execution_number
FROM unnest($2::text[]) AS wanted (thing_name)
CROSS JOIN LATERAL (
    SELECT x.*
    FROM executions x
    WHERE x.tenant_id = $1 AND x.thing_name = wanted.thing_name AND x.status = 'IN_PROGRESS' AND x.timeout_at <= $3
    ORDER BY (x.status = 'QUEUED'), x.priority DESC, x.queued_at, x.job_id
    LIMIT $4
) e
ORDER BY e.timeout_at
LIMIT $4;
