-- Deprovisioning runs: their rows, steps and devices.

-- name: insert_run
-- A run that waits for a worker.
-- params: tenant, organization, who, source, action, request id, region, organization and application at the server, device,
--         force, dry run
INSERT INTO ttn_deprovision_runs (tenant_id, organization_id, requested_by, source, action, request_id, ttn_region,
                                  ttn_org_id, ttn_application_id, device_id, force, dry_run)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
RETURNING *;

-- name: find_live
-- A run for the same thing that has not ended.
-- params: tenant, organization, application at the server, device
SELECT id FROM ttn_deprovision_runs
WHERE tenant_id = $1 AND organization_id = $2 AND coalesce(ttn_application_id, '') = coalesce($3::text, '')
  AND coalesce(device_id, '') = coalesce($4::text, '') AND status IN ('QUEUED', 'RUNNING');

-- name: insert_job
-- The job of one device's run.
-- params: tenant, organization, run, application, device
INSERT INTO ttn_deprovision_jobs (tenant_id, organization_id, run_id, ttn_application_id, ttn_device_id)
VALUES ($1, $2, $3, $4, $5);

-- name: find_job
-- The job of one device's run.
-- params: tenant, run
SELECT * FROM ttn_deprovision_jobs WHERE tenant_id = $1 AND run_id = $2;

-- name: find_run
-- One run.
-- params: tenant, run
SELECT r.*, clock_timestamp() AS now FROM ttn_deprovision_runs r WHERE tenant_id = $1 AND id = $2;

-- name: lock_run
-- One run, held against others.
-- params: tenant, run
SELECT r.*, clock_timestamp() AS now FROM ttn_deprovision_runs r WHERE tenant_id = $1 AND id = $2 FOR UPDATE;

-- name: list_runs
-- Runs, newest first, from before the one named. Their summaries name no devices: those of a page's runs could be millions.
-- params: tenant, organization or null, statuses or null, created before, id before, most
SELECT x.*, clock_timestamp() AS now
FROM (
    SELECT t AS run FROM ttn_deprovision_runs t
    WHERE tenant_id = $1 AND ($2::uuid IS NULL OR organization_id = $2) AND ($3::text[] IS NULL OR status = ANY ($3))
      AND (created_at, id) < ($4, $5)
    ORDER BY created_at DESC, id DESC LIMIT $6
) r
CROSS JOIN LATERAL jsonb_populate_record(
    r.run,
    jsonb_build_object('summary', (r.run).summary - '{released_euis,failed_euis,failed_devices,problems}'::text[])
) x
ORDER BY x.created_at DESC, x.id DESC;

-- name: list_steps
-- A run's steps in their order, from the one after.
-- params: tenant, run, created after, number after, most
SELECT * FROM ttn_deprovision_run_steps
WHERE tenant_id = $1 AND run_id = $2 AND (created_at, step_number) > ($3, $4)
ORDER BY created_at, step_number LIMIT $5;

-- name: request_cancel
-- Somebody wants it to end; the worker sees it between two steps.
-- params: tenant, run, who
UPDATE ttn_deprovision_runs
SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp()),
    cancel_requested_by = coalesce(cancel_requested_by, $3), next_try_at = least(next_try_at, clock_timestamp())
WHERE tenant_id = $1 AND id = $2
RETURNING *, clock_timestamp() AS now;

-- name: resume_run
-- An ended run begins anew, with all it knows; also that it asked for what takes its own key along.
-- params: tenant, run
UPDATE ttn_deprovision_runs
SET status = 'QUEUED', phase = 'START',
    facts = jsonb_strip_nulls(jsonb_build_object('last_calls', facts -> 'last_calls',
                                                 'key_entity', facts -> 'key_entity')), attempt = attempt + 1, finished_at = NULL, error = NULL,
    cancel_requested_at = NULL, cancel_requested_by = NULL, next_try_at = clock_timestamp()
WHERE tenant_id = $1 AND id = $2
RETURNING *, clock_timestamp() AS now;

-- name: wake_run
-- A run that waits for its next try is tried now.
-- params: tenant, run
UPDATE ttn_deprovision_runs SET next_try_at = clock_timestamp() WHERE tenant_id = $1 AND id = $2
RETURNING *, clock_timestamp() AS now;

