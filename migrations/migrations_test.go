package migrations_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"oneflow/internal/storetest"
	"oneflow/migrations"
)

func TestMain(m *testing.M) { storetest.VerifyMain(m) }

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// schema is all columns, constraints and indexes of our tables.
func schema(t *testing.T, url string) []string {
	t.Helper()
	rows, err := connect(t, url).Query(t.Context(), `
		SELECT format('column %s.%s: %s, null %s, default %s', table_name, column_name, data_type, is_nullable, column_default) AS line
		FROM information_schema.columns
		WHERE table_schema = 'public' AND table_name NOT LIKE 'goose%'
		UNION ALL
		SELECT format('constraint %s.%s: %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
		FROM pg_constraint
		WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text NOT LIKE 'goose%'
		UNION ALL
		SELECT format('index %s.%s: %s', tablename, indexname, indexdef)
		FROM pg_indexes
		WHERE schemaname = 'public' AND tablename NOT LIKE 'goose%'
		UNION ALL
		SELECT format('table %s: %s', relname, reloptions)
		FROM pg_class
		WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname NOT LIKE 'goose%'
		ORDER BY line`)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestDownTakesEverythingBackAndUpMakesTheSameAgain(t *testing.T) {
	t.Parallel()
	url := storetest.Database(t)
	first := schema(t, url)
	if len(first) < 100 {
		t.Fatalf("only %d lines of schema: this compares nothing", len(first))
	}
	if err := migrations.Down(t.Context(), url, 0); err != nil {
		t.Fatal(err)
	}
	if left := schema(t, url); len(left) != 0 {
		t.Errorf("left after Down: %q", left)
	}
	list, err := migrations.List(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if m.Applied {
			t.Errorf("%s is applied after Down", m.Name)
		}
	}
	applied, err := migrations.Up(t.Context(), url)
	if err != nil || len(applied) != len(list) {
		t.Fatalf("applied %v of %d: %v", applied, len(list), err)
	}
	if diff := gocmp.Diff(first, schema(t, url)); diff != "" {
		t.Errorf("-first +second:\n%s", diff)
	}
	if again, err := migrations.Up(t.Context(), url); err != nil || len(again) != 0 {
		t.Errorf("a second Up applied %v, %v", again, err)
	}
	latest, err := migrations.Latest()
	if err != nil || latest != list[len(list)-1].Version {
		t.Errorf("the latest is %d, %v, want %d", latest, err, list[len(list)-1].Version)
	}
}

func TestEachMigrationCanBeTakenBackAndAppliedAgain(t *testing.T) {
	t.Parallel()
	url := storetest.Database(t)
	whole := schema(t, url)
	list, err := migrations.List(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(list) - 1; i > 0; i-- {
		if err := migrations.Down(t.Context(), url, list[i-1].Version); err != nil {
			t.Fatal(err)
		}
		if gocmp.Equal(whole, schema(t, url)) {
			t.Errorf("taking back %s changed nothing", list[i].Name)
		}
		if _, err := migrations.Up(t.Context(), url); err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(whole, schema(t, url)); diff != "" {
			t.Errorf("%s: -before +after:\n%s", list[i].Name, diff)
		}
	}
}

func TestOfManyMigratorsOneMigrates(t *testing.T) {
	t.Parallel()
	url := storetest.Database(t)
	want := schema(t, url)
	if err := migrations.Down(t.Context(), url, 0); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	total := 0
	for range 4 {
		all.Go(func() {
			applied, err := migrations.Up(t.Context(), url)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			total += len(applied)
		})
	}
	all.Wait()
	list, err := migrations.List(t.Context(), url)
	if err != nil || total != len(list) {
		t.Errorf("%d migrations were applied in all, %v, want each of %d once", total, err, len(list))
	}
	if diff := gocmp.Diff(want, schema(t, url)); diff != "" {
		t.Error(diff)
	}
}

func TestAURLThatCannotBeReadIsNotRepeated(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	_, err := migrations.Up(t.Context(), "postgres://me:"+secret+"@host:port%%/x")
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("%v", err)
	}
}

// The rows that the state machine does not have are refused by the schema, each
// by the constraint that is there for it.
func TestTheSchemaRefusesIllegalRows(t *testing.T) {
	t.Parallel()
	conn := connect(t, storetest.Database(t))
	ctx := t.Context()
	const uuid = `'00000000-0000-0000-0000-000000000001'`
	job := map[string]string{
		"id": "gen_random_uuid()", "key": "'k'", "content_sha256": "decode(repeat('ab', 32), 'hex')", "task": "'text'",
		"provider": "'p'", "request": "'{}'",
	}
	state := map[string]string{"job_id": "gen_random_uuid()", "state": "'queued'", "deadline": "now()"}
	queued := map[string]string{
		"job_id": "gen_random_uuid()", "provider": "'p'", "lane": "'bulk'", "model": "''", "account": "'a'", "batch_id": "''", "seq": "1", "run_at": "now()",
		"gen": "1", "deadline": "now()", "paused": "false",
	}
	share := map[string]string{"call_id": uuid, "job_id": uuid, "gen": "1", "attempt": "1", "lease_token": uuid}
	running := map[string]string{"state": "'running'", "lease_token": uuid, "worker_id": uuid, "started_at": "now()", "attempt": "1"}
	call := map[string]string{"id": "gen_random_uuid()", "worker_id": uuid, "provider": "'p'", "model": "'m'", "deadline": "now()"}
	settled := map[string]string{"state": "'succeeded'", "finished_at": "now()", "cost_nano": "1"}
	result := map[string]string{"job_id": uuid, "call_id": uuid, "provider": "'p'", "model": "'m'"}
	artifact := map[string]string{
		"job_id": uuid, "idx": "0", "call_id": uuid, "mime": "'image/png'", "size": "1", "sha256": "decode(repeat('ab', 32), 'hex')", "url": "'u'",
	}
	metrics := map[string]string{
		"provider": "'p'", "model": "'m'", "minute": "now()", "slot": "0", "requests": "1", "succeeded": "1", "failed_unbilled": "0", "failed_billed": "0", "unknown": "0",
		"rate_limited": "0", "input_tokens": "0", "output_tokens": "0", "cost_nano": "0", "unpriced": "0",
		"latency_ms_sum": "0", "latency_ms_max": "0", "last_started_at": "now()",
	}
	provider := map[string]string{"name": "'p'", "kind": "'k'", "concurrency": "1", "limits_configured": "'{}'"}
	type change map[string]string
	for name, c := range map[string]struct {
		table   string
		base    []map[string]string
		change  change
		refused string // the constraint; "" if the row is legal
	}{
		"queued":                         {"job_states", []map[string]string{state}, nil, ""},
		"running":                        {"job_states", []map[string]string{state, running}, nil, ""},
		"succeeded":                      {"job_states", []map[string]string{state}, change{"state": "'succeeded'", "finished_at": "now()"}, ""},
		"retrying":                       {"job_states", []map[string]string{state}, change{"state": "'retrying'", "not_before": "now()"}, ""},
		"failed":                         {"job_states", []map[string]string{state}, change{"state": "'failed'", "finished_at": "now()", "error_class": "'x'"}, ""},
		"finished without a time":        {"job_states", []map[string]string{state}, change{"state": "'succeeded'"}, "job_states_finished_iff_terminal"},
		"expired without a time":         {"job_states", []map[string]string{state}, change{"state": "'expired'"}, "job_states_finished_iff_terminal"},
		"cancelled without a time":       {"job_states", []map[string]string{state}, change{"state": "'cancelled'"}, "job_states_finished_iff_terminal"},
		"waiting with a finish time":     {"job_states", []map[string]string{state}, change{"finished_at": "now()"}, "job_states_finished_iff_terminal"},
		"running with a finish time":     {"job_states", []map[string]string{state, running}, change{"finished_at": "now()"}, "job_states_finished_iff_terminal"},
		"running without a lease":        {"job_states", []map[string]string{state, running}, change{"lease_token": "NULL"}, "job_states_leased_iff_running"},
		"running without a worker":       {"job_states", []map[string]string{state, running}, change{"worker_id": "NULL"}, "job_states_leased_iff_running"},
		"queued with a lease":            {"job_states", []map[string]string{state}, change{"lease_token": uuid}, "job_states_leased_iff_running"},
		"succeeded with a worker":        {"job_states", []map[string]string{state}, change{"state": "'succeeded'", "finished_at": "now()", "worker_id": uuid}, "job_states_leased_iff_running"},
		"retrying at no time":            {"job_states", []map[string]string{state}, change{"state": "'retrying'"}, "job_states_retrying_waits"},
		"running but never started":      {"job_states", []map[string]string{state, running}, change{"started_at": "NULL"}, "job_states_running_started"},
		"running in no attempt":          {"job_states", []map[string]string{state, running}, change{"attempt": "0"}, "job_states_running_started"},
		"failed for no reason":           {"job_states", []map[string]string{state}, change{"state": "'failed'", "finished_at": "now()"}, "job_states_failure_has_class"},
		"unknown for no reason":          {"job_states", []map[string]string{state}, change{"state": "'unknown'", "finished_at": "now()"}, "job_states_failure_has_class"},
		"a state that is none":           {"job_states", []map[string]string{state}, change{"state": "'asleep'"}, "job_states_state_check"},
		"a task that is none":            {"jobs", []map[string]string{job}, change{"task": "'dance'"}, "jobs_task_check"},
		"a lane that is none":            {"jobs", []map[string]string{job}, change{"lane": "'fast'"}, "jobs_lane_check"},
		"an on_unknown that is none":     {"jobs", []map[string]string{job}, change{"on_unknown": "'shrug'"}, "jobs_on_unknown_check"},
		"generation 0":                   {"job_states", []map[string]string{state}, change{"gen": "0"}, "job_states_gen_check"},
		"a negative attempt":             {"job_states", []map[string]string{state}, change{"attempt": "-1"}, "job_states_attempt_check"},
		"no attempts":                    {"jobs", []map[string]string{job}, change{"max_attempts": "0"}, "jobs_max_attempts_check"},
		"no calls":                       {"jobs", []map[string]string{job}, change{"max_provider_calls": "0"}, "jobs_max_provider_calls_check"},
		"a short hash":                   {"jobs", []map[string]string{job}, change{"content_sha256": "'ab'"}, "jobs_content_sha256_check"},
		"a custom id without a batch":    {"jobs", []map[string]string{job}, change{"custom_id": "'k'", "key": "'c:k'"}, "jobs_custom_id_is_key"},
		"a job of no batch":              {"jobs", []map[string]string{job}, change{"batch_id": "'none'"}, "jobs_batch_id_fkey"},
		"a call under way":               {"calls", []map[string]string{call}, nil, ""},
		"a settled call":                 {"calls", []map[string]string{call, settled}, nil, ""},
		"an unpriced call":               {"calls", []map[string]string{call, settled}, change{"cost_nano": "NULL"}, ""},
		"a settled call without a time":  {"calls", []map[string]string{call, settled}, change{"finished_at": "NULL"}, "calls_finished_iff_settled"},
		"a call under way with a time":   {"calls", []map[string]string{call}, change{"finished_at": "now()"}, "calls_finished_iff_settled"},
		"an unbilled call with a cost":   {"calls", []map[string]string{call, settled}, change{"state": "'failed_unbilled'"}, "calls_unbilled_is_free"},
		"an unbilled call of no price":   {"calls", []map[string]string{call, settled}, change{"state": "'failed_unbilled'", "cost_nano": "NULL"}, "calls_unbilled_is_free"},
		"a call that earns money":        {"calls", []map[string]string{call, settled}, change{"cost_nano": "-1"}, "calls_cost_nano_check"},
		"a negative reservation":         {"calls", []map[string]string{call}, change{"reserved_nano": "-1"}, "calls_reserved_nano_check"},
		"a share that earns money":       {"call_jobs", []map[string]string{share}, change{"share_nano": "-1"}, "call_jobs_share_nano_check"},
		"a call state that is none":      {"calls", []map[string]string{call, settled}, change{"state": "'lost'"}, "calls_state_check"},
		"a result":                       {"results", []map[string]string{result}, nil, ""},
		"a result with a short hash":     {"results", []map[string]string{result}, change{"raw_sha256": "'ab'"}, "results_raw_sha256_check"},
		"an artifact":                    {"artifacts", []map[string]string{artifact}, nil, ""},
		"an empty artifact":              {"artifacts", []map[string]string{artifact}, change{"size": "0"}, "artifacts_size_check"},
		"an artifact in no place":        {"artifacts", []map[string]string{artifact}, change{"idx": "-1"}, "artifacts_idx_check"},
		"an artifact with a short hash":  {"artifacts", []map[string]string{artifact}, change{"sha256": "'ab'"}, "artifacts_sha256_check"},
		"a batch":                        {"batches", nil, change{"id": "'a.b-c_1'"}, ""},
		"a batch whose name is a path":   {"batches", nil, change{"id": "'../x'"}, "batches_id_check"},
		"a batch without a name":         {"batches", nil, change{"id": "''"}, "batches_id_check"},
		"metrics":                        {"provider_metrics", []map[string]string{metrics}, nil, ""},
		"metrics that do not add up":     {"provider_metrics", []map[string]string{metrics}, change{"requests": "2"}, "provider_metrics_outcomes_add_up"},
		"a provider status that is none": {"providers", []map[string]string{provider}, change{"status": "'?'"}, "providers_status_check"},
		"a provider":                     {"providers", []map[string]string{provider}, nil, ""},
		"a job":                          {"jobs", []map[string]string{job}, nil, ""},
		"a job in the queue":             {"job_queue", []map[string]string{queued}, change{"dispatched_at": "now()", "delivery_id": "'x'"}, ""},
		"a delivery of nothing":          {"job_queue", []map[string]string{queued}, change{"delivery_id": "'x'"}, "job_queue_delivery_is_dispatched"},
		"a share":                        {"call_jobs", []map[string]string{share}, change{"share_nano": "1"}, ""},
		"a provider without limits":      {"providers", []map[string]string{provider}, change{"limits_configured": "NULL"}, "limits_configured"},
		"limits that are a list":         {"providers", []map[string]string{provider}, change{"limits_pinned": "'[]'"}, "providers_limits_are_objects"},
		"a breaker state that is none":   {"providers", []map[string]string{provider}, change{"breaker": "'ajar'"}, "providers_breaker_check"},
		"a breaker held half open":       {"providers", []map[string]string{provider}, change{"breaker_override": "'half_open'"}, "providers_breaker_override_check"},
		"a chain":                        {"chains", nil, change{"task": "'text'", "providers": "'{a,b}'"}, ""},
		"a chain of nobody":              {"chains", nil, change{"task": "'text'", "providers": "'{}'"}, "chains_not_empty"},
		"a chain for no task":            {"chains", nil, change{"task": "'poem'", "providers": "'{a}'"}, "chains_task_check"},
	} {
		row := map[string]string{}
		for _, from := range append(c.base, c.change) {
			maps.Copy(row, from)
		}
		var names, values string
		for k, v := range row {
			names, values = names+", "+k, values+", "+v
		}
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, fmt.Sprintf(`INSERT INTO %s (%s) VALUES (%s)`, c.table, names[2:], values[2:])); err != nil {
				return err
			}
			return errTaken
		})
		refused, ok := errors.AsType[*pgconn.PgError](err)
		switch {
		case c.refused == "" && !errors.Is(err, errTaken):
			t.Errorf("%s: %v", name, err)
		case c.refused != "" && !ok:
			t.Errorf("%s: was taken", name)
		case c.refused != "" && cmp.Or(refused.ConstraintName, refused.ColumnName) != c.refused:
			t.Errorf("%s: refused by %q, want %q: %v", name, refused.ConstraintName, c.refused, err)
		}
	}
}

var errTaken = errors.New("taken")

func TestKeysAreUniqueWithinABatchOnly(t *testing.T) {
	t.Parallel()
	conn := connect(t, storetest.Database(t))
	insert := func(batch, key string) error {
		_, err := conn.Exec(t.Context(), `
			INSERT INTO jobs (id, batch_id, key, content_sha256, task, provider, request)
			VALUES (gen_random_uuid(), nullif($1, ''), $2, decode(repeat('ab', 32), 'hex'), 'text', 'p', '{}')`, batch, key)
		return err
	}
	if _, err := conn.Exec(t.Context(), `INSERT INTO batches (id) VALUES ('one'), ('two')`); err != nil {
		t.Fatal(err)
	}
	for _, row := range [][2]string{{"one", "k"}, {"two", "k"}, {"one", "l"}, {"", "k"}, {"", "k"}} {
		if err := insert(row[0], row[1]); err != nil {
			t.Errorf("%q: %v", row, err)
		}
	}
	if err := insert("one", "k"); err == nil {
		t.Error("the same key is twice in one batch")
	}
}
