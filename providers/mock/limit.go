package mock

import (
	"time"

	"oneflow/providers"
)

// window is the length of time that RPM counts over.
const window = time.Minute

// limit takes a place for c or sets c.refusal, and says how full the limits are.
// The caller holds p.mu.
func (p *Provider) limit(c *call) {
	if p.config.RPM > 0 {
		for len(p.accepted) > 0 && c.start.Sub(p.accepted[0]) >= window {
			p.accepted = p.accepted[1:]
		}
	}
	full := p.config.RPM > 0 && len(p.accepted) >= p.config.RPM
	busy := p.config.MaxConcurrent > 0 && p.running >= p.config.MaxConcurrent
	if !full && !busy {
		p.running++
		if p.config.RPM > 0 {
			p.accepted = append(p.accepted, c.start)
		}
	}
	c.limits = p.limits(c.start)
	switch {
	case full:
		c.refusal = p.refuse(c, providers.RateLimited, 429, "rate_limit_exceeded", "too many requests in 60 s: wait, or raise RPM")
		c.refusal.RetryAfter = window - c.start.Sub(p.accepted[0])
	case busy:
		c.refusal = p.refuse(c, providers.ConcurrencyLimit, 429, "too_many_concurrent_requests", "too many calls at once: wait, or raise MaxConcurrent")
	}
}

// limits describes the limits that are configured. The caller holds p.mu.
func (p *Provider) limits(now time.Time) providers.RateLimits {
	var limits providers.RateLimits
	if p.config.RPM > 0 {
		limits.Requests = &providers.RateLimit{Limit: int64(p.config.RPM), Remaining: int64(p.config.RPM - len(p.accepted))}
		if n := len(p.accepted); n > 0 {
			limits.Requests.Reset = window - now.Sub(p.accepted[n-1])
		}
	}
	if p.config.MaxConcurrent > 0 {
		limits.Concurrent = &providers.RateLimit{Limit: int64(p.config.MaxConcurrent), Remaining: int64(p.config.MaxConcurrent - p.running)}
	}
	return limits
}

// release gives back the place that limit took for c.
func (p *Provider) release(c *call) {
	if c.refusal != nil {
		return
	}
	p.mu.Lock()
	p.running--
	p.mu.Unlock()
}
