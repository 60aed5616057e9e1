package monitor

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// pingLimit is the time that Postgres and Redis have to answer.
const pingLimit = 2 * time.Second

// healthy answers that the process is up.
func healthy(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok") }

// ready answers whether Postgres and Redis do, and names the one that does not. The
// reason stands in the log: anybody may ask.
func (m *Monitor) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pingLimit)
	defer cancel()
	redis := make(chan error, 1)
	go func() { redis <- m.redis.ping(ctx) }()
	failures := map[string]error{"Postgres": m.cfg.Store.Ping(ctx), "Redis": <-redis}
	var down []string
	for _, name := range []string{"Postgres", "Redis"} {
		if err := failures[name]; err != nil {
			m.cfg.Log.Warn().Err(err).Msg("not ready: " + name + " does not answer")
			down = append(down, name+" does not answer")
		}
	}
	if len(down) > 0 {
		text(w, http.StatusServiceUnavailable, strings.Join(down, "; "))
		return
	}
	text(w, http.StatusOK, "ready")
}

func text(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, line)
}

// pinger asks Redis whether it is there.
type pinger struct{ redis.UniversalClient }

// newPinger makes a client that gives up when it is told to, unlike asynq's.
func newPinger(opt asynq.RedisConnOpt) (pinger, error) {
	client, ok := opt.MakeRedisClient().(redis.UniversalClient)
	if !ok {
		return pinger{}, fmt.Errorf("a %T makes no Redis client that is known here", opt)
	}
	single, ok := client.(*redis.Client)
	if !ok {
		return pinger{client}, nil
	}
	o := *single.Options()
	if err := single.Close(); err != nil {
		return pinger{}, err
	}
	o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries, o.PoolSize = true, -1, 1, 2
	// These belong to the client that was closed.
	o.PushNotificationProcessor, o.MaintNotificationsConfig = nil, &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return pinger{redis.NewClient(&o)}, nil
}

func (p pinger) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	return p.Ping(ctx).Err()
}
