-- The current structure, for readers: what all migrations together make. A test holds the two equal.
--
-- Not what a database is made from: that is `jobbroker migrate`, which applies schema/migrations in order. Every tenant
-- table's key starts with the tenant and, on the hot path, with the thing, so that a device's request touches one place.
-- Row-level security is enabled AND forced on each of them. jobbroker_serve is what every connection of ours acts as: it
-- owns nothing and bypasses nothing. jobbroker_sweep owns the few functions that find work across tenants; they return
-- keys only, the work itself runs inside one tenant.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['jobbroker_serve', 'jobbroker_sweep'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE', wanted);
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- roles belong to the whole cluster: another database's migration made it first
        END;
    END LOOP;
END
$$;

CREATE TABLE tenants (
    tenant_id   text        PRIMARY KEY CHECK (tenant_id ~ '^[a-zA-Z0-9_-]{1,64}$'),
    aws_region  text        NOT NULL DEFAULT 'us-east-1',
    aws_account text        NOT NULL DEFAULT '000000000000' CHECK (aws_account ~ '^[0-9]{12}$'),
    -- which events leave: AWS's own and, beyond AWS, queued, in_progress and progress of executions
    events      text[]      NOT NULL DEFAULT '{job,job_execution,queued,in_progress,progress}'
                CHECK (events <@ '{job,job_execution,queued,in_progress,progress}'),
    events_changed_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- how many approvals each of its jobs needs at least
    required_approvals smallint NOT NULL DEFAULT 0 CHECK (required_approvals BETWEEN 0 AND 10)
);

-- Things and operators share one namespace, because the MQTT username is the name.
CREATE TABLE principals (
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name      text NOT NULL CHECK (name ~ '^[a-zA-Z0-9:_-]{1,128}$'),
    kind      text NOT NULL CHECK (kind IN ('thing', 'operator')),
    PRIMARY KEY (tenant_id, name),
    UNIQUE (tenant_id, name, kind)
);

CREATE TABLE operators (
    tenant_id     text        NOT NULL,
    operator_name text        NOT NULL,
    kind          text        NOT NULL DEFAULT 'operator' CHECK (kind = 'operator'),
    role          text        NOT NULL CHECK (role IN ('owner', 'admin', 'manager', 'viewer')),
    created_by    text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, operator_name),
    CONSTRAINT operators_principal_fkey FOREIGN KEY (tenant_id, operator_name, kind)
        REFERENCES principals (tenant_id, name, kind) ON DELETE CASCADE
);

CREATE TABLE things (
    tenant_id  text        NOT NULL,
    thing_name text        NOT NULL,
    kind       text        NOT NULL DEFAULT 'thing' CHECK (kind = 'thing'),
    thing_id   uuid        NOT NULL DEFAULT gen_random_uuid(),
    thing_type text,
    attributes jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(attributes) = 'object'),
    version    bigint      NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, thing_name),
    CONSTRAINT things_principal_fkey FOREIGN KEY (tenant_id, thing_name, kind)
        REFERENCES principals (tenant_id, name, kind) ON DELETE CASCADE
);

-- A token is kept only as a sha256 (it has 256 random bits) and as Mosquitto's own PBKDF2 line; a certificate by its serial;
-- a key, of which an operator may have many, is a token for HTTP alone. not_after: when a certificate or a key expires.
CREATE TABLE credentials (
    tenant_id      text        NOT NULL,
    credential_id  uuid        NOT NULL DEFAULT gen_random_uuid(),
    principal      text        NOT NULL,
    kind           text        NOT NULL CHECK (kind IN ('token', 'certificate', 'key')),
    label          text        CHECK (char_length(label) <= 2028),
    token_sha256   bytea       CHECK (octet_length(token_sha256) = 32),
    mosquitto_hash text,
    serial         text,
    fingerprint    text,
    not_after      timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    revoked_at     timestamptz,
    last_used_at   timestamptz, -- over HTTP, to the minute
    PRIMARY KEY (tenant_id, credential_id),
    -- a revoked certificate must stay known to the CRL after its principal is gone, so there is no foreign key here
    CONSTRAINT credentials_shape_check CHECK (
        (kind = 'token' AND token_sha256 IS NOT NULL AND mosquitto_hash IS NOT NULL)
        OR (kind = 'key' AND token_sha256 IS NOT NULL)
        OR (kind = 'certificate' AND serial IS NOT NULL AND fingerprint IS NOT NULL AND not_after IS NOT NULL))
);
CREATE INDEX credentials_principal_idx ON credentials (tenant_id, principal) WHERE principal <> '';
CREATE UNIQUE INDEX credentials_token_idx ON credentials (token_sha256) WHERE token_sha256 IS NOT NULL;

CREATE TABLE thing_groups (
    tenant_id    text        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    group_name   text        NOT NULL CHECK (group_name ~ '^[a-zA-Z0-9:_-]{1,128}$'),
    group_id     uuid        NOT NULL DEFAULT gen_random_uuid(),
    parent_group text,
    description  text        CHECK (char_length(description) <= 2028),
    attributes   jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(attributes) = 'object'),
    query_string text        CHECK (char_length(query_string) BETWEEN 1 AND 2000), -- of a dynamic group
    tags         jsonb       NOT NULL DEFAULT '{}',
    version      bigint      NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, group_name),
    CONSTRAINT thing_groups_parent_fkey FOREIGN KEY (tenant_id, parent_group)
        REFERENCES thing_groups (tenant_id, group_name),
    CHECK (parent_group <> group_name),
    CHECK (query_string IS NULL OR parent_group IS NULL)
);
CREATE INDEX thing_groups_parent_idx ON thing_groups (tenant_id, parent_group) WHERE parent_group IS NOT NULL;
CREATE INDEX thing_groups_dynamic_idx ON thing_groups (tenant_id, group_name) WHERE query_string IS NOT NULL;

CREATE TABLE thing_group_members (
    tenant_id  text        NOT NULL,
    group_name text        NOT NULL,
    thing_name text        NOT NULL,
    is_dynamic boolean     NOT NULL DEFAULT false, -- by the group's query, which sees only those that are not
    added_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, group_name, thing_name),
    CONSTRAINT thing_group_members_group_fkey FOREIGN KEY (tenant_id, group_name)
        REFERENCES thing_groups ON DELETE CASCADE,
    CONSTRAINT thing_group_members_thing_fkey FOREIGN KEY (tenant_id, thing_name)
        REFERENCES things ON DELETE CASCADE
);
CREATE INDEX thing_group_members_thing_idx ON thing_group_members (tenant_id, thing_name, group_name);

