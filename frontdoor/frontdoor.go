// Package frontdoor lets programs in that were written for a vendor's API: files and
// batches, and calls that are waited for, as OpenAI and Anthropic have them. Everything
// that comes in becomes jobs through the same producer, ledger, limits and budgets as
// what commands bring; a call goes into the high lane. It may import access, batches,
// batches/rows, billing, jobs and providers, and declares what it needs of a store and of
// blob storage; package monitor mounts its routes.
package frontdoor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

// Objects keeps the bytes of files.
type Objects interface {
	// Keep stores size bytes of r under a name, and returns their URL.
	Keep(ctx context.Context, name string, r io.Reader, size int64, mediaType string) (url string, err error)
	// OpenURL reads what Keep, or a worker, has stored.
	OpenURL(ctx context.Context, url string) (io.ReadCloser, error)
	// Remove deletes what Keep has stored; what is gone is no error.
	Remove(ctx context.Context, url string) error
}

// Config configures a FrontDoor. All but First, Hints, Rate, Funds and Least are needed.
type Config struct {
	Stores   Stores
	Objects  Objects
	Producer *jobs.Producer
	// Input says how rows become jobs: which providers there are, and their models. Only
	// its Kind, DefaultModel and OnModel are used.
	Input batches.Input
	// Providers names the provider to ask for a model, and the model's own name there. It
	// fails for a model that nobody has. No model is the default for the endpoint. endpoint is the vendor's path.
	Providers func(endpoint, model string) (provider, name string, err error)
	// First returns the provider to ask first for a task where a single job names neither one nor
	// a model, or the best where it asks for that; empty: there is none, and why says so. Nil:
	// one has to be named.
	First func(ctx context.Context, task providers.Task, best bool) (name, why string, err error)
	// Models lists the names that Providers takes.
	Models func() []Model
	// Rate returns how many requests a provider takes in a minute, 0 being no limit, and
	// until when it asked to be left alone. Nil: nothing is known.
	Rate func(ctx context.Context, provider string) (perMinute int64, blockedUntil time.Time, err error)
	// Funds returns what an account has for new jobs, and reports whether a wallet limits
	// it. Least returns what computes the least that a job costs an account with a rate card, or nil. Both nil: nothing does.
	Funds func(ctx context.Context, account string) (billing.Funds, bool, error)
	Least func(ctx context.Context, card *billing.Card) (func(jobs.New) billing.NanoUSD, error)
	// Hints returns a channel that gets a value soon after jobs have ended. Nil: they are
	// polled for.
	Hints func(ctx context.Context) <-chan struct{}
	Log   zerolog.Logger
}

// Model is a model that may be named.
type Model struct {
	// Name is as requests have it, and Owner the provider that answers.
	Name, Owner string
}

// FrontDoor serves vendors' APIs. It is safe for concurrent use.
type FrontDoor struct {
	cfg       Config
	ended     *waiters
	wake      chan struct{} // a batch was made
	receiving receiving
	// arriving are the calls that are being let in.
	arriving arrivals
}

// New makes a FrontDoor. Run keeps it going.
func New(cfg Config) (*FrontDoor, error) {
	switch {
	case cfg.Stores.Files == nil || cfg.Stores.Batches == nil || cfg.Stores.Calls == nil || cfg.Stores.Jobs == nil:
		return nil, errors.New("frontdoor: Stores are missing")
	case cfg.Objects == nil || cfg.Producer == nil:
		return nil, errors.New("frontdoor: Objects or Producer is missing")
	case cfg.Input.Kind == nil || cfg.Providers == nil || cfg.Models == nil:
		return nil, errors.New("frontdoor: Input.Kind, Providers or Models is missing")
	}
	cfg.Input.ForPrograms = true
	return &FrontDoor{cfg: cfg, ended: newWaiters(cfg.Stores.Calls), wake: make(chan struct{}, 1), receiving: newReceiving()}, nil
}

