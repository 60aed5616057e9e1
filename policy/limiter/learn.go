package limiter

import (
	"context"
	"sync"
	"time"

	"oneflow/providers"
)

const (
	// repeatLesson is when to report again what is still not in force: a person
	// has pinned another limit, or the report was lost.
	repeatLesson = time.Minute
	// lowestHolds is for how long a limit hides larger ones that other answers
	// tell: those of other models of the same account.
	lowestHolds = 5 * time.Minute
	// othersShare is the part of a limit that others must have used, beyond what we
	// have, before it is counted: calls under way blur the picture.
	othersShare = 20
	// othersLeast is the same as an amount, for small limits.
	othersLeast = 5
)

// observedLimits is what one process has seen of a provider's limits, by dimension.
type observedLimits struct {
	mu   sync.Mutex
	seen map[string]observedLimit
}

type observedLimit struct {
	lowest int64     // of the limits that answers tell
	at     time.Time // when it was seen last
	told   time.Time // when it was reported
}

// header is what an answer says of one dimension.
type header struct {
	name string // the dimension's
	providers.RateLimit
}

// observe learns from the headers of an answer: what the limits are, and whether others
// use the same account.
func (l *Limiter) observe(ctx context.Context, s *Slot, end ending, limits providers.RateLimits) {
	seen := headers(limits)
	if len(seen) == 0 {
		return
	}
	inForce := l.cfg.Settings(s.account.provider).Limits
	var learned Learned
	for _, h := range seen {
		if s.account.observed.worth(h, *limitOf(&inForce, h.name)) {
			*limitOf(&learned.Limits, h.name) = h.Limit
		}
		l.countOthers(ctx, s, end, h)
	}
	if learned.Limits != (providers.Limits{}) {
		learned.Reason = "the headers of an answer"
		l.learn(s.account.provider, learned)
	}
}

func (l *Limiter) learn(provider string, what Learned) {
	if l.cfg.Learn != nil {
		l.cfg.Learn(provider, what)
	}
}

// headers lists what limits says, by dimension.
func headers(limits providers.RateLimits) []header {
	var out []header
	for _, h := range []struct {
		name  string
		limit *providers.RateLimit
	}{
		{"m", limits.Requests}, {"t", limits.Tokens}, {"i", limits.InputTokens}, {"o", limits.OutputTokens}, {"c", limits.Concurrent},
	} {
		switch {
		case h.limit == nil || h.limit.Limit <= 0:
		case h.name == "m" && daily(*h.limit):
			out = append(out, header{"d", *h.limit})
		default:
			out = append(out, header{h.name, *h.limit})
		}
	}
	return out
}

// daily reports whether a limit of requests is one a day: OpenAI tells that of small
// accounts under the name of its limit a minute. Its bucket fills evenly, which
// shows how long a whole one takes; and none that is a minute's takes longer.
func daily(limit providers.RateLimit) bool {
	if limit.Reset > 90*time.Second {
		return true
	}
	used := limit.Limit - limit.Remaining
	if limit.Remaining < 0 || used <= 0 {
		return false
	}
	whole := limit.Reset.Seconds() * float64(limit.Limit) / float64(used)
	return whole > 0.95*86_400 && whole < 1.05*86_400
}

// limitOf is the limit of a dimension; "c" is concurrency.
func limitOf(limits *providers.Limits, dimension string) *int64 {
	switch dimension {
	case "m":
		return &limits.RPM
	case "d":
		return &limits.RPD
	case "t":
		return &limits.TPM
	case "i":
		return &limits.ITPM
	case "o":
		return &limits.OTPM
	}
	return &limits.Concurrent
}

// worth reports whether a limit is to be reported: it is not in force, no lower one
// was seen lately, and it was not reported lately.
func (l *observedLimits) worth(h header, inForce int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	seen, ok := l.seen[h.name]
	switch {
	case ok && h.Limit > seen.lowest && now.Sub(seen.at) < lowestHolds:
		return false
	case ok && h.Limit == seen.lowest:
		seen.at = now
	default:
		seen = observedLimit{lowest: h.Limit, at: now}
	}
	tell := h.Limit != inForce && (seen.told.IsZero() || now.Sub(seen.told) >= repeatLesson)
	if tell {
		seen.told = now
	}
	if l.seen == nil {
		l.seen = make(map[string]observedLimit)
	}
	l.seen[h.name] = seen
	return tell
}

// countOthers compares what the provider has counted in its window with what we
// have sent, and counts the rest as if we had sent it.
func (l *Limiter) countOthers(ctx context.Context, s *Slot, end ending, h header) {
	if h.Remaining < 0 {
		return
	}
	for _, d := range s.grant.dims {
		if d.name != h.name {
			continue
		}
		blur := max(h.Limit/othersShare, othersLeast)
		switch {
		case end == refused:
			blur = 0 // that is why
		case d.others > 0:
			blur /= 5 // they are known to be there
		}
		// Our count is up to the slot of this very call, and rather too large.
		d.cost = h.Limit - h.Remaining - d.sum
		if d.cost <= blur {
			continue
		}
		if _, err := l.run(ctx, l.scripts.others, s.account.keys, append(d.args(), d.others)...); err != nil {
			l.cfg.Log.Warn().Err(err).Str("provider", s.account.provider).Msg("what others use of this account was not counted")
		}
	}
}

// refuse blocks the provider for everybody.
func (l *Limiter) refuse(ctx context.Context, s *Slot, refusal *providers.Error) time.Time {
	crowded := 0
	if refusal.Kind == providers.ConcurrencyLimit {
		crowded = 1
	}
	asked := min(max(refusal.RetryAfter, 0), maxRetryAfter)
	out, err := l.run(ctx, l.scripts.refuse, s.account.keys,
		s.grant.slot.Microseconds(), asked.Microseconds(), firstBlock.Microseconds(), lastBlock.Microseconds(), crowded, s.grant.limits.Concurrent)
	if err != nil {
		l.cfg.Log.Warn().Err(err).Str("provider", s.account.provider).Msg("the other workers could not be told of a refusal")
		return time.Now().Add(max(asked, firstBlock))
	}
	until := time.Now().Add(time.Duration(out[0]) * time.Microsecond)
	l.learn(s.account.provider, Learned{
		Limits: providers.Limits{Concurrent: out[1]}, BlockedUntil: until,
		Reason: "the provider refused a call: " + string(refusal.Kind),
	})
	l.observe(ctx, s, refused, refusal.Limits)
	return until
}
