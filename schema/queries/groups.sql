-- Who is in which group by a query, and which CONTINUOUS jobs reach whom. Every statement works inside one tenant ($1).
--
-- Whoever changes memberships holds the tenant's memberships: shared for the things they have locked, alone for whole
-- groups and for the targets of jobs. So what a job reaches can be compared before and after.

-- name: hold_memberships
-- Others may change other things' memberships meanwhile, but no group's query, no whole group and no job's targets.
-- params: tenant
SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 1));

-- name: hold_memberships_alone
-- Nobody else changes memberships or what jobs follow until this transaction ends.
-- params: tenant
SELECT pg_advisory_xact_lock(hashtextextended($1, 1));

-- name: list_queries
-- The dynamic groups.
-- params: tenant
SELECT group_name, query_string FROM thing_groups
WHERE tenant_id = $1 AND query_string IS NOT NULL
ORDER BY group_name;

-- name: count_queries
-- How many dynamic groups there are.
-- params: tenant
SELECT count(*) FROM thing_groups WHERE tenant_id = $1 AND query_string IS NOT NULL;

-- name: load_for_queries
-- Things as queries look at them, with the groups they are in by a query.
-- params: tenant, names
SELECT t.thing_name, t.thing_type, t.attributes,
       array(SELECT m.group_name FROM thing_group_members m
             WHERE m.tenant_id = $1 AND m.thing_name = t.thing_name AND NOT m.is_dynamic) AS groups,
       array(SELECT m.group_name FROM thing_group_members m
             WHERE m.tenant_id = $1 AND m.thing_name = t.thing_name AND m.is_dynamic) AS dynamic_groups
FROM unnest($2::text[]) AS wanted (thing_name)
CROSS JOIN LATERAL (
    SELECT x.thing_name, x.thing_type, x.attributes FROM things x
    WHERE x.tenant_id = $1 AND x.thing_name = wanted.thing_name
    OFFSET 0
) t;

-- name: insert_dynamic_members
-- Things come into groups by their queries.
-- params: tenant, groups, things
INSERT INTO thing_group_members (tenant_id, group_name, thing_name, is_dynamic)
SELECT $1, m.group_name, m.thing_name, true
FROM unnest($2::text[], $3::text[]) AS m (group_name, thing_name)
ORDER BY m.thing_name, m.group_name
ON CONFLICT DO NOTHING;

-- name: delete_dynamic_members
-- Things are in groups no more.
-- params: tenant, groups, things
DELETE FROM thing_group_members d
USING unnest($2::text[], $3::text[]) AS m (group_name, thing_name)
CROSS JOIN LATERAL (
    SELECT x.ctid FROM thing_group_members x
    WHERE x.tenant_id = $1 AND x.group_name = m.group_name AND x.thing_name = m.thing_name
    OFFSET 0
) found
WHERE d.ctid = found.ctid AND d.tenant_id = $1;

-- name: find_differing
-- Things for which a query says otherwise than the group's members do. The query's condition, with its parameters from
-- $3 on, takes the place of /* query */ false.
-- params: tenant, group, and the query's own
SELECT seen.thing_name, seen.fits
FROM (
    SELECT t.thing_name, (/* query */ false) AS fits,
           EXISTS (SELECT FROM thing_group_members m
                   WHERE m.tenant_id = $1 AND m.group_name = $2 AND m.thing_name = t.thing_name) AS is_member
    FROM things t
    WHERE t.tenant_id = $1
) seen
WHERE seen.fits <> seen.is_member
ORDER BY seen.thing_name;

-- name: search_things
-- Things by name, after a name, that a query fits; its condition, with its parameters from $4 on, takes the place of
-- /* query */ false.
-- params: tenant, after, most, and the query's own
SELECT t.thing_name FROM things t
WHERE t.tenant_id = $1 AND t.thing_name > $2 AND (/* query */ false)
ORDER BY t.thing_name
LIMIT $3;

-- name: list_member_names
-- All things that are directly in a group.
-- params: tenant, group
SELECT thing_name FROM thing_group_members WHERE tenant_id = $1 AND group_name = $2 ORDER BY thing_name;

-- name: update_group
-- A group as it is from now on, if it still is what was looked at.
-- params: tenant, name, description, attributes, query string, version that was looked at
UPDATE thing_groups
SET description = $3, attributes = $4, query_string = $5, version = version + 1
WHERE tenant_id = $1 AND group_name = $2 AND version = $6
RETURNING version;

-- name: list_ancestors
-- The groups above one, the top one first.
-- params: tenant, name
WITH RECURSIVE up AS (
    SELECT parent_group, 1 AS height FROM thing_groups WHERE tenant_id = $1 AND group_name = $2
    UNION ALL
    SELECT found.parent_group, up.height + 1
    FROM up
    CROSS JOIN LATERAL (
        SELECT g.parent_group FROM thing_groups g WHERE g.tenant_id = $1 AND g.group_name = up.parent_group OFFSET 0
    ) found
)
SELECT parent_group FROM up WHERE parent_group IS NOT NULL ORDER BY height DESC;