const (
	// maxUpload bounds a file's bytes, as the vendor does, and maxForm the rest of its form.
	maxUpload = 200 << 20
	maxForm   = 1 << 20
	// maxCall bounds the body of a call: what a row may hold.
	maxCall = 16 << 20
	// maxRows bounds a batch's rows, as the vendor does.
	maxRows = 50_000
	// maxKey bounds an idempotency key, in bytes.
	maxKey = 255
	badKey = "Idempotency-Key: must be text of at most 255 bytes"
)

// Routes returns all that it serves, for package access to guard.
func (f *FrontDoor) Routes() []access.Route {
	reads := func(pattern string, h http.HandlerFunc) access.Route {
		return access.Route{Pattern: pattern, Scope: access.Read, Slow: true, Refuse: refuse, Handle: h}
	}
	brings := func(pattern string, h http.HandlerFunc) access.Route {
		return access.Route{Pattern: pattern, Scope: access.Enqueue, Record: true, Refuse: refuse, Handle: h}
	}
	upload := brings("POST /v1/files", f.upload)
	upload.Body, upload.Slow = maxUpload+maxForm, true
	routes := []access.Route{
		upload,
		reads("GET /v1/files", f.listFiles),
		reads("GET /v1/files/{id}", f.getFile),
		reads("GET /v1/files/{id}/content", f.fileContent),
		brings("DELETE /v1/files/{id}", f.deleteFile),
		brings("POST /v1/batches", f.createBatch),
		reads("GET /v1/batches", f.listBatches),
		reads("GET /v1/batches/{id}", f.getBatch),
		brings("POST /v1/batches/{id}/cancel", f.cancelBatch),
		reads("GET /v1/models", f.listModels),
		reads("GET /v1/models/{id...}", f.getModel),
	}
	routes = append(append(routes, f.messageRoutes()...), f.ownRoutes()...)
	for _, e := range endpoints() {
		// Each call stands in the ledger; to record it once more would tell nothing.
		routes = append(routes, access.Route{
			Pattern: "POST " + e.path, Scope: access.Enqueue, Body: maxCall, Slow: true, Refuse: e.refuse,
			Handle: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.call(w, r, e) }),
		})
	}
	return routes
}

// Run takes batches in, tells those who wait of jobs' ends, and forgets what has expired,
// until ctx ends.
func (f *FrontDoor) Run(ctx context.Context) {
	var hints <-chan struct{}
	if f.cfg.Hints != nil {
		hints = f.cfg.Hints(ctx)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.ended.run(ctx, hints, f.cfg.Log)
	}()
	f.keepTakingIn(ctx)
	<-done
}

// accountOf is the account that a request is for: the token's, else the one that the
// header names. ok is false where the token is for another.
func accountOf(r *http.Request) (account string, ok bool) {
	p, named := access.From(r.Context()), r.Header.Get("X-Oneflow-Account")
	switch {
	case p.Account == "" && named == "":
		return jobs.DefaultAccount, true
	case p.Account == "":
		return named, len(named) <= 256 && storable(named)
	}
	return p.Account, named == "" || named == p.Account
}

// storable reports whether Postgres takes a text.
func storable(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// funds returns what an account has for new jobs, and what computes the least that each
// costs; nil where no wallet limits it.
func (f *FrontDoor) funds(ctx context.Context, account string) (has billing.Funds, least func(jobs.New) billing.NanoUSD, err error) {
	if f.cfg.Funds == nil || f.cfg.Least == nil {
		return has, nil, nil
	}
	has, limited, err := f.cfg.Funds(ctx, account)
	if err != nil || !limited {
		return has, nil, err
	}
	least, err = f.cfg.Least(ctx, has.Card)
	return has, least, err
}

// newID makes an id that nobody can guess.
func newID(kind string) string { return kind + strings.ToLower(rand.Text()[:24]) }

func taskOf(path string) (providers.Task, error) {
	for _, e := range endpoints() {
		if e.path == path && e.batch {
			return e.task, nil
		}
	}
	return "", fmt.Errorf("%.80q is no endpoint of batches", path)
}
