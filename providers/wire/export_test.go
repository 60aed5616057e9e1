package wire

import (
	"net/http"
	"time"
)

// RetryAfter is retryAfter, for tests.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	d, _ := retryAfter(h, now)
	return d
}
