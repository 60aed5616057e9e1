package wire

import (
	"context"
	"io"
	"net/http"
	"time"

	"oneflow/providers"
)

// RetryAfter is retryAfter, for tests.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	d, _ := retryAfter(h, now)
	return d
}

// MaxWait is maxWait, for tests.
const MaxWait = maxWait

// Do is do, for tests.
func Do(ctx context.Context, client *http.Client, req *http.Request) (res *http.Response, sent bool, err error) {
	return do(ctx, client, req)
}

// ReadBody is readBody, for tests.
func ReadBody(ctx context.Context, body io.ReadCloser, limit int64, idle time.Duration) ([]byte, error) {
	return readBody(ctx, body, limit, idle)
}

// Watch is watchSent, for tests; sent reports whether some of the request was sent.
func Watch(ctx context.Context) (watched context.Context, sent func() bool) {
	ctx, s := watchSent(ctx)
	return ctx, s.any
}

// Failure is asFailure, for tests.
func Failure(provider string, err error, sent bool) *providers.Error {
	return asFailure(provider, err, sent)
}
