-- The Things Stack: connections, the credentials in them, and devices to register and to remove.

-- name: sweep_tenants
-- Every tenant there is.
SELECT tenant_id FROM sweep_tenants() AS t (tenant_id);

-- name: find_connection
-- An organization's connection with everything, sealed values as they are.
-- params: tenant, organization
SELECT * FROM ttn_connections WHERE tenant_id = $1 AND organization_id = $2;

-- name: lock_connection
-- As find_connection, held against others.
-- params: tenant, organization
SELECT * FROM ttn_connections WHERE tenant_id = $1 AND organization_id = $2 FOR UPDATE;

-- name: organizations
-- Which organizations of a tenant have a connection, at most two: one, or too many to guess.
-- params: tenant
SELECT organization_id FROM ttn_connections WHERE tenant_id = $1 ORDER BY organization_id LIMIT 2;

-- name: name_connections
-- What connections are called and where they stand, by organization, from the one after.
-- params: tenant, organization to begin after, most
SELECT organization_id, organization_name, provisioning_status, ttn_application_id, identity_host
FROM ttn_connections WHERE tenant_id = $1 AND organization_id > $2 ORDER BY organization_id LIMIT $3;

-- name: recorded_devices
-- Devices that were registered or begun to be, and on which hosts, by id from the one after.
-- params: tenant, organization, application, device to begin after, most
SELECT device_id, dev_eui, join_eui, network_host, application_host, join_host, state, registered_in
FROM ttn_devices
WHERE tenant_id = $1 AND organization_id = $2 AND application_id = $3 AND device_id > $4 AND state <> 'removed'
ORDER BY device_id LIMIT $5;

-- name: recorded_hosts
-- By registry, every host that a device of an application was registered on.
-- params: tenant, organization, application
SELECT DISTINCT h.registry, h.host
FROM ttn_devices d, LATERAL (VALUES ('ns', d.network_host), ('as', d.application_host), ('js', d.join_host))
     AS h (registry, host)
WHERE d.tenant_id = $1 AND d.organization_id = $2 AND d.application_id = $3 AND h.host IS NOT NULL
ORDER BY 1, 2;

-- name: insert_connection
-- A connection's first row, with its four hosts and a mark of its own.
-- params: tenant, organization, region, identity host, regional host
INSERT INTO ttn_connections (tenant_id, organization_id, ttn_region, identity_host, network_host, application_host,
                             join_host, mark)
VALUES ($1, $2, $3, $4, $5, $5, $5, left(replace(gen_random_uuid()::text, '-', ''), 12))
RETURNING *;

-- name: move_connection
-- Where the server is, before anything was made there.
-- params: tenant, organization, region, identity host, regional host
UPDATE ttn_connections
SET ttn_region = $3, identity_host = $4, network_host = $5, application_host = $5, join_host = $5,
    updated_at = clock_timestamp()
WHERE tenant_id = $1 AND organization_id = $2;

-- name: set_credentials
-- What an operator brings in; null leaves what is there.
-- params: tenant, organization, organization's name, main key, app key, its id, the server's organization, application
UPDATE ttn_connections
SET organization_name = coalesce($3, organization_name),
    main_key_sealed = coalesce($4, main_key_sealed),
    app_api_key_sealed = coalesce($5, app_api_key_sealed),
    app_api_key_id = coalesce($6, app_api_key_id),
    ttn_org_id = coalesce($7, ttn_org_id),
    ttn_application_id = coalesce($8, ttn_application_id),
    provisioning_done = array_remove(array_remove(provisioning_done, 'auth_info'), 'verify'),
    credentials_changed_at = CASE WHEN coalesce($4, $5) IS NULL THEN credentials_changed_at
                                  ELSE clock_timestamp() END,
    updated_at = clock_timestamp()
WHERE tenant_id = $1 AND organization_id = $2;

