//go:build million

package monitor_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"oneflow/fleet"
	"oneflow/internal/storetest"
	"oneflow/monitor"
	"oneflow/store"
)

// fill makes n jobs, as they are after a day, in an old batch of 300,000 and others of 10,000: of a hundred, 78 have
// succeeded, 2 failed, 15 wait and 5 wait in Redis; the ledger and the roll-ups are to match.
const fill = `
	INSERT INTO batches (id, account, source, tags, created_at, sealed_at)
	SELECT 'b' || lpad(b::text, 4, '0'), CASE WHEN b % 10 = 0 THEN 'research' ELSE 'default' END, 'prompts-' || b || '.jsonl', jsonb_build_object('team', 't' || b % 5),
		now() - interval '1 day' + b * interval '1 day' / ($1::int / 10000), now()
	FROM generate_series(29, greatest($1::int / 10000 - 1, 29)) b;

	INSERT INTO jobs (id, batch_id, seq, key, content_sha256, account, task, provider, model, lane, request, created_at, run_at)
	SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8' || lpad(to_hex(n), 15, '0'))::uuid,
		'b' || lpad(greatest(n / 10000, 29)::text, 4, '0'), CASE WHEN n < 300000 THEN n ELSE n % 10000 END + 1, 'r:' || n, decode(repeat('ab', 32), 'hex'), CASE WHEN greatest(n / 10000, 29) % 10 = 0 THEN 'research' ELSE 'default' END,
		'text', 'p' || n % 4, 'model-' || n % 4 || '-' || n % 3, (ARRAY['default', 'bulk', 'high'])[1 + n % 3], '{"task":"text","prompt":"a prompt of some length, as people bring them"}', at, at
	FROM generate_series(0, $1::int - 1) n
	CROSS JOIN LATERAL (SELECT now() - interval '1 day' + n * interval '1 day' / $1::int AS at) t;

	INSERT INTO job_states (job_id, batch_id, state, attempt, deadline, started_at, finished_at, error_class, error_message, simulated_nano, cost_nano)
	SELECT id, batch_id, CASE WHEN k < 78 THEN 'succeeded' WHEN k < 80 THEN 'failed' ELSE 'queued' END, CASE WHEN k < 80 THEN 1 ELSE 0 END, created_at + interval '2 days',
		CASE WHEN k < 80 THEN created_at + interval '1 s' END, CASE WHEN k < 80 THEN created_at + interval '2 s' END,
		CASE WHEN k BETWEEN 78 AND 79 THEN (ARRAY['timeout', 'invalid_request', 'moderated'])[1 + seq % 3] ELSE '' END,
		CASE WHEN k BETWEEN 78 AND 79 THEN 'the provider said why, at some length' ELSE '' END, 0, CASE WHEN k < 80 THEN 1000000 ELSE 0 END
	FROM jobs
	CROSS JOIN LATERAL (SELECT seq % 100 AS k) x;

	INSERT INTO job_queue (job_id, provider, lane, model, account, batch_id, seq, run_at, gen, deadline, paused, dispatched_at)
	SELECT id, provider, lane, '', account, batch_id, seq, run_at, 1, created_at + interval '2 days', false, CASE WHEN seq % 100 >= 95 THEN now() END
	FROM jobs
	WHERE seq % 100 >= 80;

	INSERT INTO calls (id, worker_id, provider, model, state, reserved_nano, cost_nano, charge_nano, started_at, deadline, finished_at, latency_ms, http_status, error_kind, input_tokens, output_tokens)
	SELECT id, '00000000-0000-0000-0000-000000000001', provider, model, CASE WHEN seq % 100 < 78 THEN 'succeeded' ELSE 'failed_billed' END, 2000000, 1000000, 1000000,
		created_at + interval '1 s', created_at + interval '1 minute', created_at + interval '2 s', 500 + seq % 1000, 200, CASE WHEN seq % 100 < 78 THEN '' ELSE 'timeout' END, 100, 200
	FROM jobs
	WHERE seq % 100 < 80
	ORDER BY id;

	INSERT INTO call_jobs (call_id, job_id, gen, attempt, lease_token, share_nano)
	SELECT id, id, 1, 1, id, 1000000 FROM jobs WHERE seq % 100 < 80;

	INSERT INTO results (job_id, call_id, provider, model, text, raw, latency_ms, usage)
	SELECT id, id, provider, model, 'an answer of some length, as models write them', '{"an":"answer"}', 500, '{"input_tokens":100,"output_tokens":200}' FROM jobs WHERE seq % 100 < 78;

	INSERT INTO batch_counts (batch_id, slot, queued, succeeded, failed, cost_nano, last_finished_at, first_job, last_job)
	SELECT batch_id, 0, count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'succeeded'), count(*) FILTER (WHERE state = 'failed'), sum(cost_nano), max(finished_at), min(job_id::text)::uuid, max(job_id::text)::uuid
	FROM job_states
	GROUP BY batch_id;

	INSERT INTO providers (name, kind, limits_configured, concurrency) SELECT 'p' || p, 'openai', '{"rpm":500}', 8 FROM generate_series(0, 3) p;

	INSERT INTO provider_metrics (provider, model, minute, slot, requests, succeeded, failed_unbilled, failed_billed, unknown, rate_limited, input_tokens, output_tokens, cost_nano, unpriced,
		latency_ms_sum, latency_ms_max, last_started_at)
	SELECT provider, model, date_trunc('minute', finished_at), slot, count(*), count(*) FILTER (WHERE state = 'succeeded'), 0, count(*) FILTER (WHERE state <> 'succeeded'), 0, 0, sum(input_tokens),
		sum(output_tokens), sum(cost_nano), 0, sum(latency_ms), max(latency_ms), max(started_at)
	FROM calls
	CROSS JOIN LATERAL (SELECT latency_ms % 8 AS slot) s
	GROUP BY 1, 2, 3, 4;

	INSERT INTO provider_latencies (provider, model, minute, slot, bucket, calls, succeeded)
	SELECT provider, model, date_trunc('minute', finished_at), latency_ms % 8, latency_bucket(latency_ms), count(*), count(*) FILTER (WHERE state = 'succeeded') FROM calls GROUP BY 1, 2, 3, 4, 5;

	INSERT INTO spending (hour, account, batch_id, provider, model, simulated, kind, slot, calls, failed, unpriced, cost_nano, charge_nano, overruns, overrun_nano)
	SELECT date_trunc('hour', c.finished_at), j.account, j.batch_id, c.provider, c.model, false, 'first', j.seq % 8, count(*), 0, 0, sum(c.cost_nano), sum(c.cost_nano), 0, 0
	FROM calls c
	JOIN jobs j ON j.id = c.id
	GROUP BY 1, 2, 3, 4, 5, 8;

	INSERT INTO job_ends (minute, provider, lane, state, wait, jobs, wait_seconds)
	SELECT date_trunc('minute', finished_at), provider, lane, state, 3, count(*), 1 FROM job_states s JOIN jobs j ON j.id = s.job_id WHERE finished_at IS NOT NULL GROUP BY 1, 2, 3, 4`

