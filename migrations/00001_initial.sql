-- +goose Up

-- A batch is what one producer brought in one go. It is open until it is sealed.
CREATE TABLE batches (
    id           text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    account      text NOT NULL DEFAULT 'default',
    source       text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    sealed_at    timestamptz,
    cancelled_at timestamptz,
    paused_at    timestamptz,
    swept_at     timestamptz   -- after the cancellation: no row waits or comes in any more
);
CREATE INDEX batches_created ON batches (created_at DESC);
CREATE INDEX batches_unswept ON batches (id) WHERE cancelled_at IS NOT NULL AND swept_at IS NULL;

-- The state machine of a job: scheduled → queued → running → a terminal state,
-- running → retrying → running. A row in a terminal state never changes again,
-- but for its cost, with two exceptions: unknown is not known yet, and becomes
-- succeeded by an answer that comes late, or failed when a person settles its
-- calls; and a person may bring failed, unknown and expired jobs back to queued,
-- with a new generation.
CREATE TABLE jobs (
    id                  uuid PRIMARY KEY,
    batch_id            text REFERENCES batches (id),
    seq                 bigint NOT NULL DEFAULT 0,  -- place in the batch's input
    key                 text NOT NULL,              -- what makes the row unique in its batch
    content_sha256      bytea NOT NULL CHECK (length(content_sha256) = 32),
    custom_id           text,
    account             text NOT NULL DEFAULT 'default',
    task                text NOT NULL CHECK (task IN ('text', 'image', 'audio', 'video')),
    provider            text NOT NULL,
    model               text NOT NULL DEFAULT '',
    lane                text NOT NULL DEFAULT 'default' CHECK (lane IN ('high', 'default', 'bulk')),
    request             json NOT NULL,

    state               text NOT NULL CHECK (state IN ('scheduled', 'queued', 'running', 'retrying',
                            'succeeded', 'failed', 'cancelled', 'expired', 'unknown')),
    gen                 int NOT NULL DEFAULT 1 CHECK (gen > 0),           -- the delivery that counts
    attempt             int NOT NULL DEFAULT 0 CHECK (attempt >= 0),      -- claims used up
    max_attempts        int NOT NULL DEFAULT 5 CHECK (max_attempts > 0),
    max_provider_calls  int NOT NULL DEFAULT 20 CHECK (max_provider_calls > 0),
    crashes             int NOT NULL DEFAULT 0,                           -- workers that died with it
    retry_gen           int NOT NULL DEFAULT 1,  -- calls of this gen and later count: a person's retry begins anew
    on_unknown          text NOT NULL DEFAULT 'retry' CHECK (on_unknown IN ('retry', 'fail')),
    chain               text[],  -- the providers to ask in order; null: the chain of the task
    fallback            text NOT NULL DEFAULT 'auto' CHECK (fallback IN ('auto', 'never', 'always')),

    created_at          timestamptz NOT NULL DEFAULT now(),
    run_at              timestamptz NOT NULL DEFAULT now(),
    not_before          timestamptz,
    deadline            timestamptz NOT NULL,
    dispatched_at       timestamptz,  -- when somebody set out to push this gen to Redis
    turn                bigint NOT NULL DEFAULT 0,  -- place in the fair order of its queue, once dispatched
    started_at          timestamptz,
    finished_at         timestamptz,
    cancel_requested_at timestamptz,
    paused_at           timestamptz,

    lease_token         uuid,
    worker_id           uuid,
    ended_lease         uuid,  -- the claim that ended last: tells a repeated write from a late one

    error_class         text NOT NULL DEFAULT '',
    error_message       text NOT NULL DEFAULT '',
    cost_nano           bigint NOT NULL DEFAULT 0,  -- nano-USD, all its calls
    unpriced_calls      int NOT NULL DEFAULT 0,     -- calls that no price is known for

    CONSTRAINT jobs_finished_iff_terminal CHECK (
        (finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled', 'expired', 'unknown'))),
    CONSTRAINT jobs_leased_iff_running CHECK (
        (lease_token IS NOT NULL) = (state = 'running') AND (worker_id IS NOT NULL) = (state = 'running')),
    CONSTRAINT jobs_retrying_waits CHECK (state <> 'retrying' OR not_before IS NOT NULL),
    CONSTRAINT jobs_running_started CHECK (state <> 'running' OR (started_at IS NOT NULL AND attempt > 0)),
    CONSTRAINT jobs_failure_has_class CHECK (state NOT IN ('failed', 'unknown') OR error_class <> ''),
    CONSTRAINT jobs_custom_id_is_key CHECK (custom_id IS NULL OR (batch_id IS NOT NULL AND key = 'c:' || custom_id))
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX jobs_batch_key ON jobs (batch_id, key) WHERE batch_id IS NOT NULL;
CREATE INDEX jobs_batch_state ON jobs (batch_id, state);
CREATE INDEX jobs_undispatched ON jobs (provider, lane, account, coalesce(batch_id, ''), run_at, seq)
    WHERE dispatched_at IS NULL AND paused_at IS NULL AND state IN ('scheduled', 'queued', 'retrying');
CREATE INDEX jobs_dispatched ON jobs (provider, lane, account, turn, id)
    WHERE dispatched_at IS NOT NULL AND state IN ('scheduled', 'queued', 'retrying');
CREATE INDEX jobs_running ON jobs (worker_id) WHERE state = 'running';
CREATE INDEX jobs_deadline ON jobs (deadline) WHERE finished_at IS NULL;

-- The last turn that each account got in a queue, while that matters.
CREATE TABLE turns (
    provider text NOT NULL,
    lane     text NOT NULL,
    account  text NOT NULL,
    last     bigint NOT NULL,
    PRIMARY KEY (provider, lane, account)
);

-- One row a provider call, committed before the call is sent.
--
-- attempts, results and artifacts have no foreign keys: each row of theirs is
-- inserted by a statement that holds its job's row, and checking again, row by
-- row, took two thirds of the time of recording a result.
CREATE TABLE attempts (
    id              uuid PRIMARY KEY,
    job_id          uuid NOT NULL,
    gen             int NOT NULL,
    attempt         int NOT NULL,           -- of the job, when it was sent
    call            int NOT NULL CHECK (call > 0), -- place among the job's calls
    lease_token     uuid NOT NULL,
    worker_id       uuid NOT NULL,
    provider        text NOT NULL,
    model           text NOT NULL,
    state           text NOT NULL DEFAULT 'running'
                        CHECK (state IN ('running', 'succeeded', 'failed_unbilled', 'failed_billed', 'unknown')),
    reserved_nano   bigint CHECK (reserved_nano >= 0),  -- the most it can cost; null where unpriced
    cost_nano       bigint CHECK (cost_nano >= 0),      -- what it did cost; null while running or unpriced
    price_ids       text[] NOT NULL DEFAULT '{}',
    started_at      timestamptz NOT NULL DEFAULT now(),
    deadline        timestamptz NOT NULL,
    finished_at     timestamptz,
    corrected_at    timestamptz,            -- when an unknown outcome became known after all
    latency_ms      bigint,
    http_status     int,
    request_id      text NOT NULL DEFAULT '',
    error_kind      text NOT NULL DEFAULT '',
    error_message   text NOT NULL DEFAULT '',
    error_body      bytea,
    usage           jsonb NOT NULL DEFAULT '{}',
    rate_limits     jsonb NOT NULL DEFAULT '{}',  -- what the answer's headers said
    input_tokens    bigint NOT NULL DEFAULT 0,
    output_tokens   bigint NOT NULL DEFAULT 0,

    CONSTRAINT attempts_finished_iff_settled CHECK ((finished_at IS NULL) = (state = 'running')),
    CONSTRAINT attempts_unbilled_is_free CHECK (state <> 'failed_unbilled' OR cost_nano IS NOT DISTINCT FROM 0),
    CONSTRAINT attempts_one_call_once UNIQUE (job_id, call)
);
CREATE INDEX attempts_running ON attempts (worker_id) WHERE state = 'running';
CREATE INDEX attempts_finished ON attempts USING brin (finished_at) WITH (autosummarize = on, pages_per_range = 16);
CREATE INDEX attempts_corrected ON attempts (corrected_at) WHERE corrected_at IS NOT NULL;

CREATE TABLE results (
    job_id        uuid PRIMARY KEY,
    attempt_id    uuid NOT NULL,
    provider      text NOT NULL,
    model         text NOT NULL,
    text          text NOT NULL DEFAULT '',  -- sanitised: what Postgres refuses is replaced
    raw           bytea,                     -- the body as it came
    raw_sha256    bytea CHECK (raw_sha256 IS NULL OR length(raw_sha256) = 32),
    finish_reason text NOT NULL DEFAULT '',
    request_id    text NOT NULL DEFAULT '',
    http_status   int NOT NULL DEFAULT 200,
    latency_ms    bigint NOT NULL DEFAULT 0,
    usage         jsonb NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now()
);

-- A generated picture, sound or film. Equal bytes share one object.
CREATE TABLE artifacts (
    job_id     uuid NOT NULL,
    idx        int NOT NULL CHECK (idx >= 0),
    attempt_id uuid NOT NULL,
    mime       text NOT NULL,
    size       bigint NOT NULL CHECK (size > 0),
    sha256     bytea NOT NULL CHECK (length(sha256) = 32),
    url        text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, idx)
);

CREATE TABLE providers (
    name        text PRIMARY KEY,
    kind        text NOT NULL,
    status      text NOT NULL DEFAULT 'available' CHECK (status IN ('available', 'degraded', 'unavailable')),
    reason      text NOT NULL DEFAULT '',
    changed_by  text NOT NULL DEFAULT '',
    changed_at  timestamptz NOT NULL DEFAULT now(),
    rpm         int,          -- requests a minute; null: no limit
    concurrency int NOT NULL, -- of one worker
    dispatch_window int NOT NULL DEFAULT 200, -- tasks that each of its queues may hold in Redis
    updated_at  timestamptz NOT NULL DEFAULT now()
);

-- A row per provider, model and minute, rolled up from attempts.
CREATE TABLE provider_metrics (
    provider        text NOT NULL,
    model           text NOT NULL,
    minute          timestamptz NOT NULL,
    requests        bigint NOT NULL,
    succeeded       bigint NOT NULL,
    failed_unbilled bigint NOT NULL,
    failed_billed   bigint NOT NULL,
    unknown         bigint NOT NULL,
    rate_limited    bigint NOT NULL,
    input_tokens    bigint NOT NULL,
    output_tokens   bigint NOT NULL,
    cost_nano       bigint NOT NULL,
    unpriced        bigint NOT NULL,
    latency_ms_sum  bigint NOT NULL,
    latency_ms_max  bigint NOT NULL,
    latency_ms_p50  bigint NOT NULL,
    latency_ms_p95  bigint NOT NULL,
    latency_ms_p99  bigint NOT NULL,
    PRIMARY KEY (provider, model, minute),
    CONSTRAINT provider_metrics_outcomes_add_up
        CHECK (requests = succeeded + failed_unbilled + failed_billed + unknown)
);
CREATE INDEX provider_metrics_minute ON provider_metrics (minute);

CREATE TABLE workers (
    id           uuid PRIMARY KEY,
    host         text NOT NULL,
    pid          int NOT NULL,
    providers    text[] NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    stopped_at   timestamptz
);
CREATE INDEX workers_live ON workers (heartbeat_at) WHERE stopped_at IS NULL;

-- Who leads: one row a role. It works through a pooler in transaction mode.
CREATE TABLE leases (
    role       text PRIMARY KEY,
    holder     uuid NOT NULL,
    expires_at timestamptz NOT NULL
);

-- +goose Down
DROP TABLE leases, workers, provider_metrics, providers, artifacts, results, attempts, turns, jobs, batches;
