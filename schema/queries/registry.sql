-- Things, groups and operators. Every statement works inside one tenant ($1).

-- name: insert_principals
-- Take names, in name order; those already taken stay as they are.
-- params: tenant, names, kind
INSERT INTO principals (tenant_id, name, kind)
SELECT $1, n, $3 FROM unnest($2::text[]) AS n ORDER BY n
ON CONFLICT (tenant_id, name) DO NOTHING;

-- name: find_taken
-- Those of the names that are the other kind's.
-- params: tenant, names, kind
SELECT found.name, found.kind
FROM unnest($2::text[]) AS wanted (name)
CROSS JOIN LATERAL (
    SELECT p.name, p.kind FROM principals p WHERE p.tenant_id = $1 AND p.name = wanted.name AND p.kind <> $3 OFFSET 0
) found
ORDER BY found.name;

-- name: delete_principal
-- A thing or an operator goes, with memberships and all.
-- params: tenant, name, kind
DELETE FROM principals WHERE tenant_id = $1 AND name = $2 AND kind = $3;

-- name: has_credentials
-- Whether somebody has a live credential.
-- params: tenant, name
SELECT EXISTS (SELECT FROM credentials
               WHERE tenant_id = $1 AND principal = $2 AND principal <> '' AND revoked_at IS NULL);

-- name: insert_things
-- Things of one configuration; those that exist stay as they are. Returns the new ones.
-- params: tenant, names, type, attributes
INSERT INTO things (tenant_id, thing_name, thing_type, attributes)
SELECT $1, n, $3, $4 FROM unnest($2::text[]) AS n ORDER BY n
ON CONFLICT (tenant_id, thing_name) DO NOTHING
RETURNING thing_name;

-- name: get_thing
-- One thing.
-- params: tenant, name
SELECT thing_name, thing_id, thing_type, attributes, version, created_at FROM things
WHERE tenant_id = $1 AND thing_name = $2;

-- name: find_last_seen
-- When a thing was last heard of: began a job, reported on one, or used its token over HTTP; null for never. A look at its
-- queue over MQTT leaves no row.
-- params: tenant, name
SELECT greatest(
    (SELECT greatest(max(e.started_at), max(e.last_updated_at) FILTER (
                WHERE e.status IN ('IN_PROGRESS', 'SUCCEEDED', 'FAILED', 'REJECTED')))
     FROM executions e WHERE e.tenant_id = $1 AND e.thing_name = $2),
    (SELECT max(c.last_used_at) FROM credentials c
     WHERE c.tenant_id = $1 AND c.principal = $2 AND c.principal <> ''));

-- name: update_thing
-- A thing as it is from now on.
-- params: tenant, name, type or null, attributes
UPDATE things SET thing_type = $3, attributes = $4, version = version + 1, updated_at = now()
WHERE tenant_id = $1 AND thing_name = $2
RETURNING version;

-- name: list_things
-- Things by name, from after a name on.
-- params: tenant, after, most, type or null, name prefix or null, attribute name or null, value or null, value is a prefix
SELECT thing_name, thing_type, attributes, version FROM things
WHERE tenant_id = $1 AND thing_name > $2
  AND ($4::text IS NULL OR thing_type = $4)
  AND ($5::text IS NULL OR starts_with(thing_name, $5))
  AND ($6::text IS NULL OR attributes ? $6)
  AND ($7::text IS NULL OR CASE WHEN $8::boolean THEN starts_with(attributes ->> $6, $7)
                                ELSE attributes ->> $6 = $7 END)
ORDER BY thing_name
LIMIT $3;

-- name: list_groups_of_thing
-- The groups a thing is directly in.
-- params: tenant, name
SELECT group_name FROM thing_group_members WHERE tenant_id = $1 AND thing_name = $2 ORDER BY group_name;

-- name: find_live_executions
-- All live executions of a thing that is about to go, however many.
-- params: tenant, thing
SELECT job_id, execution_number
FROM (
    SELECT x.job_id, x.execution_number FROM executions x
    WHERE x.tenant_id = $1 AND x.thing_name = $2 AND x.status IN ('QUEUED', 'IN_PROGRESS')
    OFFSET 0
) e
ORDER BY job_id, execution_number;

-- name: find_missing_things
-- Those of the names that are no things.
-- params: tenant, names
SELECT n FROM unnest($2::text[]) AS n
WHERE NOT EXISTS (SELECT FROM things t WHERE t.tenant_id = $1 AND t.thing_name = n OFFSET 0)
ORDER BY n;

