-- What /metrics shows of the database; keys, states and ages only.

-- name: sum_counts
-- Executions by status, of each tenant with a job.
SELECT tenant_id, queued, in_progress, succeeded, failed, timed_out, rejected, removed, canceled FROM sweep_counts();

-- name: sum_outbox
-- What is still to be told, of each tenant and owner.
SELECT tenant_id, oldest, depth FROM sweep_outbox();

-- name: find_lateness
-- Since when each timer's oldest work is due; null where nothing is.
SELECT timeouts, expiries, rollouts, schedules, gates, clock_timestamp() AS now FROM sweep_lateness();

-- name: sum_runs
-- Runs at The Things Stack by status, of each tenant that has any, and when the oldest was asked for.
SELECT tenant_id, status, runs, oldest FROM sweep_ttn_run_states();