-- name: begin_provisioning
-- One more attempt, at once; what an attempt before still writes changes nothing.
-- params: tenant, organization, owner's kind, organization's name, the server's organization, application, webhook's
-- URL, what is wanted, who asks
UPDATE ttn_connections
SET owner_kind = coalesce($3, owner_kind),
    organization_name = coalesce($4, organization_name),
    ttn_org_id = coalesce($5, ttn_org_id),
    ttn_application_id = coalesce($6, ttn_application_id),
    webhook_url = coalesce($7, webhook_url),
    provisioning_wanted = $8,
    provisioning_done = array_remove(array_remove(
        CASE WHEN $7 IS DISTINCT FROM webhook_url AND $7 IS NOT NULL
             THEN array_remove(provisioning_done, 'set_webhook') ELSE provisioning_done END,
        'verify'), 'auth_info'),
    provisioning_status = 'provisioning', provisioning_step = NULL, provisioning_error = NULL,
    provisioning_details = provisioning_details - 'remedy' - 'tries',
    provisioning_attempts = provisioning_attempts + 1, requested_by = $9,
    provisioning_started_at = clock_timestamp(), next_try_at = clock_timestamp(),
    work_token = gen_random_uuid(), updated_at = clock_timestamp()
WHERE tenant_id = $1 AND organization_id = $2
RETURNING provisioning_attempts;

-- name: start_fresh
-- Forget what was made: the credentials, and with them the ids that turned out to be taken.
-- params: tenant, organization, ids that are given up, application, the server's organization
UPDATE ttn_connections
SET org_api_key_id = NULL, org_api_key_sealed = NULL, app_api_key_id = NULL, app_api_key_sealed = NULL,
    gateway_api_key_id = NULL, gateway_api_key_sealed = NULL, webhook_id = NULL, webhook_secret_sealed = NULL,
    provisioning_status = 'idle', provisioning_step = NULL, provisioning_error = NULL, provisioning_details = '{}',
    provisioning_done = '{}', provisioning_attempts = 0, next_try_at = NULL, work_token = NULL,
    abandoned_ids = abandoned_ids || $3::text[], ttn_application_id = $4, ttn_org_id = $5,
    provisioned_at = NULL, credentials_changed_at = clock_timestamp(), updated_at = clock_timestamp()
WHERE tenant_id = $1 AND organization_id = $2;

-- name: open_batch
-- A batch by its id, made when it is new, held against others.
-- params: tenant, batch or null for a new one, organization, application, action, who asks
WITH made AS (
    INSERT INTO ttn_device_batches (tenant_id, batch_id, organization_id, application_id, action, requested_by)
    VALUES ($1, coalesce($2, gen_random_uuid()), $3, $4, $5, $6)
    ON CONFLICT (tenant_id, batch_id) DO NOTHING
    RETURNING batch_id, organization_id, application_id, action, lines
)
SELECT * FROM made
UNION ALL
SELECT * FROM (SELECT batch_id, organization_id, application_id, action, lines FROM ttn_device_batches
               WHERE tenant_id = $1 AND batch_id = $2 FOR UPDATE) AS found;

-- name: lines_of
-- Which of these devices a batch has already.
-- params: tenant, batch, device ids
SELECT device_id FROM ttn_batch_lines WHERE tenant_id = $1 AND batch_id = $2 AND device_id = ANY($3);

-- name: insert_lines
-- Lines of a batch.
-- params: tenant, batch, line numbers, device ids, devices, sealed app keys, sealed network keys
INSERT INTO ttn_batch_lines (tenant_id, batch_id, line, device_id, device, app_key_sealed, nwk_key_sealed)
SELECT $1, $2, * FROM unnest($3::int[], $4::text[], $5::jsonb[], $6::bytea[], $7::bytea[]);

-- name: grow_batch
-- So many lines more, to be worked on at once.
-- params: tenant, batch, lines
UPDATE ttn_device_batches
SET lines = lines + $3, status = CASE WHEN status = 'RUNNING' THEN status ELSE 'QUEUED' END, error = NULL,
    finished_at = NULL, next_try_at = clock_timestamp()
WHERE tenant_id = $1 AND batch_id = $2;

-- name: find_batch
-- A batch without its lines.
-- params: tenant, batch
SELECT * FROM ttn_device_batches WHERE tenant_id = $1 AND batch_id = $2;

-- name: list_lines
-- Lines of a batch, after one.
-- params: tenant, batch, line to begin after, most
SELECT line, device_id, status, http_status, error, attempts FROM ttn_batch_lines
WHERE tenant_id = $1 AND batch_id = $2 AND line > $3::bigint ORDER BY line LIMIT $4;

-- name: list_lines_by_status
-- As list_lines, of one status.
-- params: tenant, batch, line to begin after, most, status
SELECT line, device_id, status, http_status, error, attempts FROM ttn_batch_lines
WHERE tenant_id = $1 AND batch_id = $2 AND line > $3::bigint AND status = $5 ORDER BY line LIMIT $4;

