-- What a job would come to. Nothing here writes.

-- name: find_reached
-- The things that targets reach now, each once, child groups included: how many, and the first of them by name. The same
-- things that freeze_snapshot puts away, which begins with the targets of a job that is there.
-- params: tenant, target kinds, target names, most
WITH RECURSIVE wanted AS (
    SELECT w.target_kind, w.target_name FROM unnest($2::text[], $3::text[]) AS w (target_kind, target_name)
), reached AS (
    SELECT target_name AS group_name FROM wanted WHERE target_kind = 'thinggroup'
    UNION
    SELECT g.group_name
    FROM thing_groups g
    JOIN reached r ON g.parent_group = r.group_name
    WHERE g.tenant_id = $1
), members AS MATERIALIZED (
    SELECT found.thing_name
    FROM wanted w
    CROSS JOIN LATERAL (
        SELECT t.thing_name FROM things t WHERE t.tenant_id = $1 AND t.thing_name = w.target_name OFFSET 0
    ) found
    WHERE w.target_kind = 'thing'
    UNION
    SELECT found.thing_name
    FROM reached r
    CROSS JOIN LATERAL (
        SELECT m.thing_name FROM thing_group_members m
        WHERE m.tenant_id = $1 AND m.group_name = r.group_name
          -- always true, and only the key can tell: beside one large group the other index looks as good
          AND (m.group_name, m.thing_name) > (r.group_name, '')
        OFFSET 0
    ) found
    UNION
    SELECT t.thing_name
    FROM things t
    WHERE t.tenant_id = $1 AND EXISTS (SELECT FROM wanted WHERE target_kind = 'all')
)
SELECT (SELECT count(*) FROM members) AS things,
       array(SELECT thing_name FROM members ORDER BY thing_name LIMIT $4) AS first;
