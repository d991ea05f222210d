-- What the seeds' REST shows beyond AWS's members.

-- name: load_expiries
-- When jobs expire.
-- params: tenant, job ids
SELECT j.job_id, j.expires_at
FROM unnest($2::text[]) AS wanted (job_id)
CROSS JOIN LATERAL (SELECT * FROM jobs x WHERE x.tenant_id = $1 AND x.job_id = wanted.job_id OFFSET 0) j;
