package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5" //nolint:depguard // an application's own transactions

	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/store"
)

func TestWhatAnApplicationSubmitsIsAJobOfTheAccountOfItsRole(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	if _, err := s.submit("text", `{"prompt":"hello"}`); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a role without the right: %v", err)
	}
	s.grant()
	id, err := s.submit("text", `{"prompt":"hello","provider":"openai","max_tokens":20,"lane":"high"}`)
	if err != nil {
		t.Fatal(err)
	}
	if uuid.MustParse(id).Version() != 7 {
		t.Errorf("%s is of version %d", id, uuid.MustParse(id).Version())
	}
	if err := s.take.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := one[string](s, `SELECT j.account || ' ' || j.task || ' ' || j.provider || ' ' || j.lane || ' ' || s.state || ' ' || (j.request->>'prompt')
		FROM jobs j JOIN job_states s ON s.job_id = j.id WHERE j.id = $1`, id)
	if got != "acme text openai high queued hello" {
		t.Errorf("the job: %s", got)
	}
	if n := one[int](s, `SELECT count(*) FROM oneflow.submissions`); n != 0 {
		t.Errorf("%d submissions are left", n)
	}
	for what, sql := range map[string]string{
		"read the jobs":        `SELECT count(*) FROM jobs`,
		"read the submissions": `SELECT count(*) FROM oneflow.submissions`,
		"change its account":   `UPDATE oneflow.roles SET account = 'rich'`,
	} {
		if _, err := s.pool.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("the role may %s: %v", what, err)
		}
	}
	// A function of the caller's own takes the place of none that ours calls.
	_, err = s.pool.Exec(t.Context(), `
		CREATE FUNCTION shop.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT pg_sleep(1)::text::bytea';
		SET search_path = shop, pg_catalog`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.submit("text", `{"prompt":"again"}`); err != nil {
		t.Error(err)
	}
	if err := s.db.RevokeRole(t.Context(), s.pool.Config().ConnConfig.User); err != nil {
		t.Fatal(err)
	}
	if _, err := s.submit("text", `{"prompt":"hello"}`); err == nil {
		t.Error("a role whose right was taken back submits")
	}
}

