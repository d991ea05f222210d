-- Job templates. Every statement works inside one tenant ($1).

-- name: count_templates
-- How many templates there are.
-- params: tenant
SELECT count(*) FROM job_templates WHERE tenant_id = $1;

-- name: insert_template
-- A template.
-- params: tenant, template id, document, its source, description, settings, request digest, created_by, now
INSERT INTO job_templates (tenant_id, template_id, document, document_source, description, settings, request_sha256,
                           created_by, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: get_template
-- A template as it is.
-- params: tenant, template id
SELECT template_id, document, document_source, description, settings, request_sha256, created_by, created_at
FROM job_templates
WHERE tenant_id = $1 AND template_id = $2;

-- name: list_templates
-- Templates by id, from after a key on.
-- params: tenant, after template id, most
SELECT template_id, description, created_at FROM job_templates
WHERE tenant_id = $1 AND template_id > $2
ORDER BY template_id
LIMIT $3;

-- name: delete_template
-- A template; jobs that were made of it have what they need of it.
-- params: tenant, template id
DELETE FROM job_templates WHERE tenant_id = $1 AND template_id = $2 RETURNING template_id;
