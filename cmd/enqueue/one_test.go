package main

import (
	"context"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"oneflow/internal/cli"
)

func TestATextIsAcceptedDispatchedAndNamed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.enqueue("text", "say "+canary, "--set", "max_tokens=7", "--set", "system=be brief", "--set", `stop=["."]`, "--account", "ana", "--on-unknown", "fail", "-o", "json")
	id := decoded[struct {
		JobID string `json:"job_id"`
	}](t, r.out).JobID
	if r.code != cli.OK || r.err != "" {
		t.Errorf("%+v", r)
	}
	got := one[string](s, `SELECT concat_ws(' ', state, provider, model, lane, account, on_unknown, request) FROM jobs JOIN job_states ON job_id = id WHERE id = $1`, id)
	want := `queued mock mock-text default ana fail {"task":"text","model":"mock-text","prompt":"say ` + canary + `","system":"be brief","max_tokens":7,"stop":["."]}`
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	opts, err := redis.ParseURL(s.redis)
	if err != nil {
		t.Fatal(err)
	}
	inspect := asynq.NewInspector(cli.ForAsynq(opts))
	defer func() { _ = inspect.Close() }()
	tasks, err := inspect.ListPendingTasks("mock.default")
	if err != nil || len(tasks) != 1 || tasks[0].ID != id+"-1" || strings.Contains(string(tasks[0].Payload), canary) {
		t.Errorf("%+v, %v", tasks, err)
	}
	if r := s.enqueue("text", "plain"); r.code != cli.OK || !regexp.MustCompile(`^[0-9a-f-]{36}\n$`).MatchString(r.out) || r.err != "" {
		t.Errorf("without -o json: %+v", r)
	}
	for _, task := range []string{"image", "audio", "video"} {
		if r := s.enqueue(task, "a prompt"); r.code != cli.OK || one[string](s, `SELECT task || model FROM jobs WHERE id::text = $1`, strings.TrimSpace(r.out)) != task+"mock-"+task {
			t.Errorf("%s: %+v", task, r)
		}
	}
}

func TestAJobMayWaitForItsTime(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, args := range [][]string{{"--in", "90m"}, {"--at", time.Now().Add(90 * time.Minute).UTC().Format(time.RFC3339)}} {
		r := s.enqueue(append([]string{"text", "later"}, args...)...)
		if r.code != cli.OK {
			t.Fatalf("%+v", r)
		}
		got := one[string](s, `SELECT state || (run_at BETWEEN now() + '85 min' AND now() + '91 min') FROM jobs JOIN job_states ON job_id = id WHERE id::text = $1`, strings.TrimSpace(r.out))
		if got != "scheduledtrue" {
			t.Errorf("%q: %s", args, got)
		}
		if said := strings.HasPrefix(r.err, "--at "+args[1]+" is "); said != (args[0] == "--at") {
			t.Errorf("%q: %s", args, r.err)
		}
	}
}

func TestATimeOfDayIsTheNextOne(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("east", 2*3600)
	now := time.Date(2031, 12, 31, 18, 30, 20, 0, zone)
	for at, want := range map[string]string{
		"":                              "0001-01-01T00:00:00Z",
		"19:00":                         "2031-12-31T19:00:00+02:00",
		"18:00":                         "2032-01-01T18:00:00+02:00",
		"18:30":                         "2032-01-01T18:30:00+02:00",
		"2032-01-31T18:00:00Z":          "2032-01-31T18:00:00Z",
		"2032-01-31T18:00:00-05:00":     "2032-01-31T18:00:00-05:00",
		"2032-01-31 18:00":              "2032-01-31T18:00:00+02:00",
		"2032-01-31T18:00":              "2032-01-31T18:00:00+02:00",
		"2032-01-31 18:00:07":           "2032-01-31T18:00:07+02:00",
		"2031-12-31 18:30":              "2031-12-31T18:30:00+02:00", // this very minute
		"today 19:00":                   "2031-12-31T19:00:00+02:00",
		"tomorrow 08:00":                "2032-01-01T08:00:00+02:00",
		"2032-02-01":                    "2032-02-01T00:00:00+02:00",
		"18:00 Europe/Paris":            "2031-12-31T18:00:00+01:00", // 19:00 here
		"17:00 America/New_York":        "2031-12-31T17:00:00-05:00",
		"2032-07-01 18:00 Europe/Paris": "2032-07-01T18:00:00+02:00",
		"16:00 UTC":                     "2032-01-01T16:00:00Z",
	} {
		got, _, err := when{At: at}.times(now)
		if err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%q: got %s, want %s, %v", at, got.Format(time.RFC3339), want, err)
		}
	}
	for at, want := range map[string]string{
		"2031-12-31 18:29": `--at "2031-12-31 18:29": lies in the past, 1m 20s ago: it is 2031-12-31 18:30:20 east (+02:00) now`, "1999-01-01T00:00:00Z": `--at "1999-01-01T00:00:00Z": lies in the past`,
		"today 18:00": `--at "today 18:00": lies in the past, 30m 20s ago`, "18:00 Europe/Pari": `--at "18:00 Europe/Pari": "Europe/Pari" is no time zone, such as Europe/Paris`,
		"tomorrow": `--at "tomorrow": must be a time such as`, "25:00": `--at "25:00": must be`, "6pm": `--at "6pm": must be`, "2031-02-30 10:00": `--at "2031-02-30 10:00": must be`,
	} {
		if _, _, err := (when{At: at}).times(now); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", at, err, want)
		}
	}
}

