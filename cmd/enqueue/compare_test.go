package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
)

// compared holds the document for programs.
type compared struct {
	Comparison batches.Comparison    `json:"comparison"`
	Rows       []batches.ComparedRow `json:"rows"`
}

// background runs a command beside the test.
func (s *site) background(args ...string) <-chan result {
	done := make(chan result, 1)
	go func() { done <- s.enqueue(args...) }()
	return done
}

// answer does a worker's part for the job of a batch and a row.
func (s *site) answer(batch string, row int, text string, cost billing.NanoUSD, latency time.Duration) {
	s.t.Helper()
	var id, provider, model string
	s.until("the job is there", func() bool {
		return s.pool.QueryRow(s.t.Context(), `SELECT id::text, provider, model FROM jobs WHERE batch_id = $1 AND seq = $2`, batch, row).Scan(&id, &provider, &model) == nil
	})
	ctx := s.t.Context()
	db, err := store.Open(ctx, s.database)
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	worker, token, call := jobs.NewID(), jobs.NewID(), jobs.NewID()
	claimed, err := db.Claim(ctx, worker, jobs.Claim{ID: uuid.MustParse(id), Gen: 1, LeaseToken: token})
	if err != nil || claimed.Job == nil {
		s.t.Fatalf("claim: %+v, %v", claimed, err)
	}
	if err := db.BeginCall(ctx, worker, jobs.Call{CallID: call, JobID: claimed.Job.ID, LeaseToken: token, Provider: provider, Model: model, Reserved: &cost, Timeout: time.Minute}); err != nil {
		s.t.Fatal(err)
	}
	usage := providers.Usage{InputTokens: 10, OutputTokens: int64(len(text)), ReasoningTokens: 1}
	err = db.Succeed(ctx, jobs.Success{
		JobID: claimed.Job.ID, LeaseToken: token,
		Settlement: jobs.Settlement{CallID: call, Outcome: jobs.CallSucceeded, Cost: &cost, Latency: latency, Status: 200, Usage: usage},
		Response:   providers.Response{Provider: provider, Model: model, Text: text, Status: 200, Latency: latency, Usage: usage},
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// twoMocks is a configuration with two of them.
func twoMocks(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "two.yaml")
	text := "providers:\n  east: {kind: mock}\n  west: {kind: mock}\nchains: {text: [mock], image: [mock], audio: [mock], video: [mock]}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestModelsAreComparedRowByRow(t *testing.T) {
	t.Parallel()
	s, cfg := newSite(t), twoMocks(t)
	path := file(t, `{"custom_id":"a","prompt":"one `+canary+`"}`, `{"custom_id":"b","prompt":"two","model":"gpt-4o","provider":"openai","chain":["openai"]}`, `{"prompt":"three"}`)
	done := s.background("--config", cfg, "compare", path, "--with", "east,west", "--judge", "mock/mock-text", "--name", "c1", "-o", "json")
	east, west, judge := "c1.east.mock-text", "c1.west.mock-text", "c1.judge.mock.mock-text"
	for row := 1; row <= 3; row++ {
		s.answer(east, row, "east says", 1000, time.Duration(row)*time.Second)
		s.answer(west, row, "west says more", 3000, time.Duration(row)*time.Millisecond)
	}
	// The judge sees each answer in turn first, and nobody's name.
	for row, verdict := range []string{`{"best":1,"reason":"right"}`, `{"best":1,"reason":"right"}`, `{"best":0,"reason":"alike"}`} {
		s.answer(judge, row+1, verdict, 500, time.Second)
	}
	r := <-done
	if strings.Contains(r.err, "is not asked about") {
		t.Error(r.err)
	}
	got := decoded[compared](t, r.out)
	if r.code != cli.OK || got.Comparison.State != jobs.BatchFinished || got.Comparison.Rows != 3 || len(got.Rows) != 3 {
		t.Fatalf("%+v", r)
	}
	c := got.Comparison
	if c.Models[0].Model != "east/mock-text" || c.Models[0].Answers != 3 || c.Models[0].Cost != 3000 || *c.Models[0].PerAnswer != 1000 || c.Models[0].P50MS != 2000 || c.Models[0].P95MS != 3000 ||
		c.Models[0].InputTokens != 30 || c.Models[0].OutputTokens != 27 || c.Models[1].Model != "west/mock-text" || c.Models[1].Cost != 9000 || c.Models[1].P50MS != 2 {
		t.Errorf("%+v", c.Models)
	}
	if c.Cheapest != "east/mock-text" || c.Fastest != "west/mock-text" {
		t.Errorf("cheapest %s, fastest %s", c.Cheapest, c.Fastest)
	}
	// Row 1 shows west first, row 2 east.
	j := c.Judges[0]
	if len(c.Judges) != 1 || j.Judge != "mock/mock-text" || j.Verdicts != 3 || j.Ties != 1 || j.Best["east/mock-text"] != 1 || j.Best["west/mock-text"] != 1 || j.Winner != "" || j.Cost != 1500 {
		t.Errorf("%+v", c.Judges)
	}
	two := got.Rows[1]
	if two.Row != 2 || two.CustomID != "b" || two.Prompt != "two" || two.Answers[0].Text != "east says" || two.Answers[1].Text != "west says more" || two.Answers[1].Cost != 3000 || two.Answers[1].LatencyMS != 2 ||
		two.Answers[1].InputTokens != 10 || two.Answers[1].OutputTokens != 14 || len(two.Verdicts) != 1 || two.Verdicts[0].Best != "east/mock-text" || two.Verdicts[0].Reason != "right" {
		t.Errorf("%+v", two)
	}
	if got.Rows[0].Verdicts[0].Best != "west/mock-text" || !got.Rows[2].Verdicts[0].Tie {
		t.Errorf("%+v", got.Rows)
	}
	for row := 1; row <= 2; row++ {
		asked := one[string](s, `SELECT request ->> 'prompt' FROM jobs WHERE batch_id = $1 AND seq = $2`, judge, row)
		first, second := strings.Index(asked, "east says"), strings.Index(asked, "west says more")
		if first < 0 || second < 0 || (first < second) != (row == 2) || strings.Contains(asked, "mock-text") {
			t.Errorf("row %d: %s", row, asked)
		}
	}
	if n := one[int64](s, `SELECT count(*) FROM jobs WHERE fallback <> 'never' OR chain IS NOT NULL OR provider = 'mock' AND batch_id <> $1`, judge); n != 0 {
		t.Errorf("%d jobs may be answered by another model", n)
	}
	// A model that joins later is compared, and was judged by nobody.
	if r := s.left("--config", cfg, "compare", path, "--with", "east,west,mock", "--name", "c1"); r.code != cli.Interrupted {
		t.Errorf("%+v", r)
	}
	if n := one[int64](s, `SELECT count(*) FROM jobs WHERE batch_id = 'c1.mock.mock-text'`); n != 3 {
		t.Errorf("the third is asked about %d rows", n)
	}
	if r := s.enqueue("--config", cfg, "compare", "--show", "c1", "--rows", "0"); !strings.Contains(r.out, "3 of 3 rows judged: east/mock-text 1, west/mock-text 1, mock/mock-text not judged, ties 1\n") {
		t.Errorf("%+v", r)
	}
}

func TestAComparisonThatWasLeftGoesOnAndBuysNothingTwice(t *testing.T) {
	t.Parallel()
	s, cfg := newSite(t), twoMocks(t)
	path := file(t, `{"prompt":"one"}`, `{"prompt":"two"}`)
	args := []string{"--config", cfg, "compare", path, "--with", "east,west"}
	r := s.left(args...)
	name := one[string](s, `SELECT min(tags ->> 'comparison') FROM batches`)
	if back := "Come back with: enqueue compare --show " + name + "\n"; r.code != cli.Interrupted || !strings.HasSuffix(r.err, back) {
		t.Fatalf("%+v, want %q", r, back)
	}
	r = s.enqueue("--config", cfg, "compare", "--show", name)
	if r.code != cli.OK || !strings.Contains(r.out, "state       running\n") || !strings.Contains(r.err, "the answers are still coming in") {
		t.Errorf("%+v", r)
	}
	s.answer(name+".east.mock-text", 1, "one", 1000, time.Second)
	again := s.background(args...)
	s.answer(name+".east.mock-text", 2, "two", 1000, time.Second)
	s.answer(name+".west.mock-text", 1, "uno", 1000, 2*time.Second)
	s.finish(one[string](s, `SELECT id::text FROM jobs WHERE batch_id = $1 AND seq = 2`, name+".west.mock-text"), "", "refused")
	r = <-again
	if s.jobs() != 4 || r.code != cli.JobsFailed || r.err != "" && !strings.HasSuffix(r.err, "enqueue: 1 of 4 jobs failed\n") {
		t.Errorf("%d jobs: %+v", s.jobs(), r)
	}
	for _, want := range []string{"comparison  " + name, "state       partial\n", "cheapest  -\n", "fastest   east/mock-text\n", "── east/mock-text", "(auth: refused)", "<$0.0001, 1.0s, 10 + 3 tokens"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is not in\n%s", want, r.out)
		}
	}
	// Once all is over, the same command ends as it would have then, and what is only shown is no failure.
	if r := s.enqueue(args...); s.jobs() != 4 || r.code != cli.JobsFailed || !strings.HasSuffix(r.err, "enqueue: 1 of 4 jobs failed\n") {
		t.Errorf("%d jobs: %+v", s.jobs(), r)
	}
	if r := s.enqueue("--config", cfg, "compare", "--show", name); r.code != cli.OK || !strings.Contains(r.out, "state       partial\n") {
		t.Errorf("%+v", r)
	}
	// Other rows are another comparison.
	other := file(t, `{"prompt":"three"}`, `{"prompt":"one"}`)
	if r := s.enqueue("--config", cfg, "compare", other, "--with", "east,west", "--name", name); r.code != cli.Usage || !strings.Contains(r.err, "has rows of another file: use another --name") {
		t.Errorf("%+v", r)
	}
}

func TestAVendorsBodyIsAskedOfEachModel(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := file(t, `{"custom_id":"x","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}}`)
	if r := s.left("compare", path, "--with", "openai/gpt-6-luna,anthropic/claude-haiku-5-5", "--name", "c1"); r.code != cli.Interrupted {
		t.Errorf("%+v", r)
	}
	for batch, want := range map[string]string{
		"c1.openai.gpt-6-luna": "openai gpt-6-luna gpt-6-luna", "c1.anthropic.claude-haiku-5-5": "anthropic claude-haiku-5-5",
	} {
		if got := one[string](s, `SELECT concat_ws(' ', provider, model, request -> 'body' ->> 'model') FROM jobs WHERE batch_id = $1`, batch); got != want {
			t.Errorf("%s: %s, want %s", batch, got, want)
		}
	}
}

func TestAComparisonIsHeldToOneBudget(t *testing.T) {
	t.Parallel()
	s, cfg := newSite(t), twoMocks(t)
	path := file(t, `{"prompt":"one"}`)
	if r := s.enqueue("--config", cfg, "compare", path, "--with", "east,west", "--max-cost", "0.0000001"); r.code != cli.OverBudget || s.jobs() != 0 || !strings.Contains(r.err, "the comparison is expected to cost $0.") {
		t.Errorf("%+v", r)
	}
	r := s.enqueue("--config", cfg, "compare", path, "--with", "east,west", "--dry-run", "-o", "json")
	if f := decoded[forecast](t, r.out); r.code != cli.OK || f.Rows != 2 || len(f.Models) != 2 || f.Expected != f.Models[0].Expected+f.Models[1].Expected || s.jobs() != 0 {
		t.Errorf("%+v", r)
	}
	if r := s.left("--config", cfg, "compare", path, "--with", "east,west", "--budget", "3", "--name", "c1", "--account", "alpha"); r.code != cli.Interrupted {
		t.Errorf("%+v", r)
	}
	if n := one[int64](s, `SELECT count(*) FROM batches WHERE sealed_at IS NOT NULL AND account = 'alpha'`); n != 2 {
		t.Errorf("%d batches are whole", n)
	}
	if got := one[string](s, `SELECT string_agg(concat_ws(' ', tag, period, limit_nano, blocks, simulated), ', ' ORDER BY simulated) FROM budgets`); got != "comparison=c1 total 3000000000 t f, comparison=c1 total 3000000000 t t" {
		t.Errorf("%s", got)
	}
}

func TestWhatCannotBeComparedIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := file(t, `{"prompt":"one"}`)
	for args, says := range map[string]string{
		"compare":                  "name a file of prompts",
		"compare FILE":             "--with: must name 2 to 8 models",
		"compare FILE --with mock": "--with: must name 2 to 8 models",
		"compare FILE --with mock,mock/mock-text":                   "--with: mock/mock-text is there twice",
		"compare FILE --with mock,telex/one":                        `--with "telex/one": must be PROVIDER/MODEL`,
		"compare FILE --with mock,stability":                        "has no default model for text",
		"compare FILE --with mock,openai --judge telex":             `--judge "telex": must be`,
		"compare FILE --with mock,openai --name a/b":                "--name: must be 1 to 32 letters",
		"compare FILE --with mock,openai --set temp=1":              "--set temp=…: there is no such option",
		"compare FILE --with mock,stability/stable-image-core":      "stability/stable-image-core takes none of the rows",
		"compare --show c1 --with mock,openai":                      "leave out the file",
		"compare --show c1":                                         "c1: no such comparison",
		"compare FILE --with mock,openai --task image --judge mock": "--judge: reads texts",
	} {
		r := s.enqueue(strings.Fields(strings.ReplaceAll(args, "FILE", path))...)
		if r.code != cli.Usage || !strings.Contains(r.err, says) || s.jobs() != 0 {
			t.Errorf("%s: %+v, want %q", args, r, says)
		}
	}
}