-- name: list_devices
-- Devices on record, removed ones too, by id from the one after.
-- params: tenant, organization, application, device to begin after, most
SELECT device_id, dev_eui, join_eui, network_host, application_host, join_host, state, registered_in, updated_at
FROM ttn_devices
WHERE tenant_id = $1 AND organization_id = $2 AND application_id = $3 AND device_id > $4
ORDER BY device_id LIMIT $5;

-- name: due_provisioning
-- Connections that there is something to make for, of all tenants.
SELECT tenant_id, organization_id FROM sweep_ttn_provisioning();

-- name: due_batches
-- Batches of devices that there is something to do for, of all tenants.
SELECT tenant_id, batch_id FROM sweep_ttn_batches();

-- name: claim_batch
-- Take a batch that is due; what a worker before still writes changes nothing.
-- params: tenant, batch
UPDATE ttn_device_batches
SET status = 'RUNNING', started_at = coalesce(started_at, clock_timestamp()), work_token = gen_random_uuid(),
    error = NULL
WHERE tenant_id = $1 AND batch_id = $2 AND status IN ('QUEUED', 'RUNNING') AND next_try_at <= clock_timestamp()
RETURNING *, clock_timestamp() AS now;

-- name: pending_lines
-- The next lines to do, those that were tried least first.
-- params: tenant, batch, most, attempts at most
SELECT line, device_id, device, app_key_sealed, nwk_key_sealed, attempts FROM ttn_batch_lines
WHERE tenant_id = $1 AND batch_id = $2 AND status = 'PENDING' AND attempts <= $4
ORDER BY attempts, line LIMIT $3;

-- name: lock_claim
-- Whether a batch is still ours to write, held until it is written.
-- params: tenant, batch, work token
SELECT 1 FROM ttn_device_batches
WHERE tenant_id = $1 AND batch_id = $2 AND work_token = $3 AND status = 'RUNNING' FOR UPDATE;

-- name: end_line
-- A line's end; its keys are gone with it.
-- params: tenant, batch, line, status, HTTP status, error
WITH ended AS (
    UPDATE ttn_batch_lines
    SET status = $4, http_status = $5, error = $6, attempts = attempts + 1, finished_at = clock_timestamp(),
        app_key_sealed = NULL, nwk_key_sealed = NULL
    WHERE tenant_id = $1 AND batch_id = $2 AND line = $3 AND status = 'PENDING'
    RETURNING status
)
UPDATE ttn_device_batches
SET lines_ok = lines_ok + ($4 = 'OK')::int, lines_failed = lines_failed + ($4 = 'ERROR')::int
WHERE tenant_id = $1 AND batch_id = $2 AND EXISTS (SELECT FROM ended)
RETURNING *, clock_timestamp() AS now;

-- name: try_line_again
-- A line that time may heal: why it waits.
-- params: tenant, batch, line, HTTP status, error
UPDATE ttn_batch_lines SET http_status = $4, error = $5, attempts = attempts + 1
WHERE tenant_id = $1 AND batch_id = $2 AND line = $3 AND status = 'PENDING';

-- name: rest_batch
-- End a batch that has no line left; else come back later.
-- params: tenant, batch, work token, seconds
UPDATE ttn_device_batches
SET status = CASE WHEN lines_ok + lines_failed < lines THEN 'QUEUED' WHEN lines_failed = 0 THEN 'SUCCEEDED'
                  WHEN lines_ok = 0 THEN 'FAILED' ELSE 'PARTIAL' END,
    finished_at = CASE WHEN lines_ok + lines_failed < lines THEN NULL ELSE clock_timestamp() END,
    next_try_at = clock_timestamp() + make_interval(secs => $4), failures = 0
WHERE tenant_id = $1 AND batch_id = $2 AND work_token = $3
RETURNING *, clock_timestamp() AS now;

-- name: postpone_batch
-- It broke for a reason of ours: later, and later each time, an hour at most.
-- params: tenant, batch, work token, seconds after the first time, what is told
UPDATE ttn_device_batches
SET status = 'QUEUED', error = $5, failures = failures + 1,
    next_try_at = clock_timestamp() + make_interval(secs => least(3600, $4 * power(2, least(failures, 20))))
WHERE tenant_id = $1 AND batch_id = $2 AND work_token = $3 AND status = 'RUNNING'
RETURNING *, clock_timestamp() AS now;

