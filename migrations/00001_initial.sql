-- +goose Up

-- The sum of amounts, as far as it fits: an absurd row must not fail a page.
CREATE FUNCTION saturated(amount numeric) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS 'SELECT least(greatest(amount, -9223372036854775808), 9223372036854775807)::bigint';

-- The share of a job in an amount that is split among the jobs of a call by their weights:
-- upto is the sum of the weights up to and with its own, in the order of the jobs, and total
-- the sum of all. Shares are rounded so that each is within one of the exact part and that they
-- sum up to the amount.
CREATE FUNCTION share_of(amount bigint, weight bigint, upto bigint, total bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE WHEN weight = total THEN amount ELSE
    (div(amount::numeric * upto + total - 1, total) - div(amount::numeric * (upto - weight) + total - 1, total))::bigint END
$$;

-- A batch holds the jobs that one producer brings in one go. It is open until it is sealed.
CREATE TABLE batches (
    id           text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'), -- see jobs.ValidBatchID
    account      text NOT NULL DEFAULT 'default',
    source       text NOT NULL DEFAULT '',
    origin       text NOT NULL DEFAULT '',  -- what its rows were made of: see jobs.Batch
    options      jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(options) = 'object'), -- that its rows were made with
    tags         jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(tags) = 'object'),
    created_at   timestamptz NOT NULL DEFAULT now(),
    sealed_at    timestamptz,
    cancelled_at timestamptz,
    paused_at    timestamptz,
    drained_at   timestamptz,  -- after the cancellation: no job waits or comes in any more
    removed_at   timestamptz,  -- its jobs and results are gone; the row stays, so that its id is not used again
    exported_until timestamptz -- before then its results were exported by --since-last
);
CREATE INDEX batches_created ON batches (created_at DESC);
CREATE INDEX batches_comparison ON batches ((tags ->> 'comparison')) WHERE tags ->> 'comparison' IS NOT NULL;
CREATE INDEX batches_draining ON batches (id) WHERE cancelled_at IS NOT NULL AND drained_at IS NULL;

-- What was asked for. A row never changes after its acceptance.
CREATE TABLE jobs (
    id                  uuid PRIMARY KEY,
    batch_id            text REFERENCES batches (id),
    seq                 bigint NOT NULL DEFAULT 0,  -- place in the batch's input
    key                 text NOT NULL,              -- what makes the row unique in its batch
    content_sha256      bytea NOT NULL CHECK (length(content_sha256) = 32),
    custom_id           text,
    account             text NOT NULL DEFAULT 'default',
    task                text NOT NULL CHECK (task IN ('text', 'image', 'audio', 'video', 'embedding', 'moderation', 'transcription')),
    provider            text NOT NULL,
    model               text NOT NULL DEFAULT '',
    lane                text NOT NULL DEFAULT 'default' CHECK (lane IN ('high', 'default', 'bulk')),
    request             json NOT NULL,
    own                 json,                       -- columns of its row that decide nothing, in their order
    max_attempts        int NOT NULL DEFAULT 5 CHECK (max_attempts > 0),
    max_provider_calls  int NOT NULL DEFAULT 20 CHECK (max_provider_calls > 0),
    on_unknown          text NOT NULL DEFAULT 'retry' CHECK (on_unknown IN ('retry', 'fail')),
    chain               text[],  -- the providers to ask in order; null: the chain of the task
    fallback            text NOT NULL DEFAULT 'auto' CHECK (fallback IN ('auto', 'never', 'always')),
    created_at          timestamptz NOT NULL DEFAULT now(),
    run_at              timestamptz NOT NULL DEFAULT now(),
    least_nano          bigint NOT NULL DEFAULT 0 CHECK (least_nano >= 0), -- the least it can cost, where its account had a wallet
    pack                smallint NOT NULL DEFAULT 1 CHECK (pack > 0),      -- jobs like it that one call may serve

    CONSTRAINT jobs_custom_id_is_key CHECK (custom_id IS NULL OR (batch_id IS NOT NULL AND key = 'c:' || custom_id))
);
CREATE UNIQUE INDEX jobs_batch_key ON jobs (batch_id, key) WHERE batch_id IS NOT NULL;

