-- The outbox's other half: finding what is still to be told, and forgetting what was.

-- name: sweep_outbox
-- Which tenants have rows of which owner, over all tenants; keys only.
SELECT tenant_id, owner_slot, oldest, depth FROM sweep_outbox();

-- name: claim_outbox
-- Take rows that nobody tells: without owner, or of dead slots ($3). Rows that another process is claiming are left to it.
-- params: tenant, our slot, dead slots, most
UPDATE outbox o SET owner_slot = $2
WHERE o.tenant_id = $1 AND o.outbox_id = ANY (array(
    SELECT c.outbox_id FROM outbox c
    WHERE c.tenant_id = $1 AND (c.owner_slot IS NULL OR c.owner_slot = ANY ($3::text[]::integer[]))
    ORDER BY c.outbox_id
    LIMIT $4
    FOR UPDATE SKIP LOCKED
));

-- name: load_outbox
-- Our own rows after $3, oldest first: what a former life of this slot left, or what did not fit into memory.
-- params: tenant, our slot, after, most
SELECT outbox_id, notify, notify_next, topics, payloads
FROM outbox
WHERE tenant_id = $1 AND owner_slot = $2 AND outbox_id > $3
ORDER BY outbox_id
LIMIT $4;

-- name: delete_outbox
-- What the MQTT server has acknowledged. Which things that was about is remembered for a while, and of new executions
-- that their things have been told; not of jobs that are hidden, for then the things were told of something else.
-- Returns whether somebody follows the tenant's events, who is to have them as well.
-- params: tenant, outbox ids, our slot
WITH gone AS (
    DELETE FROM outbox WHERE tenant_id = $1 AND outbox_id = ANY ($2::text[]::bigint[]) RETURNING notify, notify_next, queued
), told AS (
    SELECT DISTINCT unnest(notify || notify_next) AS thing_name FROM gone
), lately AS (
    INSERT INTO told_lately (tenant_id, owner_slot, things)
    SELECT $1, $3, array_agg(thing_name) FROM told HAVING count(*) > 0
), begun AS (
    SELECT split_part(q, '/', 1) AS job_id, array_agg(substr(q, strpos(q, '/') + 1)) AS executions
    FROM gone CROSS JOIN LATERAL unnest(gone.queued) AS q
    GROUP BY 1
), begun_told AS (
    INSERT INTO told_executions (tenant_id, job_id, executions)
    SELECT $1, begun.job_id, begun.executions
    FROM begun
    CROSS JOIN LATERAL (
        SELECT FROM jobs x WHERE x.tenant_id = $1 AND x.job_id = begun.job_id AND NOT x.is_hidden FOR KEY SHARE
    ) j
)
SELECT EXISTS (SELECT FROM event_streams WHERE tenant_id = $1 AND followed_until > clock_timestamp());

-- name: tell_again
-- Everything that our slot told things lately, and slots without a process ($3 are those of others), once more, in rows of
-- 500 things. It moves: when the MQTT server fails again and again, no more is remembered than there are things.
-- params: tenant, our slot, other living slots
WITH gone AS (
    DELETE FROM told_lately WHERE tenant_id = $1 AND owner_slot <> ALL ($3::text[]::integer[]) RETURNING things
), lately AS (
    SELECT DISTINCT unnest(things) AS thing_name FROM gone
), numbered AS (
    SELECT thing_name, (row_number() OVER (ORDER BY thing_name) - 1) / 500 AS part FROM lately
)
INSERT INTO outbox (tenant_id, owner_slot, notify, notify_next)
SELECT $1, $2, array_agg(thing_name), array_agg(thing_name) FROM numbered GROUP BY part;

-- name: forget_told
-- What was told longer ago than $2: the MQTT server has saved it since.
-- params: tenant, how long ago, slots whose own business it is, most
DELETE FROM told_lately t
WHERE t.tenant_id = $1 AND t.told_id IN (
    SELECT o.told_id FROM told_lately o
    WHERE o.tenant_id = $1 AND o.told_at < clock_timestamp() - $2::interval AND o.owner_slot <> ALL ($3::text[]::integer[])
    ORDER BY o.told_id
    LIMIT $4
);

-- name: forget_requests
-- Operators' answers that no retry will ask for any more.
-- params: tenant, how long they are kept, most
DELETE FROM operator_requests r
WHERE r.tenant_id = $1 AND r.ctid = ANY (array(
    SELECT o.ctid FROM operator_requests o
    WHERE o.tenant_id = $1 AND o.created_at > '-infinity' AND o.created_at < (SELECT clock_timestamp() - $2::interval)
    ORDER BY o.created_at
    LIMIT $3
));