-- name: stop_batch
-- End all lines that wait, for one reason; their keys are gone with them.
-- params: tenant, batch, work token, error
WITH ours AS (
    SELECT 1 FROM ttn_device_batches WHERE tenant_id = $1 AND batch_id = $2 AND work_token = $3 FOR UPDATE
), ended AS (
    UPDATE ttn_batch_lines
    SET status = 'ERROR', error = $4, finished_at = clock_timestamp(), app_key_sealed = NULL, nwk_key_sealed = NULL
    WHERE tenant_id = $1 AND batch_id = $2 AND status = 'PENDING' AND EXISTS (SELECT FROM ours)
    RETURNING 1
)
UPDATE ttn_device_batches
SET lines_failed = lines_failed + (SELECT count(*) FROM ended), error = $4
WHERE tenant_id = $1 AND batch_id = $2 AND work_token = $3;

-- name: record_device
-- That a device is about to be registered on these hosts, before the first call.
-- params: tenant, organization, application, device, DevEUI, JoinEUI, network, application and join host
INSERT INTO ttn_devices (tenant_id, organization_id, application_id, device_id, dev_eui, join_eui, network_host,
                         application_host, join_host, state)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'registering')
ON CONFLICT (tenant_id, organization_id, application_id, device_id) DO UPDATE
SET dev_eui = excluded.dev_eui, join_eui = excluded.join_eui, network_host = excluded.network_host,
    application_host = excluded.application_host, join_host = excluded.join_host, state = 'registering',
    updated_at = clock_timestamp();

-- name: device_state
-- How far a device on record is, and which registries have it as far as we were told.
-- params: tenant, organization, application, device, state, registries
UPDATE ttn_devices SET state = $5, registered_in = $6, updated_at = clock_timestamp()
WHERE tenant_id = $1 AND organization_id = $2 AND application_id = $3 AND device_id = $4;

-- name: find_device
-- A device on record.
-- params: tenant, organization, application, device
SELECT device_id, dev_eui, join_eui, network_host, application_host, join_host, state, registered_in
FROM ttn_devices
WHERE tenant_id = $1 AND organization_id = $2 AND application_id = $3 AND device_id = $4;

-- name: forget_lines
-- Lines of batches that ended long ago, so many at once; returns how many.
-- params: tenant, older than, most
WITH old AS (
    SELECT l.batch_id, l.line
    FROM ttn_device_batches b
    JOIN ttn_batch_lines l ON l.tenant_id = b.tenant_id AND l.batch_id = b.batch_id
    WHERE b.tenant_id = $1 AND b.finished_at < clock_timestamp() - $2::interval
    LIMIT $3
), gone AS (
    DELETE FROM ttn_batch_lines l USING old
    WHERE l.tenant_id = $1 AND l.batch_id = old.batch_id AND l.line = old.line
    RETURNING l.line
)
SELECT count(*) FROM gone;

-- name: forget_batches
-- Batches that ended long ago and have no lines any more, so many at once; returns how many.
-- params: tenant, older than, most
WITH old AS (
    SELECT b.batch_id FROM ttn_device_batches b
    WHERE b.tenant_id = $1 AND b.finished_at < clock_timestamp() - $2::interval
      AND NOT EXISTS (SELECT FROM ttn_batch_lines l WHERE l.tenant_id = $1 AND l.batch_id = b.batch_id)
    LIMIT $3
), gone AS (
    DELETE FROM ttn_device_batches b USING old WHERE b.tenant_id = $1 AND b.batch_id = old.batch_id
    RETURNING b.batch_id
)
SELECT count(*) FROM gone;

-- name: forget_devices
-- Devices that were removed long ago, so many at once; returns how many.
-- params: tenant, older than, most
WITH old AS (
    SELECT organization_id, application_id, device_id FROM ttn_devices
    WHERE tenant_id = $1 AND state = 'removed' AND updated_at < clock_timestamp() - $2::interval
    LIMIT $3
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM ttn_devices d USING old
    WHERE d.tenant_id = $1 AND d.organization_id = old.organization_id AND d.application_id = old.application_id
      AND d.device_id = old.device_id AND d.state = 'removed'
    RETURNING d.device_id
)
SELECT count(*) FROM gone;

-- name: live_run
-- A run that takes things of an organization away and has not ended.
-- params: tenant, organization
SELECT id FROM ttn_deprovision_runs
WHERE tenant_id = $1 AND organization_id = $2 AND status IN ('QUEUED', 'RUNNING') AND NOT dry_run
ORDER BY created_at LIMIT 1;