-- What has become of it: one row a job, inserted with it. This row is the truth,
-- and its lock is the job's.
--
-- The state machine: scheduled → queued → running → a terminal state,
-- running → retrying → running. A row in a terminal state never changes again,
-- but for its cost, with two exceptions: unknown is not known yet, and becomes
-- succeeded by an answer that comes late, or failed when a person settles its
-- calls; and a person may bring failed, unknown and expired jobs back to queued,
-- with a new generation.
--
-- No index has a column that changes where nothing fails, and more than half of each page is left free, so
-- that an update writes one small row and no index (HOT). Of a row, the log gets what is
-- between the first and the last byte that an update changes: what a claim and an end
-- change stands together.
CREATE TABLE job_states (
    job_id              uuid PRIMARY KEY,
    deadline            timestamptz NOT NULL,
    gen                 int NOT NULL DEFAULT 1 CHECK (gen > 0),           -- the delivery that counts
    crashes             int NOT NULL DEFAULT 0,                           -- workers that died with it
    retry_gen           int NOT NULL DEFAULT 1,  -- calls of this gen and later count: a person's retry begins anew
    unpriced_calls      int NOT NULL DEFAULT 0,  -- calls that no price is known for
    batch_id            text,                                    -- the job's, for the counts of a batch
    state               text NOT NULL CHECK (state IN ('scheduled', 'queued', 'running', 'retrying',
                            'succeeded', 'failed', 'cancelled', 'expired', 'unknown')),
    attempt             int NOT NULL DEFAULT 0 CHECK (attempt >= 0),      -- claims used up
    started_at          timestamptz,
    finished_at         timestamptz,
    lease_token         uuid,
    worker_id           uuid,
    ended_lease         uuid,  -- the claim that ended last: a repeated write is known by it
    cost_nano           bigint NOT NULL DEFAULT 0,  -- nano-USD: its shares of all its calls
    simulated_nano      bigint NOT NULL DEFAULT 0,  -- the same of simulated calls, which cost nobody anything
    charge_nano         bigint NOT NULL DEFAULT 0,  -- what its account is charged for them: see calls
    not_before          timestamptz,             -- a claim has to wait until then
    wait_reason         text NOT NULL DEFAULT '',  -- what it waits for until not_before, where that is no failure
    cancel_requested_at timestamptz,
    paused_at           timestamptz,
    error_class         text NOT NULL DEFAULT '',
    error_message       text NOT NULL DEFAULT '',

    CONSTRAINT job_states_finished_iff_terminal CHECK (
        (finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled', 'expired', 'unknown'))),
    CONSTRAINT job_states_leased_iff_running CHECK (
        (lease_token IS NOT NULL) = (state = 'running') AND (worker_id IS NOT NULL) = (state = 'running')),
    CONSTRAINT job_states_retrying_waits CHECK (state <> 'retrying' OR not_before IS NOT NULL),
    CONSTRAINT job_states_running_started CHECK (state <> 'running' OR (started_at IS NOT NULL AND attempt > 0)),
    CONSTRAINT job_states_failure_has_class CHECK (state NOT IN ('failed', 'unknown') OR error_class <> '')
) WITH (fillfactor = 40);
-- Its columns change with a failure alone: all other updates stay HOT.
CREATE INDEX job_states_wrong ON job_states (batch_id) WHERE error_class <> '';

-- The jobs that have not ended, as delivery needs to find them: one row from the
-- acceptance to the end, so that neither topping up nor the audit nor a take-over
-- looks at the jobs of the past. Its first half repeats what jobs and job_states
-- say; the trigger below keeps it true. Its second half is delivery's own.
CREATE TABLE job_queue (
    job_id        uuid PRIMARY KEY,
    provider      text NOT NULL,
    lane          text NOT NULL,
    model         text NOT NULL,    -- its queue is that of this model; '': its provider has one for all, see queue_model
    account       text NOT NULL,
    batch_id      text NOT NULL,    -- '' for none
    seq           bigint NOT NULL,  -- its turn in the batch: its place there, or beside rows that begin as it does
    pack          smallint NOT NULL DEFAULT 1,
    run_at        timestamptz NOT NULL,
    gen           int NOT NULL,
    not_before    timestamptz,
    deadline      timestamptz NOT NULL,
    paused        bool NOT NULL,
    worker_id     uuid,             -- holds it; null: it waits

    dispatched_at timestamptz,      -- when somebody set out to push this gen to Redis
    due_at        timestamptz,      -- its run_at, where that was still to come when it was accepted
    start_tag     bigint NOT NULL DEFAULT 0,  -- place in the fair order of its queue, once dispatched
    delivery_id   text,             -- the asynq task that carries it with others; null: <job id>-<gen>

    CONSTRAINT job_queue_delivery_is_dispatched CHECK (delivery_id IS NULL OR dispatched_at IS NOT NULL)
) WITH (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX job_queue_undispatched ON job_queue (provider, lane, model, account, batch_id, run_at, seq)
    WHERE dispatched_at IS NULL AND NOT paused AND worker_id IS NULL;
CREATE INDEX job_queue_due ON job_queue (due_at)
    WHERE due_at IS NOT NULL AND dispatched_at IS NULL AND NOT paused AND worker_id IS NULL;
CREATE INDEX job_queue_dispatched ON job_queue (provider, lane, model, account, start_tag, job_id)
    WHERE dispatched_at IS NOT NULL AND worker_id IS NULL;
CREATE INDEX job_queue_held ON job_queue (worker_id) WHERE worker_id IS NOT NULL;
CREATE INDEX job_queue_deadline ON job_queue (deadline) WHERE worker_id IS NULL;
CREATE INDEX job_queue_batch ON job_queue (batch_id) WHERE worker_id IS NULL;

-- How many jobs have ended, and how long they had waited for their first claim. Rows are
-- only added, so that nobody waits for anybody, and are summed up now and then to few.
CREATE TABLE job_ends (
    minute       timestamptz NOT NULL, -- in which they ended; -infinity: hours ago
    provider     text NOT NULL,
    lane         text NOT NULL,
    state        text NOT NULL,
    wait         int NOT NULL,     -- the bucket: see fleet.WaitBounds; -1: never claimed
    jobs         bigint NOT NULL,
    wait_seconds float8 NOT NULL
);

-- How long calls waited for their slot in the limits, as workers tell every few seconds.
CREATE TABLE limiter_waits (
    provider text NOT NULL,
    wait     int NOT NULL,     -- the bucket: see fleet.WaitBounds
    calls    bigint NOT NULL,
    seconds  float8 NOT NULL,
    PRIMARY KEY (provider, wait)
);

-- Keeps job_queue true to job_states, and job_ends. A mark of dispatch is one of its generation
-- and ends with it; a job that is claimed was delivered, and has left its chunk. Its plans may not depend
-- on how large the tables were when they were made.
-- +goose StatementBegin
CREATE FUNCTION job_states_to_queue() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    WITH ended AS (
        DELETE FROM job_queue q
        USING new_states n
        WHERE q.job_id = ANY (ARRAY[n.job_id]) AND n.finished_at IS NOT NULL
        RETURNING q.provider, q.lane, n.state,
            CASE WHEN n.started_at IS NOT NULL THEN greatest(extract(epoch FROM n.started_at - q.run_at), 0)::float8 END AS waited
    )
    INSERT INTO job_ends (minute, provider, lane, state, wait, jobs, wait_seconds)
    SELECT date_trunc('minute', now()), provider, lane, state, coalesce(width_bucket(waited, '{0.1,0.5,1,5,10,30,60,300,900,3600,14400}'::float8[]), -1) AS wait,
        count(*), coalesce(sum(waited), 0)
    FROM ended
    GROUP BY provider, lane, state, wait;

    UPDATE job_queue q
    SET gen = n.gen,
        not_before = n.not_before,
        deadline = n.deadline,
        paused = n.paused_at IS NOT NULL,
        worker_id = n.worker_id,
        dispatched_at = CASE
            WHEN n.gen <> q.gen THEN NULL
            WHEN n.worker_id IS NOT NULL THEN coalesce(q.dispatched_at, now())
            ELSE q.dispatched_at END,
        delivery_id = CASE WHEN n.gen = q.gen AND n.worker_id IS NULL THEN q.delivery_id END
    FROM new_states n
    WHERE q.job_id = ANY (ARRAY[n.job_id])
    AND n.finished_at IS NULL
    AND (n.gen, n.not_before, n.deadline, n.paused_at IS NOT NULL, n.worker_id)
        IS DISTINCT FROM (q.gen, q.not_before, q.deadline, q.paused, q.worker_id);

    IF EXISTS (SELECT FROM old_states WHERE finished_at IS NOT NULL) THEN
        INSERT INTO job_queue (job_id, provider, lane, model, account, batch_id, seq, pack, run_at, gen, not_before, deadline, paused, worker_id)
        SELECT j.id, j.provider, j.lane, queue_model(j.provider, j.model), j.account, coalesce(j.batch_id, ''), j.seq, j.pack, j.run_at,
            n.gen, n.not_before, n.deadline, n.paused_at IS NOT NULL, n.worker_id
        FROM new_states n
        JOIN jobs j ON j.id = ANY (ARRAY[n.job_id])
        WHERE n.finished_at IS NULL
        ON CONFLICT (job_id) DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER job_states_to_queue AFTER UPDATE ON job_states
REFERENCING OLD TABLE AS old_states NEW TABLE AS new_states
FOR EACH STATEMENT EXECUTE FUNCTION job_states_to_queue();

-- How many jobs of a batch are in each state, and what they have cost. AcceptJobs
-- adds new jobs, and the trigger below every change, in the transaction that makes it.
-- A batch has a row for each of 8 slots; they sum up to its counts, and a single one
-- may be negative. A transaction takes the slot of its connection, so that two seldom
-- wait for each other, after its jobs and in the order of the batches, so that they
-- never do so in a circle. Amounts are numeric: no sum of them overflows.
CREATE TABLE batch_counts (
    batch_id         text NOT NULL,
    slot             int NOT NULL,
    scheduled        bigint NOT NULL DEFAULT 0,
    queued           bigint NOT NULL DEFAULT 0,
    running          bigint NOT NULL DEFAULT 0,
    retrying         bigint NOT NULL DEFAULT 0,
    succeeded        bigint NOT NULL DEFAULT 0,
    failed           bigint NOT NULL DEFAULT 0,
    cancelled        bigint NOT NULL DEFAULT 0,
    expired          bigint NOT NULL DEFAULT 0,
    unknown          bigint NOT NULL DEFAULT 0,
    cost_nano        numeric NOT NULL DEFAULT 0,
    simulated_nano   numeric NOT NULL DEFAULT 0,
    unpriced_calls   bigint NOT NULL DEFAULT 0,
    last_finished_at timestamptz,  -- when a job of it ended last
    first_job        uuid,         -- the lowest id of those that were added, and the highest
    last_job         uuid,
    estimated_jobs   bigint NOT NULL DEFAULT 0,  -- how many had an estimate when they were accepted, and what these sum up to
    low_nano         numeric NOT NULL DEFAULT 0,
    expected_nano    numeric NOT NULL DEFAULT 0,
    high_nano        numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (batch_id, slot)
) WITH (fillfactor = 25);

-- The slot of a transaction in tables of counters.
CREATE FUNCTION counter_slot() RETURNS int LANGUAGE sql AS 'SELECT pg_backend_pid() % 8';

-- +goose StatementBegin
CREATE FUNCTION job_states_to_counts() RETURNS trigger LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    INSERT INTO batch_counts AS c (batch_id, slot, scheduled, queued, running, retrying, succeeded, failed, cancelled, expired, unknown,
        cost_nano, simulated_nano, unpriced_calls, last_finished_at)
    SELECT batch_id, counter_slot(), sum(n * (state = 'scheduled')::int), sum(n * (state = 'queued')::int),
        sum(n * (state = 'running')::int), sum(n * (state = 'retrying')::int), sum(n * (state = 'succeeded')::int),
        sum(n * (state = 'failed')::int), sum(n * (state = 'cancelled')::int), sum(n * (state = 'expired')::int),
        sum(n * (state = 'unknown')::int), sum(n * cost_nano), sum(n * simulated_nano), sum(n * unpriced_calls), max(finished_at)
    FROM (
        SELECT 1::bigint AS n, batch_id, state, cost_nano::numeric, simulated_nano::numeric, unpriced_calls, finished_at FROM new_states
        UNION ALL
        SELECT -1, batch_id, state, cost_nano, simulated_nano, unpriced_calls, NULL FROM old_states
    ) change
    WHERE batch_id IS NOT NULL
    GROUP BY batch_id
    HAVING (sum(hashtext(state) * n), sum(n * cost_nano), sum(n * simulated_nano), sum(n * unpriced_calls)) <> (0, 0, 0, 0)
        OR bool_or(finished_at IS NOT NULL)
    ORDER BY batch_id
    ON CONFLICT (batch_id, slot) DO UPDATE
    SET scheduled = c.scheduled + excluded.scheduled,
        queued = c.queued + excluded.queued,
        running = c.running + excluded.running,
        retrying = c.retrying + excluded.retrying,
        succeeded = c.succeeded + excluded.succeeded,
        failed = c.failed + excluded.failed,
        cancelled = c.cancelled + excluded.cancelled,
        expired = c.expired + excluded.expired,
        unknown = c.unknown + excluded.unknown,
        cost_nano = c.cost_nano + excluded.cost_nano,
        simulated_nano = c.simulated_nano + excluded.simulated_nano,
        unpriced_calls = c.unpriced_calls + excluded.unpriced_calls,
        last_finished_at = greatest(c.last_finished_at, excluded.last_finished_at);
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER job_states_to_counts AFTER UPDATE ON job_states
REFERENCING OLD TABLE AS old_states NEW TABLE AS new_states
FOR EACH STATEMENT EXECUTE FUNCTION job_states_to_counts();

-- The last start tag that each account got in a queue, while that matters: see
-- docs/adr/0012.
CREATE TABLE last_start_tags (
    provider  text NOT NULL,
    lane      text NOT NULL,
    model     text NOT NULL,
    account   text NOT NULL,
    start_tag bigint NOT NULL,
    PRIMARY KEY (provider, lane, model, account)
);

-- The ledger: one row a provider call, committed before the call is sent.
--
-- calls, call_jobs, results and artifacts have no foreign keys: each row of theirs
-- is inserted by a statement that holds its job's row, and checking again, row by
-- row, took two thirds of the time of recording a result.
CREATE TABLE calls (
    id              uuid PRIMARY KEY,
    worker_id       uuid NOT NULL,
    started_at      timestamptz NOT NULL DEFAULT now(),
    deadline        timestamptz NOT NULL,
    jobs            int NOT NULL DEFAULT 1 CHECK (jobs > 0),  -- that it serves: rows of call_jobs
    simulated       bool NOT NULL DEFAULT false,  -- of a mock or a fake provider: its money is none
    provider        text NOT NULL,
    model           text NOT NULL,
    scope           text NOT NULL DEFAULT '',  -- of limits, in which it was let through: with the key or deployment, where there are several
    reserved_nano   bigint CHECK (reserved_nano >= 0),  -- the most it can cost; null where unpriced
    -- What the account is charged for it. Where its wallet has a rate card, that was fixed when
    -- the call began: a price for each unit of what is delivered, or a multiple of the cost.
    unit_nano       numeric CHECK (unit_nano >= 0),
    markup          numeric CHECK (markup >= 0),
    charge_reserved_nano bigint CHECK (charge_reserved_nano >= 0),  -- null: reserved_nano

    -- What came of it. What an update changes stands together, as in job_states.
    state           text NOT NULL DEFAULT 'running'
                        CHECK (state IN ('running', 'succeeded', 'failed_unbilled', 'failed_billed', 'unknown')),
    cost_nano       bigint CHECK (cost_nano >= 0),      -- what it did cost; null while running or unpriced
    charge_nano     bigint CHECK (charge_nano >= 0),  -- null while running, or where it depends on a price that is not known
    finished_at     timestamptz,
    corrected_at    timestamptz,            -- when an unknown outcome became known after all
    latency_ms      bigint,
    input_tokens    bigint NOT NULL DEFAULT 0,
    output_tokens   bigint NOT NULL DEFAULT 0,
    http_status     int,
    price_ids       text[] NOT NULL DEFAULT '{}',
    request_id      text NOT NULL DEFAULT '',
    handle          text NOT NULL DEFAULT '',  -- of an order that the provider still works on: another worker goes on with it
    error_kind      text NOT NULL DEFAULT '',
    error_message   text NOT NULL DEFAULT '',
    error_body      bytea,
    usage           jsonb NOT NULL DEFAULT '{}',  -- empty where input_tokens and output_tokens say it all
    rate_limits     jsonb NOT NULL DEFAULT '{}',  -- what the answer's headers said

    CONSTRAINT calls_finished_iff_settled CHECK ((finished_at IS NULL) = (state = 'running')),
    CONSTRAINT calls_unbilled_is_free CHECK (state <> 'failed_unbilled' OR cost_nano IS NOT DISTINCT FROM 0)
) WITH (fillfactor = 35);  -- its settled version, twice as long, stays on its page
CREATE INDEX calls_running ON calls (deadline) WHERE state = 'running';
CREATE INDEX calls_failed ON calls (provider, model, finished_at) WHERE error_kind <> '';  -- how a provider failed last
CREATE INDEX calls_finished ON calls USING brin (finished_at) WITH (autosummarize = on, pages_per_range = 16);

-- The jobs that a call serves, inserted with it: one, which has all of its cost, or
-- several that were packed, whose shares sum up to it, exactly.
CREATE TABLE call_jobs (
    call_id     uuid NOT NULL,
    job_id      uuid NOT NULL,
    gen         int NOT NULL,     -- of the job, when the call was sent
    attempt     int NOT NULL,     -- of the job, when the call was sent
    lease_token uuid NOT NULL,    -- of the claim that sent it
    weight      int NOT NULL DEFAULT 1 CHECK (weight > 0), -- its part of the whole: see share_of
    share_nano  bigint CHECK (share_nano >= 0),  -- null: all that the call costs
    PRIMARY KEY (call_id, job_id)
) WITH (fillfactor = 45);
CREATE INDEX call_jobs_job ON call_jobs (job_id);

-- What may be spent: by the calls that match all of account, provider, model, batch
-- and tag, '' being any, in each period of time. A call reserves the most it can cost in
-- every budget that it matches, in the commit of its row, and its settlement puts what
-- it did cost in place of that. A wallet is the budget of an account for all time,
-- whose limit is what was paid in, and which takes what the account is charged, where that
-- is something else than the cost.
CREATE TABLE budgets (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    wallet        bool NOT NULL DEFAULT false,
    account       text NOT NULL DEFAULT '',
    provider      text NOT NULL DEFAULT '',
    model         text NOT NULL DEFAULT '',
    batch_id      text NOT NULL DEFAULT '',
    tag           text NOT NULL DEFAULT '',     -- name=value, of a batch
    simulated     bool NOT NULL DEFAULT false,  -- caps the money of mocks and fakes, and no other
    period        text NOT NULL CHECK (period IN ('hour', 'day', 'week', 'month', 'total')),
    timezone      text NOT NULL DEFAULT 'UTC',
    limit_nano    bigint NOT NULL CHECK (limit_nano >= 0),
    card          jsonb CHECK (card IS NULL OR wallet),  -- the rate card of a wallet: see billing.Card
    blocks        bool NOT NULL DEFAULT true,   -- else it only warns
    began_at      timestamptz NOT NULL,         -- the period of the sums; a total's is -infinity
    -- No CHECK: it would be asked of what an update computes from a row that another
    -- transaction has changed meanwhile, before that is noticed and computed anew.
    spent_nano    bigint NOT NULL DEFAULT 0,
    forgotten_nano bigint NOT NULL DEFAULT 0,   -- the part of a total whose calls are kept no longer
    reserved_nano bigint NOT NULL DEFAULT 0,
    stopped_until timestamptz,                  -- a call did not fit: the end of the period
    stopped_needs bigint NOT NULL DEFAULT 0,    -- the least that one needed
    refused_at    timestamptz,                  -- when the last one did not fit
    changed_by    text NOT NULL DEFAULT '',
    changed_at    timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT budgets_wallet_is_an_accounts CHECK (
        NOT wallet OR account <> '' AND period = 'total' AND provider = '' AND model = '' AND batch_id = '' AND tag = '')
) WITH (fillfactor = 20);
CREATE UNIQUE INDEX budgets_scope ON budgets (account, provider, model, batch_id, tag, period, wallet, simulated);

-- What a call holds or has taken of each budget that it matched when it began.
CREATE TABLE charges (
    call_id       uuid NOT NULL,
    budget_id     bigint NOT NULL,
    wallet        bool NOT NULL,         -- it takes the call's charge; else its cost
    began_at      timestamptz NOT NULL,  -- the period of the budget that it counts in
    reserved_nano bigint NOT NULL CHECK (reserved_nano >= 0),
    spent_nano    bigint NOT NULL DEFAULT 0 CHECK (spent_nano >= 0),
    PRIMARY KEY (call_id, budget_id)
) WITH (fillfactor = 70);

-- How much of what the price list says is the most that a call of a model can cost is
-- reserved for it under a budget, and whether a bill was above it: then blocking budgets
-- let no call of the model through until a person raises the bound.
CREATE TABLE bounds (
    provider      text NOT NULL,
    model         text NOT NULL,
    percent       int NOT NULL DEFAULT 100 CHECK (percent BETWEEN 100 AND 100000),
    stopped_at    timestamptz,
    reserved_nano bigint NOT NULL DEFAULT 0,    -- of the call whose bill was above it
    cost_nano     bigint NOT NULL DEFAULT 0,
    changed_by    text NOT NULL DEFAULT '',
    changed_at    timestamptz NOT NULL DEFAULT '-infinity',
    sent_at       timestamptz NOT NULL DEFAULT now(), -- when that call was sent: one from before a raise counts no more
    PRIMARY KEY (provider, model)
);

-- What people have to know of. A condition that lasts has one open row; a graver level of
-- it closes that and opens another. See jobs.Alert.
CREATE TABLE alerts (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind      text NOT NULL CHECK (kind IN ('budget', 'overrun', 'ledger', 'spending', 'provider', 'dead_letters', 'queue')),
    subject   text NOT NULL,
    level     int NOT NULL DEFAULT 0,
    text      text NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    graver    bool NOT NULL DEFAULT false       -- closed by a graver level of the same
);
CREATE UNIQUE INDEX alerts_open ON alerts (kind, subject) WHERE closed_at IS NULL;
CREATE INDEX alerts_newest ON alerts (opened_at DESC);

-- What was paid into wallets and what was charged, corrections as rows of their own.
-- Rows are only added: the sum of an account's is its balance.
CREATE TABLE ledger_entries (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key         uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,  -- a repeated write is known by it
    account     text NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    amount_nano bigint NOT NULL,
    call_id     uuid,                    -- of a charge; null: of a deposit or a withdrawal
    note        text NOT NULL DEFAULT '',
    entered_by  text NOT NULL DEFAULT ''
);
CREATE INDEX ledger_entries_account ON ledger_entries (account, id);
CREATE FUNCTION ledger_is_only_added_to() RETURNS trigger LANGUAGE plpgsql
AS 'BEGIN RAISE EXCEPTION ''ledger_entries is only added to''; END';
CREATE TRIGGER ledger_is_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_only_added_to();

CREATE TABLE results (
    job_id        uuid PRIMARY KEY,
    call_id       uuid NOT NULL,
    provider      text NOT NULL,
    model         text NOT NULL,
    text          text NOT NULL DEFAULT '',  -- sanitised: what Postgres refuses is replaced
    vector        bytea,                     -- of an embedding: 32 bits a number, the lowest byte first
    raw           bytea,                     -- the body as it came
    raw_sha256    bytea CHECK (raw_sha256 IS NULL OR length(raw_sha256) = 32),
    finish_reason text NOT NULL DEFAULT '',
    request_id    text NOT NULL DEFAULT '',
    http_status   int NOT NULL DEFAULT 200,
    latency_ms    bigint NOT NULL DEFAULT 0,
    usage         jsonb NOT NULL DEFAULT '{}',
    cached        bool NOT NULL DEFAULT false,  -- from the cache: the call is another job's
    saved_nano    bigint,                       -- what that call did cost; null where it has no price
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT results_only_the_cache_saves CHECK (cached OR saved_nano IS NULL)
);

-- A generated picture, sound or film. Equal bytes share one object.
CREATE TABLE artifacts (
    job_id     uuid NOT NULL,
    idx        int NOT NULL CHECK (idx >= 0),
    call_id    uuid NOT NULL,
    mime       text NOT NULL,
    size       bigint NOT NULL CHECK (size > 0),
    sha256     bytea NOT NULL CHECK (length(sha256) = 32),
    url        text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, idx)
);
CREATE INDEX artifacts_url ON artifacts (url);  -- who else has a file that is to be removed

-- The cache: answers that jobs of the same account may be given which ask for the same,
-- until they expire, and requests that a job, the leader, is getting answered for all who
-- want it. They outlive the jobs, results and calls that they were made of.
CREATE TABLE cache_entries (
    key           bytea PRIMARY KEY CHECK (length(key) = 32),  -- see billing.CacheKey
    account       text NOT NULL,
    provider      text NOT NULL,
    model         text NOT NULL,      -- that was asked
    simulated     bool NOT NULL,
    leader        uuid,               -- the job that makes the call, under this lease, as long as it runs
    lease_token   uuid,
    created_at    timestamptz NOT NULL DEFAULT now(),
    answered_at   timestamptz,
    expires_at    timestamptz,
    cost_nano     bigint,             -- what a hit saves; null where it has no price
    call_id       uuid,
    answered_by   text NOT NULL DEFAULT '',  -- the model that answered
    text          text NOT NULL DEFAULT '',
    vector        bytea,
    raw           bytea,
    raw_sha256    bytea,
    finish_reason text NOT NULL DEFAULT '',
    request_id    text NOT NULL DEFAULT '',
    http_status   int NOT NULL DEFAULT 200,
    usage         jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT cache_entries_answered_expires CHECK (
        (answered_at IS NULL) = (expires_at IS NULL) AND (answered_at IS NULL) = (call_id IS NULL)),
    CONSTRAINT cache_entries_leader_has_lease CHECK ((leader IS NULL) = (lease_token IS NULL))
);
CREATE INDEX cache_entries_expire ON cache_entries (expires_at);

-- The pictures, sounds and films of cached answers.
CREATE TABLE cache_files (
    key     bytea NOT NULL,
    call_id uuid NOT NULL,
    idx     int NOT NULL,
    mime    text NOT NULL,
    size    bigint NOT NULL,
    sha256  bytea NOT NULL,
    url     text NOT NULL,
    PRIMARY KEY (key, call_id, idx)
);
CREATE INDEX cache_files_url ON cache_files (url);

-- The jobs that wait for the leader of their request.
CREATE TABLE cache_followers (
    key    bytea NOT NULL,
    job_id uuid NOT NULL,
    since  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (key, job_id)
);

-- Files that the cache has let go of: a worker removes those that nobody else has.
CREATE TABLE loose_files (
    url   text PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now()
);

-- What is configured for a provider, what people ordered, and what workers learned
-- about it while they ran. A limit is an object of dimensions, such as
-- {"rpm": 500, "tpm": 200000}. What is pinned wins, then what was learned, then what
-- is configured; where the configuration file names a dimension, what is learned may
-- only lower it. 0 in a pinned one means: no limit.
CREATE TABLE providers (
    name              text PRIMARY KEY,
    kind              text NOT NULL,
    simulated         bool NOT NULL DEFAULT false,        -- a mock or a fake: its money is none
    status            text NOT NULL DEFAULT 'available' CHECK (status IN ('available', 'degraded', 'unavailable')),
    reason            text NOT NULL DEFAULT '',
    changed_by        text NOT NULL DEFAULT '',
    changed_at        timestamptz NOT NULL DEFAULT now(),
    concurrency       int NOT NULL,                       -- of one worker
    by_model          bool NOT NULL DEFAULT false,        -- each model has queues of its own, as limits are counted by model
    dispatch_window   int NOT NULL DEFAULT 200,           -- jobs that each of its queues may hold in Redis
    chunk_size        int NOT NULL DEFAULT 1 CHECK (chunk_size BETWEEN 1 AND 200), -- jobs of the bulk lane that one task carries
    updated_at        timestamptz NOT NULL DEFAULT now(),
    limits_configured jsonb NOT NULL,                     -- as the last worker registered them
    limits_from_file  text[] NOT NULL DEFAULT '{}',       -- those of them that stand in the file
    limits_learned    jsonb NOT NULL DEFAULT '{}',
    limits_learned_at timestamptz,
    limits_pinned     jsonb NOT NULL DEFAULT '{}',
    limits_pinned_by  text NOT NULL DEFAULT '',
    limits_pinned_at  timestamptz,
    blocked_until     timestamptz,                        -- the provider asked to be left alone
    blocked_reason    text NOT NULL DEFAULT '',
    out_of_money_at   timestamptz,                        -- when it last said so
    breaker           text NOT NULL DEFAULT 'closed' CHECK (breaker IN ('closed', 'open', 'half_open')),
    breaker_reason    text NOT NULL DEFAULT '',
    breaker_at        timestamptz,
    breaker_override  text NOT NULL DEFAULT '' CHECK (breaker_override IN ('', 'open', 'closed')), -- a person holds it so
    breaker_changed_by text NOT NULL DEFAULT '',
    metrics_since     timestamptz,                        -- figures are shown from here on
    key_ends          text[] NOT NULL DEFAULT '{}',       -- how its keys end, of the worker that registered last

    CONSTRAINT providers_keys_are_not_shown CHECK (array_to_string(key_ends, ' ') !~ '[^ ]{5}'), -- four characters at most
    CONSTRAINT providers_limits_are_objects CHECK (
        jsonb_typeof(limits_configured) = 'object' AND jsonb_typeof(limits_learned) = 'object'
        AND jsonb_typeof(limits_pinned) = 'object')
);

-- The models of such providers that workers have met: the limits in force of all their calls
-- together, as a worker registered them last, and the sizes of their queues in place of the
-- provider's.
CREATE TABLE provider_models (
    provider        text NOT NULL,
    model           text NOT NULL,
    limits          jsonb NOT NULL CHECK (jsonb_typeof(limits) = 'object'),
    dispatch_window int NOT NULL,
    chunk_size      int NOT NULL CHECK (chunk_size BETWEEN 1 AND 200),
    PRIMARY KEY (provider, model)
);

-- The model of the queue that jobs of a provider and a model wait in. What no worker has
-- served yet is taken to count by model.
CREATE FUNCTION queue_model(of_provider text, of_model text) RETURNS text LANGUAGE sql STABLE
AS $$ SELECT CASE WHEN coalesce((SELECT by_model FROM providers WHERE name = of_provider), true) THEN of_model ELSE '' END $$;

-- The last 500 moves of each provider's circuit breaker, by itself or by a person's order.
CREATE TABLE breaker_moves (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    state    text NOT NULL,                     -- that it moved to
    held     text NOT NULL,                     -- the state in which a person holds it; '': it works by itself
    reason   text NOT NULL,
    held_by  text NOT NULL                      -- the person, where one moved it
);
CREATE INDEX breaker_moves_provider ON breaker_moves (provider, id);
-- +goose StatementBegin
CREATE FUNCTION breaker_to_moves() RETURNS trigger LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO breaker_moves (provider, state, held, reason, held_by)
    VALUES (NEW.name, NEW.breaker, NEW.breaker_override,
        CASE WHEN NEW.breaker_override = OLD.breaker_override THEN NEW.breaker_reason ELSE '' END,
        CASE WHEN NEW.breaker_override = OLD.breaker_override THEN '' ELSE NEW.breaker_changed_by END);
    DELETE FROM breaker_moves
    WHERE provider = NEW.name AND id <= (SELECT id FROM breaker_moves WHERE provider = NEW.name ORDER BY id DESC OFFSET 500 LIMIT 1);
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER breaker_to_moves AFTER UPDATE OF breaker, breaker_override ON providers
FOR EACH ROW WHEN ((NEW.breaker, NEW.breaker_override) IS DISTINCT FROM (OLD.breaker, OLD.breaker_override))
EXECUTE FUNCTION breaker_to_moves();

-- What answers have said of the limits of a part of a provider's calls, and what operators
-- have set: of a class of models, with the id of a key where there are several, as in
-- gpt-6-luna@1f2e3d4c5b6a. What is pinned for a class holds for each key.
CREATE TABLE limit_scopes (
    provider          text NOT NULL,
    scope             text NOT NULL,
    limits_learned    jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(limits_learned) = 'object'),
    limits_learned_at timestamptz,
    limits_pinned     jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(limits_pinned) = 'object'),
    limits_pinned_by  text NOT NULL DEFAULT '',
    limits_pinned_at  timestamptz,
    blocked_until     timestamptz,                        -- the provider asked that such calls be left out
    blocked_reason    text NOT NULL DEFAULT '',
    PRIMARY KEY (provider, scope)
);