func TestAJobExpiresAtTheTimeByWhichItMustBeDone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for by, hours := range map[string]string{"6h": "6", "2d": "48", time.Now().Add(3 * time.Hour).UTC().Format(time.RFC3339): "3"} {
		r := s.enqueue("text", "later", "--in", "1h", "--complete-by", by)
		if r.code != cli.OK || !strings.HasPrefix(r.err, "--complete-by "+by+" is 20") {
			t.Fatalf("%+v", r)
		}
		if !one[bool](s, `SELECT deadline BETWEEN now() + $2::interval - interval '5 min' AND now() + $2::interval FROM job_states WHERE job_id::text = $1`, strings.TrimSpace(r.out), hours+" hours") {
			t.Errorf("%s: %s", by, one[string](s, `SELECT (deadline - now())::text FROM job_states WHERE job_id::text = $1`, strings.TrimSpace(r.out)))
		}
	}
	for by, want := range map[string]string{
		"30m": "--complete-by 30m: is no later than the time at which it may begin, ", "-5m": "--complete-by -5m: lies in the past",
		"soon": `--complete-by "soon": must be a time such as 18:00, tomorrow 08:00, 2026-01-31 18:00, or 18:00 Europe/Paris, or a duration such as 6h`, "2020-01-01": `--complete-by "2020-01-01": lies in the past`,
	} {
		if r := s.enqueue("text", "later", "--in", "1h", "--complete-by", by); r.code != cli.Usage || !strings.Contains(r.err, want) {
			t.Errorf("%s: %+v, want %s", by, r, want)
		}
	}
	path := file(t, `{"prompt":"a","complete_by":"2020-01-01T00:00:00Z"}`, `{"prompt":"b","run_at":"2040-01-02T00:00:00Z","complete_by":"2040-01-01T00:00:00Z"}`, `{"prompt":"c","complete_by":"2040-01-01T00:00:00Z"}`)
	r := s.enqueue("batch", path, "-o", "json")
	if rep := s.report(r); rep.Accepted != 1 || rep.Rejected != 2 || !strings.Contains(r.err, "complete_by: 2020-01-01T00:00:00Z lies in the past") || !strings.Contains(r.err, "complete_by: 2040-01-01T00:00:00Z is no later than run_at") {
		t.Errorf("%+v", r)
	}
}

