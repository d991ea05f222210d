-- A job that waits for its approval expires like any other; and an execution says which retry it is, so that a thing which
-- left a job and came back has all its retries again.

-- Retries before it, since the thing came to the job. Null in rows from before this, where all executions before it count.
ALTER TABLE executions ADD COLUMN retry_attempt integer;
ALTER TABLE executions ALTER COLUMN retry_attempt SET DEFAULT 0;

-- Of which job that is over this one tries again what failed.
ALTER TABLE jobs ADD COLUMN retry_of text;

DROP INDEX jobs_expires_idx;
CREATE INDEX jobs_expires_idx ON jobs (expires_at)
    WHERE expires_at IS NOT NULL AND NOT expiry_done AND status IN ('SCHEDULED', 'IN_PROGRESS')
      AND (pending_work IS NULL OR pending_work = 'ROLLOUT' AND holds <> '{}');

CREATE OR REPLACE FUNCTION sweep_expired_jobs() RETURNS TABLE (tenant_id text, job_id text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, job_id FROM jobs
        WHERE expires_at <= (SELECT clock_timestamp()) AND expires_at IS NOT NULL
          AND NOT expiry_done AND status IN (''SCHEDULED'', ''IN_PROGRESS'')
          AND (pending_work IS NULL OR pending_work = ''ROLLOUT'' AND holds <> ''{}'')
        ORDER BY expires_at LIMIT 1000';
