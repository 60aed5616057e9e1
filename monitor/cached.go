package monitor

import (
	"context"
	"time"
)

// cached keeps one reading for a while. Whoever comes while it is being read waits
// for that reading.
type cached[T any] struct {
	// turn holds a token while nobody reads: a mutex that can be waited for with
	// a context.
	turn  chan struct{}
	value T
	until time.Time
}

func newCached[T any]() *cached[T] {
	s := &cached[T]{turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

// forget has the value read again by whoever comes next.
func (s *cached[T]) forget() {
	<-s.turn
	s.until = time.Time{}
	s.turn <- struct{}{}
}

// get returns the value, reading it again if it is old. A failure is not kept.
func (s *cached[T]) get(ctx context.Context, now func() time.Time, read func(context.Context) (T, error)) (T, error) {
	var none T
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		return none, ctx.Err()
	}
	start := now()
	if start.Before(s.until) {
		return s.value, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	v, err := read(ctx)
	if err != nil {
		return none, err
	}
	end := now()
	s.value, s.until = v, end.Add(max(freshFor, rest*end.Sub(start)))
	return v, nil
}
