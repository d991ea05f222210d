-- The Things Stack: where each organization's resources are, the credentials for them, and the devices registered there.
-- Columns that end in _sealed hold AES-GCM values (schema/secrets.py lists them, broker/sealing.py makes them).

CREATE TABLE ttn_connections (
    tenant_id              text        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    organization_id        uuid        NOT NULL, -- ours; the server's own is ttn_org_id
    organization_name      text        CHECK (char_length(organization_name) <= 50),
    ttn_region             text,
    identity_host          text        NOT NULL,
    network_host           text        NOT NULL,
    application_host       text        NOT NULL,
    join_host              text        NOT NULL,
    -- whom the application belongs to: the user of the main key, or an organization of that user's
    owner_kind             text        NOT NULL DEFAULT 'user' CHECK (owner_kind IN ('user', 'organization')),
    ttn_user_id            text,
    ttn_org_id             text,
    ttn_application_id     text,
    -- goes into names of keys and attributes of what is made there, so that we know our own again after a crash
    mark                   text        NOT NULL CHECK (mark ~ '^[0-9a-f]{12}$'),
    main_key_sealed        bytea, -- brought in by an operator; everything else is made with it
    org_api_key_id         text,
    org_api_key_sealed     bytea,
    app_api_key_id         text,
    app_api_key_sealed     bytea,
    gateway_api_key_id     text,
    gateway_api_key_sealed bytea,
    webhook_id             text,
    webhook_url            text        CHECK (char_length(webhook_url) <= 2048),
    webhook_secret_sealed  bytea,
    -- not_started and completed are the words of older rows for idle and ready
    provisioning_status    text        NOT NULL DEFAULT 'idle' CHECK (provisioning_status IN
                           ('idle', 'provisioning', 'ready', 'failed', 'not_started', 'completed')),
    provisioning_step      text,
    provisioning_error     text,
    provisioning_details   jsonb       NOT NULL DEFAULT '{}',
    provisioning_wanted    jsonb       NOT NULL DEFAULT '{}',
    provisioning_attempts  integer     NOT NULL DEFAULT 0,
    provisioning_done      text[]      NOT NULL DEFAULT '{}',
    next_try_at            timestamptz,
    -- which work on this row is the current one: what an older one writes changes nothing
    work_token             uuid,
    abandoned_ids          text[]      NOT NULL DEFAULT '{}', -- taken at the server for good, never to be tried again
    provisioning_started_at timestamptz,
    provisioned_at         timestamptz,
    credentials_changed_at timestamptz,
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, organization_id)
);
CREATE INDEX ttn_connections_work_idx ON ttn_connections (next_try_at) WHERE provisioning_status = 'provisioning';

-- What we registered, and on which hosts: written before the first call, so that a half-made device is known as well.
CREATE TABLE ttn_devices (
    tenant_id        text        NOT NULL,
    organization_id  uuid        NOT NULL,
    application_id   text        NOT NULL,
    device_id        text        NOT NULL,
    dev_eui          text        CHECK (dev_eui ~ '^[0-9A-F]{16}$'),
    join_eui         text        CHECK (join_eui ~ '^[0-9A-F]{16}$'),
    network_host     text,
    application_host text,
    join_host        text,
    state            text        NOT NULL CHECK (state IN ('registering', 'registered', 'removing', 'removed')),
    -- which of the four registries have it, as far as we were told
    registered_in    text[]      NOT NULL DEFAULT '{}' CHECK (registered_in <@ '{is,js,ns,as}'),
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, organization_id, application_id, device_id),
    CONSTRAINT ttn_devices_connection_fkey FOREIGN KEY (tenant_id, organization_id)
        REFERENCES ttn_connections ON DELETE CASCADE
);

