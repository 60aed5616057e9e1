package worker_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5/pgxpool" //nolint:depguard // to look behind the store's back
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/billing"
	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/policy"
	"oneflow/providers"
	"oneflow/store"
	"oneflow/worker"
)

func TestMain(m *testing.M) {
	if os.Getenv(victimVariable) != "" {
		fmt.Fprintln(os.Stderr, victim())
		os.Exit(1) //nolint:forbidigo // a process of its own
	}
	storetest.VerifyMain(m)
}

// fleet is a Postgres, a Redis, a producer, and the workers of one test.
type fleet struct {
	url       string // of Postgres
	redisURL  string
	store     *store.Store
	sql       *pgxpool.Pool
	redis     *redis.Client
	opt       asynq.RedisClientOpt
	inspector *asynq.Inspector
	dispatch  *jobs.Dispatcher
	producer  *jobs.Producer
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	return newFleetOn(t, storetest.Redis(t))
}

// newFleetOn makes a fleet with a database of its own on this Redis.
func newFleetOn(t *testing.T, redisURL string) *fleet {
	t.Helper()
	url := storetest.Database(t)
	s, err := store.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	rdb := storetest.Client(t, redisURL)
	o := rdb.Options()
	f := &fleet{
		url: url, redisURL: redisURL, store: s, sql: storetest.Pool(t, url), redis: rdb,
		opt: asynq.RedisClientOpt{Network: o.Network, Addr: o.Addr, Username: o.Username, Password: o.Password, DB: o.DB, PoolSize: 10},
	}
	f.inspector = asynq.NewInspector(f.opt)
	t.Cleanup(func() { f.inspector.Close() })
	f.dispatch = jobs.NewDispatcher(rdb, s)
	f.producer = jobs.NewProducer(s, f.dispatch)
	return f
}

// rows makes n rows with prompts of their own.
func rows(t *testing.T, n int, change func(*jobs.New)) []jobs.New {
	t.Helper()
	keys := jobs.NewKeys()
	out := make([]jobs.New, n)
	for i := range out {
		out[i] = jobs.New{
			ID: jobs.NewID(), Seq: int64(i + 1), Provider: "svc", Lane: jobs.Default,
			Request: providers.Request{Task: providers.Text, Model: "m", Prompt: fmt.Sprint("secret prompt ", i)},
		}
		if change != nil {
			change(&out[i])
		}
		if err := keys.Assign(&out[i]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// enqueue accepts and pushes n jobs.
func (f *fleet) enqueue(t *testing.T, n int, change func(*jobs.New)) []uuid.UUID {
	t.Helper()
	in := rows(t, n, change)
	acc, dispatchErr, err := f.producer.Enqueue(t.Context(), "", in)
	if err != nil || dispatchErr != nil || acc.New != n {
		t.Fatalf("%d accepted, %v, %v", acc.New, dispatchErr, err)
	}
	ids := make([]uuid.UUID, n)
	for i := range in {
		ids[i] = in[i].ID
	}
	return ids
}

// service is a provider that does what the test says.
type service struct {
	mu     sync.Mutex
	calls  []call
	answer func(ctx context.Context, n int, req providers.Request) (providers.Response, error)
}

type call struct {
	prompt string
	at     time.Time
}

// serve makes a service; n is the number of the call, from 1.
func serve(answer func(ctx context.Context, n int, req providers.Request) (providers.Response, error)) *service {
	return &service{answer: answer}
}

func (s *service) Name() string { return "svc" }

func (s *service) Generate(ctx context.Context, req providers.Request) (providers.Response, error) {
	s.mu.Lock()
	s.calls = append(s.calls, call{req.Prompt, time.Now()})
	n := len(s.calls)
	s.mu.Unlock()
	return s.answer(ctx, n, req)
}

func (s *service) made() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]call(nil), s.calls...)
}

// perPrompt counts the calls of each prompt.
func (s *service) perPrompt() map[string]int {
	out := map[string]int{}
	for _, c := range s.made() {
		out[c.prompt]++
	}
	return out
}

func answers(_ context.Context, _ int, req providers.Request) (providers.Response, error) {
	return providers.Response{Provider: "svc", Model: "m", Text: "answer to " + req.Prompt, Status: 200, Usage: providers.Usage{InputTokens: 1}}, nil
}

func failure(kind providers.Kind, billing providers.Billing) error {
	return &providers.Error{Provider: "svc", Kind: kind, Billing: billing, Status: 500}
}

// prices reserves 100 nano-USD and charges 10.
type prices struct{}

func (prices) LongestAnswer(string, string) int64 { return 1000 }

func (prices) Reserve(string, providers.Request, time.Time) (billing.NanoUSD, int64, bool) {
	return 100, 1000, true
}

