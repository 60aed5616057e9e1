-- psql "$DATABASE_URL" -f enqueue.sql, as a role that has a schema of its own in OneFlow's database: see docs/sql.md.
\set ON_ERROR_STOP on
\set QUIET on
\pset tuples_only on
\pset format unaligned

CREATE TABLE IF NOT EXISTS orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item text NOT NULL, description_job uuid);

BEGIN;
INSERT INTO orders (item) VALUES ('lighthouse') RETURNING id, item \gset
SELECT oneflow.enqueue('text', jsonb_build_object('prompt', 'Describe a ' || :'item', 'max_tokens', 200), 'order-' || :'id') AS job \gset
UPDATE orders SET description_job = :'job' WHERE id = :'id';
COMMIT;

-- This order is not wanted after all, and nothing is sent for it.
BEGIN;
INSERT INTO orders (item) VALUES ('mistake') RETURNING id \gset
SELECT oneflow.enqueue('text', '{"prompt": "Describe a mistake"}', 'order-' || :'id') AS mistake \gset
ROLLBACK;

\echo :job
