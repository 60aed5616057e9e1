package monitor

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"oneflow/batches"
	"oneflow/fleet"
	"oneflow/jobs"
)

const (
	// freshFor is the shortest time for which a reading is shown.
	freshFor = time.Second
	// rest is the factor by which a reading is shown longer than it took: however
	// many people look at however large batches, the database is busy with it
	// for at most a fifth of the time.
	rest = 4
	// tallyFor is the time for which the tally of a finished batch is believed: only its
	// cost may still change, when a paid answer comes late.
	tallyFor = 30 * time.Second
	// readLimit bounds one reading.
	readLimit = 15 * time.Second
	// soonJobs is the number of jobs up to which a page has all of a batch, and soonFor the time
	// that it waits for all of a larger one: a million jobs take seconds to add up.
	soonJobs = 5000
	soonFor  = 40 * time.Millisecond
	// holdsLimit bounds the question what holds providers back, which Redis answers.
	holdsLimit = time.Second
	// rateWindow is the time that the rate of a batch is about.
	rateWindow = 15 * time.Second
	// maxAlerts bounds the open alerts of an overview.
	maxAlerts = 20
	// maxDetails is the number of batches that are remembered in detail.
	maxDetails = 64
)

// Reader reads the overview for any number of people at the cost of one. It is
// safe for concurrent use.
type Reader struct {
	store OverviewStore
	now   func() time.Time
	holds func(context.Context) (map[string][]string, error) // nil: not asked

	overview *cached[Overview]
	finished map[string]counted // by batch; guarded by overview's lock
	rates    map[string][]point // by batch; guarded by overview's lock

	mu      sync.Mutex
	details map[string]*batchMemory
}

// batchMemory remembers one batch.
type batchMemory struct {
	*cached[Batch]
	samples []point // guarded by the cache
}

type counted struct {
	tally  batches.Tally
	sealed time.Time
	until  time.Time
}

type point struct {
	at   time.Time
	done int64
}

// NewReader makes a Reader.
func NewReader(store OverviewStore) *Reader {
	return &Reader{
		store:    store,
		overview: newCached[Overview](),
		now:      time.Now,
		finished: map[string]counted{},
		rates:    map[string][]point{},
		details:  map[string]*batchMemory{},
	}
}

// Overview returns what happens now, or did a moment ago.
func (r *Reader) Overview(ctx context.Context) (Overview, error) {
	return r.overview.get(ctx, r.now, r.read)
}

// Batch returns one batch. It fails with jobs.ErrNotFound.
func (r *Reader) Batch(ctx context.Context, id string) (Batch, error) {
	if batches.CheckID(id) != nil {
		return Batch{}, jobs.ErrNotFound
	}
	memory := r.detail(id)
	return memory.get(ctx, r.now, func(ctx context.Context) (Batch, error) {
		breakdown, err := r.store.BatchDetail(ctx, id, true)
		if err != nil {
			return Batch{}, err
		}
		d := Batch{Breakdown: breakdown}
		if d.Waits, err = fleet.Waits(ctx, r.store, id, ""); err != nil {
			return Batch{}, err
		}
		d.At = r.now()
		d.State = d.StateNow()
		if !d.Finished() {
			memory.samples, d.PerSecond = perSecond(append(memory.samples, point{d.At, d.Done()}))
		}
		return d, nil
	})
}

// BatchSoon returns one batch as Batch does or, where that takes longer than a person should wait,
// how far it is; the rest is read on, for whoever looks next.
func (r *Reader) BatchSoon(ctx context.Context, id string) (Batch, error) {
	quick, err := r.store.BatchDetail(ctx, id, false)
	if err != nil {
		return Batch{}, err
	}
	if quick.Total() <= soonJobs {
		return r.Batch(ctx, id)
	}
	type reading struct {
		b   Batch
		err error
	}
	done := make(chan reading, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readLimit)
		defer cancel()
		b, err := r.Batch(ctx, id)
		done <- reading{b, err}
	}()
	soon := time.NewTimer(soonFor)
	defer soon.Stop()
	select {
	case is := <-done:
		return is.b, is.err
	case <-soon.C:
	}
	b := Batch{Breakdown: quick, Pending: true}
	b.At, b.State = r.now(), b.StateNow()
	return b, nil
}

// detail returns what is remembered of a batch. When there are too many, all are forgotten:
// the next reading fills them again.
func (r *Reader) detail(id string) *batchMemory {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, ok := r.details[id]
	if !ok {
		if len(r.details) >= maxDetails {
			clear(r.details)
		}
		d = &batchMemory{cached: newCached[Batch]()}
		r.details[id] = d
	}
	return d
}

// read reads everything in a few steps, whatever there is.
func (r *Reader) read(ctx context.Context) (Overview, error) {
	var snapshot fleet.Snapshot
	var waits []fleet.Wait
	var alerts []jobs.Alert
	var newest []batches.Summary
	all, readCtx := errgroup.WithContext(ctx)
	all.Go(func() (err error) {
		snapshot, err = r.store.Fleet(readCtx)
		return err
	})
	all.Go(func() (err error) {
		waits, err = fleet.Waits(readCtx, r.store, "", "")
		return err
	})
	all.Go(func() (err error) {
		if alerts, err = r.store.Alerts(readCtx, false, maxAlerts); err == nil {
			newest, err = r.store.NewestBatches(readCtx, maxBatches)
		}
		return err
	})
	if err := all.Wait(); err != nil {
		return Overview{}, err
	}
	now := r.now()
	known := map[string]counted{}
	var wanted []string
	for _, b := range newest {
		if c, ok := r.finished[b.ID]; ok && c.sealed.Equal(b.SealedAt) && now.Before(c.until) {
			known[b.ID] = c
			continue
		}
		wanted = append(wanted, b.ID)
	}
	tallies := map[string]batches.Tally{}
	if len(wanted) > 0 {
		var err error
		if tallies, err = r.store.Tallies(ctx, wanted); err != nil {
			return Overview{}, err
		}
	}
	rates := map[string][]point{}
	for i := range newest {
		b := &newest[i]
		c, isKnown := known[b.ID]
		b.Tally = c.tally
		if !isKnown {
			b.Tally = tallies[b.ID]
		}
		b.State = b.StateNow()
		if b.Finished() {
			if !isKnown {
				known[b.ID] = counted{tally: b.Tally, sealed: b.SealedAt, until: now.Add(tallyFor)}
			}
			continue
		}
		rates[b.ID], b.PerSecond = perSecond(append(r.rates[b.ID], point{now, b.Done()}))
	}
	r.finished, r.rates = known, rates
	return Overview{At: now, Snapshot: snapshot, Holds: r.heldBack(ctx), Waits: waits, Alerts: alerts, Batches: newest}, nil
}

// heldBack returns what holds providers back; nothing where Redis does not say it soon,
// which the page has a notice for.
func (r *Reader) heldBack(ctx context.Context) map[string][]string {
	if r.holds == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, holdsLimit)
	defer cancel()
	holds, err := r.holds(ctx)
	if err != nil {
		return nil
	}
	return holds
}

// perSecond drops what is older than the window and returns the rate over the rest, 0
// while too little is known.
func perSecond(samples []point) ([]point, float64) {
	last := samples[len(samples)-1]
	for last.at.Sub(samples[0].at) > rateWindow {
		samples = samples[1:]
	}
	passed := last.at.Sub(samples[0].at)
	if passed < freshFor {
		return samples, 0
	}
	return samples, float64(last.done-samples[0].done) / passed.Seconds()
}
