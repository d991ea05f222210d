-- How many jobs there are, and how far one has come: for people who look.

-- name: count_jobs
-- Jobs of each status, none counted further than a bound.
-- params: tenant, statuses, most of each
SELECT s.status, counted.jobs
FROM unnest($2::text[]) AS s (status)
CROSS JOIN LATERAL (
    SELECT count(*) AS jobs
    FROM (SELECT FROM jobs j WHERE j.tenant_id = $1 AND j.status = s.status AND j.job_uid >= 0 LIMIT $3) AS few
) AS counted;

-- name: find_job_start
-- When a job was created.
-- params: tenant, job id
SELECT created_at FROM jobs WHERE tenant_id = $1 AND job_id = $2;

-- name: load_progress
-- A page of a job's things after a name, those of so many executions ("looked": when it is all of these, there may be
-- more), each by its latest one: a letter for each thing's status, in order of name; and by bucket of time since $5 how
-- many were queued, started and ended (JSON; null without a width).
-- params: tenant, job id, after thing, most executions, origin, bucket seconds or null, statuses, letters, terminal statuses
WITH ordered AS MATERIALIZED (
    SELECT e.thing_name, e.execution_number
    FROM executions e
    WHERE e.tenant_id = $1 AND e.job_id = $2 AND e.thing_name > $3
    ORDER BY e.tenant_id, e.job_id, e.thing_name, e.execution_number
    LIMIT $4
), things AS (
    SELECT thing_name FROM ordered GROUP BY thing_name
), page AS MATERIALIZED (
    SELECT t.thing_name, l.status, l.queued_at, l.started_at, l.last_updated_at
    FROM things t
    CROSS JOIN LATERAL (
        SELECT e.status, e.queued_at, e.started_at, e.last_updated_at
        FROM executions e
        WHERE e.tenant_id = $1 AND e.job_id = $2 AND e.thing_name = t.thing_name
        ORDER BY e.execution_number DESC
        LIMIT 1
    ) l
), moments AS (
    SELECT moment.kind, floor(extract(epoch FROM moment.at - $5::timestamptz) / $6::integer)::bigint AS bucket,
           count(*) AS things
    FROM page
    CROSS JOIN LATERAL (VALUES ('queued', page.queued_at), ('started', page.started_at),
                               ('ended', CASE WHEN page.status = ANY ($9::text[]) THEN page.last_updated_at END)
                       ) AS moment (kind, at)
    WHERE $6::integer IS NOT NULL AND moment.at IS NOT NULL
    GROUP BY 1, 2
), curves AS (
    SELECT kind, json_object_agg(bucket, things) AS curve FROM moments GROUP BY kind
)
SELECT (SELECT string_agg(substr($8, array_position($7::text[], status), 1), '' ORDER BY thing_name) FROM page) AS letters,
       (SELECT min(thing_name) FROM page) AS first_thing,
       (SELECT max(thing_name) FROM page) AS last_thing,
       (SELECT count(*) FROM ordered) AS looked,
       (SELECT json_object_agg(kind, curve) FROM curves) AS curves;
