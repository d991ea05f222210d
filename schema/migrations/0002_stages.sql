-- Rollouts in stages with gates, and jobs that need approvals before they roll out.

-- Of a job with stages: the number of the one that started last, 0 before the first. Null: the job has none.
ALTER TABLE jobs ADD COLUMN stage smallint CHECK (stage >= 0);
-- Something other than counts has changed that its gates depend on: they are to be looked at.
ALTER TABLE jobs ADD COLUMN look_at_gates boolean NOT NULL DEFAULT false;
CREATE INDEX jobs_gates_idx ON jobs (job_uid) WHERE look_at_gates;

-- The stage by which a thing was told; null in jobs without stages.
ALTER TABLE executions ADD COLUMN stage smallint;

-- Chunks of earlier stages go first; 0 in jobs without stages. is_retry: things whose latest execution failed and that an
-- operator wants to try again.
ALTER TABLE rollout_chunks ADD COLUMN stage smallint NOT NULL DEFAULT 0;
ALTER TABLE rollout_chunks ADD COLUMN is_retry boolean NOT NULL DEFAULT false;
ALTER TABLE rollout_chunks DROP CONSTRAINT rollout_chunks_pkey;
ALTER TABLE rollout_chunks ADD PRIMARY KEY (tenant_id, job_id, stage, chunk_no);

-- A job's stages, numbered from 1: what each was configured to do, its things that wait to be told, and those told by the
-- status of their latest execution, kept by deltas as job_counts are.
CREATE TABLE job_stages (
    tenant_id   text        NOT NULL,
    job_id      text        NOT NULL,
    stage       smallint    NOT NULL CHECK (stage >= 1),
    config      text        NOT NULL, -- as it was sent, JSON
    waiting     bigint      NOT NULL DEFAULT 0 CHECK (waiting >= 0),
    queued      bigint      NOT NULL DEFAULT 0 CHECK (queued >= 0),
    in_progress bigint      NOT NULL DEFAULT 0 CHECK (in_progress >= 0),
    succeeded   bigint      NOT NULL DEFAULT 0 CHECK (succeeded >= 0),
    failed      bigint      NOT NULL DEFAULT 0 CHECK (failed >= 0),
    timed_out   bigint      NOT NULL DEFAULT 0 CHECK (timed_out >= 0),
    rejected    bigint      NOT NULL DEFAULT 0 CHECK (rejected >= 0),
    removed     bigint      NOT NULL DEFAULT 0 CHECK (removed >= 0),
    canceled    bigint      NOT NULL DEFAULT 0 CHECK (canceled >= 0),
    started_at  timestamptz,
    reached_at  timestamptz, -- since when its success threshold has been met
    forgiven    bigint      NOT NULL DEFAULT 0 CHECK (forgiven >= 0), -- failures that an operator has seen
    due_at      timestamptz, -- when its gate is to be looked at again; -infinity: its counts have changed
    reason      text,        -- why it has stopped the job, until an operator lets that go on
    PRIMARY KEY (tenant_id, job_id, stage),
    CONSTRAINT job_stages_job_fkey FOREIGN KEY (tenant_id, job_id) REFERENCES jobs ON DELETE CASCADE
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
CREATE INDEX job_stages_due_idx ON job_stages (due_at) WHERE due_at IS NOT NULL;

-- How many approvals each of a tenant's jobs needs at least.
ALTER TABLE tenants ADD COLUMN required_approvals smallint NOT NULL DEFAULT 0 CHECK (required_approvals BETWEEN 0 AND 10);

-- Jobs that need approvals. What is approved is the job as it has been since then.
CREATE TABLE job_approvals (
    tenant_id    text        NOT NULL,
    job_id       text        NOT NULL,
    required     smallint    NOT NULL CHECK (required BETWEEN 1 AND 10),
    creator_name text        NOT NULL,
    creator_role text        NOT NULL CHECK (creator_role IN ('owner', 'admin', 'manager', 'viewer')),
    since        timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, job_id),
    CONSTRAINT job_approvals_job_fkey FOREIGN KEY (tenant_id, job_id) REFERENCES jobs ON DELETE CASCADE
);

CREATE TABLE job_votes (
    tenant_id     text        NOT NULL,
    job_id        text        NOT NULL,
    vote_id       bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    operator_name text        NOT NULL,
    role          text        NOT NULL CHECK (role IN ('owner', 'admin', 'manager', 'viewer')), -- held then
    voice         text        NOT NULL CHECK (voice IN ('APPROVE', 'DENY')),
    comment       text        CHECK (char_length(comment) <= 2028),
    at            timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, job_id, vote_id),
    CONSTRAINT job_votes_job_fkey FOREIGN KEY (tenant_id, job_id) REFERENCES job_approvals ON DELETE CASCADE
);

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['job_stages', 'job_approvals', 'job_votes'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format(
            'CREATE POLICY %I ON %I USING (tenant_id = current_setting(''app.tenant_id'', true)) '
            'WITH CHECK (tenant_id = current_setting(''app.tenant_id'', true))',
            tenant_table || '_tenant_isolation', tenant_table);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO jobbroker_serve', tenant_table);
    END LOOP;
END
$$;

CREATE POLICY job_stages_sweep ON job_stages FOR SELECT TO jobbroker_sweep USING (true);
GRANT SELECT ON job_stages TO jobbroker_sweep;

-- Jobs whose gates are to be looked at.
CREATE FUNCTION sweep_gates(most integer) RETURNS TABLE (tenant_id text, job_id text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS '(SELECT tenant_id, job_id FROM jobs WHERE look_at_gates ORDER BY job_uid LIMIT most)
        UNION
        (SELECT tenant_id, job_id FROM job_stages
         WHERE due_at <= statement_timestamp() AND due_at IS NOT NULL ORDER BY due_at LIMIT most)';

GRANT CREATE ON SCHEMA public TO jobbroker_sweep; -- only while ownership changes hands
ALTER FUNCTION sweep_gates(integer) OWNER TO jobbroker_sweep;
REVOKE ALL ON FUNCTION sweep_gates(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sweep_gates(integer) TO jobbroker_serve;
REVOKE CREATE ON SCHEMA public FROM jobbroker_sweep;
