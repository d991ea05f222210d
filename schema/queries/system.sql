-- How the installation does: what was refused lately, who holds which slot, how large the database is.

-- name: keep_refusals
-- Of a tenant that is there.
-- params: tenant, slot, moments, topics, codes, messages, how many were left out before each
INSERT INTO refusals (tenant_id, at, slot, topic, code, message, left_out)
SELECT t.tenant_id, r.at, $2, r.topic, r.code, r.message, r.left_out
FROM tenants t
CROSS JOIN unnest($3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::integer[])
           AS r (at, topic, code, message, left_out)
WHERE t.tenant_id = $1;

-- name: forget_refusals
-- All but the newest of a tenant.
-- params: tenant, how many stay
DELETE FROM refusals
WHERE tenant_id = $1
  AND refusal_id <= (SELECT refusal_id FROM refusals WHERE tenant_id = $1 ORDER BY refusal_id DESC OFFSET $2 LIMIT 1);

-- name: list_refusals
-- The newest first.
-- params: tenant
SELECT at, slot, topic, code, message, left_out FROM refusals WHERE tenant_id = $1 ORDER BY refusal_id DESC;

-- name: sum_executions
-- A tenant's executions by status; and what of it is still to be told.
-- params: tenant
SELECT coalesce(sum(queued), 0)::bigint AS queued, coalesce(sum(in_progress), 0)::bigint AS in_progress,
       coalesce(sum(succeeded), 0)::bigint AS succeeded, coalesce(sum(failed), 0)::bigint AS failed,
       coalesce(sum(timed_out), 0)::bigint AS timed_out, coalesce(sum(rejected), 0)::bigint AS rejected,
       coalesce(sum(removed), 0)::bigint AS removed, coalesce(sum(canceled), 0)::bigint AS canceled
FROM job_counts WHERE tenant_id = $1;

-- name: measure_tables
-- The largest tables: rows that live and that are dead, as PostgreSQL last counted them, bytes with indexes.
-- params: how many
SELECT relname AS name, n_live_tup AS live, n_dead_tup AS dead, pg_total_relation_size(relid) AS bytes,
       pg_indexes_size(relid) AS index_bytes, greatest(last_vacuum, last_autovacuum) AS vacuumed_at
FROM pg_stat_user_tables
ORDER BY bytes DESC, relname
LIMIT $1;

-- name: measure_database
SELECT pg_database_size(current_database()) AS bytes,
       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections,
       current_setting('server_version') AS version;
