package limiter

import (
	"context"
	"sync"
	"time"

	"oneflow/providers"
)

const (
	// reportAgain is the delay before reporting again what is still not in force: a person
	// has pinned another limit, or the report was lost.
	reportAgain = time.Minute
	// lowestHolds is for how long a limit hides larger ones that other answers
	// tell: those of other models of the same account.
	lowestHolds = 5 * time.Minute
	// othersShare is the part of a limit that others must have used, beyond what we
	// have, before it counts: calls under way blur the picture.
	othersShare = 20
	// othersLeast is the same as an amount, for small limits.
	othersLeast = 5
	// othersStay is for how long others are taken to go on as they do, where answers do
	// not say how what they use comes back.
	othersStay = 3 * time.Second
	// constantAnswers is the number of answers in a row with the same remaining number say
	// that the number means nothing.
	constantAnswers = 20
	// shortReset is the longest reset that a window much shorter than a minute has.
	shortReset = 15 * time.Second
	// longestMinute is the longest reset that a limit a minute has.
	longestMinute = 90 * time.Second
	// enoughFits is the number of answers that must fit a bucket of a minute where nothing else
	// shows that the limit is a minute's.
	enoughFits = 3
)

// observedLimits holds what one process has seen of a scope's limits, by dimension.
type observedLimits struct {
	mu   sync.Mutex
	seen map[providers.Dimension]observedLimit
}

type observedLimit struct {
	lowest   int64     // of the limits that answers tell
	at       time.Time // when it was seen last
	reported time.Time // when it was reported
	// Evidence for a window of a minute: the longest reset that was told, and how many
	// answers fit a bucket that fills in a minute, and how many do not.
	longest      time.Duration
	fits, misfit int
	// How many answers in a row said that so much remains.
	same      int
	remaining int64
}

// header holds what an answer says of one dimension.
type header struct {
	name providers.Dimension
	providers.RateLimit
}

// observe learns from the headers of an answer: what the limits are, and whether others
// use the same account, which is left out unless others is set.
func (l *Limiter) observe(ctx context.Context, s *Slot, end ending, limits providers.RateLimits, others bool) {
	seen := headers(limits)
	if len(seen) == 0 {
		return
	}
	own := s.grant.own()
	inForce := own.Limits
	_, places := l.places(s.account.provider, s.model)
	for _, p := range places {
		if p.Name == own.Name {
			inForce = p.Limits
		}
	}
	learned := Learned{Scope: own.Name}
	for _, h := range seen {
		if s.account.of(own.Name).worthReporting(h, inForce.Of(h.name)) {
			learned.Limits = learned.Limits.With(h.name, h.Limit)
		}
		if others {
			l.observeOthers(ctx, s, end, h)
		}
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
	for _, d := range providers.Dimensions() {
		switch h := limits.Of(d); {
		case h == nil || h.Limit <= 0:
		case d == providers.DimensionRPM && h.Reset > longestMinute:
			out = append(out, header{providers.DimensionRPD, *h})
		case d == providers.DimensionRPM && perhapsDaily(*h):
			// The next answers tell: what a day's bucket lacks is soon more than a minute's reset.
		default:
			out = append(out, header{d, *h})
		}
	}
	return out
}

// perhapsDaily reports whether a limit of requests may be one a day: OpenAI and Groq tell that
// under the name of a limit a minute. A day's bucket fills evenly, which shows how long a
// whole one takes; but a window of a minute passes through the same numbers when a few
// calls of a large limit were made.
func perhapsDaily(limit providers.RateLimit) bool {
	used := limit.Limit - limit.Remaining
	if limit.Remaining < 0 || used <= 0 {
		return false
	}
	whole := limit.Reset.Seconds() * float64(limit.Limit) / float64(used)
	return whole > 0.95*day.Seconds() && whole < 1.05*day.Seconds()
}

// fillsEvenly reports whether what was used of a limit and its reset are those of a
// bucket that fills in so long. Servers round the reset to a second.
func (h header) fillsEvenly(window time.Duration) bool {
	used := float64(h.Limit - h.Remaining)
	want := time.Duration(used / float64(h.Limit) * float64(window))
	return h.Remaining >= 0 && (h.Reset-want).Abs() <= time.Second+want/10
}

// worthReporting reports whether a limit is to be reported: it is not in force, no lower
// one was seen lately, it was not reported lately, and it is not one of a window much
// shorter than its own: gateways name the limit of their 10 s like that of a minute.
func (l *observedLimits) worthReporting(h header, inForce int64) bool {
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
	if h.Reset > 0 && h.Remaining >= 0 {
		seen.longest = max(seen.longest, h.Reset)
		if h.fillsEvenly(h.name.Window()) {
			seen.fits++
		} else {
			seen.misfit++
		}
	}
	short := seen.fits+seen.misfit > 0 && seen.longest < shortReset && seen.fits < max(3*seen.misfit, enoughFits) && h.name.Window() > 0
	report := h.Limit != inForce && !short && (seen.reported.IsZero() || now.Sub(seen.reported) >= reportAgain)
	if report {
		seen.reported = now
	}
	if l.seen == nil {
		l.seen = make(map[providers.Dimension]observedLimit)
	}
	l.seen[h.name] = seen
	return report
}

// constant reports whether what remains is the same in answer after answer, though none
// was refused: then the number means nothing.
func (l *observedLimits) constant(h header, end ending) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen, ok := l.seen[h.name]
	switch {
	case !ok:
		return false
	case end == answered && h.Remaining == seen.remaining:
		seen.same++
	default:
		seen.same, seen.remaining = 0, h.Remaining
	}
	l.seen[h.name] = seen
	return seen.same >= constantAnswers
}