CREATE TABLE jobs (
    tenant_id         text        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    job_id            text        NOT NULL CHECK (job_id ~ '^[a-zA-Z0-9_-]{1,64}$'),
    -- one incarnation of a job id: an id may be used again after deletion, and caches must not mistake one for the other
    job_uid           bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    status            text        NOT NULL DEFAULT 'IN_PROGRESS'
                      CHECK (status IN ('SCHEDULED', 'IN_PROGRESS', 'COMPLETED', 'CANCELED', 'DELETION_IN_PROGRESS')),
    -- what background work is still owed to this job; cleared by the chunk that finds nothing left
    pending_work      text        CHECK (pending_work IN ('ROLLOUT', 'REACH', 'END', 'CANCEL', 'EXPIRE', 'DELETE')),
    -- why the rollout does not go on now; of a paused job and of one outside its windows the QUEUED executions are not shown
    holds             text[]      NOT NULL DEFAULT '{}'
                      CHECK (holds <@ '{SCHEDULE,WINDOW,PAUSE,APPROVAL,STAGE}'::text[]),
    is_hidden         boolean     NOT NULL GENERATED ALWAYS AS (holds && '{PAUSE,WINDOW}'::text[]) STORED,
    -- which change of is_hidden the things with a QUEUED execution are still to be told of
    tell_mark         bigint,
    -- which change of many memberships REACH is owed for: a later one begins the walk over the executions anew
    reach_mark        bigint,
    target_selection  text        NOT NULL DEFAULT 'SNAPSHOT' CHECK (target_selection IN ('SNAPSHOT', 'CONTINUOUS')),

    document          text        NOT NULL CHECK (octet_length(document) BETWEEN 1 AND 32768),
    document_type     text,       -- seed-style jobs: the document is {"type": document_type, "params": document_params}
    document_params   jsonb,
    -- devices are given the document as it is: it has no placeholder to fill in or to undo
    document_plain    boolean     NOT NULL DEFAULT true,
    document_parameters text,     -- a JSON object of strings: what ${aws:iot:parameter:NAME} stands for
    document_source   text        CHECK (char_length(document_source) <= 1350), -- the URL it was read from, once
    job_template_arn  text        CHECK (char_length(job_template_arn) <= 1600),
    presigned_url_config text     NOT NULL DEFAULT '{}',

    -- a seed-style job names exactly one kind of target; an AWS-style job has its list of ARNs in job_targets
    dialect           text        NOT NULL CHECK (dialect IN ('aws', 'seed')),
    target_device_id  text,
    target_group_id   text,
    target_all        boolean     NOT NULL DEFAULT false,
    total_targets     integer     NOT NULL DEFAULT 0 CHECK (total_targets >= 0),

    description       text        CHECK (char_length(description) <= 2028),
    comment           text        CHECK (char_length(comment) <= 2028),
    reason_code       text        CHECK (reason_code ~ '^[A-Z0-9_]{1,128}$'),
    force_canceled    boolean     NOT NULL DEFAULT false,
    in_progress_timeout_minutes integer CHECK (in_progress_timeout_minutes BETWEEN 1 AND 10080),
    -- as they were sent, JSON in AWS's spelling: jobExecutionsRolloutConfig, abortConfig, jobExecutionsRetryConfig
    rollout_config    text,
    abort_config      text,
    retry_config      text,
    tags              jsonb       NOT NULL DEFAULT '{}',
    scheduling_config text,       -- schedulingConfig, and when it says something new
    schedule_due_at   timestamptz,
    has_ended         boolean     NOT NULL DEFAULT false, -- its endTime has come: no execution is made any more
    priority          smallint    NOT NULL DEFAULT 0,
    is_exclusive      boolean     NOT NULL DEFAULT false, -- while a thing works on it, it starts nothing else
    expires_at        timestamptz,
    expiry_done       boolean     NOT NULL DEFAULT false, -- everything then QUEUED has been timed out

    request_sha256    bytea       NOT NULL CHECK (octet_length(request_sha256) = 32),
    created_by        text,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    completed_at      timestamptz,
    -- with stages: the number of the one that started last, 0 before the first. Null: the job has none
    stage             smallint    CHECK (stage >= 0),
    look_at_gates     boolean     NOT NULL DEFAULT false, -- other than counts has changed what its gates depend on
    retry_of          text, -- the job that is over of which this one tries again what failed

    PRIMARY KEY (tenant_id, job_id),
    UNIQUE (job_uid),
    CONSTRAINT jobs_target_check CHECK (
        (target_device_id IS NOT NULL)::int + (target_group_id IS NOT NULL)::int + target_all::int
        = CASE dialect WHEN 'seed' THEN 1 ELSE 0 END),
    CONSTRAINT jobs_seed_document_check CHECK ((dialect = 'seed') = (document_type IS NOT NULL)),
    CONSTRAINT jobs_completed_check CHECK (status <> 'COMPLETED' OR completed_at IS NOT NULL)
);
-- Indexes for lists, here and below, have a condition that is always true and that only the lists' statements repeat: no
-- other statement can take one for the key, which the planner does while it believes that the tenant has one row.
CREATE INDEX jobs_status_idx ON jobs (tenant_id, status, job_uid) WHERE job_uid >= 0;
CREATE INDEX jobs_newest_idx ON jobs (tenant_id, job_uid) WHERE job_uid > 0;
CREATE INDEX jobs_created_idx ON jobs (tenant_id, created_at, job_uid) WHERE created_at > '-infinity';
CREATE INDEX jobs_expires_idx ON jobs (expires_at)
    WHERE expires_at IS NOT NULL AND NOT expiry_done AND status IN ('SCHEDULED', 'IN_PROGRESS')
      AND (pending_work IS NULL OR pending_work = 'ROLLOUT' AND holds <> '{}');
-- A rollout that is held is nobody's work.
CREATE INDEX jobs_pending_work_idx ON jobs (job_uid)
    WHERE pending_work IS NOT NULL AND (pending_work <> 'ROLLOUT' OR holds = '{}');
CREATE INDEX jobs_hidden_idx ON jobs (tenant_id, job_id) WHERE is_hidden AND status IN ('SCHEDULED', 'IN_PROGRESS');
CREATE INDEX jobs_tell_idx ON jobs (job_uid) WHERE tell_mark IS NOT NULL;
CREATE INDEX jobs_gates_idx ON jobs (job_uid) WHERE look_at_gates;
CREATE INDEX jobs_schedule_idx ON jobs (schedule_due_at) WHERE schedule_due_at IS NOT NULL;

CREATE TABLE job_targets (
    tenant_id   text    NOT NULL,
    job_id      text    NOT NULL,
    position    integer NOT NULL,
    target_kind text    NOT NULL CHECK (target_kind IN ('thing', 'thinggroup', 'all')),
    target_name text    NOT NULL,
    target_arn  text    NOT NULL CHECK (char_length(target_arn) <= 2048),
    -- of a CONTINUOUS job: whoever comes to be reached by it later has an execution, too
    continuous  boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, job_id, position),
    CONSTRAINT job_targets_job_fkey FOREIGN KEY (tenant_id, job_id) REFERENCES jobs ON DELETE CASCADE
);
CREATE INDEX job_targets_continuous_idx ON job_targets (tenant_id, target_kind, target_name, job_id) WHERE continuous;
CREATE INDEX job_targets_name_idx ON job_targets (tenant_id, target_kind, target_name, job_id) WHERE target_name <> '';

-- What jobs can be made of: a document, and the settings that a job takes over unless it says otherwise.
CREATE TABLE job_templates (
    tenant_id       text        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    template_id     text        NOT NULL CHECK (template_id ~ '^[a-zA-Z0-9_-]{1,64}$'),
    document        text        NOT NULL CHECK (octet_length(document) BETWEEN 1 AND 32768),
    document_source text        CHECK (char_length(document_source) <= 1350),
    description     text        NOT NULL CHECK (char_length(description) <= 2028),
    settings        text        NOT NULL, -- a JSON object, in AWS's spelling
    tags            jsonb       NOT NULL DEFAULT '{}',
    request_sha256  bytea       NOT NULL CHECK (octet_length(request_sha256) = 32),
    created_by      text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, template_id)
);

