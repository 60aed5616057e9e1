package webhooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"oneflow/providers/wire"
)

const (
	// perURL events of one URL are had at a time, and parallel of them are sent at once.
	perURL   = 20
	parallel = 4
	// maxURLs bounds the URLs that are called at once.
	maxURLs = 32
	// tryTimeout is the time that one call may take.
	tryTimeout = 15 * time.Second
	// lease is the time for which a claimed event is nobody else's: longer than all tries
	// of a claim take.
	lease = 2 * time.Minute
	// maxAnswer bounds what is read of an answer, for the connection to be used again.
	maxAnswer = 64 << 10
	// firstCooldown is the time for which a URL that failed is left alone at first; it doubles
	// with each failure, up to maxCooldown.
	firstCooldown = 5 * time.Second
	maxCooldown   = 5 * time.Minute
	// maxRetryAfter bounds the wait that a receiver may ask for.
	maxRetryAfter = time.Hour
)

// waits are the times between the tries of an event: it is given up after about a day.
func waits() []time.Duration {
	return []time.Duration{
		10 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	}
}

// Sender sends what is due. Only one of a fleet needs to; several send nothing twice that
// they know of.
type Sender struct {
	store   Store
	secrets func() ([]Secret, error)
	client  *http.Client
	allow   []string
	agent   string
	// cooling says until when URLs that failed are left alone, and for how long the last
	// time.
	cooling map[string]cooldown
}

type cooldown struct {
	until time.Time
	last  time.Duration
}

// Config says what a Sender needs. Store and Secrets are needed.
type Config struct {
	Store Store
	// Secrets returns those to sign with, each time anew; none: events wait.
	Secrets func() ([]Secret, error)
	// Allow lists the host:port that may be called though they are not public, and
	// without TLS.
	Allow []string
	// Agent is the User-Agent.
	Agent string
}

// NewSender makes a Sender, for one goroutine.
func NewSender(cfg Config) *Sender {
	return &Sender{
		store: cfg.Store, secrets: cfg.Secrets, allow: cfg.Allow, agent: cfg.Agent,
		client:  wire.PublicClient(wire.PublicConfig{Config: wire.Config{ResponseHeader: tryTimeout}, Allow: cfg.Allow}),
		cooling: map[string]cooldown{},
	}
}

// result says whether the events of one URL were taken.
type result struct {
	url    string
	failed bool
	err    error
}

// Round sends what is due, and returns when nothing is any more. One URL that is slow or
// fails holds no other up.
func (s *Sender) Round(ctx context.Context) error {
	secrets, err := s.secrets()
	if err == nil && len(secrets) == 0 {
		err = errors.New("no secret: set ONEFLOW_WEBHOOK_SECRET or webhooks.secret_file where workers run")
	}
	if err != nil {
		n, storeErr := s.store.HoldWebhooks(ctx, err.Error())
		if storeErr != nil || n == 0 {
			return storeErr
		}
		return fmt.Errorf("%d webhook events wait: %w", n, err)
	}
	done, busy := make(chan result, maxURLs), map[string]bool{}
	var all sync.WaitGroup
	defer all.Wait()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		due, err := s.due(ctx, busy)
		if err != nil {
			return err
		}
		for address, events := range due {
			busy[address] = true
			all.Go(func() {
				failed, err := s.deliver(ctx, secrets, events)
				done <- result{address, failed, err}
			})
		}
		if len(busy) == 0 {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		case r := <-done:
			delete(busy, r.url)
			s.note(r)
			if r.err != nil {
				return r.err
			}
		}
	}
}

