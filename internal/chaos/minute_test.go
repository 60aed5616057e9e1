package chaos

import (
	"testing"
	"time"
)

// builds are the commands that the minute needs.
func builds() map[string][]string { return map[string][]string{release: nil} }

func TestKill9OfWorkers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{latency: 300 * time.Millisecond})
	killWorkers(w, 300, 3)
	w.assertConserved()
}