-- Things that are to have an execution, until a chunk of them has: a snapshot's members, frozen in the creating
-- transaction, and whoever came to a CONTINUOUS job later, who has one only if the job reaches them still.
-- Rows of a thousand names: 100,000 things are frozen in 100 rows.
CREATE TABLE rollout_chunks (
    tenant_id   text    NOT NULL,
    job_id      text    NOT NULL,
    chunk_no    integer NOT NULL,
    thing_names text[]  NOT NULL,
    -- earlier stages go first; 0 in jobs without stages. is_retry: things whose latest execution failed and that an
    -- operator wants to try again
    stage       smallint NOT NULL DEFAULT 0,
    is_retry    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, job_id, stage, chunk_no),
    CONSTRAINT rollout_chunks_job_fkey FOREIGN KEY (tenant_id, job_id) REFERENCES jobs ON DELETE CASCADE
);

-- How far a job with a rollout rate has come in its minute: things that might be told at once, when that was so, and when
-- the next one is due. Not in the job's row, which every request of its devices reads.
CREATE TABLE rollout_paces (
    tenant_id   text             NOT NULL,
    job_id      text             NOT NULL,
    credit      double precision NOT NULL,
    credited_at timestamptz      NOT NULL,
    due_at      timestamptz      NOT NULL,
    PRIMARY KEY (tenant_id, job_id),
    CONSTRAINT rollout_paces_job_fkey FOREIGN KEY (tenant_id, job_id) REFERENCES jobs ON DELETE CASCADE
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

CREATE TABLE executions (
    tenant_id            text        NOT NULL,
    thing_name           text        NOT NULL,
    job_id               text        NOT NULL,
    execution_number     bigint      NOT NULL DEFAULT 1 CHECK (execution_number >= 1),
    status               text        NOT NULL DEFAULT 'QUEUED'
                         CHECK (status IN ('QUEUED', 'IN_PROGRESS', 'SUCCEEDED', 'FAILED',
                                           'TIMED_OUT', 'REJECTED', 'REMOVED', 'CANCELED')),
    version_number       bigint      NOT NULL DEFAULT 1 CHECK (version_number >= 1),
    status_details       text        CHECK (octet_length(status_details) <= 65536), -- a JSON object of strings, as sent
    priority             smallint    NOT NULL DEFAULT 0, -- its job's
    queued_at            timestamptz NOT NULL,
    started_at           timestamptz,
    last_updated_at      timestamptz NOT NULL,
    in_progress_deadline timestamptz,
    step_deadline        timestamptz,
    -- the earlier of the two deadlines: what the timer waits for
    timeout_at           timestamptz,
    force_canceled       boolean     NOT NULL DEFAULT false,
    -- digests (8 bytes each) of the last changes a device made, newest last: how a redelivered request is recognised
    recent               bytea       NOT NULL DEFAULT '' CHECK (octet_length(recent) <= 256),
    stage                smallint, -- the one by which the thing was told; null in jobs without stages
    -- its entries, newest first (schema.timeline); bounded by the statement that adds them
    timeline             text        NOT NULL DEFAULT '',
    -- retries before it, since the thing came to the job; null in rows that are older than this column
    retry_attempt        integer     DEFAULT 0,
    PRIMARY KEY (tenant_id, thing_name, job_id, execution_number),
    CONSTRAINT executions_job_fkey FOREIGN KEY (tenant_id, job_id) REFERENCES jobs ON DELETE CASCADE,
    CONSTRAINT executions_started_check CHECK (status <> 'IN_PROGRESS' OR started_at IS NOT NULL),
    CONSTRAINT executions_timer_check CHECK (timeout_at IS NULL OR status = 'IN_PROGRESS')
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05);
-- A thing's queue in AWS's order: IN_PROGRESS first, then by queuedAt; a job's priority goes before that.
CREATE INDEX executions_queue_idx
    ON executions (tenant_id, thing_name, (status = 'QUEUED'), priority DESC, queued_at, job_id)
    WHERE status IN ('QUEUED', 'IN_PROGRESS');
CREATE INDEX executions_job_idx ON executions (tenant_id, job_id, thing_name, execution_number);
CREATE INDEX executions_timeout_idx ON executions (timeout_at) WHERE timeout_at IS NOT NULL;
CREATE INDEX executions_failed_idx ON executions (tenant_id, job_id, thing_name, execution_number)
    WHERE status IN ('FAILED', 'TIMED_OUT', 'REJECTED');

-- Per-job counts by status, kept by deltas in the transaction that moves an execution. A thing counts once in each job, by
-- its latest execution: one that is tried again is QUEUED and no longer FAILED.
CREATE TABLE job_counts (
    tenant_id   text   NOT NULL,
    job_id      text   NOT NULL,
    queued      bigint NOT NULL DEFAULT 0 CHECK (queued >= 0),
    in_progress bigint NOT NULL DEFAULT 0 CHECK (in_progress >= 0),
    succeeded   bigint NOT NULL DEFAULT 0 CHECK (succeeded >= 0),
    failed      bigint NOT NULL DEFAULT 0 CHECK (failed >= 0),
    timed_out   bigint NOT NULL DEFAULT 0 CHECK (timed_out >= 0),
    rejected    bigint NOT NULL DEFAULT 0 CHECK (rejected >= 0),
    removed     bigint NOT NULL DEFAULT 0 CHECK (removed >= 0),
    canceled    bigint NOT NULL DEFAULT 0 CHECK (canceled >= 0),
    has_abort   boolean NOT NULL DEFAULT false, -- the job has an abortConfig, which is looked at when these change
    PRIMARY KEY (tenant_id, job_id),
    CONSTRAINT job_counts_job_fkey FOREIGN KEY (tenant_id, job_id) REFERENCES jobs ON DELETE CASCADE
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

-- A job's stages, numbered from 1: what each was configured to do, its things that wait to be told, and those told by the
-- status of their latest execution, kept by deltas as job_counts are.
CREATE TABLE job_stages (
    tenant_id   text        NOT NULL,
    job_id      text        NOT NULL,
    stage       smallint    NOT NULL CHECK (stage >= 1),
    config      text        NOT NULL, -- as it was sent, JSON
    waiting     bigint      NOT NULL DEFAULT 0 CHECK (waiting >= 0),
    queued      bigint      NOT NULL DEFAULT 0 CHECK (queued >= 0),
    in_progress bigint      NOT NULL DEFAULT 0 CHECK (in_progress >= 0),
    succeeded   bigint      NOT NULL DEFAULT 0 CHECK (succeeded >= 0),
    failed      bigint      NOT NULL DEFAULT 0 CHECK (failed >= 0),
    timed_out   bigint      NOT NULL DEFAULT 0 CHECK (timed_out >= 0),
    rejected    bigint      NOT NULL DEFAULT 0 CHECK (rejected >= 0),
    removed     bigint      NOT NULL DEFAULT 0 CHECK (removed >= 0),
    canceled    bigint      NOT NULL DEFAULT 0 CHECK (canceled >= 0),
    started_at  timestamptz,
    reached_at  timestamptz, -- since when its success threshold has been met
    forgiven    bigint      NOT NULL DEFAULT 0 CHECK (forgiven >= 0), -- failures that an operator has seen
    due_at      timestamptz, -- when its gate is to be looked at again; -infinity: its counts have changed
    reason      text,        -- why it has stopped the job, until an operator lets that go on
    PRIMARY KEY (tenant_id, job_id, stage),
    CONSTRAINT job_stages_job_fkey FOREIGN KEY (tenant_id, job_id) REFERENCES jobs ON DELETE CASCADE
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
CREATE INDEX job_stages_due_idx ON job_stages (due_at) WHERE due_at IS NOT NULL;

-- Jobs that need approvals. What is approved is the job as it has been since then.
CREATE TABLE job_approvals (
    tenant_id    text        NOT NULL,
    job_id       text        NOT NULL,
    required     smallint    NOT NULL CHECK (required BETWEEN 1 AND 10),
    creator_name text        NOT NULL,
    creator_role text        NOT NULL CHECK (creator_role IN ('owner', 'admin', 'manager', 'viewer')),
    since        timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, job_id),
    CONSTRAINT job_approvals_job_fkey FOREIGN KEY (tenant_id, job_id) REFERENCES jobs ON DELETE CASCADE
);

CREATE TABLE job_votes (
    tenant_id     text        NOT NULL,
    job_id        text        NOT NULL,
    vote_id       bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    operator_name text        NOT NULL,
    role          text        NOT NULL CHECK (role IN ('owner', 'admin', 'manager', 'viewer')), -- held then
    voice         text        NOT NULL CHECK (voice IN ('APPROVE', 'DENY')),
    comment       text        CHECK (char_length(comment) <= 2028),
    at            timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, job_id, vote_id),
    CONSTRAINT job_votes_job_fkey FOREIGN KEY (tenant_id, job_id) REFERENCES job_approvals ON DELETE CASCADE
);

-- What must be told, written with what happened: one row for a whole batch. A row leaves after the MQTT server has
-- acknowledged all it says. owner_slot is the process that is telling it; a dead slot's rows are taken over.
CREATE TABLE outbox (
    tenant_id    text        NOT NULL,
    outbox_id    bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    owner_slot   integer,
    -- things whose pending list changed (notify), and which of them have a new first execution (notify-next)
    notify       text[]      NOT NULL DEFAULT '{}',
    notify_next  text[]      NOT NULL DEFAULT '{}',
    -- events: topic and payload by position
    topics       text[]      NOT NULL DEFAULT '{}',
    payloads     text[]      NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    queued       text[]      NOT NULL DEFAULT '{}', -- new executions among that, as job/thing/number
    PRIMARY KEY (tenant_id, outbox_id),
    CONSTRAINT outbox_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants ON DELETE CASCADE,
    CHECK (cardinality(topics) = cardinality(payloads))
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

-- Which things were told something lately, by whom: a crashing MQTT server forgets what came since its last save. Written
-- when their outbox rows are forgotten, so that no status change has an index on its time to keep.
CREATE TABLE told_lately (
    tenant_id  text        NOT NULL,
    told_id    bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    owner_slot integer     NOT NULL,
    things     text[]      NOT NULL,
    told_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, told_id),
    CONSTRAINT told_lately_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants ON DELETE CASCADE
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

-- Which executions, as thing/number, were told of when: written when their outbox rows are forgotten, one row for all of
-- a job's in them, so that no execution is written once more for it. Goes with the job.
CREATE TABLE told_executions (
    tenant_id  text        NOT NULL,
    job_id     text        NOT NULL,
    told_id    bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    told_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    executions text[]      NOT NULL,
    PRIMARY KEY (tenant_id, job_id, told_id),
    CONSTRAINT told_executions_job_fkey FOREIGN KEY (tenant_id, job_id) REFERENCES jobs ON DELETE CASCADE
);

-- Who follows a tenant's events over HTTP, and until when what happens is kept in recent_events for them.
-- floor_id: of what came before, nothing or not all is kept. all_live_until: until when each live event is made for them.
CREATE TABLE event_streams (
    tenant_id      text        PRIMARY KEY REFERENCES tenants ON DELETE CASCADE,
    followed_until timestamptz NOT NULL,
    floor_id       bigint      NOT NULL,
    all_live_until timestamptz NOT NULL DEFAULT '-infinity'
);

-- Events as they left the outbox, in the order of event_id; written while somebody follows, and for a while only.
CREATE TABLE recent_events (
    tenant_id text        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    event_id  bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    topics    text[]      NOT NULL,
    payloads  text[]      NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, event_id),
    CHECK (cardinality(topics) = cardinality(payloads))
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

-- An operator's command is answered once: its clientToken finds the first answer again.
CREATE TABLE operator_requests (
    tenant_id      text        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    operator_name  text        NOT NULL,
    client_token   text        NOT NULL CHECK (octet_length(client_token) <= 1024),
    request_sha256 bytea       NOT NULL CHECK (octet_length(request_sha256) = 32),
    reply          text        NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, operator_name, client_token)
);
CREATE INDEX operator_requests_age_idx ON operator_requests (tenant_id, created_at) WHERE created_at > '-infinity';

CREATE TABLE audit_log (
    tenant_id text        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    audit_id  bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    at        timestamptz NOT NULL DEFAULT now(),
    actor     text        NOT NULL,
    role      text        NOT NULL,
    action    text        NOT NULL,
    subject   text        NOT NULL,
    details   jsonb       NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant_id, audit_id)
);
CREATE INDEX audit_log_subject_idx ON audit_log (tenant_id, subject, audit_id) WHERE subject <> '';

