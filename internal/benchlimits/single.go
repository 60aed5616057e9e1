package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"oneflow/internal/fakeprovider"
)

// callers is the number of goroutines that wait for the limiter, or call, at once: more than enough
// for 600 calls a minute.
const callers = 16

// single makes as many calls from this process, with what most Go programs use. A
// call that is refused is made again. It returns how many jobs got their answer.
func single(ctx context.Context, s scenario, server *fakeprovider.Server) (int, error) {
	limiter := rate.NewLimiter(rate.Every(time.Minute/time.Duration(s.limits.Requests)), 1)
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, answered atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for job := next.Add(1); job <= int64(s.jobs); {
				if err := limiter.Wait(ctx); err != nil {
					cancel(err)
					return
				}
				status, err := post(ctx, client, server.URL, job)
				switch {
				case err != nil:
					cancel(err)
					return
				case status == http.StatusOK:
					answered.Add(1)
					job = next.Add(1)
				case status != http.StatusTooManyRequests:
					cancel(fmt.Errorf("the server answers %d", status))
					return
				}
			}
		})
	}
	wg.Wait()
	return int(answered.Load()), context.Cause(ctx)
}

func post(ctx context.Context, client *http.Client, url string, job int64) (status int, err error) {
	body := fmt.Sprintf(`{"model":%q,"max_tokens":32,"messages":[{"role":"user","content":"Say something short about the number %d."}]}`, model, job)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/openai/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	_, err = io.Copy(io.Discard, res.Body) // or the connection is not used again
	return res.StatusCode, err
}
