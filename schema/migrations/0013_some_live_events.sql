-- Some who follow a tenant over HTTP want every live event, others are content with some of them.

ALTER TABLE event_streams ADD COLUMN all_live_until timestamptz NOT NULL DEFAULT '-infinity';

DROP FUNCTION sweep_event_streams();
CREATE FUNCTION sweep_event_streams() RETURNS TABLE (tenant_id text, followed_until timestamptz, all_live boolean)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, followed_until, all_live_until > clock_timestamp()
        FROM event_streams WHERE followed_until > clock_timestamp()';

DO $$
BEGIN
    GRANT USAGE, CREATE ON SCHEMA public TO jobbroker_sweep; -- CREATE only while ownership changes hands
    ALTER FUNCTION sweep_event_streams() OWNER TO jobbroker_sweep;
    REVOKE ALL ON FUNCTION sweep_event_streams() FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION sweep_event_streams() TO jobbroker_serve;
    REVOKE CREATE ON SCHEMA public FROM jobbroker_sweep;
END
$$;
