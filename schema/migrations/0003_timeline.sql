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