func TestASubmissionMayAskForTheBestProvider(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.grant()
	id, err := s.submit("text", `{"prompt":"hello","provider":"best"}`)
	if err == nil {
		err = s.take.Round(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	got := one[string](s, `SELECT j.provider || ' ' || s.state || ' ' || s.error_message FROM jobs j JOIN job_states s ON s.job_id = j.id WHERE j.id = $1`, id)
	if provider, state, _ := strings.Cut(got, " "); provider == "best" || provider == "" || state != "queued " {
		t.Errorf("the job: %s", got)
	}
}

func TestAnApplicationReadsWhatCameOfItsAccountsJobsAlone(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	if err := s.db.GrantRole(t.Context(), "nobody_of_that_name", "acme"); !errors.Is(err, store.ErrNoRole) || !strings.Contains(err.Error(), "CREATE ROLE") {
		t.Errorf("a role that is not there: %v", err)
	}
	result := func(id string) (state, text string, vector []float32, message string, rows int) {
		t.Helper()
		got, err := s.pool.Query(t.Context(), `SELECT state, coalesce(text, ''), vector, coalesce(message, '') FROM oneflow.result($1)`, id)
		if err != nil {
			t.Fatal(err)
		}
		_, err = pgx.ForEachRow(got, []any{&state, &text, &vector, &message}, func() error { rows++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		return state, text, vector, message, rows
	}
	if _, err := s.pool.Exec(t.Context(), `SELECT oneflow.result($1)`, uuid.New()); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a role without the right: %v", err)
	}
	s.grant()
	id, err := s.submit("text", `{"prompt":"hello","provider":"openai"}`)
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := s.submit("text", `{}`)
	if err != nil {
		t.Fatal(err)
	}
	if state, _, _, _, n := result(id); state != "submitted" || n != 1 {
		t.Errorf("before it is a job: %q, %d rows", state, n)
	}
	if err := s.take.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if state, _, _, _, n := result(id); state != "queued" || n != 1 {
		t.Errorf("the job: %q, %d rows", state, n)
	}
	if state, _, _, message, _ := result(wrong); state != "failed" || !strings.Contains(message, "prompt") {
		t.Errorf("the refused one: %q %q", state, message)
	}
	// 1, -2.5, 0.1 and the least number that there is.
	const insert = `INSERT INTO results (job_id, call_id, provider, model, text, vector) VALUES ($1, $1, 'openai', 'm', 'Good day', '\x0000803f000020c0cdcccc3d01000000')`
	if _, err := s.own.Exec(t.Context(), insert, id); err != nil {
		t.Fatal(err)
	}
	if _, text, vector, _, _ := result(id); text != "Good day" || !slices.Equal(vector, []float32{1, -2.5, 0.1, math.SmallestNonzeroFloat32}) {
		t.Errorf("the answer: %q %v", text, vector)
	}
	if _, err := s.own.Exec(t.Context(), `UPDATE jobs SET account = 'rich' WHERE id = $1`, id); err != nil {
		t.Fatal(err)
	}
	if _, _, _, _, n := result(id); n != 0 {
		t.Error("another account's job is shown")
	}
	// A table of the caller's own takes the place of none that ours reads.
	_, err = s.pool.Exec(t.Context(), `CREATE TABLE shop.jobs (id uuid, account text); CREATE TEMP TABLE job_states (job_id uuid, state text); SET search_path = shop, pg_catalog`)
	if err != nil {
		t.Fatal(err)
	}
	if state, _, _, _, n := result(wrong); state != "failed" || n != 1 {
		t.Errorf("beside tables of the same name: %q, %d rows", state, n)
	}
}

func TestWhatIsNoJobIsRefusedAtOnceOrAsAFailedJobWithItsReason(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.grant()
	for _, c := range []struct{ task, request, key, want string }{
		{"poem", `{"prompt":"x"}`, "a", "task 'poem'"},
		{"text", `[]`, "a", "must be an object"},
		{"text", `{"prompt":"x"}`, "", "1 to 256"},
		{"text", `{"prompt":"x"}`, strings.Repeat("k", 257), "1 to 256"},
	} {
		if _, err := s.submit(c.task, c.request, c.key); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want an error with %q", c.task, c.request, err, c.want)
		}
	}
	for _, c := range [][2]string{
		{`{}`, "prompt"},
		{`{"prompt":"x","temperature":"q"}`, "temperature"},
		{`{"prompt":"x","provider":"nobody"}`, "nobody"},
		{`{"prompt":"x","task":"image"}`, "task"},
		{`{"prompt":"x","provider":"mock","account":"rich"}`, `unknown field "account"`},
		{`{"prompt":"x","provider":"mock","custom_id":"c"}`, "custom_id: is for rows of a batch"},
	} {
		request, want := c[0], c[1]
		id, err := s.submit("text", request)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.take.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := one[string](s, `SELECT state || ' ' || error_class || ' ' || error_message FROM job_states WHERE job_id = $1`, id)
		if !strings.HasPrefix(got, "failed refused ") || !strings.Contains(got, want) {
			t.Errorf("%s: %s, want a reason with %q", request, got, want)
		}
		if r, err := s.db.Retry(t.Context(), id, []jobs.State{jobs.Failed}, ""); err != nil || r.Jobs != 0 {
			t.Errorf("retry of a refused one: %+v, %v", r, err)
		}
	}
}

func TestAnIdempotencyKeyIsOneJobAlsoInTransactionsAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.grant()
	ids := make([]string, 20)
	var running sync.WaitGroup
	for i := range ids {
		running.Go(func() {
			var err error
			if ids[i], err = s.submit("text", `{"prompt":"hello"}`, "order-1"); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	if err := s.take.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, err := s.submit("text", `{"prompt":"hello"}`, "order-1")
	for _, id := range ids {
		if err != nil || id != again {
			t.Errorf("ids %s and %s, %v", id, again, err)
		}
	}
	if n := one[int](s, `SELECT count(*) FROM jobs`); n != 1 {
		t.Errorf("%d jobs", n)
	}
	if _, err := s.submit("text", `{"prompt":"another"}`, "order-1"); err == nil || !strings.Contains(err.Error(), "was used for another request") {
		t.Errorf("the key with another request: %v", err)
	}
	if err := s.db.ForgetSubmissions(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if later, err := s.submit("text", `{"prompt":"another"}`, "order-1"); err != nil || later == again {
		t.Errorf("a forgotten key: %s, %v", later, err)
	}
}

// 200 transactions a second, each with a row of the application's own, a third of them
// rolled back, while those who accept die again and again.
func TestExactlyWhatIsCommittedBecomesAJobWithinASecond(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.grant()
	const n, rate = 1000, 200
	accepting, stop := context.WithCancel(t.Context())
	defer stop()
	var accepted sync.WaitGroup
	deaths := 0
	accepted.Go(func() {
		hints := s.db.SubmittedHints(accepting)
		for accepting.Err() == nil {
			// This one dies at some moment of its next half second; later ones live longer, or on a
			// busy machine none would get anything done.
			ctx, die := context.WithTimeout(accepting, time.Duration(rand.IntN(500_000+50_000*max(deaths-20, 0)))*time.Microsecond)
			for ctx.Err() == nil {
				if err := s.take.Round(ctx); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
				select {
				case <-hints:
				case <-time.After(submissionsEvery):
				case <-ctx.Done():
				}
			}
			die()
			deaths++
		}
	})
	var shops sync.WaitGroup
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	rollback := errors.New("rolled back")
	for i := range n {
		<-tick.C
		shops.Go(func() {
			err := pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
				_, err := tx.Exec(t.Context(), `INSERT INTO shop.orders (n, job) VALUES ($1, oneflow.enqueue('text', $2, $3))`,
					i, fmt.Sprintf(`{"prompt":"order %d","provider":"openai"}`, i), fmt.Sprintf("order-%d", i))
				if err == nil && i%3 == 0 {
					err = rollback
				}
				return err
			})
			if err != nil && !errors.Is(err, rollback) {
				t.Error(err)
			}
		})
	}
	shops.Wait()
	ended := time.Now()
	for one[int](s, `SELECT count(*) FROM oneflow.submissions WHERE ended_at IS NULL`) > 0 && time.Since(ended) < time.Minute {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	t.Logf("the last was a job %s after its commit", time.Since(ended).Round(time.Millisecond))
	stop()
	accepted.Wait()
	if deaths < 10 {
		t.Errorf("only %d deaths", deaths)
	}
	orders := one[int](s, `SELECT count(*) FROM shop.orders`)
	both := one[int](s, `SELECT count(*) FROM shop.orders o JOIN jobs j ON j.id = o.job AND j.request->>'prompt' = 'order ' || o.n`)
	all := one[int](s, `SELECT count(*) FROM jobs`)
	if want := n - (n+2)/3; orders != want || both != want || all != want {
		t.Errorf("%d orders, %d with their job, %d jobs; want %d of each", orders, both, all, want)
	}
	late := one[float64](s, `SELECT extract(epoch FROM max(ended_at - submitted_at)) FROM oneflow.submissions`)
	t.Logf("the latest was a job %.0f ms after it was submitted", late*1000)
}

// The age that the configuration allows for answers from the cache holds for jobs from SQL.
func TestTheConfiguredCacheHoldsForSubmissions(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.grant()
	s.take.Input = cli.Input(config.Config{Providers: map[string]config.Provider{"mock": {Kind: "mock"}}, Cache: config.Cache{TTL: config.Duration(time.Hour)}})
	for request, want := range map[string]string{
		`{"prompt":"hello","provider":"mock"}`:                    "3600",
		`{"prompt":"hello","provider":"mock","cache_seconds":60}`: "60",
		`{"prompt":"hello","provider":"mock","cache_seconds":0}`:  "0",
	} {
		id, err := s.submit("text", request)
		if err == nil {
			err = s.take.Round(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := one[string](s, `SELECT coalesce(request->>'cache_seconds', '0') FROM jobs WHERE id = $1`, id); got != want {
			t.Errorf("%s: %s seconds, want %s", request, got, want)
		}
	}
}
