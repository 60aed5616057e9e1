package main

import (
	"context"
	"time"

	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/providers"
)

// fleetReader holds the reads of the commands.
type fleetReader interface {
	// Standings returns the state of each provider, and Health its figures too.
	Standings(ctx context.Context) ([]fleet.Health, error)
	Health(ctx context.Context, window time.Duration) ([]fleet.Health, error)
	// ProviderLimits returns the limits of each provider by source, and Chains the
	// chains that operators set.
	ProviderLimits(ctx context.Context) ([]fleet.ProviderLimits, error)
	Chains(ctx context.Context) ([]fleet.Chain, error)
	// Settings returns what is stored of each provider, its scopes of limits among it.
	Settings(ctx context.Context) (map[string]fleet.Stored, map[providers.Task][]string, error)
	// TaskFigures returns the figures of each provider for a task.
	TaskFigures(ctx context.Context, task providers.Task, window time.Duration) (map[string]fleet.Figures, error)
}

// fleetView is the fleet for a command: what it reads, the orders that it gives,
// and the configuration of the machine that it runs on.
type fleetView struct {
	store  fleetReader
	orders *fleet.Orders
	config fleet.Config
}

// withFleet connects, reads the configuration, and gives a wrong order its exit
// code.
func (s *session) withFleet(do func(fleetView) error) error {
	cfg, err := s.LoadConfig()
	if err != nil {
		return err
	}
	db, err := s.Services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return err
	}
	defer db.Close()
	known := cli.Fleet(cfg)
	return cli.Refused(do(fleetView{store: db, orders: fleet.NewOrders(db, known), config: known}))
}

// actor is the person who gives the orders.
func (s *session) actor() string { return cli.Actor(s.Env.Getenv) }
