-- Runs that take an organization's resources out of The Things Stack, each made of steps (seed 000), and what they know of
-- each device. A run is rows: any process goes on from what is recorded here.

CREATE TABLE ttn_deprovision_runs (
    tenant_id           text        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    id                  uuid        NOT NULL DEFAULT gen_random_uuid(),
    organization_id     uuid        NOT NULL,
    requested_by        text, -- an operator's name: operators have no other
    source              text        NOT NULL DEFAULT 'edge_function',
    action              text        NOT NULL DEFAULT 'deprovision'
                        CHECK (action IN ('deprovision', 'deprovision_application', 'deprovision_device', 'deep_clean')),
    status              text        NOT NULL DEFAULT 'QUEUED'
                        CHECK (status IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'PARTIAL')),
    started_at          timestamptz,
    finished_at         timestamptz,
    request_id          text,
    ttn_region          text,
    ttn_org_id          text,
    ttn_application_id  text,
    summary             jsonb       NOT NULL DEFAULT '{}',
    error               text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    -- beyond the seed: what was asked for, and how far it has come
    device_id           text,
    force               boolean     NOT NULL DEFAULT false,
    dry_run             boolean     NOT NULL DEFAULT false,
    phase               text        NOT NULL DEFAULT 'START' CHECK (phase IN
                        ('START', 'LIST', 'DEVICES', 'STATE', 'KEYS', 'APPLICATION', 'ORGANIZATION', 'CLEAR')),
    facts               jsonb       NOT NULL DEFAULT '{}',
    attempt             integer     NOT NULL DEFAULT 1,
    -- which taking of the run is the current one: what an older one still writes changes nothing
    claim               bigint      NOT NULL DEFAULT 0,
    next_try_at         timestamptz NOT NULL DEFAULT now(),
    cancel_requested_at timestamptz,
    cancel_requested_by text,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX ttn_deprovision_runs_organization_idx
    ON ttn_deprovision_runs (tenant_id, organization_id, created_at DESC, id DESC);
CREATE INDEX ttn_deprovision_runs_status_idx ON ttn_deprovision_runs (tenant_id, status, created_at DESC, id DESC);
CREATE INDEX ttn_deprovision_runs_recent_idx ON ttn_deprovision_runs (tenant_id, created_at DESC, id DESC);
CREATE INDEX ttn_deprovision_runs_due_idx ON ttn_deprovision_runs (next_try_at) WHERE status IN ('QUEUED', 'RUNNING');
-- one at a time for the same thing; of runs for one application an advisory lock lets one work at a time
CREATE UNIQUE INDEX ttn_deprovision_runs_live_idx
    ON ttn_deprovision_runs (tenant_id, organization_id, coalesce(ttn_application_id, ''), coalesce(device_id, ''))
    WHERE status IN ('QUEUED', 'RUNNING');

CREATE TABLE ttn_deprovision_run_steps (
    tenant_id        text        NOT NULL,
    id               uuid        NOT NULL DEFAULT gen_random_uuid(),
    run_id           uuid        NOT NULL,
    step_name        text        NOT NULL,
    target_type      text        CHECK (target_type IN ('device', 'application', 'organization', 'dev_eui', 'db')),
    target_id        text,
    attempt          integer     NOT NULL DEFAULT 1,
    status           text        NOT NULL DEFAULT 'PENDING'
                     CHECK (status IN ('PENDING', 'RUNNING', 'OK', 'ERROR', 'SKIPPED')),
    http_status      integer,
    ttn_endpoint     text,
    response_snippet text        CHECK (char_length(response_snippet) <= 400),
    started_at       timestamptz,
    finished_at      timestamptz,
    meta             jsonb       NOT NULL DEFAULT '{}',
    created_at       timestamptz NOT NULL DEFAULT now(),
    step_number      bigint      NOT NULL GENERATED ALWAYS AS IDENTITY, -- many are written at one time
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT ttn_deprovision_run_steps_run_fkey FOREIGN KEY (tenant_id, run_id)
        REFERENCES ttn_deprovision_runs ON DELETE CASCADE
);
CREATE INDEX ttn_deprovision_run_steps_run_idx
    ON ttn_deprovision_run_steps (tenant_id, run_id, created_at, step_number);

