-- +goose Up

-- What people set for a provider and what workers learn about it while they run.
-- A limit is an object of dimensions, such as {"rpm": 500, "tpm": 200000}. What is
-- pinned wins, then what was learned, then what is configured; where the
-- configuration file names a dimension, what is learned may only lower it. 0 in a
-- pinned one means: no limit.
ALTER TABLE providers
    DROP COLUMN rpm,
    ADD COLUMN limits_configured jsonb NOT NULL DEFAULT '{}',   -- as the last worker registered them
    ADD COLUMN limits_written    text[] NOT NULL DEFAULT '{}',  -- those of them that stand in the file
    ADD COLUMN limits_learned    jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN limits_learned_at timestamptz,
    ADD COLUMN limits_pinned     jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN limits_pinned_by  text NOT NULL DEFAULT '',
    ADD COLUMN limits_pinned_at  timestamptz,
    ADD COLUMN blocked_until     timestamptz,                   -- the provider asked to be left alone
    ADD COLUMN blocked_reason    text NOT NULL DEFAULT '',
    ADD COLUMN out_of_money_at   timestamptz,                   -- when it last said so
    ADD COLUMN breaker           text NOT NULL DEFAULT 'closed',
    ADD COLUMN breaker_reason    text NOT NULL DEFAULT '',
    ADD COLUMN breaker_at        timestamptz,
    ADD COLUMN breaker_order     text NOT NULL DEFAULT '',      -- where a person holds it; empty: by itself
    ADD COLUMN breaker_by        text NOT NULL DEFAULT '',
    ADD COLUMN metrics_since     timestamptz,                   -- figures are shown from here on
    ADD CONSTRAINT providers_limits_are_objects CHECK (
        jsonb_typeof(limits_configured) = 'object' AND jsonb_typeof(limits_learned) = 'object'
        AND jsonb_typeof(limits_pinned) = 'object'),
    ADD CONSTRAINT providers_breaker_check CHECK (breaker IN ('closed', 'open', 'half_open')),
    ADD CONSTRAINT providers_breaker_order_check CHECK (breaker_order IN ('', 'open', 'closed'));

-- Calls that were refused for what was asked: no failure of the provider's.
ALTER TABLE provider_metrics ADD COLUMN refused bigint NOT NULL DEFAULT 0;

-- The providers to ask for a task, in order, where a person has set them.
CREATE TABLE chains (
    task       text PRIMARY KEY CHECK (task IN ('text', 'image', 'audio', 'video')),
    providers  text[] NOT NULL CONSTRAINT chains_not_empty CHECK (cardinality(providers) > 0),
    changed_by text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- +goose Down
DROP TABLE chains;
ALTER TABLE provider_metrics DROP COLUMN refused;
ALTER TABLE providers
    DROP CONSTRAINT providers_limits_are_objects,
    DROP CONSTRAINT providers_breaker_check,
    DROP CONSTRAINT providers_breaker_order_check,
    DROP COLUMN limits_configured, DROP COLUMN limits_written, DROP COLUMN limits_learned, DROP COLUMN limits_learned_at,
    DROP COLUMN limits_pinned, DROP COLUMN limits_pinned_by, DROP COLUMN limits_pinned_at,
    DROP COLUMN blocked_until, DROP COLUMN blocked_reason, DROP COLUMN out_of_money_at,
    DROP COLUMN breaker, DROP COLUMN breaker_reason, DROP COLUMN breaker_at, DROP COLUMN breaker_order, DROP COLUMN breaker_by,
    DROP COLUMN metrics_since,
    ADD COLUMN rpm int;
