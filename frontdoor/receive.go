package frontdoor

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// maxUploads bounds the files that are received at once, each on this machine's disk until it is
	// whole.
	maxUploads = 16
	// maxBodies bounds the bytes of large bodies that are in memory at once; those of smallBody
	// and less are not counted.
	maxBodies = 128 << 20
	smallBody = 256 << 10
	// receiveWithin is the time that a request waits for its turn.
	receiveWithin = 10 * time.Second
)

// receiving bounds what is received at once. Who waits too long for a place is told to come back.
type receiving struct{ uploads, bodies *semaphore.Weighted }

func newReceiving() receiving {
	return receiving{semaphore.NewWeighted(maxUploads), semaphore.NewWeighted(maxBodies)}
}

// forUpload waits for the turn of a file.
func (r receiving) forUpload(ctx context.Context) (release func(), err error) {
	return take(ctx, r.uploads, 1)
}

// forBody waits until there is memory for a body.
func (r receiving) forBody(req *http.Request) (release func(), err error) {
	n := req.ContentLength
	if n < 0 || n > maxCall {
		n = maxCall
	}
	if n <= smallBody {
		return func() {}, nil
	}
	return take(req.Context(), r.bodies, n)
}

func take(ctx context.Context, from *semaphore.Weighted, n int64) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, receiveWithin)
	defer cancel()
	if from.Acquire(ctx, n) != nil {
		return nil, &refusal{status: http.StatusTooManyRequests, reason: "too much is being sent here at once: try again in a moment", after: time.Second}
	}
	return func() { from.Release(n) }, nil
}
