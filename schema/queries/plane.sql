-- What every operator command passes through: who asks, whether it was asked before, and what is written down of it.

-- name: identify
-- A tenant, the role of an operator in it (null for nobody), what a clientToken was used for and the answer it got
-- (nulls for nothing), and the database's clock.
-- params: tenant, operator, client token or null
SELECT t.aws_region, t.aws_account, t.required_approvals, o.role, r.request_sha256, r.reply, clock_timestamp() AS now
FROM tenants t
LEFT JOIN operators o ON o.tenant_id = t.tenant_id AND o.operator_name = $2
LEFT JOIN operator_requests r ON r.tenant_id = t.tenant_id AND r.operator_name = $2 AND r.client_token = $3
WHERE t.tenant_id = $1;

-- name: find_request
-- What a clientToken was used for, and the answer it got.
-- params: tenant, operator, client token
SELECT request_sha256, reply FROM operator_requests
WHERE tenant_id = $1 AND operator_name = $2 AND client_token = $3;

-- name: write_down
-- What a command leaves: a line in the audit log if it has changed something ($4 is not empty), and its answer, for when it
-- is asked again, if it has a client token.
-- params: tenant, actor, role, subject, action, details, client token or null, request digest, reply
WITH line AS (
    INSERT INTO audit_log (tenant_id, actor, role, action, subject, details)
    SELECT $1, $2, $3, $5, $4, $6 WHERE $4 <> ''
)
INSERT INTO operator_requests (tenant_id, operator_name, client_token, request_sha256, reply)
SELECT $1, $2, $7, $8, $9 WHERE $7::text IS NOT NULL;

-- name: insert_audit
-- Who did what, to what.
-- params: tenant, actor, role, action, subject, details
INSERT INTO audit_log (tenant_id, actor, role, action, subject, details) VALUES ($1, $2, $3, $4, $5, $6);

-- name: list_audit
-- The log, newest first, from before a key on.
-- params: tenant, before audit_id, most
SELECT audit_id, at, actor, role, action, subject, details FROM audit_log
WHERE tenant_id = $1 AND audit_id < $2
ORDER BY audit_id DESC
LIMIT $3;

-- name: list_audit_of_subject
-- The log of one subject, newest first, from before a key on.
-- params: tenant, before audit_id, most, subject
SELECT audit_id, at, actor, role, action, subject, details FROM audit_log
WHERE tenant_id = $1 AND subject = $4 AND subject <> '' AND audit_id < $2
ORDER BY audit_id DESC
LIMIT $3;

-- name: get_switches
-- params: tenant
SELECT events, created_at, events_changed_at FROM tenants WHERE tenant_id = $1;

-- name: lock_switches
-- params: tenant
SELECT events FROM tenants WHERE tenant_id = $1 FOR NO KEY UPDATE;

-- name: set_switches
-- params: tenant, events, now
UPDATE tenants SET events = $2, events_changed_at = $3 WHERE tenant_id = $1;
