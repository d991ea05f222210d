-- What a job would come to. Nothing here writes.

-- name: find_reached
-- The things that targets reach now, each once, child groups included: how many, and the first of them. The same things in
-- the same order that freeze_snapshot puts away, which begins with the targets of a job that is there. And of how many of
-- them each stage is true that is made of a group or an attribute; 0 for the others.
-- params: tenant, target kinds, target names, most, seed or null; stages: groups, attributes, values, or nulls
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
       array(SELECT thing_name FROM members
             ORDER BY hashtextextended(thing_name, $5::bigint), thing_name LIMIT $4) AS first,
       array(
           SELECT (
               WITH RECURSIVE inside AS (
                   SELECT s.group_name WHERE s.group_name IS NOT NULL
                   UNION
                   SELECT g.group_name FROM thing_groups g JOIN inside i ON g.parent_group = i.group_name
                   WHERE g.tenant_id = $1
               ), fits AS (
                   SELECT m.thing_name
                   FROM inside i JOIN thing_group_members m ON m.tenant_id = $1 AND m.group_name = i.group_name
                   UNION
                   SELECT t.thing_name FROM things t
                   WHERE t.tenant_id = $1 AND s.attribute IS NOT NULL AND t.attributes ->> s.attribute = s.value
               )
               SELECT count(*) FROM fits JOIN members USING (thing_name)
           )
           FROM unnest($6::text[], $7::text[], $8::text[]) WITH ORDINALITY AS s (group_name, attribute, value, place)
           ORDER BY s.place) AS matched;
