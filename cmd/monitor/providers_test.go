package main

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/store"
	"oneflow/worker"
)

// control is a database with an openai that had calls and a mock that had none.
func control(t *testing.T) func(args ...string) (code int, out, errs string) {
	t.Helper()
	monitor, database := console(t, "providers: {backup: {kind: anthropic}}\n")
	db, err := store.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Register(t.Context(), worker.Presence{ID: jobs.NewID(), Host: "alpha", PID: 7, Providers: []worker.Served{
		{Name: "mock", Kind: "mock", Concurrency: 3}, {Name: "openai", Kind: "openai", Concurrency: 3},
	}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	_, err = conn.Exec(t.Context(), `
		WITH job AS (
			INSERT INTO jobs (id, key, content_sha256, task, provider, request)
			SELECT gen_random_uuid(), n::text, decode(repeat('ab', 32), 'hex'), 'text', 'openai', '{}'
			FROM generate_series(1, 20) n
			RETURNING id, key::int AS n
		), state AS (
			INSERT INTO job_states (job_id, state, deadline, finished_at) SELECT id, 'succeeded', now(), now() FROM job
		), served AS (
			INSERT INTO call_jobs (call_id, job_id, gen, attempt, lease_token) SELECT id, id, 1, 1, id FROM job
		)
		INSERT INTO calls (id, worker_id, provider, model, error_kind, latency_ms, input_tokens, output_tokens, deadline)
		SELECT id, id, 'openai', 'gpt-5.4-mini', CASE WHEN n = 20 THEN 'overloaded' ELSE '' END, n * 100, 100, 50, now()
		FROM job;
		UPDATE calls
		SET state = CASE WHEN error_kind = '' THEN 'succeeded' ELSE 'failed_unbilled' END,
			cost_nano = CASE WHEN error_kind = '' THEN 2000000 ELSE 0 END,
			finished_at = now()`)
	if err != nil {
		t.Fatal(err)
	}
	return monitor
}

func TestProvidersAreListedDisabledAndEnabled(t *testing.T) {
	t.Parallel()
	monitor := control(t)
	const header = "PROVIDER  STATUS     WORKERS  MODEL         CALLS  SUCCEEDED  MEAN   P50   P95   P99   429S  TOKENS  COST    LAST ERROR\n"
	const openai = "openai    available  1        gpt-5.4-mini  20     95.0%      997ms  1.0s  2.0s  2.0s  0     3,000   $0.038  overloaded TIME\n"
	const mock = "mock      available  1        -             0      -          -      -     -     -     0     0       -       -\n"
	if code, out, errs := monitor("providers", "ls"); code != cli.OK || out != header+mock+openai {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
	if code, out, errs := monitor("providers", "disable", "openai", "--reason", "too\x1b[31m dear"); code != cli.OK ||
		out != "openai is unavailable: too?[31m dear, says ada@HOST, since TIME\n" {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
	if _, out, _ := monitor("providers", "ls"); !strings.HasSuffix(out, "\nopenai is unavailable: too?[31m dear, says ada@HOST, since TIME\n") {
		t.Error(out)
	}
	if code, out, _ := monitor("best", "text"); code != cli.OK || !regexp.MustCompile(`(?m)^1 +mock .*too few calls to judge$`).MatchString(out) ||
		!regexp.MustCompile(`(?m)^- +openai .*too\?\[31m dear$`).MatchString(out) {
		t.Errorf("%d\n%s", code, out)
	}
	if code, out, errs := monitor("providers", "enable", "openai"); code != cli.OK || out != "openai is available, says ada@HOST, since TIME\n" {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
	// One that no worker has served yet can be disabled beforehand.
	if code, out, errs := monitor("providers", "disable", "backup", "--reason", "not yet"); code != cli.OK || !strings.HasPrefix(out, "backup is unavailable: not yet") {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
}

func TestBreakersAreHeldAndLetGo(t *testing.T) {
	t.Parallel()
	monitor := control(t)
	for _, c := range [][2]string{
		{"open", "openai is unavailable: its breaker is held open, says ada@HOST\n"},
		{"close", "openai is available; its breaker is held closed by ada@HOST\n"},
		{"auto", "openai is available\n"},
	} {
		if code, out, errs := monitor("providers", c[0], "openai"); code != cli.OK || out != c[1] {
			t.Errorf("%s: %d %s\n%s", c[0], code, errs, out)
		}
	}
}

func TestFiguresBeginAnewAfterAReset(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"openai"}, {"--all"}} {
		monitor := control(t)
		if code, out, errs := monitor(append([]string{"providers", "reset"}, args...)...); code != cli.OK || out != "" {
			t.Errorf("%d %s\n%s", code, errs, out)
		}
		var list []fleet.Health
		_, out, _ := monitor("providers", "ls", "-o", "json")
		if err := json.Unmarshal([]byte(strings.ReplaceAll(out, "TIME", "2026-01-01T00:00:00Z")), &list); err != nil || len(list) != 2 ||
			len(list[1].Models) != 0 || list[1].From.IsZero() {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

func TestTheBestIsShownWithItsFigures(t *testing.T) {
	t.Parallel()
	monitor := control(t)
	code, out, errs := monitor("best", "text")
	want := []string{
		`^1 +openai +gpt-6-luna +20 +95.0% +1.0s +1.9s +\$0.002 *$`,
		`^\d +mock +mock-text +0 +- +- +- +- +too few calls to judge$`,
		`^- +anthropic +claude-haiku-5-5 +0 .*no live worker serves it$`,
		`^- +backup +claude-haiku-5-5 +0 .*no live worker serves it$`,
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != cli.OK || len(lines) < 5 || !strings.Contains(errs, "the best provider for text is openai (gpt-6-luna): 95.0% of 20 calls succeeded, p50 1.0s, $0.002 a call") {
		t.Fatalf("%d %s\n%s", code, errs, out)
	}
	for _, re := range want { // in this order, with other kinds among them
		at := slices.IndexFunc(lines, func(line string) bool { return regexp.MustCompile(re).MatchString(strings.TrimRight(line, " ")) })
		if at < 0 {
			t.Errorf("no line further down is %s:\n%s", re, out)
			continue
		}
		lines = lines[at+1:]
	}
	if code, _, errs := monitor("best", "image"); code != cli.OK || !strings.Contains(errs, "none has had the 10 calls") {
		t.Errorf("%d %s", code, errs)
	}
}

func TestWrongOrdersToProvidersAreRefused(t *testing.T) {
	t.Parallel()
	monitor := control(t)
	for args, says := range map[string]string{
		"providers disable telex --reason r": `"telex": there is no such provider; there are anthropic, backup, `,
		"providers enable telex":             `"telex": there is no such provider`,
		"providers reset telex":              `"telex": there is no such provider`,
		"providers open telex":               `"telex": there is no such provider`,
		"providers disable openai":           "--reason",
		"providers disable openai --reason=": "must have 1 to 500 bytes",
		"providers reset":                    "either one provider or --all",
		"providers reset openai --all":       "either one provider or --all",
		"providers ls --since=-1h":           "must be more than 0",
		"best poem":                          ": must be ",
	} {
		if code, _, errs := monitor(strings.Fields(args)...); code != cli.Usage || !strings.Contains(errs, says) {
			t.Errorf("%s: %d %s, want %q", args, code, errs, says)
		}
	}
}
