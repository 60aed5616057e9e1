package policy

import "time"

// At is the time of the slot, on Redis' clock since 1970.
func (s *Slot) At() time.Duration { return s.grant.slot }

// KeepSeat is what a slot does now and then.
func (s *Slot) KeepSeat() { s.keepSeat() }
