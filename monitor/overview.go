package monitor

import (
	"context"
	"time"

	"oneflow/batches"
	"oneflow/fleet"
	"oneflow/jobs"
)

// maxBatches is the number of batches that are shown, the newest.
const maxBatches = 50

// OverviewStore reads what is shown. Each method is a bounded read of its own: none is
// called once a batch or once a provider.
type OverviewStore interface {
	// NewestBatches returns up to limit batches, the newest first, without their
	// tallies.
	NewestBatches(ctx context.Context, limit int) ([]batches.Summary, error)
	// Tallies counts the jobs of batches by state. Each id is there, also that of
	// a batch without jobs.
	Tallies(ctx context.Context, ids []string) (map[string]batches.Tally, error)
	// Fleet reads providers, workers and totals.
	Fleet(ctx context.Context) (fleet.Snapshot, error)
	// BatchDetail reads one batch; where whole is false, without what takes longer the more jobs it
	// has. It fails with jobs.ErrNotFound.
	BatchDetail(ctx context.Context, id string, whole bool) (batches.Breakdown, error)
	// Alerts returns the newest alerts: those that are open, or all.
	Alerts(ctx context.Context, all bool, limit int) ([]jobs.Alert, error)
	// WaitStore reads why jobs wait.
	fleet.WaitStore
}

// Overview is a reading of the fleet and its newest batches.
type Overview struct {
	At time.Time `json:"at"`
	fleet.Snapshot
	// Holds say what holds providers back now, by provider; see Config.
	Holds map[string][]string `json:"holds,omitempty"`
	// Waits say why jobs wait, the reason of most jobs first.
	Waits []fleet.Wait `json:"waits"`
	// Alerts are those that are open, the newest first.
	Alerts  []jobs.Alert      `json:"alerts"`
	Batches []batches.Summary `json:"batches"`
}

// Batch is a reading of one batch.
type Batch struct {
	batches.Breakdown
	// Waits say why its jobs wait, the reason of most jobs first.
	Waits []fleet.Wait `json:"waits"`
	// Pending reports whether the rest is being read still.
	Pending bool `json:"-"`
}
