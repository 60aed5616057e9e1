-- +goose Up

-- A clock that stands still while Postgres is away: workers that reach Postgres move
-- it on. How long each of them has been silent is measured by it, so that neither
-- an outage nor a change of leaders falsifies it.
CREATE TABLE fleet_clock (
    one     bool PRIMARY KEY DEFAULT true CHECK (one),
    up      interval NOT NULL DEFAULT '0',
    read_at timestamptz NOT NULL DEFAULT now() -- when it was moved last
);

-- The last heartbeat that any worker has seen, and what the clock said then.
ALTER TABLE workers
    ADD COLUMN seen_beat timestamptz,
    ADD COLUMN seen_up   interval,
    ADD CONSTRAINT workers_seen_with_time CHECK ((seen_beat IS NULL) = (seen_up IS NULL));

-- +goose Down
ALTER TABLE workers DROP CONSTRAINT workers_seen_with_time, DROP COLUMN seen_beat, DROP COLUMN seen_up;
DROP TABLE fleet_clock;
