-- What became of an execution and when, and when the MQTT server had acknowledged that its thing was told of it.

-- Its entries, newest first (schema.timeline), in one text at the row's end: of that, PostgreSQL logs only what is added.
-- Bounded by the statement that adds them; a CHECK would look at each row of the table.
ALTER TABLE executions ADD COLUMN timeline text NOT NULL DEFAULT '';

-- New executions among what this row is to tell, as job/thing/number.
ALTER TABLE outbox ADD COLUMN queued text[] NOT NULL DEFAULT '{}';

-- Which executions, as thing/number, were told of when: written when their outbox rows are forgotten, one row for all of
-- a job's in them, so that no execution is written once more for it. Goes with the job.
CREATE TABLE told_executions (
    tenant_id  text        NOT NULL,
    job_id     text        NOT NULL,
    told_id    bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    told_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    executions text[]      NOT NULL,
    PRIMARY KEY (tenant_id, job_id, told_id),
    CONSTRAINT told_executions_job_fkey FOREIGN KEY (tenant_id, job_id) REFERENCES jobs ON DELETE CASCADE
);

ALTER TABLE told_executions ENABLE ROW LEVEL SECURITY;
ALTER TABLE told_executions FORCE ROW LEVEL SECURITY;
CREATE POLICY told_executions_tenant_isolation ON told_executions
    USING (tenant_id = current_setting('app.tenant_id', true))
    WITH CHECK (tenant_id = current_setting('app.tenant_id', true));
GRANT SELECT, INSERT, UPDATE, DELETE ON told_executions TO jobbroker_serve;

-- The sweeps for what is due ask the clock once. Asked anew at each row, it bounds no index: with 100,000 running timers each
-- look read all of them.
CREATE OR REPLACE FUNCTION sweep_schedules(most integer) RETURNS TABLE (tenant_id text, job_id text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, job_id FROM jobs
        WHERE schedule_due_at <= (SELECT clock_timestamp()) AND schedule_due_at IS NOT NULL
        ORDER BY schedule_due_at LIMIT most';

CREATE OR REPLACE FUNCTION sweep_expired_jobs() RETURNS TABLE (tenant_id text, job_id text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, job_id FROM jobs
        WHERE expires_at <= (SELECT clock_timestamp()) AND expires_at IS NOT NULL
          AND NOT expiry_done AND status = ''IN_PROGRESS''
          AND (pending_work IS NULL OR pending_work = ''ROLLOUT'' AND holds <> ''{}'')
        ORDER BY expires_at LIMIT 1000';

CREATE OR REPLACE FUNCTION sweep_timeouts(most integer) RETURNS TABLE (tenant_id text, thing_name text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, thing_name FROM executions
        WHERE timeout_at <= (SELECT clock_timestamp()) AND timeout_at IS NOT NULL ORDER BY timeout_at LIMIT most';

CREATE OR REPLACE FUNCTION sweep_lateness() RETURNS TABLE (timeouts timestamptz, expiries timestamptz, rollouts timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT
        (SELECT min(timeout_at) FROM executions WHERE timeout_at <= (SELECT clock_timestamp()) AND timeout_at IS NOT NULL),
        (SELECT min(expires_at) FROM jobs WHERE expires_at <= (SELECT clock_timestamp()) AND expires_at IS NOT NULL
            AND NOT expiry_done AND pending_work IS NULL AND status = ''IN_PROGRESS''),
        (SELECT min(p.due_at) FROM jobs j JOIN rollout_paces p ON p.tenant_id = j.tenant_id AND p.job_id = j.job_id
            WHERE j.pending_work IS NOT NULL AND j.pending_work = ''ROLLOUT'' AND p.due_at <= clock_timestamp())';
