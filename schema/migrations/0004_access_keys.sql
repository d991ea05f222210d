-- Access keys for AWS's dialect over HTTP: their ids are the begin of a token's sha256, so that no column has to be added
-- for them, and the index on it finds them.

CREATE FUNCTION find_access_key(low bytea, high bytea)
    RETURNS TABLE (tenant_id text, principal text, principal_kind text, credential_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT c.tenant_id, c.principal, p.kind, c.credential_id
        FROM credentials c JOIN principals p ON p.tenant_id = c.tenant_id AND p.name = c.principal
        WHERE c.token_sha256 BETWEEN low AND high AND c.token_sha256 IS NOT NULL AND c.revoked_at IS NULL
          AND (c.not_after IS NULL OR c.not_after > clock_timestamp())
        LIMIT 2';

DO $$
BEGIN
    GRANT CREATE ON SCHEMA public TO jobbroker_sweep; -- only while ownership changes hands
    ALTER FUNCTION find_access_key(bytea, bytea) OWNER TO jobbroker_sweep;
    REVOKE ALL ON FUNCTION find_access_key(bytea, bytea) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION find_access_key(bytea, bytea) TO jobbroker_serve;
    REVOKE CREATE ON SCHEMA public FROM jobbroker_sweep;
END
$$;