-- Devices to register or to remove, up to a fleet in one batch, with a result for each line.
CREATE TABLE ttn_device_batches (
    tenant_id       text        NOT NULL,
    batch_id        uuid        NOT NULL,
    batch_number    bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    organization_id uuid        NOT NULL,
    application_id  text        NOT NULL,
    action          text        NOT NULL CHECK (action IN ('register', 'remove')),
    status          text        NOT NULL DEFAULT 'QUEUED'
                    CHECK (status IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'PARTIAL', 'FAILED')),
    requested_by    text        NOT NULL,
    lines           integer     NOT NULL DEFAULT 0,
    lines_ok        integer     NOT NULL DEFAULT 0,
    lines_failed    integer     NOT NULL DEFAULT 0,
    error           text,
    next_try_at     timestamptz NOT NULL DEFAULT now(),
    work_token      uuid,
    created_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    finished_at     timestamptz,
    PRIMARY KEY (tenant_id, batch_id),
    CONSTRAINT ttn_device_batches_connection_fkey FOREIGN KEY (tenant_id, organization_id)
        REFERENCES ttn_connections ON DELETE CASCADE
);
CREATE INDEX ttn_device_batches_work_idx ON ttn_device_batches (next_try_at) WHERE status IN ('QUEUED', 'RUNNING');
CREATE INDEX ttn_device_batches_recent_idx ON ttn_device_batches (tenant_id, batch_number DESC);

CREATE TABLE ttn_batch_lines (
    tenant_id      text    NOT NULL,
    batch_id       uuid    NOT NULL,
    line           integer NOT NULL CHECK (line >= 1),
    device_id      text    NOT NULL,
    device         jsonb   NOT NULL DEFAULT '{}', -- what is asked for, without the keys
    app_key_sealed bytea, -- gone as soon as the line is done
    nwk_key_sealed bytea,
    status         text    NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'OK', 'ERROR')),
    http_status    integer,
    error          text,
    attempts       integer NOT NULL DEFAULT 0,
    finished_at    timestamptz,
    PRIMARY KEY (tenant_id, batch_id, line),
    UNIQUE (tenant_id, batch_id, device_id),
    CHECK (status = 'PENDING' OR (app_key_sealed IS NULL AND nwk_key_sealed IS NULL)),
    CONSTRAINT ttn_batch_lines_batch_fkey FOREIGN KEY (tenant_id, batch_id)
        REFERENCES ttn_device_batches ON DELETE CASCADE
);
CREATE INDEX ttn_batch_lines_pending_idx ON ttn_batch_lines (tenant_id, batch_id, line) WHERE status = 'PENDING';
CREATE INDEX ttn_batch_lines_failed_idx ON ttn_batch_lines (tenant_id, batch_id, line) WHERE status = 'ERROR';

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['ttn_connections', 'ttn_devices', 'ttn_device_batches', 'ttn_batch_lines'] LOOP
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

CREATE POLICY ttn_connections_sweep ON ttn_connections FOR SELECT TO jobbroker_sweep USING (true);
CREATE POLICY ttn_device_batches_sweep ON ttn_device_batches FOR SELECT TO jobbroker_sweep USING (true);
GRANT SELECT ON ttn_connections, ttn_device_batches TO jobbroker_sweep;

CREATE FUNCTION sweep_ttn_provisioning() RETURNS TABLE (tenant_id text, organization_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, organization_id FROM ttn_connections
        WHERE provisioning_status = ''provisioning'' AND next_try_at <= clock_timestamp()
        ORDER BY next_try_at LIMIT 100';

CREATE FUNCTION sweep_ttn_batches() RETURNS TABLE (tenant_id text, batch_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, batch_id FROM ttn_device_batches
        WHERE status IN (''QUEUED'', ''RUNNING'') AND next_try_at <= clock_timestamp()
        ORDER BY next_try_at LIMIT 100';

DO $$
DECLARE
    sweep text;
BEGIN
    GRANT USAGE, CREATE ON SCHEMA public TO jobbroker_sweep; -- CREATE only while ownership changes hands
    FOREACH sweep IN ARRAY ARRAY['sweep_ttn_provisioning()', 'sweep_ttn_batches()'] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO jobbroker_sweep', sweep);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', sweep);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO jobbroker_serve', sweep);
    END LOOP;
    REVOKE CREATE ON SCHEMA public FROM jobbroker_sweep;
END
$$;
