package app

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/api"
	"oneflow/artifacts"
	"oneflow/config"
	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/metrics"
	"oneflow/monitor"
	"oneflow/policy/limiter"
	"oneflow/store"
)

// NewMonitor puts the parts of a monitor together: its pages, the front door, and
// the metrics. What is about serving, such as its names, is left to the caller, who calls
// done when it is over.
func NewMonitor(ctx context.Context, cfg config.Config, db *store.Store, rdb redis.UniversalClient, tasks asynq.RedisConnOpt, log zerolog.Logger) (parts monitor.Config, done func() error, err error) {
	front, err := NewFrontDoor(ctx, cfg, db, rdb, log)
	if err != nil {
		return parts, nil, err
	}
	known := cli.Fleet(cfg)
	told, err := metrics.New(metrics.Config{Store: db, Redis: tasks, Pressure: pressureInForce(db, known, rdb), Waiting: front.Waiting, Log: log})
	if err != nil {
		return parts, nil, err
	}
	programs, err := api.New(api.Config{
		Schedules: db, Fleet: db, Money: db, Spending: db, Alerts: db, Orders: fleet.NewOrders(db, known), Input: cli.Input(cfg), Log: log,
	})
	if err != nil {
		return parts, nil, errors.Join(err, told.Close())
	}
	return monitor.Config{
		Store: db, Access: db, Jobs: db, Orders: db, OpenURL: artifacts.OpenObject, Redis: tasks, Holds: holdsInForce(db, known, rdb),
		Money: db, Fleet: db, FleetOrders: fleet.NewOrders(db, known), Known: known, Schedules: db, Compare: db, Pipelines: db, Hints: db.Hints,
		FrontDoor: front, Metrics: told, API: programs.Routes(), Log: log,
	}, told.Close, nil
}

// pressureInForce returns a reader of how much of the limits in force is used.
func pressureInForce(db *store.Store, known fleet.Config, rdb redis.UniversalClient) func(context.Context) (map[string]fleet.Pressure, error) {
	return func(ctx context.Context) (_ map[string]fleet.Pressure, err error) {
		stored, _, err := db.Settings(ctx)
		if err != nil {
			return nil, err
		}
		settings := known.Settings(stored)
		slots, err := limiter.New(limiter.Config{
			Redis: rdb, CallTimeout: time.Minute,
			Settings: func(provider string) limiter.Settings { return limiterSettings(settings[provider]) },
		})
		if err != nil {
			return nil, err
		}
		defer slots.Close()
		all := map[string]fleet.Pressure{}
		for provider := range settings {
			p := fleet.Pressure{Used: map[string]float64{}, Limits: map[string]float64{}}
			// Where models have limits of their own, those of all together, and the fullest.
			for _, name := range append([]string{""}, settings[provider].Scopes()...) {
				state, bad := slots.State(ctx, provider, scopeSettings(settings[provider], name))
				if bad != nil {
					err = errors.Join(err, bad)
					continue
				}
				p.Wait = max(p.Wait, state.Wait.Seconds())
				if !state.BlockedUntil.IsZero() {
					p.Blocked = max(p.Blocked, time.Until(state.BlockedUntil).Seconds())
				}
				for _, d := range state.Dimensions {
					if d.Limit > 0 {
						of := string(d.Dimension)
						if name == "" || settings[provider].Limits.Of(d.Dimension) == 0 {
							p.Limits[of] += float64(d.Limit)
						}
						p.Used[of] = max(p.Used[of], float64(d.Used)/float64(d.Limit))
					}
				}
			}
			all[provider] = p
		}
		return all, err
	}
}