-- name: reset_devices
-- Devices that are not done with are seen to again; may_heal alone: only those that time may have healed.
-- params: tenant, run, only those that may heal
UPDATE ttn_run_devices
SET as_status = NULL, ns_status = NULL, js_status = NULL, is_status = NULL, verify_status = NULL, problem = NULL,
    may_heal = false
WHERE tenant_id = $1 AND run_id = $2 AND verify_status = 'ERROR' AND (may_heal OR NOT $3);

-- name: due_runs
-- Runs of all tenants that there is something to do for.
-- params: most
SELECT tenant_id, id FROM sweep_ttn_runs($1);

-- name: claim_run
-- A worker takes a run; what an earlier taker still writes finds another number.
-- params: tenant, run
UPDATE ttn_deprovision_runs
SET status = 'RUNNING', claim = claim + 1, started_at = coalesce(started_at, clock_timestamp())
WHERE tenant_id = $1 AND id = $2 AND status IN ('QUEUED', 'RUNNING') AND next_try_at <= clock_timestamp()
RETURNING *, clock_timestamp() AS now;

-- name: start_job
-- One device's job is being worked on.
-- params: tenant, run
UPDATE ttn_deprovision_jobs SET status = 'RUNNING', attempts = attempts + 1
WHERE tenant_id = $1 AND run_id = $2 AND status <> 'RUNNING';

-- name: save_run
-- How far it has come; nothing when somebody else has taken it.
-- params: tenant, run, claim, phase, facts, seconds until the next try
UPDATE ttn_deprovision_runs
SET phase = $4, facts = $5, next_try_at = clock_timestamp() + make_interval(secs => $6)
WHERE tenant_id = $1 AND id = $2 AND claim = $3 AND status = 'RUNNING'
RETURNING *, clock_timestamp() AS now;

-- name: end_run
-- It has ended; nothing when somebody else has taken it.
-- params: tenant, run, claim, status, summary, error
UPDATE ttn_deprovision_runs
SET status = $4, summary = $5, error = $6, finished_at = clock_timestamp()
WHERE tenant_id = $1 AND id = $2 AND claim = $3 AND status IN ('QUEUED', 'RUNNING')
RETURNING *, clock_timestamp() AS now;

-- name: end_job
-- And so has its device's job.
-- params: tenant, run, status, error, DevEUI
UPDATE ttn_deprovision_jobs
SET status = $3, last_error = $4, dev_eui = coalesce($5, dev_eui), finished_at = clock_timestamp()
WHERE tenant_id = $1 AND run_id = $2;

-- name: requeue_job
-- Its run begins anew.
-- params: tenant, run
UPDATE ttn_deprovision_jobs SET status = 'QUEUED', finished_at = NULL WHERE tenant_id = $1 AND run_id = $2;

-- name: insert_steps
-- Steps in their order. Of one attempt the first is attempt 1, what is done again later has the next number.
-- params: tenant, run, names, target types, target ids, statuses, http statuses, endpoints, snippets, metas, seconds
INSERT INTO ttn_deprovision_run_steps (tenant_id, run_id, step_name, target_type, target_id, attempt, status, http_status,
                                       ttn_endpoint, response_snippet, meta, started_at, finished_at, created_at)
SELECT $1, $2, s.name, s.target_type, s.target_id, $12, s.status, s.http_status, s.endpoint, s.snippet, s.meta::jsonb,
       clock_timestamp() - make_interval(secs => s.elapsed), clock_timestamp(), clock_timestamp()
FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::integer[], $8::text[], $9::text[], $10::text[],
            $11::float8[])
     WITH ORDINALITY AS s (name, target_type, target_id, status, http_status, endpoint, snippet, meta, elapsed, place)
ORDER BY s.place;

-- name: put_devices
-- Devices that were found; what is known of one already stays, and what is new is added.
-- params: tenant, run, ids, DevEUIs, JoinEUIs, hosts, whether claimed
INSERT INTO ttn_run_devices (tenant_id, run_id, device_id, dev_eui, join_eui, hosts, is_claimed)
SELECT $1, $2, d.device_id, d.dev_eui, d.join_eui, d.hosts::jsonb, d.is_claimed
FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[])
     AS d (device_id, dev_eui, join_eui, hosts, is_claimed)
