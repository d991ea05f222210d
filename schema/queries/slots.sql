-- Process slots: which of the stable MQTT sessions a process holds. The lock is a session advisory lock.

-- name: try_slot
-- Hold a slot as long as this connection lives; false when another process has it.
-- params: lock class, slot
SELECT pg_try_advisory_lock($1::integer, $2::integer);

-- name: release_slot
-- params: lock class, slot
SELECT pg_advisory_unlock($1::integer, $2::integer);

-- name: record_slot
-- Who holds it; the row stays after its holder, which is how a session left open is found.
-- params: name, holder, details
INSERT INTO leases (name, holder, details) VALUES ($1, $2, $3::jsonb)
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, details = excluded.details, acquired_at = now(), renewed_at = now();

-- name: count_taking
-- At once visible to all, whatever becomes of the transaction.
SELECT nextval('slot_takings');

-- name: find_takings
SELECT last_value FROM slot_takings;

-- name: find_company
-- How often slots have been taken; and then, which is why it asks for that number: whether another process than ours has
-- one, or had one a moment ago and may not know yet that it lost it.
-- params: lock class, our slot, its name
SELECT s.last_value AS takings,
       EXISTS (SELECT FROM leases
               WHERE name LIKE 'slot-%' AND name <> $3 AND renewed_at > clock_timestamp() - interval '1 minute')
       OR EXISTS (SELECT FROM pg_locks
                  WHERE locktype = 'advisory' AND classid = $1::integer::oid AND objsubid = 2 AND granted
                    AND objid::integer <> $2 AND s.last_value > 0
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS company
FROM slot_takings s;

-- name: renew_slot
-- params: name, holder
UPDATE leases SET renewed_at = now() WHERE name = $1 AND holder = $2;

-- name: find_slot
-- Who had a slot last, and whether that one said goodbye.
-- params: name
SELECT holder, coalesce((details ->> 'in_order')::boolean, false) AS in_order FROM leases WHERE name = $1;

-- name: mark_serving
-- This slot's session is subscribed: others may rely on it.
-- params: name
UPDATE leases SET details = details || '{"serving": true}' WHERE name = $1;

-- name: lock_serving
-- Which slots take requests, held in name order: of two that leave, one sees the other gone. Not a WHERE: a row that was
-- waited for is shown as it became.
SELECT name, details @> '{"serving": true}' AS serving FROM leases WHERE name LIKE 'slot-%' ORDER BY name FOR UPDATE;

-- name: mark_leaving
-- This slot ends in order: nobody relies on it any more.
-- params: name
UPDATE leases SET details = details || '{"serving": false, "in_order": true}' WHERE name = $1;

-- name: list_slots
-- Every slot that has a session with the MQTT server, with its age.
SELECT name, holder, details, acquired_at, renewed_at FROM leases WHERE name LIKE 'slot-%' ORDER BY name;

-- name: forget_slot
-- The session has been ended; nothing is left to take over.
-- params: name
DELETE FROM leases WHERE name = $1;

-- name: held_slots
-- Slots that a living connection holds.
-- params: lock class
SELECT objid::integer AS slot FROM pg_locks
WHERE locktype = 'advisory' AND classid = $1::integer::oid AND objsubid = 2 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: session_name
-- What every slot's client id begins with: made once for an installation, unguessable, so that nobody else who may connect
-- to the MQTT server can take our sessions over by their client ids.
-- params: a name to use if none is there
WITH made AS (
    INSERT INTO leases (name, holder) VALUES ('session-name', $1) ON CONFLICT (name) DO NOTHING RETURNING holder
)
SELECT holder FROM made UNION ALL SELECT holder FROM leases WHERE name = 'session-name' LIMIT 1;