-- The Things Stack: where each organization's resources are, the credentials for them, and the devices registered there.
-- Columns that end in _sealed hold AES-GCM values (schema/secrets.py lists them, broker/sealing.py makes them).

CREATE TABLE ttn_connections (
    tenant_id              text        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    organization_id        uuid        NOT NULL, -- ours; the server's own is ttn_org_id
    organization_name      text        CHECK (char_length(organization_name) <= 50),
    ttn_region             text,
    identity_host          text        NOT NULL,
    network_host           text        NOT NULL,
    application_host       text        NOT NULL,
    join_host              text        NOT NULL,
    -- whom the application belongs to: the user of the main key, or an organization of that user's
    owner_kind             text        NOT NULL DEFAULT 'user' CHECK (owner_kind IN ('user', 'organization')),
    ttn_user_id            text,
    ttn_org_id             text,
    ttn_application_id     text,
    -- goes into names of keys and attributes of what is made there, so that we know our own again after a crash
    mark                   text        NOT NULL CHECK (mark ~ '^[0-9a-f]{12}$'),
    main_key_sealed        bytea, -- brought in by an operator; everything else is made with it
    org_api_key_id         text,
    org_api_key_sealed     bytea,
    app_api_key_id         text,
    app_api_key_sealed     bytea,
    gateway_api_key_id     text,
    gateway_api_key_sealed bytea,
    webhook_id             text,
    webhook_url            text        CHECK (char_length(webhook_url) <= 2048),
    webhook_secret_sealed  bytea,
    -- not_started and completed are the words of older rows for idle and ready
    provisioning_status    text        NOT NULL DEFAULT 'idle' CHECK (provisioning_status IN
                           ('idle', 'provisioning', 'ready', 'failed', 'not_started', 'completed')),
    provisioning_step      text,
    provisioning_error     text,
    provisioning_details   jsonb       NOT NULL DEFAULT '{}',
    provisioning_wanted    jsonb       NOT NULL DEFAULT '{}',
    provisioning_attempts  integer     NOT NULL DEFAULT 0,
    provisioning_done      text[]      NOT NULL DEFAULT '{}',
    next_try_at            timestamptz,
    -- which work on this row is the current one: what an older one writes changes nothing
    work_token             uuid,
    abandoned_ids          text[]      NOT NULL DEFAULT '{}', -- taken at the server for good, never to be tried again
    provisioning_started_at timestamptz,
    provisioned_at         timestamptz,
    credentials_changed_at timestamptz,
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    requested_by           text, -- the operator of the attempt that is under way
    PRIMARY KEY (tenant_id, organization_id)
);
CREATE INDEX ttn_connections_work_idx ON ttn_connections (next_try_at) WHERE provisioning_status = 'provisioning';

