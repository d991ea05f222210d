-- Requests over MQTT that were refused lately, for who looks after a fleet: the newest few of each tenant, whichever
-- process refused them.
CREATE TABLE refusals (
    tenant_id  text        NOT NULL,
    refusal_id bigint      GENERATED ALWAYS AS IDENTITY,
    at         timestamptz NOT NULL,
    slot       smallint    NOT NULL, -- of the process that refused
    topic      text        NOT NULL,
    code       text        NOT NULL,
    message    text        NOT NULL,
    left_out   integer     NOT NULL DEFAULT 0 CHECK (left_out >= 0), -- so many before it were too many to be kept
    PRIMARY KEY (tenant_id, refusal_id),
    CONSTRAINT refusals_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants ON DELETE CASCADE
);

ALTER TABLE refusals ENABLE ROW LEVEL SECURITY;
ALTER TABLE refusals FORCE ROW LEVEL SECURITY;
CREATE POLICY refusals_tenant_isolation ON refusals
    USING (tenant_id = current_setting('app.tenant_id', true))
    WITH CHECK (tenant_id = current_setting('app.tenant_id', true));
GRANT SELECT, INSERT, UPDATE, DELETE ON refusals TO jobbroker_serve;
