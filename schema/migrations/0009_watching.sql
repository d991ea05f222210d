-- What /metrics needs beside: how late schedules and the gates of stages are, and the runs at The Things Stack by status.

DROP FUNCTION sweep_lateness();
CREATE FUNCTION sweep_lateness()
    RETURNS TABLE (timeouts timestamptz, expiries timestamptz, rollouts timestamptz, schedules timestamptz, gates timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT
        (SELECT min(timeout_at) FROM executions WHERE timeout_at <= (SELECT clock_timestamp()) AND timeout_at IS NOT NULL),
        (SELECT min(expires_at) FROM jobs WHERE expires_at <= (SELECT clock_timestamp()) AND expires_at IS NOT NULL
            AND NOT expiry_done AND pending_work IS NULL AND status = ''IN_PROGRESS''),
        (SELECT min(p.due_at) FROM jobs j JOIN rollout_paces p ON p.tenant_id = j.tenant_id AND p.job_id = j.job_id
            WHERE j.pending_work IS NOT NULL AND j.pending_work = ''ROLLOUT'' AND p.due_at <= clock_timestamp()),
        (SELECT min(schedule_due_at) FROM jobs
            WHERE schedule_due_at <= (SELECT clock_timestamp()) AND schedule_due_at IS NOT NULL),
        -- -infinity says that its counts have changed, not since when
        (SELECT min(due_at) FROM job_stages
            WHERE due_at <= (SELECT clock_timestamp()) AND due_at > ''-infinity'' AND due_at IS NOT NULL)';

-- Runs by status, of each tenant that has any, and when the oldest of each was asked for.
CREATE FUNCTION sweep_ttn_run_states()
    RETURNS TABLE (tenant_id text, status text, runs bigint, oldest timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, status, count(*), min(created_at) FROM ttn_deprovision_runs GROUP BY 1, 2';

DO $$
DECLARE
    sweep text;
BEGIN
    GRANT USAGE, CREATE ON SCHEMA public TO jobbroker_sweep; -- CREATE only while ownership changes hands
    FOREACH sweep IN ARRAY ARRAY['sweep_lateness()', 'sweep_ttn_run_states()'] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO jobbroker_sweep', sweep);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', sweep);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO jobbroker_serve', sweep);
    END LOOP;
    REVOKE CREATE ON SCHEMA public FROM jobbroker_sweep;
END
$$;
