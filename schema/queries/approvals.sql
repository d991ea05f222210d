-- Approvals: what a tenant asks for at least, what a job needs, and who has said what. Locked after the job's row.

-- name: set_usual
-- params: tenant, approvals
UPDATE tenants SET required_approvals = $2 WHERE tenant_id = $1;

-- name: insert_approval
-- A new job needs approvals.
-- params: tenant, job id, how many, creator, creator's role, since when it is as it is
INSERT INTO job_approvals (tenant_id, job_id, required, creator_name, creator_role, since) VALUES ($1, $2, $3, $4, $5, $6);

-- name: get_approval
-- What a job's approval needs, and the clock. The clock is read when the job is held, so that votes and changes have an
-- order.
-- params: tenant, job id
SELECT required, creator_name, creator_role, since, clock_timestamp() AS now
FROM job_approvals WHERE tenant_id = $1 AND job_id = $2;

-- name: get_end
-- What says when a job ends. The job is held.
-- params: tenant, job id
SELECT scheduling_config, expires_at FROM jobs WHERE tenant_id = $1 AND job_id = $2;

-- name: list_votes
-- A job's votes in order.
-- params: tenant, job id
SELECT operator_name, role, voice, at, comment FROM job_votes WHERE tenant_id = $1 AND job_id = $2 ORDER BY vote_id;

-- name: insert_vote
-- params: tenant, job id, operator, role, voice, at, comment
INSERT INTO job_votes (tenant_id, job_id, operator_name, role, voice, at, comment) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: void_votes
-- A job is another one now: who has voted may vote again. Returns whether it needs approvals. The job is held.
-- params: tenant, job id
WITH gone AS (
    DELETE FROM job_votes WHERE tenant_id = $1 AND job_id = $2
)
UPDATE job_approvals SET since = clock_timestamp() WHERE tenant_id = $1 AND job_id = $2 RETURNING true;