-- What we registered, and on which hosts: written before the first call, so that a half-made device is known as well.
CREATE TABLE ttn_devices (
    tenant_id        text        NOT NULL,
    organization_id  uuid        NOT NULL,
    application_id   text        NOT NULL,
    device_id        text        NOT NULL,
    dev_eui          text        CHECK (dev_eui ~ '^[0-9A-F]{16}$'),
    join_eui         text        CHECK (join_eui ~ '^[0-9A-F]{16}$'),
    network_host     text,
    application_host text,
    join_host        text,
    state            text        NOT NULL CHECK (state IN ('registering', 'registered', 'removing', 'removed')),
    -- which of the four registries have it, as far as we were told
    registered_in    text[]      NOT NULL DEFAULT '{}' CHECK (registered_in <@ '{is,js,ns,as}'),
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, organization_id, application_id, device_id),
    CONSTRAINT ttn_devices_connection_fkey FOREIGN KEY (tenant_id, organization_id)
        REFERENCES ttn_connections ON DELETE CASCADE
);

-- Devices to register or to remove, up to a fleet in one batch, with a result for each line.
CREATE TABLE ttn_device_batches (
    tenant_id       text        NOT NULL,
    batch_id        uuid        NOT NULL,
    batch_number    bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    organization_id uuid        NOT NULL,
    application_id  text        NOT NULL,
    action          text        NOT NULL CHECK (action IN ('register', 'remove')),
    status          text        NOT NULL DEFAULT 'QUEUED'
                    CHECK (status IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'PARTIAL', 'FAILED')),
    requested_by    text        NOT NULL,
    lines           integer     NOT NULL DEFAULT 0,
    lines_ok        integer     NOT NULL DEFAULT 0,
    lines_failed    integer     NOT NULL DEFAULT 0,
    error           text,
    next_try_at     timestamptz NOT NULL DEFAULT now(),
    work_token      uuid,
    created_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    finished_at     timestamptz,
    -- how often in a row it broke for a reason of ours
    failures        integer     NOT NULL DEFAULT 0 CHECK (failures >= 0),
    PRIMARY KEY (tenant_id, batch_id),
    CONSTRAINT ttn_device_batches_connection_fkey FOREIGN KEY (tenant_id, organization_id)
        REFERENCES ttn_connections ON DELETE CASCADE
);
CREATE INDEX ttn_device_batches_work_idx ON ttn_device_batches (next_try_at) WHERE status IN ('QUEUED', 'RUNNING');
CREATE INDEX ttn_device_batches_recent_idx ON ttn_device_batches (tenant_id, batch_number DESC);

CREATE TABLE ttn_batch_lines (
    tenant_id      text    NOT NULL,
    batch_id       uuid    NOT NULL,
    line           integer NOT NULL CHECK (line >= 1),
    device_id      text    NOT NULL,
    device         jsonb   NOT NULL DEFAULT '{}', -- what is asked for, without the keys
    app_key_sealed bytea, -- gone as soon as the line is done
    nwk_key_sealed bytea,
    status         text    NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'OK', 'ERROR')),
    http_status    integer,
    error          text,
    attempts       integer NOT NULL DEFAULT 0,
    finished_at    timestamptz,
    PRIMARY KEY (tenant_id, batch_id, line),
    UNIQUE (tenant_id, batch_id, device_id),
    CHECK (status = 'PENDING' OR (app_key_sealed IS NULL AND nwk_key_sealed IS NULL)),
    CONSTRAINT ttn_batch_lines_batch_fkey FOREIGN KEY (tenant_id, batch_id)
        REFERENCES ttn_device_batches ON DELETE CASCADE
);
CREATE INDEX ttn_batch_lines_pending_idx ON ttn_batch_lines (tenant_id, batch_id, line) WHERE status = 'PENDING';
CREATE INDEX ttn_batch_lines_failed_idx ON ttn_batch_lines (tenant_id, batch_id, line) WHERE status = 'ERROR';

-- Requests over MQTT that were refused lately, for who looks after a fleet: the newest few of each tenant, whichever
-- process refused them.
CREATE TABLE refusals (
    tenant_id  text        NOT NULL,
    refusal_id bigint      GENERATED ALWAYS AS IDENTITY,
    at         timestamptz NOT NULL,
    slot       smallint    NOT NULL, -- of the process that refused
    topic      text        NOT NULL,
    code       text        NOT NULL,
    message    text        NOT NULL,
    left_out   integer     NOT NULL DEFAULT 0 CHECK (left_out >= 0), -- so many before it were too many to be kept
    PRIMARY KEY (tenant_id, refusal_id),
    CONSTRAINT refusals_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants ON DELETE CASCADE
);

