-- Tags of jobs, job templates and groups, each in the row of what they are on.

-- name: get_job_tags
-- params: tenant, name
SELECT tags FROM jobs WHERE tenant_id = $1 AND job_id = $2;

-- name: lock_job_tags
-- params: tenant, name
SELECT tags FROM jobs WHERE tenant_id = $1 AND job_id = $2 FOR NO KEY UPDATE;

-- name: set_job_tags
-- params: tenant, name, tags
UPDATE jobs SET tags = $3 WHERE tenant_id = $1 AND job_id = $2;

-- name: get_jobtemplate_tags
-- params: tenant, name
SELECT tags FROM job_templates WHERE tenant_id = $1 AND template_id = $2;

-- name: lock_jobtemplate_tags
-- params: tenant, name
SELECT tags FROM job_templates WHERE tenant_id = $1 AND template_id = $2 FOR NO KEY UPDATE;

-- name: set_jobtemplate_tags
-- params: tenant, name, tags
UPDATE job_templates SET tags = $3 WHERE tenant_id = $1 AND template_id = $2;

-- name: get_thinggroup_tags
-- params: tenant, name
SELECT tags FROM thing_groups WHERE tenant_id = $1 AND group_name = $2;

-- name: lock_thinggroup_tags
-- params: tenant, name
SELECT tags FROM thing_groups WHERE tenant_id = $1 AND group_name = $2 FOR NO KEY UPDATE;

-- name: set_thinggroup_tags
-- params: tenant, name, tags
UPDATE thing_groups SET tags = $3 WHERE tenant_id = $1 AND group_name = $2;