// Nothing answers at these addresses: a command that tried them would end with
// exit code 3.
func TestWrongUseIsRefusedBeforeAnythingIsAccepted(t *testing.T) {
	t.Parallel()
	good := file(t, `{"prompt":"a"}`)
	down := []string{"--database-url", "postgres://" + closed, "--redis-url", "redis://" + closed, "--connect-timeout", "1ms"}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{}, "a command is missing"},
		{[]string{"text"}, "PROMPT is missing (enqueue text --help shows the usage)"},
		{[]string{"text", ""}, "prompt: must not be empty"},
		{[]string{"text", "a", "b"}, "unexpected argument b"},
		{[]string{"text", "caf\xe9"}, "argument 10, \"caf\\xe9\", is not valid UTF-8"},
		{[]string{"text", "a", "--set", "colour=red"}, "--set colour=…: there is no such option; options are aspect_ratio, background"},
		{[]string{"text", "a", "--set", "Prompt=b"}, "--set Prompt=…: there is no such option"},
		{[]string{"text", "a", "--set", "prompt=b"}, "--set prompt=…: the prompt is given already"},
		{[]string{"text", "a", "--set", "custom_id=b"}, "--set custom_id=…: there is no such option"},
		{[]string{"text", "a", "--set", "provider=openai"}, "--set provider=…: use --provider"},
		{[]string{"text", "a", "--set", "lane=high"}, "--set lane=…: use --lane"},
		{[]string{"text", "a", "--set", "system=\xff"}, "is not valid UTF-8"},
		{[]string{"text", "a", "--set", `system="\ud800"`}, "half of a surrogate pair"},
		{[]string{"text", "a", "--set", "max_tokens=many"}, "max_tokens: must be a whole number, got a JSON string"},
		{[]string{"text", "a", "--set", "size=64x64"}, `option "size": not understood for text by mock`},
		{[]string{"text", "a", "--set", "temperature=3"}, "temperature: must be from 0 to 2, got 3"},
		{[]string{"image", "a", "--set", "n=99"}, "n: must be from 1 to 10, got 99"},
		{[]string{"text", "a", "--model", "gpt-9"}, `model "gpt-9": mock offers mock-text for text`},
		{[]string{"text", "a", "--provider", "opnai"}, "--provider opnai: is not configured; there are "},
		{[]string{"text", "a", "--lane", "fast"}, "--lane (or --priority) fast: must be high, default or bulk"},
		{[]string{"text", "a", "--account", "\xff"}, "is not valid UTF-8"},
		{[]string{"text", "a", "--in", "soon"}, "--in: must be a duration such as 30s, 5m, 12h, 90d or 2w, got \"soon\""},
		{[]string{"text", "a", "--in=-5m"}, "--in -5m0s: lies in the past"},
		{[]string{"text", "a", "--at", "soon"}, `--at "soon": must be a time such as`},
		{[]string{"text", "a", "--at", "2020-01-01 00:00"}, "lies in the past"},
		{[]string{"text", "a", "--in", "5m", "--at", "18:00"}, "can't be used together"},
		{[]string{"text", "a", "--on-unknown", "maybe"}, `--on-unknown: must be retry or fail, got "maybe" (enqueue text --help shows the usage)`},
		{[]string{"text", "a", "-o", "xml"}, "--output: must be table, json or ndjson, got"},
		{[]string{"text", "a", "--config", "none.yaml"}, "none.yaml: no such file"},
		{[]string{"status", "x", "--config", "none.yaml"}, "--config: stat none.yaml: no such file or directory: name a file that is there, also in ONEFLOW_CONFIG, or none"},
		{[]string{"schedule", "ls", "--config", "none.yaml"}, "none.yaml: no such file"},
		{[]string{"status", "x", "--config", t.TempDir()}, "is a folder"},
		{[]string{"batch", good, "--limit", "0"}, `--limit: must be a whole number from 1 on, got "0"`},
		{[]string{"batch", good, "--limit", "-3"}, `--limit: must be a whole number from 1 on, got "-3"`},
		{[]string{"batch", good, "--sample", "0"}, `--sample: must be a whole number from 1 on, got "0"`},
		{[]string{"compare", good, "--with", "mock,openai", "--limit", "0"}, `--limit: must be a whole number from 1 on, got "0"`},
		{[]string{"compare", "--show", "x", "--rows", "-1"}, "--rows -1: must be 0 or more"},
		{[]string{"pipeline", good, "--limit", "0"}, "--limit: must be a whole number from 1 on"},
		{[]string{"ls", "--limit", "0"}, "--limit: must be a whole number from 1 on"},
		{[]string{"ls", "--since", "-1h"}, "--since -1h0m0s: must be positive"},
		{[]string{"jobs", "x", "--limit", "ten"}, `--limit: must be a whole number from 1 on, got "ten"`},
		{[]string{"schedule", "history", "x", "--limit", "0"}, "--limit: must be a whole number from 1 on"},
		{[]string{"batch"}, "FILE is missing (enqueue batch --help shows the usage)"},
		{[]string{"batch", "none.jsonl"}, "none.jsonl: no such file"},
		{[]string{"batch", t.TempDir()}, "there is no file in this folder"},
		{[]string{"batch", good, "--provider", "opnai"}, "--provider opnai: is not configured"},
		{[]string{"batch", good, "--set", "colour=red"}, "--set colour=…: there is no such option"},
		{[]string{"batch", good, "--set", "custom_id=b"}, "--set custom_id=…: there is no such option"},
		{[]string{"batch", good, "--batch-id", "a b"}, `--batch-id: batch id "a b": must be 1 to 64 letters`},
		{[]string{"batch", good, "--map", "promt=question"}, "--map promt=…: there is no such field; fields are"},
		{[]string{"batch", good, "--task", "poem"}, "--task: must be text, image, audio, video, embedding or transcription, got"},
		{[]string{"status"}, "ID is missing (enqueue status --help shows the usage)"},
		{[]string{"export", "x", "--format", "xml"}, "--format: must be openai, anthropic, raw, jsonl, csv or parquet, got"},
		{[]string{"export", "x", "--with", "text"}, "--with: is for --format jsonl, csv and parquet; openai has everything"},
		{[]string{"export", "x", "--format", "csv", "--with", "cost"}, "--with cost: there is no such column; there are job_id, row, prompt,"},
		{[]string{"batch", good, "--template", "no column"}, `--template "no column": there is no such file, and no {{column}} in it`},
		{[]string{"batch", good, "--template", "{{#if a}}"}, "--template: {{#if a}}: only the name of a column is understood"},
		{[]string{"batch", good, "--template", "{{a}}", "--map", "prompt=b"}, "--template: makes the prompt, which --map prompt=… takes from a column"},
	} {
		r := command(t.Context(), strings.NewReader(""), append(down, c.args...)...)
		if r.code != cli.Usage || r.out != "" || !strings.HasPrefix(r.err, "enqueue: ") || !strings.Contains(r.err, c.want) {
			t.Errorf("%q: exit %d, %q\nwant %s", c.args, r.code, r.out+r.err, c.want)
		}
	}
}

