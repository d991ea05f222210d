-- The outbox's other half: finding what is still to be told, and forgetting what was.

-- name: sweep_outbox
-- Which tenants have rows of which owner, over all tenants; keys only.
SELECT tenant_id, owner_slot, oldest, depth FROM sweep_outbox();

-- name: claim_outbox
-- Take rows that nobody tells: without owner, or of dead slots ($3). Rows that another process is claiming are left to it.
-- params: tenant, our slot, dead slots, most
UPDATE outbox o SET owner_slot = $2
WHERE o.tenant_id = $1 AND o.outbox_id IN (
    SELECT c.outbox_id FROM outbox c
    WHERE c.tenant_id = $1 AND (c.owner_slot IS NULL OR c.owner_slot = ANY ($3::integer[]))
    ORDER BY c.outbox_id
    LIMIT $4
    FOR UPDATE SKIP LOCKED
);

-- name: load_outbox
-- Our own rows after $3, oldest first: what a former life of this slot left, or what did not fit into memory.
-- params: tenant, our slot, after, most
SELECT outbox_id, notify, notify_next, topics, payloads
FROM outbox
WHERE tenant_id = $1 AND owner_slot = $2 AND outbox_id > $3
ORDER BY outbox_id
LIMIT $4;

-- name: delete_outbox
-- What the MQTT server has acknowledged.
-- params: tenant, outbox ids
DELETE FROM outbox WHERE tenant_id = $1 AND outbox_id = ANY ($2::bigint[]);

-- name: tell_again
-- Everything things were told lately, once more, in rows of 500 things: the MQTT server has lost its sessions.
-- params: tenant, our slot, how long lately is
WITH lately AS (
    SELECT DISTINCT e.thing_name FROM executions e
    WHERE e.tenant_id = $1 AND e.last_updated_at > clock_timestamp() - $3::interval
), numbered AS (
    SELECT thing_name, (row_number() OVER (ORDER BY thing_name) - 1) / 500 AS part FROM lately
)
INSERT INTO outbox (tenant_id, owner_slot, notify, notify_next)
SELECT $1, $2, array_agg(thing_name), array_agg(thing_name) FROM numbered GROUP BY part;

-- name: was_told_again
-- Whether some process told everything again in the last $1. Of a moment before that it would prove nothing.
-- params: how long we were away
SELECT EXISTS (SELECT FROM leases WHERE name = 'told-again' AND acquired_at > clock_timestamp() - $1::interval);

-- name: note_told_again
-- Everything was told again by now, so the other processes need not.
-- params: who
INSERT INTO leases (name, holder, acquired_at) VALUES ('told-again', $1, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, acquired_at = excluded.acquired_at;

-- name: forget_requests
-- Operators' answers that no retry will ask for any more.
-- params: tenant, how long they are kept, most
DELETE FROM operator_requests r
WHERE r.tenant_id = $1 AND (r.operator_name, r.client_token) IN (
    SELECT o.operator_name, o.client_token FROM operator_requests o
    WHERE o.tenant_id = $1 AND o.created_at < clock_timestamp() - $2::interval
    LIMIT $3
);