-- name: find_reach
-- Which CONTINUOUS jobs that are not over reach which of the things, through any of their targets; of one job if named.
-- params: tenant, names, job id or null
WITH RECURSIVE up AS (
    SELECT wanted.thing_name, found.group_name
    FROM unnest($2::text[]) AS wanted (thing_name)
    CROSS JOIN LATERAL (
        SELECT m.group_name FROM thing_group_members m
        WHERE m.tenant_id = $1 AND m.thing_name = wanted.thing_name
        OFFSET 0
    ) found
    UNION
    SELECT up.thing_name, found.parent_group
    FROM up
    CROSS JOIN LATERAL (
        SELECT g.parent_group FROM thing_groups g
        WHERE g.tenant_id = $1 AND g.group_name = up.group_name AND g.parent_group IS NOT NULL
        OFFSET 0
    ) found
), known AS (
    SELECT 'thinggroup' AS kind, group_name AS name, thing_name FROM up
    UNION ALL
    SELECT 'thing', found.thing_name, found.thing_name
    FROM unnest($2::text[]) AS wanted (thing_name)
    CROSS JOIN LATERAL (
        SELECT t.thing_name FROM things t WHERE t.tenant_id = $1 AND t.thing_name = wanted.thing_name OFFSET 0
    ) found
), aimed AS MATERIALIZED (
    SELECT target.job_id, k.kind, k.name
    FROM (SELECT DISTINCT kind, name FROM known) k
    CROSS JOIN LATERAL (
        SELECT x.job_id FROM job_targets x
        WHERE x.tenant_id = $1 AND x.continuous AND x.target_kind = k.kind AND x.target_name = k.name
          AND ($3::text IS NULL OR x.job_id = $3)
        OFFSET 0
    ) target
    CROSS JOIN LATERAL (
        SELECT FROM jobs j
        WHERE j.tenant_id = $1 AND j.job_id = target.job_id AND j.status IN ('SCHEDULED', 'IN_PROGRESS')
        OFFSET 0
    ) live
)
SELECT DISTINCT aimed.job_id, known.thing_name
FROM aimed
JOIN known USING (kind, name);

-- name: lock_followed
-- Those of the jobs that are not over, held in order of id: chunks are added to them.
-- params: tenant, job ids
SELECT j.job_id FROM jobs j
WHERE j.tenant_id = $1 AND j.job_id = ANY ($2::text[]) AND j.status IN ('SCHEDULED', 'IN_PROGRESS')
ORDER BY j.job_id
FOR NO KEY UPDATE;

-- name: lock_counts_of
-- Counters of some jobs, held in order of id: before their stages and rows.
-- params: tenant, job ids
SELECT job_id FROM job_counts WHERE tenant_id = $1 AND job_id = ANY ($2::text[]) ORDER BY job_id FOR NO KEY UPDATE;

-- name: find_followed
-- Those of the jobs that may still reach things: neither over nor at their endTime.
-- params: tenant, job ids
SELECT j.job_id
FROM unnest($2::text[]) AS wanted (job_id)
CROSS JOIN LATERAL (
    SELECT x.job_id FROM jobs x
    WHERE x.tenant_id = $1 AND x.job_id = wanted.job_id AND x.status IN ('SCHEDULED', 'IN_PROGRESS') AND NOT x.has_ended
    OFFSET 0
) j;

-- name: add_joiners
-- Things that have come to jobs, put away for their rollouts behind those who wait already. The jobs are held. Of
-- registered things ($5) those that wait already do so once: their chunk will see what the job reaches by then.
-- Returns the jobs with how many things came, and to which stage.
-- params: tenant, job ids, things, chunk size, whether the things were there before
WITH joined AS (
    SELECT n.job_id, n.thing_name FROM unnest($2::text[], $3::text[]) AS n (job_id, thing_name)
    EXCEPT
    SELECT c.job_id, waiting.thing_name
    FROM (SELECT DISTINCT job_id FROM unnest($2::text[]) AS n (job_id) WHERE $5::boolean) n
    CROSS JOIN LATERAL (
        SELECT x.job_id, x.thing_names FROM rollout_chunks x
        WHERE x.tenant_id = $1 AND x.job_id = n.job_id
        OFFSET 0
    ) c
    CROSS JOIN unnest(c.thing_names) AS waiting (thing_name)
), numbered AS (
    SELECT job_id, thing_name,
           (row_number() OVER (PARTITION BY job_id ORDER BY thing_name) - 1) / $4::integer AS chunk_no
    FROM joined
), staged AS (
    SELECT n.job_id, found.stage
    FROM (SELECT DISTINCT job_id FROM joined) n
    CROSS JOIN LATERAL (
        SELECT greatest(j.stage, 1) * (j.stage IS NOT NULL)::integer AS stage FROM jobs j
        WHERE j.tenant_id = $1 AND j.job_id = n.job_id
        OFFSET 0
    ) found
), put AS (
    INSERT INTO rollout_chunks (tenant_id, job_id, stage, chunk_no, thing_names)
    SELECT $1, n.job_id, s.stage,
           n.chunk_no + coalesce((SELECT greatest(max(c.chunk_no), -1) + 1 FROM rollout_chunks c
                                  WHERE c.tenant_id = $1 AND c.job_id = n.job_id AND c.stage = s.stage), 0),
           array_agg(n.thing_name ORDER BY n.thing_name)
    FROM numbered n JOIN staged s USING (job_id)
    GROUP BY n.job_id, s.stage, n.chunk_no
    RETURNING job_id, stage, cardinality(thing_names) AS things
)
SELECT job_id, stage, sum(things)::bigint AS things FROM put WHERE stage > 0 GROUP BY job_id, stage;

