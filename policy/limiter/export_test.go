package limiter

import "time"

// At is the time of the slot, on Redis' clock since 1970.
func (s *Slot) At() time.Duration { return s.grant.slot }

// TrustMessages has nobody ask for a permit again before somebody's has expired, but for a message.
func (l *Limiter) TrustMessages() { l.recheck = permitTTL }

// Renew renews a slot, which it does by itself now and then.
func (s *Slot) Renew() { s.renew() }
