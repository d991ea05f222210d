-- Credentials of things and operators: one live token each, any number of certificates.

-- name: lock_principal
-- Purpose: find a principal and keep its credentials from changing beside us.
-- Params: $1 tenant, $2 name.
SELECT kind FROM principals WHERE tenant_id = $1 AND name = $2 FOR NO KEY UPDATE;

-- name: insert_token
-- Purpose: store what proves a token, never the token.
-- Params: $1 tenant, $2 principal, $3 sha256 of the token, $4 Mosquitto's hash of it.
INSERT INTO credentials (tenant_id, principal, kind, token_sha256, mosquitto_hash)
VALUES ($1, $2, 'token', $3, $4);

-- name: insert_certificate
-- Purpose: remember a certificate that was issued, so that it can be listed and revoked.
-- Params: $1 tenant, $2 principal, $3 serial, $4 fingerprint, $5 not_after.
INSERT INTO credentials (tenant_id, principal, kind, serial, fingerprint, not_after)
VALUES ($1, $2, 'certificate', $3, $4, $5);

-- name: revoke_credentials
-- Purpose: take live credentials of principals away; in key order, so that two of these never wait for each other.
-- Params: $1 tenant, $2 principals, $3 kind or null for both, $4 serial or null for any.
WITH live AS (
    SELECT credential_id
    FROM credentials
    WHERE tenant_id = $1 AND principal = ANY ($2::text[]) AND principal <> '' AND revoked_at IS NULL
      AND ($3::text IS NULL OR kind = $3)
      AND ($4::text IS NULL OR serial = $4)
    ORDER BY principal, credential_id
    FOR NO KEY UPDATE
)
UPDATE credentials
SET revoked_at = now()
FROM live
WHERE credentials.tenant_id = $1 AND credentials.credential_id = live.credential_id
RETURNING credentials.credential_id;

-- name: delete_dead_tokens
-- Purpose: forget revoked tokens of a principal, of which nothing needs to be known any more.
-- Params: $1 tenant, $2 principal.
DELETE FROM credentials
WHERE tenant_id = $1 AND principal = $2 AND principal <> '' AND kind = 'token' AND revoked_at IS NOT NULL;

-- name: list_credentials
-- Purpose: show a principal's credentials, newest first.
-- Params: $1 tenant, $2 principal.
SELECT kind, serial, fingerprint, not_after, created_at, revoked_at
FROM credentials
WHERE tenant_id = $1 AND principal = $2 AND principal <> ''
ORDER BY created_at DESC, credential_id;

-- name: list_token_digests
-- Purpose: find what a principal's live token must hash to.
-- Params: $1 tenant, $2 principal.
SELECT token_sha256
FROM credentials
JOIN principals ON principals.tenant_id = credentials.tenant_id AND principals.name = credentials.principal
WHERE credentials.tenant_id = $1 AND principal = $2 AND principal <> '' AND credentials.kind = 'token' AND revoked_at IS NULL;

-- name: list_access
-- Purpose: find who has lines in the MQTT server's files: all operators, and things with a live token.
-- Params: $1 tenant.
SELECT p.name, p.kind, o.role, c.mosquitto_hash
FROM principals p
LEFT JOIN operators o ON o.tenant_id = p.tenant_id AND o.operator_name = p.name
LEFT JOIN credentials c
    ON c.tenant_id = p.tenant_id AND c.principal = p.name AND c.principal <> '' AND c.kind = 'token' AND c.revoked_at IS NULL
WHERE p.tenant_id = $1 AND (p.kind = 'operator' OR c.mosquitto_hash IS NOT NULL)
ORDER BY p.name;

-- name: list_revoked_certificates
-- Purpose: find which unexpired certificates must be refused; one whose principal is gone is no good either.
-- Params: $1 tenant.
SELECT c.serial, coalesce(c.revoked_at, c.created_at) AS revoked_at
FROM credentials c
WHERE c.tenant_id = $1 AND c.kind = 'certificate' AND c.not_after > now()
  AND (c.revoked_at IS NOT NULL
       OR NOT EXISTS (SELECT FROM principals p WHERE p.tenant_id = c.tenant_id AND p.name = c.principal))
ORDER BY c.serial;

-- name: list_claims
-- Purpose: find which names a tenant's live credentials claim, where several tenants share one MQTT server.
-- Params: $1 tenant.
SELECT principal, created_at, serial
FROM credentials
WHERE tenant_id = $1 AND kind <> 'key' AND revoked_at IS NULL AND (not_after IS NULL OR not_after > now())
ORDER BY principal, credential_id;

-- name: notify_access
-- Purpose: have the processes that keep the MQTT server's files write them anew, once this commits.
-- Params: none.
SELECT pg_notify('jobbroker_access', '');