-- name: get_group
-- One group.
-- params: tenant, name
SELECT group_name, group_id, parent_group, description, attributes, query_string, version, created_at FROM thing_groups
WHERE tenant_id = $1 AND group_name = $2;

-- name: hold_group
-- A group that must not go while a child of it is made.
-- params: tenant, name
SELECT query_string FROM thing_groups WHERE tenant_id = $1 AND group_name = $2 FOR KEY SHARE;

-- name: get_depth
-- How deep a group stands: 1 has no parent.
-- params: tenant, name
WITH RECURSIVE up AS (
    SELECT parent_group, 1 AS depth FROM thing_groups WHERE tenant_id = $1 AND group_name = $2
    UNION ALL
    SELECT g.parent_group, up.depth + 1
    FROM thing_groups g
    JOIN up ON g.group_name = up.parent_group
    WHERE g.tenant_id = $1
)
SELECT max(depth) FROM up;

-- name: insert_group
-- A group.
-- params: tenant, name, parent or null, description, attributes, query string or null
INSERT INTO thing_groups (tenant_id, group_name, parent_group, description, attributes, query_string)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING group_id;

-- name: list_groups
-- Groups by name, from after a name on: all, the top ones, or those below one (directly, or at any depth).
-- params: tenant, after, most, name prefix or null, parent or null, recursive
WITH RECURSIVE below AS (
    SELECT group_name FROM thing_groups
    WHERE tenant_id = $1 AND (parent_group = $5 OR ($5::text IS NULL AND parent_group IS NULL))
    UNION
    SELECT g.group_name
    FROM thing_groups g
    JOIN below b ON g.parent_group = b.group_name
    WHERE g.tenant_id = $1 AND $6::boolean
)
SELECT g.group_name, g.parent_group, g.query_string FROM thing_groups g
WHERE g.tenant_id = $1 AND g.group_name IN (SELECT group_name FROM below)
  AND g.group_name > $2 AND ($4::text IS NULL OR starts_with(g.group_name, $4))
ORDER BY g.group_name
LIMIT $3;

-- name: delete_group
-- A group goes; its things stay.
-- params: tenant, name
DELETE FROM thing_groups WHERE tenant_id = $1 AND group_name = $2;

-- name: insert_members
-- Things join a group; those already in it stay.
-- params: tenant, group, names
WITH joined AS (
    INSERT INTO thing_group_members (tenant_id, group_name, thing_name)
    SELECT $1, $2, n FROM unnest($3::text[]) AS n ORDER BY n
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM joined;

-- name: delete_members
-- Things leave a group.
-- params: tenant, group, names
WITH gone AS (
    DELETE FROM thing_group_members WHERE tenant_id = $1 AND group_name = $2 AND thing_name = ANY ($3::text[])
    RETURNING 1
)
SELECT count(*) FROM gone;

-- name: list_members
-- Things of a group by name, each once, of its child groups too if asked, from after a name on.
-- params: tenant, after, most, group, recursive
WITH RECURSIVE below AS (
    SELECT $4::text AS group_name
    UNION
    SELECT g.group_name
    FROM thing_groups g
    JOIN below b ON g.parent_group = b.group_name
    WHERE g.tenant_id = $1 AND $5::boolean
)
SELECT DISTINCT found.thing_name
FROM below b
CROSS JOIN LATERAL (
    SELECT m.thing_name
    FROM thing_group_members m
    WHERE m.tenant_id = $1 AND m.group_name = b.group_name AND m.thing_name > $2
    ORDER BY m.thing_name
    LIMIT $3
) found
ORDER BY found.thing_name
LIMIT $3;

-- name: insert_operator
-- An operator.
-- params: tenant, name, role, who made them
INSERT INTO operators (tenant_id, operator_name, role, created_by) VALUES ($1, $2, $3, $4);

-- name: get_operator
-- One operator, held: their role decides what may be done to them.
-- params: tenant, name
SELECT operator_name, role FROM operators WHERE tenant_id = $1 AND operator_name = $2 FOR UPDATE;

-- name: lock_owners
-- The owners, held in name order: two that remove each other must see each other.
-- params: tenant
SELECT operator_name FROM operators WHERE tenant_id = $1 AND role = 'owner' ORDER BY operator_name FOR UPDATE;

-- name: list_operators
-- Operators by name, from after a name on.
-- params: tenant, after, most
SELECT operator_name, role, created_by, created_at FROM operators
WHERE tenant_id = $1 AND operator_name > $2
ORDER BY operator_name
LIMIT $3;