func TestMissingServicesHaveTheirExitCodes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	nowhere := closed
	for name, c := range map[string]struct {
		database, redis string
		code            int
		want            []string
	}{
		"no DATABASE_URL":     {"", s.redis, cli.Usage, []string{"DATABASE_URL is not set", "make dev"}},
		"no REDIS_URL":        {s.database, "", cli.Usage, []string{"REDIS_URL is not set", "make dev"}},
		"Postgres is down":    {"postgres://u:canary@" + nowhere + "/x", s.redis, cli.Unavailable, []string{"Postgres does not answer at " + nowhere + " (DATABASE_URL)"}},
		"an @ in a password":  {"postgres://u:canary@canary@" + nowhere + "/x", s.redis, cli.Usage, []string{"DATABASE_URL cannot be read", "%40"}},
		"an @ in REDIS_URL's": {s.database, "redis://:canary@canary@" + nowhere, cli.Usage, []string{"REDIS_URL cannot be read", "%40"}},
		"a slip in REDIS_URL": {s.database, "localhost:6379:canary", cli.Usage, []string{"REDIS_URL cannot be read"}},
	} {
		timeout := "20s" // for what is there
		if c.code == cli.Unavailable {
			timeout = "100ms"
		}
		r := command(t.Context(), strings.NewReader(""), "--database-url", c.database, "--redis-url", c.redis, "--connect-timeout", timeout, "text", "a")
		if r.code != c.code || r.out != "" || strings.Contains(r.err, "canary") {
			t.Errorf("%s: %+v", name, r)
		}
		for _, want := range c.want {
			if !strings.Contains(r.err, want) {
				t.Errorf("%s: %q is not in %s", name, want, r.err)
			}
		}
	}
	if n := s.jobs(); n != 0 {
		t.Errorf("%d jobs were accepted", n)
	}
}

func TestWithRedisDownJobsAreAcceptedAndThatIsSaid(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.redis = "redis://:redis-secret@" + closed
	r := s.enqueue("text", canary)
	const said = "The jobs are accepted and safe in Postgres: a worker dispatches them as soon as Redis is back."
	if r.code != cli.OK || !strings.Contains(r.err, said) || strings.Contains(r.err, "redis-secret") || s.jobs() != 1 {
		t.Errorf("%+v", r)
	}
	r = s.run(t.Context(), strings.NewReader(lines(1, 3)), "batch", "-", "-o", "json")
	if r.code != cli.OK || strings.Count(r.err, said) != 1 || !strings.Contains(r.out, `"accepted":3`) || s.jobs() != 4 {
		t.Errorf("%+v", r)
	}
	if n := one[int64](s, `SELECT count(*) FROM job_queue WHERE dispatched_at IS NOT NULL`); n != 0 {
		t.Errorf("%d jobs are taken to be in Redis", n)
	}
}