ON CONFLICT (tenant_id, run_id, device_id) DO UPDATE
SET dev_eui = coalesce(EXCLUDED.dev_eui, ttn_run_devices.dev_eui),
    join_eui = coalesce(EXCLUDED.join_eui, ttn_run_devices.join_eui),
    hosts = (SELECT coalesce(jsonb_object_agg(k.key, k.found), '{}')
             FROM (SELECT e.key, jsonb_agg(DISTINCT host) AS found
                   FROM (SELECT * FROM jsonb_each(ttn_run_devices.hosts)
                         UNION ALL SELECT * FROM jsonb_each(EXCLUDED.hosts)) AS e,
                        jsonb_array_elements_text(e.value) AS host
                   GROUP BY e.key) AS k),
    is_claimed = ttn_run_devices.is_claimed OR EXCLUDED.is_claimed;

-- name: reopen_devices
-- Devices that are in the identity server although they were done with: they were registered again meanwhile.
-- params: tenant, run, ids
UPDATE ttn_run_devices
SET as_status = NULL, ns_status = NULL, js_status = NULL, is_status = NULL, verify_status = NULL, problem = NULL,
    may_heal = false
WHERE tenant_id = $1 AND run_id = $2 AND device_id = ANY ($3::text[]) AND verify_status IS NOT NULL;

-- name: earlier_devices
-- Devices of the same application that earlier runs knew and, as far as is known, did not release; all, or one of them.
-- params: tenant, run, organization, application, device or null
SELECT * FROM (
    SELECT DISTINCT ON (d.device_id) d.device_id, d.dev_eui, d.join_eui, d.hosts, d.is_claimed, d.verify_status
    FROM ttn_run_devices d JOIN ttn_deprovision_runs r ON r.tenant_id = d.tenant_id AND r.id = d.run_id
    WHERE r.tenant_id = $1 AND r.organization_id = $3 AND r.ttn_application_id = $4 AND NOT r.dry_run AND r.id <> $2
      AND ($5::text IS NULL OR d.device_id = $5)
    ORDER BY d.device_id, r.created_at DESC, r.id DESC
) last
WHERE coalesce(verify_status NOT IN ('OK', 'SKIPPED'), true)
ORDER BY device_id;

-- name: next_devices
-- Devices that are still to be seen to, by id.
-- params: tenant, run, most
SELECT * FROM ttn_run_devices WHERE tenant_id = $1 AND run_id = $2 AND verify_status IS NULL
ORDER BY device_id LIMIT $3;

-- name: save_device
-- How far one device is.
-- params: tenant, run, device, AS, NS, JS, IS, verify, problem, whether time may heal it
UPDATE ttn_run_devices
SET as_status = $4, ns_status = $5, js_status = $6, is_status = $7, verify_status = $8, problem = $9, may_heal = $10
WHERE tenant_id = $1 AND run_id = $2 AND device_id = $3;

-- name: known_hosts
-- Every host that a run's devices were said to be on, by registry.
-- params: tenant, run
SELECT DISTINCT h.key AS registry, host
FROM ttn_run_devices d, jsonb_each(d.hosts) AS h, jsonb_array_elements_text(h.value) AS host
WHERE d.tenant_id = $1 AND d.run_id = $2
ORDER BY 1, 2;

-- name: count_devices
-- How far a run's devices are.
-- params: tenant, run
SELECT count(*) AS found,
       count(*) FILTER (WHERE verify_status IN ('OK', 'SKIPPED')) AS done,
       count(*) FILTER (WHERE verify_status = 'ERROR') AS failed,
       count(*) FILTER (WHERE verify_status = 'ERROR' AND may_heal) AS may_heal
FROM ttn_run_devices WHERE tenant_id = $1 AND run_id = $2;