-- Process slots and other things that one process at a time may do. The lock itself is a session advisory lock, which a
-- killed process's connection gives back at once; the row says who has it and what it left open. Belongs to no tenant.
CREATE TABLE leases (
    name        text        PRIMARY KEY,
    holder      text        NOT NULL,
    details     jsonb       NOT NULL DEFAULT '{}',
    acquired_at timestamptz NOT NULL DEFAULT now(),
    renewed_at  timestamptz NOT NULL DEFAULT now()
);
-- Counts every taking of a slot: where it stands still, no process has begun.
CREATE SEQUENCE slot_takings;

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY[
        'tenants', 'principals', 'operators', 'things', 'credentials', 'thing_groups', 'thing_group_members', 'jobs',
        'job_targets', 'job_templates', 'rollout_chunks', 'rollout_paces', 'executions', 'job_counts',
        'job_stages', 'job_approvals', 'job_votes', 'outbox',
        'told_lately', 'told_executions', 'event_streams', 'recent_events', 'operator_requests',
        'audit_log', 'refusals',
        'ttn_connections', 'ttn_devices', 'ttn_device_batches', 'ttn_batch_lines'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format(
            'CREATE POLICY %I ON %I USING (tenant_id = current_setting(''app.tenant_id'', true)) '
            'WITH CHECK (tenant_id = current_setting(''app.tenant_id'', true))',
            tenant_table || '_tenant_isolation', tenant_table);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO jobbroker_serve', tenant_table);
    END LOOP;
END
$$;
GRANT SELECT, INSERT, UPDATE, DELETE ON leases TO jobbroker_serve;
GRANT SELECT, USAGE ON SEQUENCE slot_takings TO jobbroker_serve;
GRANT USAGE ON SEQUENCE recent_events_event_id_seq TO jobbroker_serve; -- marks where a stream begins

-- The sweeps: what has work, by key only.
CREATE POLICY tenants_sweep ON tenants FOR SELECT TO jobbroker_sweep USING (true);
CREATE POLICY jobs_sweep ON jobs FOR SELECT TO jobbroker_sweep USING (true);
CREATE POLICY rollout_paces_sweep ON rollout_paces FOR SELECT TO jobbroker_sweep USING (true);
CREATE POLICY executions_sweep ON executions FOR SELECT TO jobbroker_sweep USING (true);
CREATE POLICY outbox_sweep ON outbox FOR SELECT TO jobbroker_sweep USING (true);
CREATE POLICY job_counts_sweep ON job_counts FOR SELECT TO jobbroker_sweep USING (true);
CREATE POLICY job_stages_sweep ON job_stages FOR SELECT TO jobbroker_sweep USING (true);
CREATE POLICY credentials_sweep ON credentials FOR SELECT TO jobbroker_sweep USING (true);
CREATE POLICY principals_sweep ON principals FOR SELECT TO jobbroker_sweep USING (true);
CREATE POLICY event_streams_sweep ON event_streams FOR SELECT TO jobbroker_sweep USING (true);
CREATE POLICY ttn_connections_sweep ON ttn_connections FOR SELECT TO jobbroker_sweep USING (true);
CREATE POLICY ttn_device_batches_sweep ON ttn_device_batches FOR SELECT TO jobbroker_sweep USING (true);
GRANT SELECT ON tenants, jobs, rollout_paces, executions, outbox, job_counts, job_stages, credentials, principals, event_streams
    TO jobbroker_sweep;
GRANT SELECT ON ttn_connections, ttn_device_batches TO jobbroker_sweep;

CREATE FUNCTION sweep_tenants() RETURNS SETOF text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id FROM tenants ORDER BY tenant_id';

CREATE FUNCTION sweep_job_work() RETURNS TABLE (tenant_id text, job_id text, pending_work text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT j.tenant_id, j.job_id, j.pending_work FROM jobs j
        WHERE j.pending_work IS NOT NULL AND (j.pending_work <> ''ROLLOUT'' OR j.holds = ''{}'')
          AND (j.pending_work <> ''ROLLOUT'' OR NOT EXISTS (
              SELECT FROM rollout_paces p
              WHERE p.tenant_id = j.tenant_id AND p.job_id = j.job_id AND p.due_at > clock_timestamp() OFFSET 0))
        ORDER BY j.job_uid LIMIT 1000';

CREATE FUNCTION sweep_job_tells() RETURNS TABLE (tenant_id text, job_id text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, job_id FROM jobs WHERE tell_mark IS NOT NULL ORDER BY job_uid LIMIT 1000';

CREATE FUNCTION sweep_schedules(most integer) RETURNS TABLE (tenant_id text, job_id text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, job_id FROM jobs
        WHERE schedule_due_at <= (SELECT clock_timestamp()) AND schedule_due_at IS NOT NULL
        ORDER BY schedule_due_at LIMIT most';

-- Jobs whose gates are to be looked at.
CREATE FUNCTION sweep_gates(most integer) RETURNS TABLE (tenant_id text, job_id text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS '(SELECT tenant_id, job_id FROM jobs WHERE look_at_gates ORDER BY job_uid LIMIT most)
        UNION
        (SELECT tenant_id, job_id FROM job_stages
         WHERE due_at <= statement_timestamp() AND due_at IS NOT NULL ORDER BY due_at LIMIT most)';

-- When the next thing is due of a job that rolls out at a rate; null when none waits for that.
CREATE FUNCTION sweep_next_rollout() RETURNS timestamptz
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT min(p.due_at) FROM jobs j
        CROSS JOIN LATERAL (
            SELECT x.due_at FROM rollout_paces x
            WHERE x.tenant_id = j.tenant_id AND x.job_id = j.job_id AND x.due_at > clock_timestamp() OFFSET 0) p
        WHERE j.pending_work IS NOT NULL AND (j.pending_work <> ''ROLLOUT'' OR j.holds = ''{}'')
          AND j.pending_work = ''ROLLOUT''';

CREATE FUNCTION sweep_expired_jobs() RETURNS TABLE (tenant_id text, job_id text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, job_id FROM jobs
        WHERE expires_at <= (SELECT clock_timestamp()) AND expires_at IS NOT NULL
          AND NOT expiry_done AND status IN (''SCHEDULED'', ''IN_PROGRESS'')
          AND (pending_work IS NULL OR pending_work = ''ROLLOUT'' AND holds <> ''{}'')
        ORDER BY expires_at LIMIT 1000';

CREATE FUNCTION sweep_timeouts(most integer) RETURNS TABLE (tenant_id text, thing_name text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, thing_name FROM executions
        WHERE timeout_at <= (SELECT clock_timestamp()) AND timeout_at IS NOT NULL ORDER BY timeout_at LIMIT most';

CREATE FUNCTION sweep_outbox() RETURNS TABLE (tenant_id text, owner_slot integer, oldest timestamptz, depth bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, owner_slot, min(created_at), count(*) FROM outbox GROUP BY 1, 2';

-- Whose a token is, by its sha256: over HTTP it comes without a name.
CREATE FUNCTION find_token(digest bytea)
    RETURNS TABLE (tenant_id text, principal text, principal_kind text, credential_id uuid, last_used_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT c.tenant_id, c.principal, p.kind, c.credential_id, c.last_used_at
        FROM credentials c JOIN principals p ON p.tenant_id = c.tenant_id AND p.name = c.principal
        WHERE c.token_sha256 = digest AND c.token_sha256 IS NOT NULL AND c.revoked_at IS NULL
          AND (c.not_after IS NULL OR c.not_after > clock_timestamp())';

-- Whose an access key of AWS's dialect is: its id is the begin of a token's sha256.
CREATE FUNCTION find_access_key(low bytea, high bytea)
    RETURNS TABLE (tenant_id text, principal text, principal_kind text, credential_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT c.tenant_id, c.principal, p.kind, c.credential_id
        FROM credentials c JOIN principals p ON p.tenant_id = c.tenant_id AND p.name = c.principal
        WHERE c.token_sha256 BETWEEN low AND high AND c.token_sha256 IS NOT NULL AND c.revoked_at IS NULL
          AND (c.not_after IS NULL OR c.not_after > clock_timestamp())
        LIMIT 2';

CREATE FUNCTION sweep_event_streams() RETURNS TABLE (tenant_id text, followed_until timestamptz, all_live boolean)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, followed_until, all_live_until > clock_timestamp()
        FROM event_streams WHERE followed_until > clock_timestamp()';

-- For /metrics: executions by status; and since when the timers' oldest work is due, null when none is.
CREATE FUNCTION sweep_counts()
    RETURNS TABLE (tenant_id text, queued bigint, in_progress bigint, succeeded bigint, failed bigint, timed_out bigint,
                   rejected bigint, removed bigint, canceled bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, sum(queued)::bigint, sum(in_progress)::bigint, sum(succeeded)::bigint, sum(failed)::bigint,
               sum(timed_out)::bigint, sum(rejected)::bigint, sum(removed)::bigint, sum(canceled)::bigint
        FROM job_counts GROUP BY 1';

CREATE FUNCTION sweep_lateness()
    RETURNS TABLE (timeouts timestamptz, expiries timestamptz, rollouts timestamptz, schedules timestamptz, gates timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT
        (SELECT min(timeout_at) FROM executions WHERE timeout_at <= (SELECT clock_timestamp()) AND timeout_at IS NOT NULL),
        (SELECT min(expires_at) FROM jobs WHERE expires_at <= (SELECT clock_timestamp()) AND expires_at IS NOT NULL
            AND NOT expiry_done AND pending_work IS NULL AND status = ''IN_PROGRESS''),
        (SELECT min(p.due_at) FROM jobs j JOIN rollout_paces p ON p.tenant_id = j.tenant_id AND p.job_id = j.job_id
            WHERE j.pending_work IS NOT NULL AND j.pending_work = ''ROLLOUT'' AND p.due_at <= clock_timestamp()),
        (SELECT min(schedule_due_at) FROM jobs
            WHERE schedule_due_at <= (SELECT clock_timestamp()) AND schedule_due_at IS NOT NULL),
        -- -infinity says that its counts have changed, not since when
        (SELECT min(due_at) FROM job_stages
            WHERE due_at <= (SELECT clock_timestamp()) AND due_at > ''-infinity'' AND due_at IS NOT NULL)';

CREATE FUNCTION sweep_ttn_provisioning() RETURNS TABLE (tenant_id text, organization_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, organization_id FROM ttn_connections
        WHERE provisioning_status = ''provisioning'' AND next_try_at <= clock_timestamp()
        ORDER BY next_try_at LIMIT 100';

CREATE FUNCTION sweep_ttn_batches() RETURNS TABLE (tenant_id text, batch_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, batch_id FROM ttn_device_batches
        WHERE status IN (''QUEUED'', ''RUNNING'') AND next_try_at <= (SELECT clock_timestamp())
        ORDER BY row_number() OVER (PARTITION BY tenant_id, organization_id ORDER BY next_try_at), next_try_at
        LIMIT 100';

DO $$
DECLARE
    sweep text;
BEGIN
    EXECUTE format('GRANT jobbroker_sweep, jobbroker_serve TO %I', current_user);
    GRANT USAGE ON SCHEMA public TO jobbroker_serve;
    GRANT USAGE, CREATE ON SCHEMA public TO jobbroker_sweep; -- CREATE only while ownership changes hands
    FOREACH sweep IN ARRAY ARRAY['sweep_tenants()', 'sweep_job_work()', 'sweep_next_rollout()',
                                 'sweep_job_tells()', 'sweep_schedules(integer)', 'sweep_gates(integer)',
                                 'sweep_expired_jobs()', 'sweep_timeouts(integer)', 'sweep_outbox()',
                                 'find_token(bytea)', 'find_access_key(bytea, bytea)',
                                 'sweep_event_streams()', 'sweep_counts()', 'sweep_lateness()',
                                 'sweep_ttn_provisioning()', 'sweep_ttn_batches()'] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO jobbroker_sweep', sweep);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', sweep);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO jobbroker_serve', sweep);
    END LOOP;
    REVOKE CREATE ON SCHEMA public FROM jobbroker_sweep;
END
$$;

-- Which migrations a database has. Not tenant data: the serving role reads it to refuse a database that does not fit.
CREATE TABLE schema_migrations (
    name       text        PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT ON schema_migrations TO jobbroker_serve;

-- Runs that take an organization's resources out of The Things Stack, each made of steps (seed 000), and what they know of
-- each device. A run is rows: any process goes on from what is recorded here.

CREATE TABLE ttn_deprovision_runs (
    tenant_id           text        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    id                  uuid        NOT NULL DEFAULT gen_random_uuid(),
    organization_id     uuid        NOT NULL,
    requested_by        text, -- an operator's name: operators have no other
    source              text        NOT NULL DEFAULT 'edge_function',
    action              text        NOT NULL DEFAULT 'deprovision'
                        CHECK (action IN ('deprovision', 'deprovision_application', 'deprovision_device', 'deep_clean')),
    status              text        NOT NULL DEFAULT 'QUEUED'
                        CHECK (status IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'PARTIAL')),
    started_at          timestamptz,
    finished_at         timestamptz,
    request_id          text,
    ttn_region          text,
    ttn_org_id          text,
    ttn_application_id  text,
    summary             jsonb       NOT NULL DEFAULT '{}',
    error               text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    -- beyond the seed: what was asked for, and how far it has come
    device_id           text,
    force               boolean     NOT NULL DEFAULT false,
    dry_run             boolean     NOT NULL DEFAULT false,
    phase               text        NOT NULL DEFAULT 'START' CHECK (phase IN
                        ('START', 'LIST', 'DEVICES', 'STATE', 'KEYS', 'APPLICATION', 'ORGANIZATION', 'CLEAR')),
    facts               jsonb       NOT NULL DEFAULT '{}',
    attempt             integer     NOT NULL DEFAULT 1,
    -- which taking of the run is the current one: what an older one still writes changes nothing
    claim               bigint      NOT NULL DEFAULT 0,
    next_try_at         timestamptz NOT NULL DEFAULT now(),
    cancel_requested_at timestamptz,
    cancel_requested_by text,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX ttn_deprovision_runs_organization_idx
    ON ttn_deprovision_runs (tenant_id, organization_id, created_at DESC, id DESC);
CREATE INDEX ttn_deprovision_runs_status_idx ON ttn_deprovision_runs (tenant_id, status, created_at DESC, id DESC);
CREATE INDEX ttn_deprovision_runs_recent_idx ON ttn_deprovision_runs (tenant_id, created_at DESC, id DESC);
CREATE INDEX ttn_deprovision_runs_due_idx ON ttn_deprovision_runs (next_try_at) WHERE status IN ('QUEUED', 'RUNNING');
-- one at a time for the same thing; of runs for one application an advisory lock lets one work at a time
CREATE UNIQUE INDEX ttn_deprovision_runs_live_idx
    ON ttn_deprovision_runs (tenant_id, organization_id, coalesce(ttn_application_id, ''), coalesce(device_id, ''))
    WHERE status IN ('QUEUED', 'RUNNING');

CREATE TABLE ttn_deprovision_run_steps (
    tenant_id        text        NOT NULL,
    id               uuid        NOT NULL DEFAULT gen_random_uuid(),
    run_id           uuid        NOT NULL,
    step_name        text        NOT NULL,
    target_type      text        CHECK (target_type IN ('device', 'application', 'organization', 'dev_eui', 'db')),
    target_id        text,
    attempt          integer     NOT NULL DEFAULT 1,
    status           text        NOT NULL DEFAULT 'PENDING'
                     CHECK (status IN ('PENDING', 'RUNNING', 'OK', 'ERROR', 'SKIPPED')),
    http_status      integer,
    ttn_endpoint     text,
    response_snippet text        CHECK (char_length(response_snippet) <= 400),
    started_at       timestamptz,
    finished_at      timestamptz,
    meta             jsonb       NOT NULL DEFAULT '{}',
    created_at       timestamptz NOT NULL DEFAULT now(),
    step_number      bigint      NOT NULL GENERATED ALWAYS AS IDENTITY, -- many are written at one time
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT ttn_deprovision_run_steps_run_fkey FOREIGN KEY (tenant_id, run_id)
        REFERENCES ttn_deprovision_runs ON DELETE CASCADE
);
CREATE INDEX ttn_deprovision_run_steps_run_idx
    ON ttn_deprovision_run_steps (tenant_id, run_id, created_at, step_number);

-- What a run knows of each device: by listing, by what we registered ourselves, or from a run before. A registry's column
-- is null until it was seen to; hosts holds, for ns, as and js, where the device was said to be.
CREATE TABLE ttn_run_devices (
    tenant_id     text    NOT NULL,
    run_id        uuid    NOT NULL,
    device_id     text    NOT NULL,
    dev_eui       text    CHECK (dev_eui ~ '^[0-9A-F]{16}$'),
    join_eui      text    CHECK (join_eui ~ '^[0-9A-F]{16}$'),
    hosts         jsonb   NOT NULL DEFAULT '{}',
    is_claimed    boolean NOT NULL DEFAULT false,
    as_status     text    CHECK (as_status IN ('OK', 'ERROR', 'SKIPPED')),
    ns_status     text    CHECK (ns_status IN ('OK', 'ERROR', 'SKIPPED')),
    js_status     text    CHECK (js_status IN ('OK', 'ERROR', 'SKIPPED')),
    is_status     text    CHECK (is_status IN ('OK', 'ERROR', 'SKIPPED')),
    verify_status text    CHECK (verify_status IN ('OK', 'ERROR', 'SKIPPED')),
    problem       text,
    may_heal      boolean NOT NULL DEFAULT false, -- its failure is one that time may heal
    PRIMARY KEY (tenant_id, run_id, device_id),
    CONSTRAINT ttn_run_devices_run_fkey FOREIGN KEY (tenant_id, run_id)
        REFERENCES ttn_deprovision_runs ON DELETE CASCADE
);
CREATE INDEX ttn_run_devices_todo_idx ON ttn_run_devices (tenant_id, run_id, device_id) WHERE verify_status IS NULL;

-- One device cleaned without its organization; its run has the steps.
CREATE TABLE ttn_deprovision_jobs (
    tenant_id          text        NOT NULL,
    id                 uuid        NOT NULL DEFAULT gen_random_uuid(),
    organization_id    uuid        NOT NULL,
    run_id             uuid        NOT NULL,
    ttn_application_id text        NOT NULL,
    ttn_device_id      text        NOT NULL,
    dev_eui            text,
    status             text        NOT NULL DEFAULT 'QUEUED'
                       CHECK (status IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'PARTIAL')),
    attempts           integer     NOT NULL DEFAULT 0,
    last_error         text,
    finished_at        timestamptz,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, run_id),
    CONSTRAINT ttn_deprovision_jobs_run_fkey FOREIGN KEY (tenant_id, run_id)
        REFERENCES ttn_deprovision_runs ON DELETE CASCADE
);
CREATE INDEX ttn_deprovision_jobs_device_idx
    ON ttn_deprovision_jobs (tenant_id, organization_id, ttn_device_id, created_at DESC);

CREATE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE TRIGGER ttn_deprovision_runs_updated_at BEFORE UPDATE ON ttn_deprovision_runs
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CREATE TRIGGER ttn_deprovision_jobs_updated_at BEFORE UPDATE ON ttn_deprovision_jobs
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY[
        'ttn_deprovision_runs', 'ttn_deprovision_run_steps', 'ttn_run_devices', 'ttn_deprovision_jobs'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format(
            'CREATE POLICY %I ON %I USING (tenant_id = current_setting(''app.tenant_id'', true)) '
            'WITH CHECK (tenant_id = current_setting(''app.tenant_id'', true))',
            tenant_table || '_tenant_isolation', tenant_table);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO jobbroker_serve', tenant_table);
    END LOOP;
END
$$;

CREATE POLICY ttn_deprovision_runs_sweep ON ttn_deprovision_runs FOR SELECT TO jobbroker_sweep USING (true);
GRANT SELECT ON ttn_deprovision_runs TO jobbroker_sweep;

-- Runs that there is something to do for: the first of each organization, then the second. Of one that has
-- much to do, or whose lock another holds, only one can be worked on at a time anyway.
CREATE FUNCTION sweep_ttn_runs(most integer) RETURNS TABLE (tenant_id text, id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, id FROM ttn_deprovision_runs
        WHERE status IN (''QUEUED'', ''RUNNING'') AND next_try_at <= (SELECT clock_timestamp())
        ORDER BY row_number() OVER (PARTITION BY tenant_id, organization_id ORDER BY next_try_at), next_try_at
        LIMIT most';

-- Runs by status, of each tenant that has any, and when the oldest of each was asked for.
CREATE FUNCTION sweep_ttn_run_states()
    RETURNS TABLE (tenant_id text, status text, runs bigint, oldest timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS 'SELECT tenant_id, status, count(*), min(created_at) FROM ttn_deprovision_runs GROUP BY 1, 2';

DO $$
DECLARE
    sweep text;
BEGIN
    GRANT USAGE, CREATE ON SCHEMA public TO jobbroker_sweep; -- CREATE only while ownership changes hands
    FOREACH sweep IN ARRAY ARRAY['sweep_ttn_runs(integer)', 'sweep_ttn_run_states()'] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO jobbroker_sweep', sweep);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', sweep);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO jobbroker_serve', sweep);
    END LOOP;
    REVOKE CREATE ON SCHEMA public FROM jobbroker_sweep;
END
$$;

-- What a thing says went wrong: the member of its statusDetails (a JSON object of strings) that is called so, or all it says.
-- Without a query inside and STABLE, so that it becomes part of the statement that calls it.
CREATE FUNCTION failure_reason(details text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    AS 'SELECT left(CASE WHEN details IS NULL OR details = ''{}'' THEN ''no reason given'' ELSE coalesce(
            ''reason: '' || (details::json ->> ''reason''), ''error: '' || (details::json ->> ''error''),
            ''message: '' || (details::json ->> ''message''), ''why: '' || (details::json ->> ''why''),
            ''code: '' || (details::json ->> ''code''), ''step: '' || (details::json ->> ''step''),
            replace(btrim(details, ''{}''), ''"'', '''')) END, 200)';

-- A failure that was sent again as part of another job; it counts again when that one is deleted.
CREATE TABLE retried_failures (
    tenant_id        text   NOT NULL,
    job_id           text   NOT NULL,
    thing_name       text   NOT NULL,
    execution_number bigint NOT NULL,
    retry_job_id     text   NOT NULL,
    PRIMARY KEY (tenant_id, job_id, thing_name, execution_number),
    CONSTRAINT retried_failures_job_fkey FOREIGN KEY (tenant_id, job_id) REFERENCES jobs ON DELETE CASCADE,
    CONSTRAINT retried_failures_retry_fkey FOREIGN KEY (tenant_id, retry_job_id)
        REFERENCES jobs (tenant_id, job_id) ON DELETE CASCADE
);
CREATE INDEX retried_failures_retry_idx ON retried_failures (tenant_id, retry_job_id);

ALTER TABLE retried_failures ENABLE ROW LEVEL SECURITY;
ALTER TABLE retried_failures FORCE ROW LEVEL SECURITY;
CREATE POLICY retried_failures_tenant_isolation ON retried_failures
    USING (tenant_id = current_setting('app.tenant_id', true))
    WITH CHECK (tenant_id = current_setting('app.tenant_id', true));
GRANT SELECT, INSERT, UPDATE, DELETE ON retried_failures TO jobbroker_serve;

-- The things that have failed in a job so, by their latest executions, and that no failures/retry sent again since. STABLE
-- and without a limit of its own, so that it becomes part of the statement that calls it. OFFSET 0 keeps the planner from
-- joining: a plan made while the tables were small read all of a tenant's executions for each failure, and was kept.
CREATE FUNCTION open_failures(tenant text, job text, statuses text[])
    RETURNS TABLE (job_id text, thing_name text, execution_number bigint, status text, status_details text)
    LANGUAGE sql STABLE PARALLEL SAFE
    AS 'SELECT e.job_id, e.thing_name, e.execution_number, e.status, e.status_details
        FROM (
            SELECT * FROM executions x
            WHERE x.tenant_id = tenant AND x.job_id = job AND x.status = ANY (statuses)
              AND x.status IN (''FAILED'', ''TIMED_OUT'', ''REJECTED'')
            OFFSET 0
        ) e
        WHERE NOT EXISTS (
            SELECT FROM executions l
            WHERE l.tenant_id = tenant AND l.thing_name = e.thing_name AND l.job_id = e.job_id
              AND l.execution_number > e.execution_number
            OFFSET 0)
          AND NOT EXISTS (
            SELECT FROM retried_failures r
            WHERE r.tenant_id = tenant AND r.job_id = e.job_id AND r.thing_name = e.thing_name
              AND r.execution_number = e.execution_number
            OFFSET 0)';