// mostFirstAnswer is the time that the first answer of a page may take.
const mostFirstAnswer = 100 * time.Millisecond

// TestEachPageAnswersWithinATenthOfASecondWithAMillionJobs times each page, with a monitor that
// remembers nothing and a Postgres that is warm. ONEFLOW_JOBS is another number of jobs.
func TestEachPageAnswersWithinATenthOfASecondWithAMillionJobs(t *testing.T) {
	n := 1_000_000
	if s := os.Getenv("ONEFLOW_JOBS"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		must(t, err)
	}
	address := storetest.Database(t)
	began := time.Now()
	pool := storetest.Pool(t, address)
	for part := range strings.SplitSeq(fill+";\n\nVACUUM ANALYZE", ";\n\n") {
		_, err := pool.Exec(t.Context(), strings.ReplaceAll(part, "$1", strconv.Itoa(n)))
		must(t, err)
	}
	t.Logf("%d jobs are there after %s", n, time.Since(began).Round(time.Second))
	db, err := store.Open(t.Context(), address)
	must(t, err)
	t.Cleanup(db.Close)
	// A leader does so minute by minute, so that the tables never were this large.
	for more := true; more; {
		more, err = db.FoldMetrics(t.Context())
		must(t, err)
	}
	_, err = pool.Exec(t.Context(), `VACUUM (FULL, ANALYZE) provider_metrics, provider_latencies`)
	must(t, err)
	job, failed := aJob(t, db), ""
	must(t, pool.QueryRow(t.Context(), `SELECT job_id::text FROM job_states WHERE state = 'failed' LIMIT 1`).Scan(&failed))
	redis := redisOf(t)
	fresh := func() *monitor.Monitor {
		return newMonitor(t, monitor.Config{
			Store: db, Jobs: db, Orders: db, OpenURL: noObject, Redis: redis, Money: db, Fleet: db, FleetOrders: fleet.NewOrders(db, fleet.Config{}), Schedules: db, Compare: db, Pipelines: db,
		})
	}
	for _, path := range []string{
		"/providers", "/dead-letters", "/", "/jobs", "/jobs?state=failed", "/jobs?state=running", "/jobs?state=unknown", "/jobs?state=retrying", "/jobs?error=no+such+text", "/jobs?batch=b0050", "/jobs?batch=b0029", "/jobs?batch=b0029&state=failed", "/jobs?batch=b0029&state=queued", "/jobs?account=research&provider=p1", "/jobs?error=timeout", "/jobs?tag=team%3Dt3",
		"/jobs/" + job, "/jobs/" + failed, "/batches", "/batches?state=finished", "/batches/b0050", "/batches/b0029", "/providers?window=24h", "/money", "/money?by=day,account", "/money?by=tag", "/alerts", "/workers",
		"/latencies.csv?window=168h", "/activity.csv", "/schedules", "/pipelines", "/comparisons", "/api/overview", "/api/v1/jobs?limit=1000", "/queues.csv", "/providers.csv", "/batches.csv", "/money.csv", "/api/v1/batches",
		"/waits.csv", "/limits.csv", "/breakers.csv", "/workers.csv",
	} {
		var took []time.Duration
		size, code, before := 0, 0, cpu(t, pool)
		for range 5 {
			m := fresh()
			r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
			r.Host = "localhost"
			w := httptest.NewRecorder()
			at := time.Now()
			m.Handler().ServeHTTP(w, r)
			took = append(took, time.Since(at))
			size, code = w.Body.Len(), w.Code
			for pending := w; strings.Contains(pending.Body.String(), "It is being added up"); { // not beside the next one
				pending = httptest.NewRecorder()
				m.Handler().ServeHTTP(pending, r)
			}
		}
		slices.Sort(took)
		spent := (cpu(t, pool) - before) / 5
		note := ""
		if code != http.StatusOK {
			t.Errorf("%s: %d", path, code)
		}
		if took[2] > mostFirstAnswer {
			note = "  TOO LONG"
			t.Errorf("%s takes %s", path, took[2])
		}
		fmt.Printf("%-40s %8s median, %8s at most, %5s of CPU, %4d KB%s\n", path, took[2].Round(100*time.Microsecond), took[4].Round(100*time.Microsecond), spent.Round(time.Millisecond), size>>10, note)
	}
}

// cpu returns the processor time that this process and the database's connections have used, to a hundredth of a second
// each, which other programs do not change; 0 where the system does not tell.
func cpu(t *testing.T, pool *pgxpool.Pool) (sum time.Duration) {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT pid FROM pg_stat_activity WHERE datname = current_database()`)
	must(t, err)
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	must(t, err)
	for _, pid := range append(pids, os.Getpid()) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(after)
		for _, ticks := range fields[11:13] { // utime and stime
			n, err := strconv.Atoi(ticks)
			must(t, err)
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum
}
