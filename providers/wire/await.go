package wire

import (
	"context"
	"net/http"
	"time"

	"oneflow/internal/sleep"
	"oneflow/providers"
)

const (
	// pollAtMost is the longest time between two looks at what was ordered.
	pollAtMost = 15 * time.Second
	// looks is the number of times in a row that a look or a download, which cost nothing, may
	// fail before an order is given up.
	looks = 5
)

// State tells how far an order is.
type State int

// The states of an order.
const (
	Going   State = iota // it is being made
	Made                 // it can be had
	GivenUp              // the server has given it up: the failure says why
	Unclear              // the look told nothing: the failure says why, and another may tell more
)

// Await looks at what was ordered, at first after a time of pause, until it is made or ctx
// ends. A look costs nothing: one that fails for a passing reason, or because the server
// does not know the order, is made again, and after five of these in a row the last
// failure is returned. Orders whose end is certain are told with an empty handle.
func (c Caller) Await(ctx context.Context, pause time.Duration, look func() (State, *providers.Error)) *providers.Error {
	for misses := 0; ; {
		if err := sleep.For(ctx, pause); err != nil {
			return asFailure(c.Provider, err, true)
		}
		pause = min(pause+pause/2, pollAtMost)
		state, failure := look()
		switch {
		case state == Made && failure == nil:
			return nil
		case state == GivenUp:
			providers.Ordered(ctx, "")
			return failure
		case failure == nil:
			misses = 0
			continue
		}
		forgotten := failure.Status == http.StatusNotFound || failure.Status == http.StatusGone // another replica may know it
		if misses++; misses >= looks || state != Unclear && !forgotten && !transient(failure.Kind) || ctx.Err() != nil {
			if forgotten && misses >= looks {
				providers.Ordered(ctx, "")
				failure.Kind = providers.Unknown // nothing was wrong with the order
			}
			return failure
		}
		pause = max(pause, min(failure.RetryAfter, pollAtMost))
	}
}

// Download makes a call that costs nothing up to five times, as long as it fails for a
// passing reason, with pauses that begin with pause.
func (c Caller) Download(ctx context.Context, pause time.Duration, get func() (Answer, *providers.Error)) (Answer, *providers.Error) {
	for misses := 1; ; misses++ {
		a, failure := get()
		if failure == nil || misses >= looks || !transient(failure.Kind) || ctx.Err() != nil {
			return a, failure
		}
		if err := sleep.For(ctx, max(pause, min(failure.RetryAfter, pollAtMost))); err != nil {
			return a, asFailure(c.Provider, err, true)
		}
		pause = min(pause+pause/2, pollAtMost)
	}
}

// transient reports whether the same look may well succeed in a moment.
func transient(kind providers.Kind) bool {
	switch kind.Reaction() {
	case providers.Retry, providers.Wait:
		return true
	case providers.Pause, providers.Final:
	}
	return false
}

// SendFollowing is Send, and follows one redirect: with a client of PublicClient, and
// without the headers of the request, so that a key goes to no other host.
func (c Caller) SendFollowing(ctx context.Context, req *http.Request, limit int64, public *http.Client, hide ...string) (Answer, *providers.Error) {
	client := *c.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Client = &client
	a, failure := c.Send(ctx, req, limit, hide...)
	to := ""
	if failure != nil && a.Status/100 == 3 {
		to = a.Header.Get("Location")
	}
	if to == "" {
		return a, failure
	}
	data, err := Fetch(ctx, public, to, limit)
	if err != nil {
		return a, c.failure(a, err, true)
	}
	a.Status, a.Body, a.At = http.StatusOK, data, time.Now()
	return a, nil
}