func TestAJudgeThatNamesNoAnswerIsUnclear(t *testing.T) {
	t.Parallel()
	s, cfg := newSite(t), twoMocks(t)
	path := file(t, `{"prompt":"one"}`, `{"prompt":"two"}`, `{"prompt":"three"}`)
	done := s.background("--config", cfg, "compare", path, "--with", "east,west", "--name", "c1")
	for row := 1; row <= 3; row++ {
		s.answer("c1.east.mock-text", row, fmt.Sprint("east", row), 1000, time.Second)
		s.answer("c1.west.mock-text", row, fmt.Sprint("west", row), 1000, time.Second)
	}
	if r := <-done; r.code != cli.OK || strings.Contains(r.out, "best") {
		t.Errorf("nobody was asked to judge: %+v", r)
	}
	done = s.background("--config", cfg, "compare", "--show", "c1", "--judge", "mock", "-o", "ndjson")
	for row, verdict := range []string{`{"best":3,"reason":"?"}`, `the second`, `{"best":2,"reason":"right"}`} {
		s.answer("c1.judge.mock.mock-text", row+1, verdict, 500, time.Second)
	}
	r := <-done
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	var c batches.Comparison
	if err := json.Unmarshal([]byte(lines[0]), &c); err != nil || len(lines) != 4 || r.code != cli.OK {
		t.Fatalf("%v: %+v", err, r)
	}
	if j := c.Judges[0]; j.Verdicts != 3 || j.Unclear != 2 || j.Winner != "east/mock-text" || c.Cheapest != "" || c.Fastest != "" {
		t.Errorf("%+v", c)
	}
	// The same again asks nobody.
	if r := s.enqueue("--config", cfg, "compare", "--show", "c1", "--judge", "mock"); r.code != cli.OK || s.jobs() != 9 || !strings.Contains(r.out, "best      east/mock-text, says mock/mock-text\n") || !strings.Contains(r.out, "★ best; ") {
		t.Errorf("%d jobs: %+v", s.jobs(), r)
	}
}

func TestAnotherFileIsNoPartOfAComparison(t *testing.T) {
	t.Parallel()
	s, cfg := newSite(t), twoMocks(t)
	path := file(t, `{"prompt":"one"}`, `{"prompt":"two"}`)
	if r := s.left("--config", cfg, "compare", path, "--with", "east,west", "--name", "c1"); r.code != cli.Interrupted || s.jobs() != 4 {
		t.Fatalf("%+v, and %d jobs", r, s.jobs())
	}
	// Its first row is the same, and so is its name.
	if err := os.WriteFile(path, []byte("{\"prompt\":\"one\"}\n{\"prompt\":\"three\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := s.enqueue("--config", cfg, "compare", path, "--with", "east,west", "--name", "c1")
	if r.code != cli.Usage || !strings.Contains(r.err, "has rows of another file") || s.jobs() != 4 {
		t.Errorf("%+v, and %d jobs", r, s.jobs())
	}
}