func TestAPromptMayComeFromStdin(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for in, want := range map[string]string{
		"Grüß \"Gott\" <b>\n": "Grüß \"Gott\" <b>", "two\nlines\r\n": "two\nlines", "a\n\n": "a\n", "  a ": "  a ", strings.Repeat("x", 1<<20): strings.Repeat("x", 1<<20), "-": "-",
	} {
		r := s.run(t.Context(), strings.NewReader(in), "text", "-", "--account", canary)
		if r.code != cli.OK || one[string](s, `SELECT request->>'prompt' FROM jobs WHERE id::text = $1`, strings.TrimSpace(r.out)) != want {
			t.Errorf("%.80q: %+v", in, r)
		}
	}
	n := s.jobs()
	for in, want := range map[string]string{
		"": "enqueue: prompt: must not be empty\n", "\n": "enqueue: prompt: must not be empty\n", canary + "\xff": "enqueue: the prompt on stdin is not valid UTF-8\n",
		strings.Repeat("x", 16<<20+1): "enqueue: the prompt on stdin is longer than 16 MiB\n",
	} {
		if r := s.run(t.Context(), strings.NewReader(in), "text", "-"); r.code != cli.Usage || r.out != "" || r.err != want {
			t.Errorf("%.80q: %+v", in, r)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	in, pen := io.Pipe() // which nobody closes
	done := make(chan result, 1)
	go func() { done <- s.run(ctx, in, "text", "-") }()
	if _, err := io.WriteString(pen, canary); err != nil {
		t.Fatal(err)
	}
	cancel()
	if r := <-done; r.code != cli.Interrupted || r.out != "" || r.err != "enqueue: interrupted: nothing was accepted\n" || s.jobs() != n {
		t.Errorf("%+v", r)
	}
}

// Its commit may have been under way: nobody is to enqueue it anew without a look.
func TestAJobIsNamedWhoseAcceptanceIsInterrupted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	hold, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hold.Exec(t.Context(), `LOCK TABLE jobs IN SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan result, 1)
	go func() { done <- s.run(ctx, strings.NewReader(""), "text", "a") }()
	s.until("its acceptance waits", func() bool {
		return one[int64](s, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) > 0
	})
	cancel()
	r := <-done
	if err := hold.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	id, named := strings.CutPrefix(strings.TrimSpace(r.err), "enqueue: interrupted: the job may have been accepted; see: enqueue status ")
	if r.code != cli.Interrupted || r.out != "" || !named {
		t.Errorf("%+v", r)
	}
	if r := s.enqueue("status", id); s.jobs() != 0 || r.code != cli.Usage || r.err != "enqueue: "+id+": no such job or batch\n" {
		t.Errorf("%+v", r)
	}
}

func TestHelpNamesEveryCommandAndIsNoError(t *testing.T) {
	t.Parallel()
	r := command(t.Context(), strings.NewReader(""), "--help")
	for _, want := range []string{"text", "image", "audio", "video", "batch", "status", "watch", "cancel", "export", "DATABASE_URL", "REDIS_URL"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%s is not in the help", want)
		}
	}
	if r.code != cli.OK || r.err != "" {
		t.Errorf("%+v", r)
	}
	for name, want := range map[string][]string{"text": {"--no-fallback", "Ask no other provider", "- to read it from stdin"}, "batch": {"--no-fallback"}} {
		r := command(t.Context(), strings.NewReader(""), name, "--help")
		for _, want := range want {
			if !strings.Contains(strings.Join(strings.Fields(r.out), " "), want) {
				t.Errorf("%s: %q is not in the help: %s", name, want, r.out)
			}
		}
	}
	for _, name := range []string{"text", "batch", "export"} {
		if r := command(t.Context(), strings.NewReader(""), name, "--help"); r.code != cli.OK || !strings.Contains(r.out, "Usage: enqueue "+name) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
