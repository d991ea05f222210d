-- Work at The Things Stack takes turns by organization, what breaks waits longer each time, and who asked for provisioning
-- hears of it.

ALTER TABLE ttn_connections ADD COLUMN requested_by text; -- the operator of the attempt that is under way
-- How often in a row a batch broke for a reason of ours.
ALTER TABLE ttn_device_batches ADD COLUMN failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0);

-- The first of each organization, then the second: of one that has much to do, or whose lock another holds, only one can be
-- worked on at a time anyway.
CREATE OR REPLACE FUNCTION sweep_ttn_runs(most integer) RETURNS TABLE (tenant_id text, id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, id FROM ttn_deprovision_runs
        WHERE status IN (''QUEUED'', ''RUNNING'') AND next_try_at <= (SELECT clock_timestamp())
        ORDER BY row_number() OVER (PARTITION BY tenant_id, organization_id ORDER BY next_try_at), next_try_at
        LIMIT most';

CREATE OR REPLACE FUNCTION sweep_ttn_batches() RETURNS TABLE (tenant_id text, batch_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, batch_id FROM ttn_device_batches
        WHERE status IN (''QUEUED'', ''RUNNING'') AND next_try_at <= (SELECT clock_timestamp())
        ORDER BY row_number() OVER (PARTITION BY tenant_id, organization_id ORDER BY next_try_at), next_try_at
        LIMIT 100';
