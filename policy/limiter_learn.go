package policy

import (
	"context"
	"time"

	"oneflow/providers"
)

// lessons is what one process has reported of a provider.
type lessons struct{}

func (l *Limiter) heed(context.Context, *Slot, providers.RateLimits) {}

// refuse blocks the provider for everybody.
func (l *Limiter) refuse(ctx context.Context, s *Slot, refusal *providers.Error) time.Time {
	crowded := 0
	if refusal.Kind == providers.ConcurrencyLimit {
		crowded = 1
	}
	asked := min(max(refusal.RetryAfter, 0), maxRetryAfter)
	out, err := l.run(context.WithoutCancel(ctx), l.scripts.refuse, s.account.keys,
		s.grant.slot.Microseconds(), asked.Microseconds(), firstBlock.Microseconds(), lastBlock.Microseconds(), crowded, s.grant.limits.Concurrent)
	if err != nil {
		l.cfg.Log.Warn().Err(err).Str("provider", s.account.provider).Msg("a refusal could not be told to the other workers")
		return time.Now().Add(max(asked, firstBlock))
	}
	until := time.Now().Add(time.Duration(out[0]) * time.Microsecond)
	learned := providers.Learned{BlockedUntil: until, Reason: "the provider refused a call: " + string(refusal.Kind)}
	learned.Limits.Concurrent = out[1]
	if l.cfg.Learn != nil {
		l.cfg.Learn(s.account.provider, learned)
	}
	l.heed(ctx, s, refusal.Limits)
	return until
}