-- The providers to ask for a task, in order, where a person has set them.
CREATE TABLE chains (
    task       text PRIMARY KEY CHECK (task IN ('text', 'image', 'audio', 'video')),
    providers  text[] NOT NULL CONSTRAINT chains_not_empty CHECK (cardinality(providers) > 0),
    changed_by text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- What calls came to, by provider, model and the minute in which they ended. The
-- trigger below adds each call in the transaction that settles it, and each later
-- correction as a difference, to the slot of the connection (see batch_counts): the
-- slots of a minute sum up to its figures, and outlive the calls.
CREATE TABLE provider_metrics (
    provider        text NOT NULL,
    model           text NOT NULL,
    minute          timestamptz NOT NULL,
    slot            int NOT NULL,
    requests        bigint NOT NULL,
    succeeded       bigint NOT NULL,
    failed_unbilled bigint NOT NULL,
    failed_billed   bigint NOT NULL,
    unknown         bigint NOT NULL,
    rate_limited    bigint NOT NULL,
    refused         bigint NOT NULL DEFAULT 0,  -- for what was asked: no failure of the provider's
    input_tokens    numeric NOT NULL,
    output_tokens   numeric NOT NULL,
    answered        bigint NOT NULL DEFAULT 0,  -- answers that those which succeeded brought: several, of a shared call or to a request for n
    cost_nano       numeric NOT NULL,
    simulated_nano  numeric NOT NULL DEFAULT 0,
    unpriced        bigint NOT NULL,
    latency_ms_sum  numeric NOT NULL,
    latency_ms_max  bigint NOT NULL,            -- the highest that was ever added
    last_started_at timestamptz NOT NULL,       -- when one of them began last
    PRIMARY KEY (provider, model, minute, slot),
    CONSTRAINT provider_metrics_outcomes_add_up
        CHECK (requests = succeeded + failed_unbilled + failed_billed + unknown)
) WITH (fillfactor = 50);
CREATE INDEX provider_metrics_minute ON provider_metrics (minute);

-- A histogram of their latency: percentiles of minutes cannot be added, counts can.
CREATE TABLE provider_latencies (
    provider text NOT NULL,
    model    text NOT NULL,
    minute   timestamptz NOT NULL,
    slot     int NOT NULL,
    bucket   int NOT NULL,     -- see latency_bucket
    calls    bigint NOT NULL,
    succeeded bigint NOT NULL, -- those of them that brought an answer
    PRIMARY KEY (minute, provider, model, slot, bucket)
) WITH (fillfactor = 50);

-- The bucket of a latency: bucket b begins at 2^(b/8) - 1 ms, so that it is 9 % wide.
CREATE FUNCTION latency_bucket(ms bigint) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS 'SELECT floor(8 * ln(1 + greatest(ms, 0)::float8) / ln(2::float8) + 1e-9)::int';

-- +goose StatementBegin
CREATE FUNCTION calls_to_metrics() RETURNS trigger LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    INSERT INTO provider_metrics AS m (provider, model, minute, slot, requests, succeeded, failed_unbilled, failed_billed, unknown,
        rate_limited, refused, input_tokens, output_tokens, answered, cost_nano, simulated_nano, unpriced, latency_ms_sum, latency_ms_max, last_started_at)
    SELECT provider, model, date_trunc('minute', finished_at), counter_slot(), sum(n),
        sum(n * (state = 'succeeded')::int), sum(n * (state = 'failed_unbilled')::int),
        sum(n * (state = 'failed_billed')::int), sum(n * (state = 'unknown')::int),
        sum(n * (error_kind IN ('rate_limited', 'concurrency_limit'))::int),
        sum(n * (error_kind IN ('invalid_request', 'moderated', 'not_found', 'too_large', 'cancelled', 'not_asked'))::int),
        sum(n * input_tokens::numeric), sum(n * output_tokens::numeric), sum(n * (state = 'succeeded')::int * jobs * coalesce((usage ->> 'answers')::bigint, 1)),
        sum(n * CASE WHEN simulated THEN 0 ELSE coalesce(cost_nano, 0)::numeric END),
        sum(n * CASE WHEN simulated THEN coalesce(cost_nano, 0)::numeric ELSE 0 END),
        sum(n * (cost_nano IS NULL)::int),
        sum(n * coalesce(latency_ms, 0)::numeric), greatest(max(n * latency_ms), 0), max(started_at)
    FROM (SELECT 1::bigint AS n, * FROM new_calls UNION ALL SELECT -1, * FROM old_calls) change
    WHERE finished_at IS NOT NULL
    GROUP BY provider, model, date_trunc('minute', finished_at)
    ORDER BY provider, model, date_trunc('minute', finished_at)
    ON CONFLICT (provider, model, minute, slot) DO UPDATE
    SET requests = m.requests + excluded.requests,
        succeeded = m.succeeded + excluded.succeeded,
        failed_unbilled = m.failed_unbilled + excluded.failed_unbilled,
        failed_billed = m.failed_billed + excluded.failed_billed,
        unknown = m.unknown + excluded.unknown,
        rate_limited = m.rate_limited + excluded.rate_limited,
        refused = m.refused + excluded.refused,
        input_tokens = m.input_tokens + excluded.input_tokens,
        output_tokens = m.output_tokens + excluded.output_tokens,
        answered = m.answered + excluded.answered,
        cost_nano = m.cost_nano + excluded.cost_nano,
        simulated_nano = m.simulated_nano + excluded.simulated_nano,
        unpriced = m.unpriced + excluded.unpriced,
        latency_ms_sum = m.latency_ms_sum + excluded.latency_ms_sum,
        latency_ms_max = greatest(m.latency_ms_max, excluded.latency_ms_max),
        last_started_at = greatest(m.last_started_at, excluded.last_started_at);

    INSERT INTO provider_latencies AS l (provider, model, minute, slot, bucket, calls, succeeded)
    SELECT provider, model, date_trunc('minute', finished_at), counter_slot(), latency_bucket(latency_ms), sum(n), sum(n * (state = 'succeeded')::int)
    FROM (SELECT 1::bigint AS n, * FROM new_calls UNION ALL SELECT -1, * FROM old_calls) change
    WHERE finished_at IS NOT NULL AND latency_ms IS NOT NULL
    GROUP BY provider, model, date_trunc('minute', finished_at), latency_bucket(latency_ms)
    HAVING sum(n) <> 0 OR sum(n * (state = 'succeeded')::int) <> 0
    ORDER BY provider, model, date_trunc('minute', finished_at), latency_bucket(latency_ms)
    ON CONFLICT (minute, provider, model, slot, bucket) DO UPDATE SET calls = l.calls + excluded.calls, succeeded = l.succeeded + excluded.succeeded;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER calls_to_metrics AFTER UPDATE ON calls
REFERENCING OLD TABLE AS old_calls NEW TABLE AS new_calls
FOR EACH STATEMENT EXECUTE FUNCTION calls_to_metrics();

-- Calls to applications that tell them what has happened: see docs/webhooks.md. A row is
-- added in the transaction of what it tells, so that none is lost and none is doubled; a
-- worker sends it until it is taken, or has been refused too often.
CREATE TABLE webhook_events (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    url        text NOT NULL,
    type       text NOT NULL,               -- such as batch.finished
    subject    text NOT NULL,               -- what it is about, for lists: a batch, a job
    batch_id   text,                        -- the batch that it is of, or that its job is in
    payload    text NOT NULL,               -- as it is sent and signed
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    tries      int NOT NULL DEFAULT 0,
    try_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamptz,
    delivered  bool NOT NULL DEFAULT false,
    status     int,                         -- of the last answer
    error      text NOT NULL DEFAULT '',    -- why the last try failed
    CONSTRAINT webhook_events_delivered_ended CHECK (ended_at IS NOT NULL OR NOT delivered)
);
CREATE INDEX webhook_events_due ON webhook_events (url, try_at) WHERE ended_at IS NULL;
CREATE INDEX webhook_events_subject ON webhook_events (subject);
CREATE INDEX webhook_events_batch ON webhook_events (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX webhook_events_newest ON webhook_events (created_at DESC);

-- Adds an event to be sent to a URL, in the caller's transaction.
CREATE FUNCTION add_webhook(url text, type text, subject text, data jsonb, batch text DEFAULT NULL) RETURNS uuid
LANGUAGE sql
AS $$
    INSERT INTO webhook_events (url, type, subject, batch_id, payload)
    VALUES (add_webhook.url, add_webhook.type, add_webhook.subject, add_webhook.batch, jsonb_build_object(
        'type', add_webhook.type,
        'timestamp', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'data', add_webhook.data)::text)
    RETURNING id
$$;

-- Batches whose end has a consequence: it is told, or the next step is sealed. No
-- transaction sees that it ends a batch, since others end jobs of it at the same time; so
-- the leader looks at these, and notes the end in the commit of its consequences.
CREATE TABLE batch_ends (
    batch_id text PRIMARY KEY REFERENCES batches (id),
    webhook  text NOT NULL DEFAULT '',      -- the URL that is called
    per_job  bool NOT NULL DEFAULT false,   -- for each job, too
    ended_at timestamptz                    -- null: it has not ended, or goes on
);
CREATE INDEX batch_ends_open ON batch_ends (batch_id) WHERE ended_at IS NULL;
CREATE INDEX batch_ends_per_job ON batch_ends (batch_id) WHERE per_job;

-- Tells of each job that ends where that is wanted, in the commit of its end. A batch
-- whose jobs had ended, and go on or ended in another way after all, will end anew.
-- +goose StatementBegin
CREATE FUNCTION job_states_to_ends() RETURNS trigger LANGUAGE plpgsql
SET enable_hashjoin = on SET enable_mergejoin = on SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
BEGIN
    IF EXISTS (SELECT FROM old_states WHERE finished_at IS NOT NULL) THEN
        UPDATE batch_ends
        SET ended_at = NULL
        WHERE batch_id IN (
            SELECT o.batch_id
            FROM old_states o
            JOIN new_states n ON n.job_id = o.job_id
            WHERE o.finished_at IS NOT NULL AND n.state <> o.state);
    END IF;

    IF EXISTS (SELECT FROM batch_ends WHERE per_job) THEN
        PERFORM add_webhook(e.webhook, 'job.' || n.state, n.job_id::text, jsonb_strip_nulls(jsonb_build_object(
            'job_id', n.job_id, 'batch_id', n.batch_id, 'custom_id', j.custom_id, 'row', j.seq, 'state', n.state,
            'error', nullif(n.error_class, ''), 'finished_at', n.finished_at,
            'cost_usd', trim_scale(n.cost_nano / 1e9)::text, 'simulated_cost_usd', trim_scale(n.simulated_nano / 1e9)::text)), n.batch_id)
        FROM new_states n
        JOIN old_states o ON o.job_id = n.job_id
        JOIN batch_ends e ON e.batch_id = n.batch_id AND e.per_job
        JOIN jobs j ON j.id = n.job_id
        WHERE n.finished_at IS NOT NULL AND n.state <> o.state;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER job_states_to_ends AFTER UPDATE ON job_states
REFERENCING OLD TABLE AS old_states NEW TABLE AS new_states
FOR EACH STATEMENT EXECUTE FUNCTION job_states_to_ends();

-- The steps of pipelines: each is a batch, and makes its rows of the answers of the one
-- before. The first is the pipeline's own batch.
CREATE TABLE steps (
    batch_id   text PRIMARY KEY REFERENCES batches (id),
    pipeline   text NOT NULL,
    place      int NOT NULL CHECK (place >= 0),
    name       text NOT NULL,
    definition json NOT NULL,       -- see batches.Step; of the first one {}
    UNIQUE (pipeline, place)
);

-- What the success of each job has led to, in the commit of that success: its primary key
-- makes each of them one. It outlives the jobs.
CREATE TABLE step_links (
    parent_id  uuid NOT NULL,
    batch_id   text NOT NULL,       -- of the step
    child_id   uuid,                -- null: the step's filter left the row out, or the batch is gone
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (parent_id, batch_id)
);
CREATE UNIQUE INDEX step_links_child ON step_links (child_id) WHERE child_id IS NOT NULL;
-- A result that was used never changes: what was made of it would not fit it any more.
-- +goose StatementBegin
CREATE FUNCTION used_result_stays() RETURNS trigger LANGUAGE plpgsql
AS $$
BEGIN
    IF EXISTS (SELECT FROM step_links WHERE parent_id = OLD.job_id) THEN
        RAISE EXCEPTION 'the result of job % was used by a next step, and never changes', OLD.job_id;
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER used_result_stays BEFORE UPDATE ON results
FOR EACH ROW EXECUTE FUNCTION used_result_stays();
CREATE INDEX step_links_left_out ON step_links (batch_id) WHERE child_id IS NULL;

-- A batch that is made again and again: see docs/schedules.md.
CREATE TABLE schedules (
    name          text PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$'), -- see schedules.CheckName
    cron          text NOT NULL,
    timezone      text NOT NULL,
    every_seconds bigint NOT NULL,            -- counted from created_at; 0: cron says when
    created_at    timestamptz NOT NULL,
    overlap       text NOT NULL CHECK (overlap IN ('skip', 'queue')),
    account       text NOT NULL,
    tags          jsonb NOT NULL CHECK (jsonb_typeof(tags) = 'object'),
    source        text NOT NULL,
    input         jsonb NOT NULL,             -- how rows become jobs: see batches.Kept
    content       bytea,                      -- the rows; null: they are read from a URL, at each fire
    paused_at     timestamptz,
    next_at       timestamptz NOT NULL,       -- moved on in the commit that records a fire
    CONSTRAINT schedules_cron_or_every CHECK ((cron = '') = (every_seconds > 0))
);
CREATE INDEX schedules_due ON schedules (next_at) WHERE paused_at IS NULL;

-- The fires of a schedule: its primary key makes each of them one. The jobs of one are
-- those of its batch, whose keys let no row in twice.
CREATE TABLE schedule_fires (
    schedule text NOT NULL REFERENCES schedules (name) ON DELETE CASCADE,
    fire_at  timestamptz NOT NULL,            -- the time that it is for
    fired_at timestamptz NOT NULL,
    missed   int NOT NULL,                    -- fires before it that nobody saw to, and that it stands for
    by_hand  bool NOT NULL,
    state    text NOT NULL CHECK (state IN ('accepting', 'accepted', 'skipped', 'failed')),
    batch_id text NOT NULL,
    accepted int NOT NULL DEFAULT 0,
    rejected int NOT NULL DEFAULT 0,
    error    text NOT NULL DEFAULT '',
    tries    int NOT NULL DEFAULT 0,
    try_at   timestamptz NOT NULL DEFAULT '-infinity',
    ended_at timestamptz,
    PRIMARY KEY (schedule, fire_at),
    CONSTRAINT schedule_fires_ended CHECK ((ended_at IS NULL) = (state = 'accepting'))
);
CREATE INDEX schedule_fires_open ON schedule_fires (fire_at) WHERE state = 'accepting';
-- What calls came to, for whom and why they were made, by the hour in which they ended:
-- as provider_metrics is kept, with a slot, in the transaction that settles a call. It
-- sums up to the ledger, and outlives it and the jobs. A call that serves several jobs
-- is counted for the first of them; its cost is split as their shares are.
CREATE TABLE spending (
    hour         timestamptz NOT NULL,
    account      text NOT NULL,
    batch_id     text NOT NULL,      -- '' for none
    provider     text NOT NULL,
    model        text NOT NULL,
    simulated    bool NOT NULL,
    -- first: a job's first call. retry: another, after one that failed. reask: another, after
    -- an answer that did not do. fallback: of another provider than the job asks first.
    -- unknown: any of these whose outcome is not known. cache: no call, but an answer from
    -- the cache.
    kind         text NOT NULL CHECK (kind IN ('first', 'retry', 'reask', 'fallback', 'unknown', 'cache')),
    slot         int NOT NULL,
    calls        bigint NOT NULL,
    failed       bigint NOT NULL,    -- brought no answer
    unpriced     bigint NOT NULL,
    cost_nano    numeric NOT NULL,
    charge_nano  numeric NOT NULL,   -- what accounts are charged for them
    overruns     bigint NOT NULL,    -- cost more than was reserved for them
    overrun_nano numeric NOT NULL,   -- by so much
    saved_nano   numeric NOT NULL DEFAULT 0,  -- what the calls would have cost that answers from the cache stand for
    PRIMARY KEY (hour, account, batch_id, provider, model, simulated, kind, slot)
) WITH (fillfactor = 50);
CREATE INDEX spending_batch ON spending (batch_id) WHERE batch_id <> '';

-- +goose StatementBegin
CREATE FUNCTION calls_to_spending() RETURNS trigger LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    INSERT INTO spending AS m (hour, account, batch_id, provider, model, simulated, kind, slot,
        calls, failed, unpriced, cost_nano, charge_nano, overruns, overrun_nano)
    SELECT hour, account, batch_id, provider, model, simulated, kind, counter_slot(), sum(n), sum(n * failed), sum(n * unpriced),
        sum(cost), sum(charge), sum(n * overrun), sum(over)
    FROM (
        SELECT date_trunc('hour', c.finished_at) AS hour, coalesce(j.account, '') AS account, coalesce(j.batch_id, '') AS batch_id,
            c.provider, c.model, c.simulated, CASE
                WHEN c.state = 'unknown' THEN 'unknown'
                WHEN j.provider <> c.provider THEN 'fallback'
                WHEN b.error_kind IN ('schema', 'cut', 'pause') THEN 'reask'
                WHEN b.error_kind IS NOT NULL THEN 'retry'
                ELSE 'first'
                END AS kind,
            c.n * (s.upto = s.weight)::int AS n, (c.state <> 'succeeded')::int AS failed, (c.cost_nano IS NULL)::int AS unpriced,
            c.n * coalesce(share_of(c.cost_nano, s.weight, s.upto, s.total), 0)::numeric AS cost,
            c.n * coalesce(share_of(c.charge_nano, s.weight, s.upto, s.total), 0)::numeric AS charge,
            coalesce(c.cost_nano > c.reserved_nano, false)::int AS overrun,
            c.n * (s.upto = s.weight)::int * greatest(coalesce(c.cost_nano - c.reserved_nano, 0), 0)::numeric AS over
        FROM (SELECT 1::bigint AS n, * FROM new_calls UNION ALL SELECT -1, * FROM old_calls) c
        CROSS JOIN LATERAL (
            SELECT job_id, weight, weight::bigint AS upto, weight::bigint AS total
            FROM call_jobs
            WHERE call_id = c.id AND c.jobs = 1
            UNION ALL
            SELECT job_id, weight, sum(weight) OVER (ORDER BY job_id), sum(weight) OVER ()
            FROM call_jobs
            WHERE call_id = c.id AND c.jobs > 1
            OFFSET 0
        ) s
        LEFT JOIN LATERAL (SELECT account, batch_id, provider FROM jobs WHERE id = s.job_id OFFSET 0) j ON true
        LEFT JOIN LATERAL (
            SELECT x.error_kind
            FROM (SELECT call_id FROM call_jobs WHERE job_id = s.job_id AND call_id <> c.id OFFSET 0) p
            CROSS JOIN LATERAL (SELECT error_kind, started_at FROM calls WHERE id = p.call_id AND started_at < c.started_at OFFSET 0) x
            ORDER BY x.started_at DESC
            LIMIT 1
        ) b ON true
        WHERE c.finished_at IS NOT NULL
    ) change
    GROUP BY hour, account, batch_id, provider, model, simulated, kind
    HAVING (sum(n), sum(n * failed), sum(n * unpriced), sum(cost), sum(charge), sum(n * overrun), sum(over)) <> (0, 0, 0, 0, 0, 0, 0)
    ORDER BY hour, account, batch_id, provider, model, simulated, kind
    ON CONFLICT (hour, account, batch_id, provider, model, simulated, kind, slot) DO UPDATE
    SET calls = m.calls + excluded.calls,
        failed = m.failed + excluded.failed,
        unpriced = m.unpriced + excluded.unpriced,
        cost_nano = m.cost_nano + excluded.cost_nano,
        charge_nano = m.charge_nano + excluded.charge_nano,
        overruns = m.overruns + excluded.overruns,
        overrun_nano = m.overrun_nano + excluded.overrun_nano;

    IF EXISTS (SELECT FROM new_calls WHERE cost_nano > reserved_nano) THEN
        INSERT INTO bounds AS b (provider, model, stopped_at, reserved_nano, cost_nano, sent_at)
        SELECT DISTINCT ON (provider, model) provider, model, now(), reserved_nano, cost_nano, started_at
        FROM new_calls
        WHERE cost_nano > reserved_nano
        ORDER BY provider, model, started_at DESC, cost_nano DESC
        ON CONFLICT (provider, model) DO UPDATE
        SET stopped_at = excluded.stopped_at, reserved_nano = excluded.reserved_nano, cost_nano = excluded.cost_nano, sent_at = excluded.sent_at
        WHERE b.stopped_at IS NULL AND excluded.sent_at > b.changed_at;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER calls_to_spending AFTER UPDATE ON calls
REFERENCING OLD TABLE AS old_calls NEW TABLE AS new_calls
FOR EACH STATEMENT EXECUTE FUNCTION calls_to_spending();

CREATE TABLE workers (
    id           uuid PRIMARY KEY,
    host         text NOT NULL,
    pid          int NOT NULL,
    providers    text[] NOT NULL,
    slots        int NOT NULL DEFAULT 0,       -- jobs that it runs at once
    version      text NOT NULL DEFAULT '',
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    stopped_at   timestamptz,
    last_seen_heartbeat_at timestamptz,  -- the last heartbeat that any worker has seen,
    last_seen_uptime       interval,     -- and what the fleet's clock said then
    CONSTRAINT workers_seen_with_time CHECK ((last_seen_heartbeat_at IS NULL) = (last_seen_uptime IS NULL))
);
CREATE INDEX workers_live ON workers (heartbeat_at) WHERE stopped_at IS NULL;

-- The fleet, one row, made at its first use: its id, by which a Redis is known to be
-- its own, and a clock that stands still while Postgres is away: workers that reach
-- Postgres move it on. How long each of them has been silent is measured by it, so
-- that neither an outage nor a change of leaders falsifies it.
CREATE TABLE fleet (
    singleton   bool PRIMARY KEY DEFAULT true CHECK (singleton),
    id          uuid NOT NULL DEFAULT gen_random_uuid(),
    uptime      interval NOT NULL DEFAULT '0',
    advanced_at timestamptz NOT NULL DEFAULT now()
);

-- The leader of each role. It works through a pooler in transaction mode.
CREATE TABLE leaders (
    role       text PRIMARY KEY,
    holder     uuid NOT NULL,
    expires_at timestamptz NOT NULL
);

-- How often the leaders have put something right, by what it was.
CREATE TABLE reconciler_actions (
    action  text PRIMARY KEY,
    done    bigint NOT NULL,
    last_at timestamptz NOT NULL DEFAULT now()
);

-- Who may use the monitor over HTTP. Of a token's text only the hash is kept; a row is
-- never removed, so that a monitor that asks for tokens goes on asking.
CREATE TABLE api_tokens (
    prefix       text PRIMARY KEY,
    sha256       bytea NOT NULL CHECK (length(sha256) = 32),
    name         text NOT NULL,
    scope        text NOT NULL CHECK (scope IN ('read', 'enqueue', 'operate', 'admin')),
    account      text NOT NULL DEFAULT '',  -- the only one that it sees; '' for all
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    revoked_by   text NOT NULL DEFAULT ''
);

-- What was done through the monitor, by whom. Rows are only added, and get their
-- answer's status.
CREATE TABLE audit_log (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    actor   text NOT NULL,
    account text NOT NULL DEFAULT '',
    client  text NOT NULL DEFAULT '',
    what    text NOT NULL,
    object  text NOT NULL DEFAULT '',
    status  int NOT NULL DEFAULT 0
);

-- Files that programs have uploaded, as OpenAI's API has them. Their bytes are in blob
-- storage, which all monitors share.
CREATE TABLE api_files (
    id         text PRIMARY KEY,
    account    text NOT NULL,
    filename   text NOT NULL,
    purpose    text NOT NULL,
    bytes      bigint NOT NULL,
    url        text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX api_files_expire ON api_files (expires_at);
CREATE INDEX api_files_account ON api_files (account, created_at DESC, id DESC);

-- Batches that programs have made of files, as OpenAI's API has them: what is beside the
-- batch of the same id. One is being read by the monitor that has set intake_until, until then.
CREATE TABLE api_batches (
    id            text PRIMARY KEY,
    account       text NOT NULL,
    endpoint      text NOT NULL,
    input_file_id text NOT NULL,
    metadata      jsonb NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    intake_until  timestamptz,
    taken_at      timestamptz,  -- its rows are jobs now
    failed_at     timestamptz,  -- its file has faults, and nothing of it was taken
    cancelled_at  timestamptz,
    errors        jsonb NOT NULL DEFAULT '[]'
);
CREATE INDEX api_batches_intake ON api_batches (created_at) WHERE taken_at IS NULL AND failed_at IS NULL;
CREATE INDEX api_batches_account ON api_batches (account, created_at DESC, id DESC);

-- Calls that programs wait for, for a day: a client that sends one again gets the job
-- that it has made already.
CREATE TABLE api_calls (
    job_id      uuid PRIMARY KEY,
    caller      text NOT NULL,               -- the token
    sha256      bytea NOT NULL CHECK (length(sha256) = 32),  -- of the endpoint and the body
    idempotency text NOT NULL DEFAULT '',
    retries     int NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX api_calls_idempotency ON api_calls (caller, idempotency) WHERE idempotency <> '';
CREATE INDEX api_calls_again ON api_calls (caller, sha256, created_at);
CREATE INDEX api_calls_created ON api_calls (created_at);

-- What applications submit in transactions of their own: see docs/sql.md. The schema
-- has a name of its own, so that nothing depends on a search_path.
CREATE SCHEMA oneflow;

-- Which account each database role submits for. Without a row it may not.
CREATE TABLE oneflow.roles (
    role       name PRIMARY KEY,
    account    text NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now()
);

-- What was submitted and is not a job yet, and the idempotency keys of what is.
CREATE TABLE oneflow.submissions (
    id              uuid PRIMARY KEY,           -- the job's
    role            name NOT NULL,
    account         text NOT NULL,
    task            text NOT NULL,
    request         jsonb,                      -- the fields of a row; null once it is a job
    content_sha256  bytea NOT NULL,
    idempotency_key text,
    submitted_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at        timestamptz,                -- when it became a job
    CONSTRAINT submissions_request_until_job CHECK ((request IS NULL) = (ended_at IS NOT NULL)),
    CONSTRAINT submissions_idempotency UNIQUE (account, idempotency_key)
);
CREATE INDEX submissions_waiting ON oneflow.submissions (submitted_at) WHERE ended_at IS NULL;
CREATE INDEX submissions_ended ON oneflow.submissions (ended_at) WHERE ended_at IS NOT NULL;

-- Submits a job in the caller's transaction and returns its id: it is accepted within a
-- second of the commit, and never where there is none. It runs with its owner's rights,
-- and takes the account from the role that has logged in. It says so to workers only
-- where nothing else waits: transactions that do are committed one by one.
-- +goose StatementBegin
CREATE FUNCTION oneflow.enqueue(task text, request jsonb, idempotency_key text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    of_role  name := session_user;
    of_account text;
    content  bytea := sha256(convert_to(coalesce(enqueue.task, '') || coalesce(enqueue.request::text, ''), 'UTF8'));
    waits    boolean;
    -- A UUID of version 7, ordered by time: the milliseconds, then what is random.
    new_id   uuid := encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
        PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid;
    known    oneflow.submissions;
BEGIN
    SELECT r.account INTO of_account FROM oneflow.roles r WHERE r.role = of_role;
    IF of_account IS NULL THEN
        RAISE EXCEPTION 'role % submits for no account', of_role
            USING ERRCODE = 'insufficient_privilege', HINT = format('An operator runs: worker roles grant %s --account NAME', of_role);
    END IF;
    IF enqueue.task IS NULL OR enqueue.task NOT IN ('text', 'image', 'audio', 'video', 'embedding', 'moderation', 'transcription') THEN
        RAISE EXCEPTION 'task %: must be text, image, audio, video, embedding, moderation or transcription', coalesce(quote_literal(left(enqueue.task, 40)), 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF enqueue.request IS NULL OR jsonb_typeof(enqueue.request) <> 'object' OR octet_length(enqueue.request::text) > 16777216 THEN
        RAISE EXCEPTION 'request: must be an object of at most 16 MiB, such as {"prompt": "Write a haiku"}' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF length(enqueue.idempotency_key) NOT BETWEEN 1 AND 256 THEN
        RAISE EXCEPTION 'idempotency_key: must have 1 to 256 characters' USING ERRCODE = 'invalid_parameter_value';
    END IF;

    SELECT EXISTS (SELECT FROM oneflow.submissions s WHERE s.ended_at IS NULL ORDER BY s.submitted_at LIMIT 1) INTO waits;
    INSERT INTO oneflow.submissions (id, role, account, task, request, content_sha256, idempotency_key)
    VALUES (new_id, of_role, of_account, enqueue.task, enqueue.request, content, enqueue.idempotency_key)
    ON CONFLICT ON CONSTRAINT submissions_idempotency DO NOTHING;
    IF FOUND THEN
        IF NOT waits THEN
            PERFORM pg_notify('oneflow_submitted', '');
        END IF;
        RETURN new_id;
    END IF;

    SELECT * INTO known FROM oneflow.submissions s WHERE s.account = of_account AND s.idempotency_key = enqueue.idempotency_key;
    IF known.content_sha256 IS DISTINCT FROM content THEN
        RAISE EXCEPTION 'idempotency_key %: was used for another request', quote_literal(left(enqueue.idempotency_key, 80)) USING ERRCODE = 'unique_violation';
    END IF;
    RETURN known.id;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION oneflow.enqueue FROM PUBLIC;

-- What came of a job of the account of the role that has logged in: one row, and none for any
-- other job. It runs with its owner's rights; the body is bound to the tables when it is made,
-- so that no search_path leads it elsewhere.
-- +goose StatementBegin
CREATE FUNCTION oneflow.result(job uuid)
RETURNS TABLE (state text, text text, vector real[], artifacts jsonb, error text, message text, cost_usd numeric, finished_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT s.state, a.text,
        -- 32 bits a number, the lowest byte first: sign, exponent, fraction.
        (SELECT array_agg((CASE WHEN b.bits >= 2147483648 THEN -1 ELSE 1 END
                * CASE WHEN b.bits / 8388608 % 256 = 0 THEN b.bits % 8388608 * 2::float8 ^ -149
                    ELSE (8388608 + b.bits % 8388608) * 2::float8 ^ (b.bits / 8388608 % 256 - 150) END)::real ORDER BY i)
            FROM generate_series(0, length(a.vector) - 4, 4) i
            CROSS JOIN LATERAL (SELECT get_byte(a.vector, i) + get_byte(a.vector, i + 1) * 256 + get_byte(a.vector, i + 2) * 65536 + get_byte(a.vector, i + 3) * 16777216::bigint AS bits) b),
        (SELECT jsonb_agg(jsonb_build_object('url', f.url, 'mime', f.mime, 'size', f.size, 'sha256', encode(f.sha256, 'hex')) ORDER BY f.idx) FROM artifacts f WHERE f.job_id = j.id),
        nullif(s.error_class, ''), nullif(s.error_message, ''), s.cost_nano / 1e9, s.finished_at
    FROM oneflow.roles r
    JOIN jobs j ON j.account = r.account
    JOIN job_states s ON s.job_id = j.id
    LEFT JOIN results a ON a.job_id = j.id
    WHERE r.role = session_user AND j.id = result.job
    UNION ALL
    SELECT 'submitted', NULL, NULL, NULL, NULL, NULL, 0, NULL
    FROM oneflow.roles r
    JOIN oneflow.submissions u ON u.account = r.account
    WHERE r.role = session_user AND u.id = result.job AND u.ended_at IS NULL;
END;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION oneflow.result FROM PUBLIC;

-- +goose Down
DROP FUNCTION oneflow.result;
DROP TABLE limiter_waits, breaker_moves, step_links, steps, webhook_events, batch_ends;
DROP TABLE api_calls, api_batches, api_files, cache_entries, cache_files, cache_followers, loose_files, spending, bounds, alerts, audit_log, api_tokens, reconciler_actions, job_ends, leaders, fleet, workers, provider_latencies, provider_metrics, batch_counts, chains, limit_scopes, provider_models, providers, artifacts, results,
    ledger_entries, charges, budgets, call_jobs, calls, last_start_tags, job_queue, job_states, jobs, batches;
DROP TABLE schedule_fires, schedules;
DROP FUNCTION breaker_to_moves, queue_model, used_result_stays, add_webhook, job_states_to_ends, calls_to_spending, calls_to_metrics, latency_bucket, job_states_to_counts, counter_slot, ledger_is_only_added_to, job_states_to_queue, share_of, saturated;
DROP FUNCTION oneflow.enqueue;
DROP TABLE oneflow.submissions, oneflow.roles;
DROP SCHEMA oneflow;
