package policy

import (
	"context"
	"time"

	"oneflow/providers"
)

type Limiter struct{}
type Cost struct{}
type Slot struct{}
type Busy struct{ After time.Duration }
type Away struct{ Err error }

func (b *Busy) Error() string { return "" }
func (b *Away) Error() string { return "" }
func (l *Limiter) Acquire(ctx context.Context, provider string, cost Cost, urgency int) (*Slot, error) {
	return nil, nil
}
func (l *Limiter) Wait(ctx context.Context, provider string) (time.Duration, error)          { return 0, nil }
func (s *Slot) Done(ctx context.Context, usage providers.Usage, limits providers.RateLimits) {}
func (s *Slot) Unused(ctx context.Context)                                                   {}
func (s *Slot) Refused(ctx context.Context, err *providers.Error) (until time.Time) {
	return time.Time{}
}
func Estimate(kind string, req providers.Request) Cost { return Cost{} }
