-- What `jobbroker check` asks of the database; nothing here changes anything.

-- name: describe_session
-- Who we act as and what that role may do, what the server is, and what it thinks the time is.
SELECT current_setting('server_version_num')::int AS version,
       current_setting('max_connections')::int AS max_connections,
       clock_timestamp() AS now,
       session_user::text AS login,
       current_user::text AS role,
       r.rolsuper AS superuser,
       r.rolbypassrls AS bypasses,
       (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = session_user) AS strong_login,
       (SELECT count(*) FROM pg_class c WHERE c.relowner = r.oid AND c.relkind IN ('r', 'p')) AS owned
FROM pg_roles r
WHERE r.rolname = current_user;

-- name: find_unprotected_tables
-- Tenant tables whose rows are not walled off from other tenants, or from their owner.
SELECT c.relname::text AS name
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p')
  AND c.relnamespace = 'public'::regnamespace
  AND NOT (c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid))
ORDER BY 1;

-- name: count_visible_tenants
-- How many tenants are seen without saying which one is meant; more than none is a hole.
SELECT count(*) FROM tenants;