-- name: owe_rollout
-- Jobs have chunks to roll out, which they do when nothing comes before it: in a stage that has started, or will be
-- looked at. The jobs are held.
-- params: tenant, job ids
UPDATE jobs
SET pending_work = coalesce(pending_work, 'ROLLOUT'),
    holds = CASE WHEN stage > 0 THEN array_remove(holds, 'STAGE') ELSE holds END
WHERE tenant_id = $1 AND job_id = ANY ($2::text[]) AND (pending_work IS NULL OR stage > 0 AND 'STAGE' = ANY (holds));

-- name: owe_reach
-- So many things left jobs at once that background work looks through their executions.
-- params: tenant, job ids
UPDATE jobs SET pending_work = 'REACH', reach_mark = pg_current_xact_id()::text::bigint
WHERE tenant_id = $1 AND job_id = ANY ($2::text[]) AND status IN ('SCHEDULED', 'IN_PROGRESS')
  AND (pending_work IS NULL OR pending_work IN ('ROLLOUT', 'REACH'));

-- name: finish_reach
-- The walk that this mark was made for is over; what waits to be rolled out goes on. The job is held.
-- params: tenant, job id, mark
UPDATE jobs
SET reach_mark = NULL,
    pending_work = CASE WHEN EXISTS (SELECT FROM rollout_chunks c WHERE c.tenant_id = $1 AND c.job_id = $2)
                        THEN 'ROLLOUT' END
WHERE tenant_id = $1 AND job_id = $2 AND pending_work = 'REACH' AND reach_mark = $3;

-- name: follow_targets
-- A new job is CONTINUOUS.
-- params: tenant, job id
WITH job AS (
    UPDATE jobs SET target_selection = 'CONTINUOUS' WHERE tenant_id = $1 AND job_id = $2
)
UPDATE job_targets SET continuous = true WHERE tenant_id = $1 AND job_id = $2;

-- name: get_association
-- What decides whether targets may be added to a job. The job is held, so that it is not cancelled beside that.
-- params: tenant, job id
SELECT status, target_selection, description, has_ended
FROM jobs WHERE tenant_id = $1 AND job_id = $2 FOR NO KEY UPDATE;

-- name: list_targets
-- A job's targets, with the place of the last.
-- params: tenant, job id
SELECT target_kind, target_name, position FROM job_targets WHERE tenant_id = $1 AND job_id = $2 ORDER BY position;

-- name: insert_targets
-- Targets are added to a CONTINUOUS job, which is held.
-- params: tenant, job id, kinds, names, ARNs, the place of the last before them
INSERT INTO job_targets (tenant_id, job_id, position, target_kind, target_name, target_arn, continuous)
SELECT $1, $2, $6::integer + t.place, t.kind, t.name, t.arn, true
FROM unnest($3::text[], $4::text[], $5::text[]) WITH ORDINALITY AS t (kind, name, arn, place);

-- name: find_reached
-- The things that targets reach now, child groups included, each once.
-- params: tenant, kinds, names
WITH RECURSIVE reached AS (
    SELECT w.name AS group_name FROM unnest($2::text[], $3::text[]) AS w (kind, name) WHERE w.kind = 'thinggroup'
    UNION
    SELECT g.group_name
    FROM thing_groups g
    JOIN reached r ON g.parent_group = r.group_name
    WHERE g.tenant_id = $1
)
SELECT found.thing_name
FROM unnest($2::text[], $3::text[]) AS w (kind, name)
CROSS JOIN LATERAL (
    SELECT t.thing_name FROM things t WHERE t.tenant_id = $1 AND t.thing_name = w.name OFFSET 0
) found
WHERE w.kind = 'thing'
UNION
SELECT found.thing_name
FROM reached r
CROSS JOIN LATERAL (
    SELECT m.thing_name FROM thing_group_members m
    WHERE m.tenant_id = $1 AND m.group_name = r.group_name
      -- always true, and only the key can tell: beside one large group the other index looks as good
      AND (m.group_name, m.thing_name) > (r.group_name, '')
    OFFSET 0
) found;

-- name: annotate_job
-- A job's targets were changed.
-- params: tenant, job id, comment or null, how many things came, now
UPDATE jobs
SET comment = coalesce($3, comment), total_targets = total_targets + $4, updated_at = $5
WHERE tenant_id = $1 AND job_id = $2;
