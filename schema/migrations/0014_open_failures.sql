-- What counts as an open failure, said once for those who list them and those who send them again.

-- The things that have failed in a job so, by their latest executions, and that no failures/retry sent again since. STABLE
-- and without a limit of its own, so that it becomes part of the statement that calls it. OFFSET 0 keeps the planner from
-- joining: a plan made while the tables were small read all of a tenant's executions for each failure, and was kept.
CREATE FUNCTION open_failures(tenant text, job text, statuses text[])
    RETURNS TABLE (job_id text, thing_name text, execution_number bigint, status text, status_details text)
    LANGUAGE sql STABLE PARALLEL SAFE
    AS 'SELECT e.job_id, e.thing_name, e.execution_number, e.status, e.status_details
        FROM (
            SELECT * FROM executions x
            WHERE x.tenant_id = tenant AND x.job_id = job AND x.status = ANY (statuses)
              AND x.status IN (''FAILED'', ''TIMED_OUT'', ''REJECTED'')
            OFFSET 0
        ) e
        WHERE NOT EXISTS (
            SELECT FROM executions l
            WHERE l.tenant_id = tenant AND l.thing_name = e.thing_name AND l.job_id = e.job_id
              AND l.execution_number > e.execution_number
            OFFSET 0)
          AND NOT EXISTS (
            SELECT FROM retried_failures r
            WHERE r.tenant_id = tenant AND r.job_id = e.job_id AND r.thing_name = e.thing_name
              AND r.execution_number = e.execution_number
            OFFSET 0)';
