-- Failures over all jobs, by their reasons, and which of them were sent as another job; lists of jobs by more than status.

-- What a thing says went wrong: the member of its statusDetails (a JSON object of strings) that is called so, or all it says.
-- Without a query inside and STABLE, so that it becomes part of the statement that calls it.
CREATE FUNCTION failure_reason(details text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    AS 'SELECT left(CASE WHEN details IS NULL OR details = ''{}'' THEN ''no reason given'' ELSE coalesce(
            ''reason: '' || (details::json ->> ''reason''), ''error: '' || (details::json ->> ''error''),
            ''message: '' || (details::json ->> ''message''), ''why: '' || (details::json ->> ''why''),
            ''code: '' || (details::json ->> ''code''), ''step: '' || (details::json ->> ''step''),
            replace(btrim(details, ''{}''), ''"'', '''')) END, 200)';

CREATE INDEX executions_failed_idx ON executions (tenant_id, job_id, thing_name, execution_number)
    WHERE status IN ('FAILED', 'TIMED_OUT', 'REJECTED');

-- A failure that was sent again as part of another job; it counts again when that one is deleted.
CREATE TABLE retried_failures (
    tenant_id        text   NOT NULL,
    job_id           text   NOT NULL,
    thing_name       text   NOT NULL,
    execution_number bigint NOT NULL,
    retry_job_id     text   NOT NULL,
    PRIMARY KEY (tenant_id, job_id, thing_name, execution_number),
    CONSTRAINT retried_failures_job_fkey FOREIGN KEY (tenant_id, job_id) REFERENCES jobs ON DELETE CASCADE,
    CONSTRAINT retried_failures_retry_fkey FOREIGN KEY (tenant_id, retry_job_id)
        REFERENCES jobs (tenant_id, job_id) ON DELETE CASCADE
);
CREATE INDEX retried_failures_retry_idx ON retried_failures (tenant_id, retry_job_id);

ALTER TABLE retried_failures ENABLE ROW LEVEL SECURITY;
ALTER TABLE retried_failures FORCE ROW LEVEL SECURITY;
CREATE POLICY retried_failures_tenant_isolation ON retried_failures
    USING (tenant_id = current_setting('app.tenant_id', true))
    WITH CHECK (tenant_id = current_setting('app.tenant_id', true));
GRANT SELECT, INSERT, UPDATE, DELETE ON retried_failures TO jobbroker_serve;

-- Jobs by when they were created and by what they name as their target. The conditions are always true (see schema.sql).
CREATE INDEX jobs_created_idx ON jobs (tenant_id, created_at, job_uid) WHERE created_at > '-infinity';
CREATE INDEX job_targets_name_idx ON job_targets (tenant_id, target_kind, target_name, job_id) WHERE target_name <> '';
