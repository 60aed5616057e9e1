package schedules

import "time"

// Due is Spec.due, for tests.
func Due(s Spec, first, now time.Time) (last time.Time, missed int, next time.Time) {
	return s.due(first, now)
}
