-- Events for whoever follows a tenant over HTTP: kept for a while as they leave the outbox, read on from where one was.

-- name: follow
-- The tenant is followed for the next $2. Where nobody did, what happened before is not kept: a new floor. Beside it the
-- newest that is there.
-- params: tenant, for how long, whether each live event is wanted
INSERT INTO event_streams AS s (tenant_id, followed_until, floor_id, all_live_until)
VALUES ($1, clock_timestamp() + $2::interval, nextval('recent_events_event_id_seq'),
        CASE WHEN $3 THEN clock_timestamp() + $2::interval ELSE '-infinity' END)
ON CONFLICT (tenant_id) DO UPDATE SET
    floor_id = CASE WHEN s.followed_until > clock_timestamp() THEN s.floor_id ELSE excluded.floor_id END,
    followed_until = greatest(s.followed_until, excluded.followed_until),
    all_live_until = greatest(s.all_live_until, excluded.all_live_until)
RETURNING floor_id, (SELECT max(e.event_id) FROM recent_events e WHERE e.tenant_id = $1) AS newest;

-- name: announce_follow
-- Every process makes live events for the tenant from now on, all or some.
NOTIFY jobbroker_streams;

-- name: find_followed
-- Which tenants are followed, and whether by somebody who wants each live event.
SELECT tenant_id, all_live FROM sweep_event_streams();

-- name: lock_stream
-- One writer at a time draws ids and commits: ids become visible in their order, so that "after this one" misses none.
-- params: tenant
SELECT pg_advisory_xact_lock(hashtextextended($1, 2));

-- name: keep_events
-- params: tenant, topics, payloads
INSERT INTO recent_events (tenant_id, topics, payloads) VALUES ($1, $2::text[], $3::text[]);

-- name: announce_events
NOTIFY jobbroker_events;

-- name: read_events
-- Rows from $2 on, with the floor; one row without an event when there is none.
-- params: tenant, from, most
SELECT s.floor_id, e.event_id, e.topics, e.payloads
FROM event_streams s
LEFT JOIN LATERAL (
    SELECT r.event_id, r.topics, r.payloads FROM recent_events r
    WHERE r.tenant_id = $1 AND r.event_id >= $2 AND r.event_id > s.floor_id
    ORDER BY r.event_id
    LIMIT $3
) e ON true
WHERE s.tenant_id = $1
ORDER BY e.event_id;

-- name: trim_events
-- What is older than $2, or behind $3 newer events, is gone, and the floor says so.
-- params: tenant, how long events are kept, how many are
WITH counted AS (
    SELECT event_id, at, sum(cardinality(topics)) OVER (ORDER BY event_id DESC) - cardinality(topics) AS newer
    FROM recent_events WHERE tenant_id = $1
), gone AS (
    DELETE FROM recent_events e
    USING counted c
    WHERE e.tenant_id = $1 AND e.event_id = c.event_id
      AND (c.at < clock_timestamp() - $2::interval OR c.newer >= $3)
    RETURNING e.event_id
)
UPDATE event_streams SET floor_id = greatest(floor_id, (SELECT max(event_id) FROM gone))
WHERE tenant_id = $1 AND EXISTS (SELECT FROM gone);
