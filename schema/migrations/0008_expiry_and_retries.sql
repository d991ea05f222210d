-- A job that waits for its approval expires like any other; and an execution says which retry it is, so that a thing which
-- left a job and came back has all its retries again.

-- Retries before it, since the thing came to the job. Null in rows from before this, where all executions before it count.
ALTER TABLE executions ADD COLUMN retry_attempt integer;
ALTER TABLE executions ALTER COLUMN retry_attempt SET DEFAULT 0;

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

CREATE OR REPLACE FUNCTION sweep_lateness() RETURNS TABLE (timeouts timestamptz, expiries timestamptz, rollouts timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT
        (SELECT min(timeout_at) FROM executions WHERE timeout_at <= (SELECT clock_timestamp()) AND timeout_at IS NOT NULL),
        (SELECT min(expires_at) FROM jobs WHERE expires_at <= (SELECT clock_timestamp()) AND expires_at IS NOT NULL
            AND NOT expiry_done AND status IN (''SCHEDULED'', ''IN_PROGRESS'')
            AND (pending_work IS NULL OR pending_work = ''ROLLOUT'' AND holds <> ''{}'')),
        (SELECT min(p.due_at) FROM jobs j JOIN rollout_paces p ON p.tenant_id = j.tenant_id AND p.job_id = j.job_id
            WHERE j.pending_work IS NOT NULL AND j.pending_work = ''ROLLOUT'' AND p.due_at <= clock_timestamp())';
