-- Tokens as HTTP sees them: a secret comes without a name, and an operator may have many.

-- name: find_token
-- Whose a live token is, over all tenants, and whether its last use is to be noted.
-- params: sha256 of the token
SELECT tenant_id, principal, principal_kind, credential_id,
       last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute' AS is_stale
FROM find_token($1);

-- name: find_access_key
-- Whose a live access key of AWS's dialect is, over all tenants: its id says between which two sha256 the token's is.
-- params: low, high
SELECT tenant_id, principal, principal_kind, credential_id FROM find_access_key($1, $2);

-- name: get_access_key
-- What the secret of an access key is made of, the role of its operator, and whether its last use is to be noted.
-- params: tenant, credential
SELECT c.token_sha256, o.role,
       c.last_used_at IS NULL OR c.last_used_at < clock_timestamp() - interval '1 minute' AS is_stale
FROM credentials c
LEFT JOIN operators o ON o.tenant_id = c.tenant_id AND o.operator_name = c.principal
WHERE c.tenant_id = $1 AND c.credential_id = $2 AND c.token_sha256 IS NOT NULL;

-- name: get_token_digest
-- What somebody's live MQTT token hashes to.
-- params: tenant, name, kind of principal
SELECT c.token_sha256
FROM credentials c
JOIN principals p ON p.tenant_id = c.tenant_id AND p.name = c.principal
WHERE c.tenant_id = $1 AND c.principal = $2 AND c.principal <> '' AND c.kind = 'token' AND c.revoked_at IS NULL
  AND p.kind = $3;

-- name: note_use
-- That a token was used now, unless somebody noted it meanwhile.
-- params: tenant, credential, how often it is noted
UPDATE credentials SET last_used_at = clock_timestamp()
WHERE tenant_id = $1 AND credential_id = $2
  AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - $3::interval);

-- name: lock_operator
-- An operator's role, held while tokens of theirs change.
-- params: tenant, operator
SELECT role FROM operators WHERE tenant_id = $1 AND operator_name = $2 FOR UPDATE;

-- name: delete_dead_keys
-- Forget an operator's expired and revoked keys; returns how many they have left.
-- params: tenant, operator
WITH dead AS (
    DELETE FROM credentials
    WHERE tenant_id = $1 AND principal = $2 AND principal <> '' AND kind = 'key'
      AND (revoked_at IS NOT NULL OR not_after <= now())
    RETURNING credential_id
)
SELECT count(*) - (SELECT count(*) FROM dead) FROM credentials
WHERE tenant_id = $1 AND principal = $2 AND principal <> '' AND kind = 'key';

-- name: insert_key
-- One more token for HTTP; never the token itself.
-- params: tenant, operator, sha256 of the token, label, expiry
INSERT INTO credentials (tenant_id, principal, kind, token_sha256, label, not_after)
VALUES ($1, $2, 'key', $3, $4, $5)
RETURNING credential_id;

-- name: list_tokens
-- Operators' live tokens by operator, from after a key on.
-- params: tenant, operator or null, after operator, after credential, most
SELECT c.credential_id, c.principal, c.kind, c.label, c.created_at, c.not_after, c.last_used_at, c.token_sha256
FROM operators o
CROSS JOIN LATERAL (
    SELECT x.* FROM credentials x
    WHERE x.tenant_id = o.tenant_id AND x.principal = o.operator_name AND x.principal <> ''
      AND x.kind IN ('token', 'key') AND x.revoked_at IS NULL AND (x.not_after IS NULL OR x.not_after > now())
      AND (x.principal, x.credential_id) > ($3, $4::uuid)
    ORDER BY x.credential_id
    LIMIT $5
) c
WHERE o.tenant_id = $1 AND o.operator_name >= $3 AND ($2::text IS NULL OR o.operator_name = $2)
ORDER BY o.operator_name, c.credential_id
LIMIT $5;

-- name: lock_key
-- Whose a key is, held while it goes.
-- params: tenant, credential
SELECT principal FROM credentials
WHERE tenant_id = $1 AND credential_id = $2 AND kind = 'key' AND revoked_at IS NULL FOR UPDATE;

-- name: delete_key
-- A key goes; the audit log knows that there was one.
-- params: tenant, credential
DELETE FROM credentials WHERE tenant_id = $1 AND credential_id = $2 AND kind = 'key';