-- name: tally_devices
-- What became of a run's devices: counted, and the first of them by id.
-- params: tenant, run, most names of a kind, most problems
WITH seen AS MATERIALIZED (
    SELECT device_id, dev_eui, problem,
           coalesce(is_status IN ('OK', 'SKIPPED'), false) AS deleted,
           coalesce(verify_status = 'OK', false) AS verified,
           coalesce(as_status IN ('OK', 'SKIPPED') AND ns_status IN ('OK', 'SKIPPED') AND js_status IN ('OK', 'SKIPPED')
                    AND is_status IN ('OK', 'SKIPPED'), false) AS purged,
           coalesce(verify_status IN ('OK', 'SKIPPED'), false) AS proven
    FROM ttn_run_devices WHERE tenant_id = $1 AND run_id = $2
)
SELECT count(*) AS found,
       count(*) FILTER (WHERE deleted) AS deleted,
       count(*) FILTER (WHERE purged) AS purged,
       count(*) FILTER (WHERE verified) AS verified,
       count(*) FILTER (WHERE purged AND proven) AS done,
       count(*) FILTER (WHERE NOT (purged AND proven)) AS left,
       ARRAY(SELECT dev_eui FROM seen WHERE purged AND proven AND dev_eui IS NOT NULL
             ORDER BY device_id LIMIT $3) AS released_euis,
       ARRAY(SELECT dev_eui FROM seen WHERE NOT (purged AND proven) AND dev_eui IS NOT NULL
             ORDER BY device_id LIMIT $3) AS failed_euis,
       ARRAY(SELECT device_id FROM seen WHERE NOT (purged AND proven) AND dev_eui IS NULL
             ORDER BY device_id LIMIT $3) AS failed_devices,
       ARRAY(SELECT ARRAY[device_id, coalesce(problem, 'not seen to')] FROM seen WHERE NOT (purged AND proven)
             ORDER BY device_id LIMIT $4) AS problems
FROM seen;

-- name: forget_released
-- Devices that a run has taken out of every registry are removed on our own record as well.
-- params: tenant, organization, run, application
UPDATE ttn_devices t SET state = 'removed', registered_in = '{}', updated_at = clock_timestamp()
FROM ttn_run_devices d
WHERE d.tenant_id = $1 AND d.run_id = $3 AND d.verify_status IN ('OK', 'SKIPPED')
  AND t.tenant_id = $1 AND t.organization_id = $2 AND t.application_id = $4 AND t.device_id = d.device_id;

-- name: clear_connection
-- An organization's credentials and ids are forgotten; its hosts stay.
-- params: tenant, organization, application, whether the main key stays, whether the application's id is free
UPDATE ttn_connections
SET main_key_sealed = CASE WHEN $4 THEN main_key_sealed END,
    org_api_key_id = NULL, org_api_key_sealed = NULL, app_api_key_id = NULL, app_api_key_sealed = NULL,
    gateway_api_key_id = NULL, gateway_api_key_sealed = NULL, webhook_id = NULL, webhook_url = NULL,
    webhook_secret_sealed = NULL, ttn_application_id = NULL, ttn_org_id = NULL,
    abandoned_ids = CASE WHEN $5 OR ttn_application_id IS NULL THEN abandoned_ids
                         ELSE array_append(array_remove(abandoned_ids, ttn_application_id), ttn_application_id) END,
    provisioning_status = 'idle', provisioning_step = NULL, provisioning_error = NULL, provisioning_done = '{}',
    provisioning_details = '{}', provisioned_at = NULL, next_try_at = NULL, work_token = NULL,
    credentials_changed_at = clock_timestamp(), updated_at = clock_timestamp()
WHERE tenant_id = $1 AND organization_id = $2 AND ttn_application_id IS NOT DISTINCT FROM $3;

-- name: forget_runs
-- Runs that ended longer ago than is kept go, with their steps and devices.
-- params: tenant, age, most
WITH old AS (
    SELECT id FROM ttn_deprovision_runs
    WHERE tenant_id = $1 AND status IN ('SUCCEEDED', 'FAILED', 'PARTIAL') AND finished_at <= clock_timestamp() - $2::interval
    ORDER BY status, created_at LIMIT $3
), gone AS (
    DELETE FROM ttn_deprovision_runs r USING old WHERE r.tenant_id = $1 AND r.id = old.id RETURNING r.id
)
SELECT count(*) FROM gone;