-- What a run knows of each device: by listing, by what we registered ourselves, or from a run before. A registry's column
-- is null until it was seen to; hosts holds, for ns, as and js, where the device was said to be.
CREATE TABLE ttn_run_devices (
    tenant_id     text    NOT NULL,
    run_id        uuid    NOT NULL,
    device_id     text    NOT NULL,
    dev_eui       text    CHECK (dev_eui ~ '^[0-9A-F]{16}$'),
    join_eui      text    CHECK (join_eui ~ '^[0-9A-F]{16}$'),
    hosts         jsonb   NOT NULL DEFAULT '{}',
    is_claimed    boolean NOT NULL DEFAULT false,
    as_status     text    CHECK (as_status IN ('OK', 'ERROR', 'SKIPPED')),
    ns_status     text    CHECK (ns_status IN ('OK', 'ERROR', 'SKIPPED')),
    js_status     text    CHECK (js_status IN ('OK', 'ERROR', 'SKIPPED')),
    is_status     text    CHECK (is_status IN ('OK', 'ERROR', 'SKIPPED')),
    verify_status text    CHECK (verify_status IN ('OK', 'ERROR', 'SKIPPED')),
    problem       text,
    may_heal      boolean NOT NULL DEFAULT false, -- its failure is one that time may heal
    PRIMARY KEY (tenant_id, run_id, device_id),
    CONSTRAINT ttn_run_devices_run_fkey FOREIGN KEY (tenant_id, run_id)
        REFERENCES ttn_deprovision_runs ON DELETE CASCADE
);
CREATE INDEX ttn_run_devices_todo_idx ON ttn_run_devices (tenant_id, run_id, device_id) WHERE verify_status IS NULL;

-- One device cleaned without its organization; its run has the steps.
CREATE TABLE ttn_deprovision_jobs (
    tenant_id          text        NOT NULL,
    id                 uuid        NOT NULL DEFAULT gen_random_uuid(),
    organization_id    uuid        NOT NULL,
    run_id             uuid        NOT NULL,
    ttn_application_id text        NOT NULL,
    ttn_device_id      text        NOT NULL,
    dev_eui            text,
    status             text        NOT NULL DEFAULT 'QUEUED'
                       CHECK (status IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'PARTIAL')),
    attempts           integer     NOT NULL DEFAULT 0,
    last_error         text,
    finished_at        timestamptz,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, run_id),
    CONSTRAINT ttn_deprovision_jobs_run_fkey FOREIGN KEY (tenant_id, run_id)
        REFERENCES ttn_deprovision_runs ON DELETE CASCADE
);
CREATE INDEX ttn_deprovision_jobs_device_idx
    ON ttn_deprovision_jobs (tenant_id, organization_id, ttn_device_id, created_at DESC);

CREATE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE TRIGGER ttn_deprovision_runs_updated_at BEFORE UPDATE ON ttn_deprovision_runs
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CREATE TRIGGER ttn_deprovision_jobs_updated_at BEFORE UPDATE ON ttn_deprovision_jobs
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY[
        'ttn_deprovision_runs', 'ttn_deprovision_run_steps', 'ttn_run_devices', 'ttn_deprovision_jobs'
    ] LOOP
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

CREATE POLICY ttn_deprovision_runs_sweep ON ttn_deprovision_runs FOR SELECT TO jobbroker_sweep USING (true);
GRANT SELECT ON ttn_deprovision_runs TO jobbroker_sweep;

-- Runs that there is something to do for, and what no two of them may work on at once.
CREATE FUNCTION sweep_ttn_runs(most integer) RETURNS TABLE (tenant_id text, id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, id FROM ttn_deprovision_runs
        WHERE status IN (''QUEUED'', ''RUNNING'') AND next_try_at <= clock_timestamp()
        ORDER BY next_try_at LIMIT most';

DO $$
BEGIN
    GRANT USAGE, CREATE ON SCHEMA public TO jobbroker_sweep; -- CREATE only while ownership changes hands
    ALTER FUNCTION sweep_ttn_runs(integer) OWNER TO jobbroker_sweep;
    REVOKE ALL ON FUNCTION sweep_ttn_runs(integer) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION sweep_ttn_runs(integer) TO jobbroker_serve;
    REVOKE CREATE ON SCHEMA public FROM jobbroker_sweep;
END
$$;