func (prices) Cost(string, string, providers.Usage, time.Time) (billing.NanoUSD, []string, bool) {
	return 10, []string{"svc/m"}, true
}

// shelf keeps blobs, or refuses to.
type shelf struct{ err error }

func (s shelf) Put(_ context.Context, data []byte, _ string) (string, [32]byte, error) {
	return fmt.Sprintf("file:///%d", len(data)), sha256.Sum256(data), s.err
}

// running is a worker that runs.
type running struct {
	stop context.CancelFunc
	done chan error
}

// wait waits until the worker has left.
func (r *running) wait(t *testing.T) {
	t.Helper()
	select {
	case err := <-r.done:
		r.done <- err // for the next who asks
		if err != nil {
			t.Errorf("worker: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the worker has not left after a minute")
	}
}

// parts hands a store out as what a worker needs of one.
func parts(s *store.Store) worker.Stores {
	return worker.Stores{Work: s, Orders: s, Presence: s, Leader: s, Recovery: s, Deliveries: s, Capacity: s, Money: s, Watch: s, Cache: s}
}

// worker starts a worker; it stops when the test ends.
func (f *fleet) worker(t *testing.T, p providers.Provider, change func(*worker.Config)) *running {
	t.Helper()
	calls, cutOff := context.WithCancel(context.WithoutCancel(t.Context()))
	guarded, err := policy.New(policy.Config{
		Providers: []providers.Provider{p}, CallTimeout: time.Minute, Calls: calls, Backoff: func(int) time.Duration { return time.Millisecond },
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := worker.Config{
		ID: jobs.NewID(), Providers: []worker.Served{{Name: "svc", Kind: "test", Concurrency: 8}}, Redis: f.opt, Store: parts(f.store),
		Generator: guarded, Artifacts: shelf{}, Prices: prices{}, Log: zerolog.Nop(), CallTimeout: time.Minute, CutOff: cutOff,
	}
	cfg.Hasten(time.Second, 100*time.Millisecond, time.Minute)
	if change != nil {
		change(&cfg)
	}
	w, err := worker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &running{stop: stop, done: make(chan error, 1)}
	go func() { r.done <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		r.wait(t)
		cutOff()
	})
	return r
}

type row struct {
	State    jobs.State
	Gen      int
	Attempt  int
	Crashes  int
	Class    string
	Message  string
	Cost     int64
	Outcomes []string // of its calls, in order
	Text     string   // of its result
}

func (f *fleet) job(t *testing.T, id uuid.UUID) row {
	t.Helper()
	var r row
	err := f.sql.QueryRow(t.Context(), `
		SELECT state, gen, attempt, crashes, error_class, error_message, cost_nano,
			ARRAY(SELECT c.state FROM call_jobs cj JOIN calls c ON c.id = cj.call_id WHERE cj.job_id = s.job_id ORDER BY c.started_at, c.id),
			coalesce((SELECT text FROM results WHERE job_id = s.job_id), '')
		FROM job_states s
		WHERE job_id = $1`, id).Scan(&r.State, &r.Gen, &r.Attempt, &r.Crashes, &r.Class, &r.Message, &r.Cost, &r.Outcomes, &r.Text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (f *fleet) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := f.sql.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func (f *fleet) count(t *testing.T, sql string) int {
	t.Helper()
	var n int
	if err := f.sql.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// await waits until a job is in a state.
func (f *fleet) await(t *testing.T, id uuid.UUID, want jobs.State) row {
	t.Helper()
	var got row
	eventually(t, fmt.Sprintf("job %s is %s", id, want), func() bool {
		got = f.job(t, id)
		return got.State == want
	})
	return got
}

// awaitAll waits until all jobs are in a state.
func (f *fleet) awaitAll(t *testing.T, want jobs.State) {
	t.Helper()
	eventually(t, fmt.Sprintf("all jobs are %s", want), func() bool {
		return f.count(t, `SELECT count(*) FROM job_states WHERE state <> '`+string(want)+`'`) == 0
	})
}

// tasks returns the number of tasks of the default lane that are in Redis, by state.
func (f *fleet) tasks(t *testing.T) (live, archived int) {
	t.Helper()
	info, err := f.inspector.GetQueueInfo(jobs.QueueName("svc", jobs.Default))
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return 0, 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return info.Pending + info.Active + info.Scheduled + info.Retry, info.Archived
}

// drained waits until no task of the default lane is left to do.
func (f *fleet) drained(t *testing.T) {
	t.Helper()
	eventually(t, "no task is left", func() bool {
		live, _ := f.tasks(t)
		return live == 0
	})
}

// eventually waits until is holds, for up to a minute.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within a minute: %s", what)
		case <-tick.C:
		}
	}
}
