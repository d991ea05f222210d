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

-- name: load_letters
-- A page of a job's things after a name, those of so many executions ("looked": when it is all of these, there may be
-- more), each by its latest one: a letter for each thing's status, in order of name; who is first and last of them; and,
-- asked for, all their names. Read once through in the index's order: the order of what is gathered comes from there, and
-- a thing's latest execution is the one that another thing's follows. The page may end among those of its last thing.
-- params: tenant, job id, after thing, most executions, statuses, letters, whether with names
SELECT string_agg(substr($6, array_position($5::text[], r.status), 1), '') AS letters,
       min(r.thing_name) AS first_thing, max(r.thing_name) AS last_thing, coalesce(max(r.looked), 0) AS looked,
       array_agg(r.thing_name) FILTER (WHERE $7::boolean) AS names
FROM (
    SELECT o.thing_name, o.looked,
           CASE WHEN o.following IS NOT NULL THEN o.status
                ELSE (SELECT l.status FROM executions l
                      WHERE l.tenant_id = $1 AND l.job_id = $2 AND l.thing_name = o.thing_name
                      ORDER BY l.execution_number DESC LIMIT 1) END AS status
    FROM (
        SELECT e.thing_name, e.status, lead(e.thing_name) OVER by_name AS following, row_number() OVER by_name AS looked
        FROM (
            SELECT thing_name, execution_number, status
            FROM executions
            WHERE tenant_id = $1 AND job_id = $2 AND thing_name > $3
            ORDER BY tenant_id, job_id, thing_name, execution_number
            LIMIT $4
        ) e
        WINDOW by_name AS (ORDER BY e.thing_name, e.execution_number)
    ) o
    WHERE o.following IS DISTINCT FROM o.thing_name
) r;

-- name: load_curves
-- Of a job's things after a name and up to another, each by its latest execution: how many were queued, started and
-- ended in which bucket of time since a moment.
-- params: tenant, job id, after thing, up to thing, origin, bucket seconds, terminal statuses
SELECT CASE WHEN queued IS NOT NULL THEN 'queued' WHEN started IS NOT NULL THEN 'started' ELSE 'ended' END AS kind,
       coalesce(queued, started, ended) AS bucket, count(*) AS things
FROM (
    SELECT floor(date_part('epoch', queued_at - $5::timestamptz) / $6::integer)::integer AS queued,
           floor(date_part('epoch', started_at - $5::timestamptz) / $6::integer)::integer AS started,
           CASE WHEN status = ANY ($7::text[])
                THEN floor(date_part('epoch', last_updated_at - $5::timestamptz) / $6::integer)::integer END AS ended
    FROM (
        SELECT e.thing_name, e.status, e.queued_at, e.started_at, e.last_updated_at,
               lead(e.thing_name) OVER (ORDER BY e.thing_name, e.execution_number) AS following
        FROM (
            SELECT thing_name, execution_number, status, queued_at, started_at, last_updated_at
            FROM executions
            WHERE tenant_id = $1 AND job_id = $2 AND thing_name > $3 AND thing_name <= $4
            ORDER BY tenant_id, job_id, thing_name, execution_number
        ) e
    ) o
    WHERE following IS DISTINCT FROM thing_name
) moments
GROUP BY GROUPING SETS ((queued), (started), (ended))
HAVING coalesce(queued, started, ended) IS NOT NULL;