// observeOthers compares what the provider has counted with what we have sent: the rest
// was used by others. That is believed as far as answers go on to say so, until the
// provider says that all of it is back, and not at all of a limit that a person has
// pinned.
func (l *Limiter) observeOthers(ctx context.Context, s *Slot, end ending, h header) {
	if h.Remaining < 0 {
		return
	}
	d, keys, ok := s.grant.counting(h.name)
	if !ok || !d.others {
		return
	}
	blur := max(h.Limit/othersShare, othersLeast)
	switch {
	case end == refused:
		blur = 0 // that is why
	case d.seen > 0:
		blur /= 5 // they are known to be there
	}
	if s.account.of(s.grant.own().Name).constant(h, end) {
		h.Remaining = h.Limit
	}
	// Our count is up to the slot of this very call, and rather too large.
	d.demand = h.Limit - h.Remaining - d.sum
	if d.demand <= blur {
		d.demand = 0
	}
	if d.demand == 0 && d.seen == 0 {
		return
	}
	stays, gone := othersStay, d.window
	switch bucket := h.fillsEvenly(h.name.Window()); {
	case h.Reset > 0 && bucket:
		stays, gone = 0, h.Reset
	case h.Reset > 0 && h.Reset < d.window:
		stays, gone = h.Reset, h.Reset // a window that ends then
	}
	args := append(append([]any{s.grant.slot.Microseconds()}, d.args()...), stays.Microseconds(), gone.Microseconds(),
		h.Remaining, max(h.Limit/othersShare/5, othersLeast))
	if _, err := l.run(ctx, l.scripts.observe, keys, args...); err != nil {
		l.cfg.Log.Warn().Err(err).Str("provider", s.account.provider).Msg("use by others not recorded")
	}
}

// refuse blocks a slot's scope for everybody.
func (l *Limiter) refuse(ctx context.Context, s *Slot, refusal *providers.Error) time.Time {
	crowded := 0
	if refusal.Kind == providers.ConcurrencyLimit {
		crowded = 1
	}
	asked := min(max(refusal.RetryAfter, 0), maxRetryAfter)
	own := s.grant.own()
	out, err := l.run(ctx, l.scripts.refuse, own.keys,
		s.grant.slot.Microseconds(), asked.Microseconds(), firstBlock.Microseconds(), lastBlock.Microseconds(),
		crowded, own.Limits.Concurrent, string(refusal.Kind))
	if err != nil {
		l.cfg.Log.Warn().Err(err).Str("provider", s.account.provider).Msg("refusal not shared with other workers")
		if asked == 0 {
			asked = firstBlock
		}
		return time.Now().Add(asked)
	}
	until := time.Now().Add(time.Duration(out[0]) * time.Microsecond)
	l.learn(s.account.provider, Learned{
		Scope: own.Name, Limits: providers.Limits{Concurrent: out[1]}, BlockedUntil: until,
		Reason: "the provider refused a call: " + string(refusal.Kind),
	})
	// The wait is what was asked for, unless that has proved too short.
	l.observe(ctx, s, refused, refusal.Limits, asked == 0 || out[2] > 1)
	return until
}