// due claims events by URL: none of those that are busy or cool down.
func (s *Sender) due(ctx context.Context, busy map[string]bool) (map[string][]Event, error) {
	if len(busy) >= maxURLs {
		return nil, nil
	}
	without := []string{}
	for address := range busy {
		without = append(without, address)
	}
	for address, r := range s.cooling {
		switch {
		case time.Now().Before(r.until):
			without = append(without, address)
		case time.Since(r.until) > maxCooldown: // nothing more came for it
			delete(s.cooling, address)
		}
	}
	list, err := s.store.DueWebhooks(ctx, without, perURL, maxURLs-len(busy), lease)
	if err != nil {
		return nil, err
	}
	due := map[string][]Event{}
	for _, e := range list {
		due[e.URL] = append(due[e.URL], e)
	}
	return due, nil
}

// note remembers whether a URL answers.
func (s *Sender) note(r result) {
	if !r.failed {
		delete(s.cooling, r.url)
		return
	}
	pause := min(max(2*s.cooling[r.url].last, firstCooldown), maxCooldown)
	s.cooling[r.url] = cooldown{time.Now().Add(pause), pause}
}

// deliver sends the events of one URL until one fails: the others are due again when the
// lease is over. It reports whether one failed; err is the store's.
func (s *Sender) deliver(ctx context.Context, secrets []Secret, events []Event) (failed bool, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, e := range events {
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			t := s.try(ctx, secrets, e)
			if ctx.Err() != nil && !t.Delivered {
				return ctx.Err() // cut off: it was no try
			}
			if err := s.store.EndWebhookTry(context.WithoutCancel(ctx), e.ID, t); err != nil {
				return err
			}
			if !t.Delivered {
				return errRefused
			}
			return nil
		})
	}
	err = g.Wait()
	if errors.Is(err, errRefused) {
		return true, nil
	}
	return false, err
}

// errRefused reports that an event was not taken.
var errRefused = errors.New("not taken")

// try makes one call.
func (s *Sender) try(ctx context.Context, secrets []Secret, e Event) Try {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	if err := CheckURL(e.URL, s.allow); err != nil {
		return again(e, Try{Error: "the URL " + err.Error()}, 0)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL, strings.NewReader(e.Payload))
	if err != nil {
		return again(e, Try{Error: "the URL cannot be called"}, 0)
	}
	now := time.Now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.agent)
	req.Header.Set("webhook-id", MessageID(e.ID))
	req.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("webhook-signature", signature(secrets, MessageID(e.ID), now, e.Payload))
	res, err := s.client.Do(req)
	if redirect, ok := errors.AsType[*wire.StatusError](err); ok {
		return again(e, Try{Status: redirect.Status, Error: fmt.Sprintf("the receiver redirects (%d), which is not followed", redirect.Status)}, 0)
	}
	if err != nil {
		return again(e, Try{Error: reason(err)}, 0)
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer))
	t := Try{Status: res.StatusCode}
	switch {
	case res.StatusCode/100 == 2:
		t.Delivered = true
		return t
	case res.StatusCode == http.StatusGone:
		t.Error = "the receiver wants no more of these (410)"
		return t
	default:
		t.Error = fmt.Sprintf("the receiver answered %d", res.StatusCode)
	}
	seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		seconds = 0
	}
	return again(e, t, min(time.Duration(min(seconds, int(maxRetryAfter/time.Second)))*time.Second, maxRetryAfter))
}

// again says when an event is tried again after a failure, least at the earliest.
func again(e Event, t Try, least time.Duration) Try {
	all := waits()
	if e.Tries >= len(all) {
		t.Error = fmt.Sprintf("given up after %d tries: %s", e.Tries+1, t.Error)
		return t
	}
	wait := all[e.Tries]
	t.Again = max(wait+rand.N(wait/4), least)
	return t
}

// reason says why a call failed, without its URL.
func reason(err error) string {
	if refused, ok := errors.AsType[*wire.RefusedError](err); ok {
		return refused.Error() + "; webhooks.allow in the configuration lets it be called"
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		if wrapped.Timeout() {
			return fmt.Sprintf("no answer within %s", tryTimeout)
		}
		err = wrapped.Err
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return "the name of the host is not known"
		}
		return "the name of the host was not looked up"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return "the connection failed: " + op.Err.Error()
	}
	return "the connection failed"
}
