-- psql "$DATABASE_URL" -v job=UUID -f result.sql: waits for the answer to a job of this role's account, and prints it.
\set ON_ERROR_STOP on
\set QUIET on
\pset tuples_only on
\pset format unaligned

SELECT set_config('example.job', :'job', false) \g /dev/null
DO $$
BEGIN
    WHILE EXISTS (SELECT FROM oneflow.result(current_setting('example.job')::uuid) WHERE finished_at IS NULL) LOOP
        PERFORM pg_sleep(0.2);
    END LOOP;
END $$;
SELECT state, coalesce(text, message) FROM oneflow.result(:'job');
