package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/artifacts"
	"oneflow/batches"
	"oneflow/billing"
	"oneflow/config"
	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/providers/keys"
	"oneflow/store"
	"oneflow/worker"
)

// WorkerOptions are the options of a worker.
type WorkerOptions struct {
	Config config.Config
	// Providers are the names of those to serve; none means all. Each is served as
	// long as it has a key or needs none.
	Providers []string
	Keys      *keys.Store
	Store     *store.Store
	Redis     asynq.RedisConnOpt
	Log       zerolog.Logger
	// Getenv reads the environment, which may hold the secret of webhooks; nil: it is not
	// read.
	Getenv func(string) string
}

// headroom is memory that a worker reserves and never touches, so that it takes no more
// than address space. The garbage collector runs when the heap has doubled, and counts it: beside a
// heap of some 10 MB, which a worker's is, it runs a quarter as often, which is a tenth of
// a busy worker's processor time.
const headroom = 32 << 20

// RunWorker runs a worker until ctx ends and it has drained.
func RunWorker(ctx context.Context, o WorkerOptions) (err error) {
	if _, keyless := Usable(o.Config, o.Keys); len(o.Providers) == 0 && len(keyless) > 0 {
		o.Log.Info().Strs("providers", keyless).Msg("not served without an API key: set it with `worker keys set`, and they are served from then on")
	}
	reserve := make([]byte, headroom)
	defer runtime.KeepAlive(reserve)
	calls, cutOff := context.WithCancel(context.WithoutCancel(ctx))
	defer cutOff()

	live := fleet.NewLiveSettings(ctx, fleet.LiveConfig{Store: o.Store, Config: cli.Fleet(o.Config), Log: o.Log})
	defer live.Close() //nolint:contextcheck // ctx has ended by then
	fleetID, err := o.Store.FleetID(ctx)
	if err != nil {
		return err
	}
	prices, err := newPrices(o.Config)
	if err != nil {
		return err
	}
	parts := newScopes(o.Config, o.Keys, live.Settings)
	waits := &waited{add: o.Store.AddLimiterWaits, log: o.Log}
	guarded, closePolicy, err := newChains(calls, o, fleetID.String(), live, parts, prices, waits)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closePolicy()) }()
	blobs, err := artifacts.Open(ctx, o.Config.Artifacts)
	if err != nil {
		return err
	}

	client, ok := o.Redis.MakeRedisClient().(redis.UniversalClient)
	if !ok {
		return fmt.Errorf("worker: %T makes no Redis client that is known here", o.Redis)
	}
	defer func() { _ = client.Close() }()
	producer, err := NewProducer(o.Config, o.Store, jobs.NewDispatcher(client, o.Store))
	if err != nil {
		return err
	}
	steps, err := newSteps(o)
	if err != nil {
		return err
	}

	id := jobs.NewID()
	tracer, closeTracer, err := newTracer(o, id) //nolint:contextcheck // it is closed when ctx has ended
	if err != nil {
		return err
	}
	defer closeTracer()
	w, err := worker.New(worker.Config{
		ID:        id,
		Providers: Served(o.Config, slices.Sorted(maps.Keys(o.Config.Providers))),
		Serves: func(provider string) bool {
			return (len(o.Providers) == 0 || slices.Contains(o.Providers, provider)) && hasKey(o.Config, provider, o.Keys)
		},
		KeyEnds:     func(provider string) []string { return keyEnds(o.Config, provider, o.Keys) },
		Changed:     keysChanged(o.Keys),
		Redis:       o.Redis,
		Store:       storesOf(o.Store),
		Limits:      parts.Limits,
		Class:       parts.Class,
		Generator:   guarded,
		Artifacts:   blobs,
		Prices:      prices,
		Log:         o.Log,
		CallTimeout: time.Duration(o.Config.CallTimeout),
		Drain:       time.Duration(o.Config.Drain),
		State:       o.Config.State,
		Version:     cli.Release(),
		CutOff:      cutOff,
		Follow:      steps.After,
		AlertsURL:   o.Config.Webhooks.Alerts,
		Tracer:      tracer,
		Background: append(append(retention(o.Config.Retention, o.Store, blobs), newWebhooks(o)...),
			worker.Background{Name: "forget cached answers", Every: removeEvery, Run: func(ctx context.Context) error { return batches.ForgetCached(ctx, o.Store, blobs.Remove) }},
			worker.Background{Name: "fire schedules", Every: time.Second, Run: newSchedules(o, producer).Round},
			worker.Background{Name: "accept what SQL submitted", Every: submissionsEvery, Wake: o.Store.SubmittedHints, Run: newSubmissions(o, producer).Round},
			worker.Background{Name: "forget idempotency keys", Every: time.Hour, Run: func(ctx context.Context) error { return o.Store.ForgetSubmissions(ctx, keysKept) }},
		),
	})
	if err != nil {
		return err
	}
	var telling sync.WaitGroup
	life, stop := context.WithCancel(calls)
	telling.Go(func() { waits.run(life) })
	defer telling.Wait()
	defer stop()
	return w.Run(ctx)
}

// removeEvery is the time between two looks for batches that are kept no longer.
const removeEvery = 10 * time.Minute

// retention removes what is kept no longer, where that is configured.
func retention(r config.Retention, s *store.Store, blobs *artifacts.Store) []worker.Background {
	if r.Results == 0 {
		return nil
	}
	list := []worker.Background{
		{Name: "remove old batches", Every: removeEvery, Run: func(ctx context.Context) error {
			return batches.Outdated(ctx, s, time.Duration(r.Results), blobs.Remove)
		}},
		{Name: "remove old jobs without a batch", Every: removeEvery, Run: func(ctx context.Context) error {
			_, err := s.RemoveSingles(ctx, time.Duration(r.Results))
			return err
		}},
	}
	if r.Calls > 0 {
		list = append(list, worker.Background{Name: "remove old calls", Every: removeEvery, Run: func(ctx context.Context) error {
			_, err := s.RemoveCalls(ctx, time.Duration(r.Calls))
			return err
		}})
	}
	return list
}

// storesOf hands a store out as what a worker needs of one.
func storesOf(s *store.Store) worker.Stores {
	return worker.Stores{Work: s, Orders: s, Presence: s, Leader: s, Recovery: s, Deliveries: s, Capacity: s, Money: s, Watch: s, Cache: s}
}

// newSteps makes what hands answers on to the next steps of pipelines.
func newSteps(o WorkerOptions) (*batches.Steps, error) {
	estimates, err := newEstimates(o.Config, o.Store)
	if err != nil {
		return nil, err
	}
	return &batches.Steps{
		Store: o.Store, Input: cli.Input(o.Config), Open: artifacts.OpenObject, Estimates: estimates,
		Funds: func(ctx context.Context, account string) (billing.Funds, func(jobs.New) billing.NanoUSD, error) {
			return funds(ctx, o, account)
		},
	}, nil
}

func keysChanged(store *keys.Store) <-chan struct{} {
	if store == nil {
		return nil
	}
	return store.Changed()
}
