// Package api is /api/v1 beyond single jobs and batches: schedules, providers, accounts and
// their wallets, budgets, costs, alerts and workers, for programs, over the services that the commands
// use. Its description, openapi.yaml, is served with it. It may import access, batches,
// batches/rows, billing, config, fleet, jobs, providers and schedules, and declares what it needs of a store; package
// monitor mounts its routes.
package api

import (
	"bytes"
	"context"
	_ "embed" // openapi.yaml
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/billing"
	"oneflow/fleet"
	"oneflow/jobs"
	"oneflow/schedules"
)

// ScheduleStore keeps schedules.
type ScheduleStore interface {
	schedules.OrderStore
	// AddSchedule fails with schedules.ErrExists.
	AddSchedule(ctx context.Context, add schedules.Schedule) error
	RemoveSchedule(ctx context.Context, name string) error
	// Fires returns the last fires of a schedule, the newest first.
	Fires(ctx context.Context, name string, limit int) ([]schedules.Fire, error)
}

// FleetStore reads how the providers and workers do.
type FleetStore interface {
	Health(ctx context.Context, since time.Duration) ([]fleet.Health, error)
	Fleet(ctx context.Context) (fleet.Snapshot, error)
}

// SpendingStore reads what was spent.
type SpendingStore interface {
	Spending(ctx context.Context, q billing.SpendingQuery) ([]billing.Spending, error)
}

// AlertStore reads alerts.
type AlertStore interface {
	// Alerts returns the newest alerts: those that are open, or all.
	Alerts(ctx context.Context, all bool, limit int) ([]jobs.Alert, error)
}

// Config configures an API. All is needed.
type Config struct {
	Schedules ScheduleStore
	Fleet     FleetStore
	Money     billing.BudgetStore
	Spending  SpendingStore
	Alerts    AlertStore
	// Orders takes orders for providers.
	Orders *fleet.Orders
	// Input says how rows of schedules become jobs: which providers there are, and their models.
	Input batches.Input
	Log   zerolog.Logger
}

// API serves /api/v1. It is safe for concurrent use.
type API struct{ cfg Config }

// New makes an API.
func New(cfg Config) (*API, error) {
	if cfg.Schedules == nil || cfg.Fleet == nil || cfg.Money == nil || cfg.Spending == nil || cfg.Alerts == nil || cfg.Orders == nil || cfg.Input.Kind == nil {
		return nil, errors.New("api: all of Config is needed")
	}
	cfg.Input.ForPrograms = true
	return &API{cfg}, nil
}

//go:embed openapi.yaml
var description []byte

const (
	// maxBody bounds a body; that of a schedule holds its rows.
	maxBody = 16 << 20
	// defaultLimit and maxLimit bound a part of a list.
	defaultLimit, maxLimit = 50, 1000
	maxKey                 = 255
)

// Routes returns all that it serves, for package access to guard.
func (a *API) Routes() []access.Route {
	refuse := func(w http.ResponseWriter, _ *http.Request, status int, message string) {
		access.Problem(w, status, message, nil)
	}
	// query are the names that the address may have.
	route := func(pattern string, scope access.Scope, h http.HandlerFunc, query ...string) access.Route {
		return access.Route{Pattern: pattern, Scope: scope, Query: append([]string{}, query...), Record: scope != access.Read, Refuse: refuse, Handle: h}
	}
	ofFleet := func(pattern string, scope access.Scope, h http.HandlerFunc, query ...string) access.Route {
		r := route(pattern, scope, h, query...)
		r.Fleet = true
		return r
	}
	add := route("POST /api/v1/schedules", access.Enqueue, a.addSchedule)
	add.Body = maxBody
	return []access.Route{
		route("GET /api/v1/openapi.yaml", access.Read, describe),

		route("GET /api/v1/schedules", access.Read, a.listSchedules, "limit", "cursor"),
		add,
		route("GET /api/v1/schedules/{name}", access.Read, a.getSchedule),
		route("DELETE /api/v1/schedules/{name}", access.Operate, a.onSchedule(a.cfg.Schedules.RemoveSchedule)),
		route("GET /api/v1/schedules/{name}/fires", access.Read, a.listFires, "limit"),
		route("POST /api/v1/schedules/{name}/pause", access.Operate, a.onSchedule(a.cfg.Schedules.PauseSchedule)),
		route("POST /api/v1/schedules/{name}/resume", access.Operate, a.onSchedule(func(ctx context.Context, name string) error {
			return schedules.Resume(ctx, a.cfg.Schedules, name)
		})),
		route("POST /api/v1/schedules/{name}/run", access.Operate, a.runSchedule),

		ofFleet("GET /api/v1/providers", access.Read, a.listProviders, "limit", "cursor", "since"),
		ofFleet("GET /api/v1/providers/{name}", access.Read, a.getProvider, "since"),
		ofFleet("POST /api/v1/providers/{name}/disable", access.Operate, a.disable),
		ofFleet("POST /api/v1/providers/{name}/enable", access.Operate, a.enable),
		ofFleet("PUT /api/v1/providers/{name}/breaker", access.Operate, a.holdBreaker),
		ofFleet("PUT /api/v1/providers/{name}/limits", access.Operate, a.pinLimits, "model"),
		ofFleet("DELETE /api/v1/providers/{name}/limits", access.Operate, a.resetLimits, "model"),
		ofFleet("GET /api/v1/workers", access.Read, a.listWorkers),
		ofFleet("GET /api/v1/alerts", access.Read, a.listAlerts, "limit", "cursor", "all"),

		route("GET /api/v1/accounts", access.Read, a.listAccounts, "limit", "cursor"),
		route("GET /api/v1/accounts/{name}", access.Read, a.getAccount),
		route("GET /api/v1/accounts/{name}/statement", access.Read, a.statement, "limit", "cursor"),
		ofFleet("POST /api/v1/accounts/{name}/deposits", access.Admin, a.deposit),
		route("GET /api/v1/budgets", access.Read, a.listBudgets, "limit", "cursor"),
		ofFleet("POST /api/v1/budgets", access.Admin, a.setBudget),
		ofFleet("DELETE /api/v1/budgets/{id}", access.Admin, a.removeBudget),
		route("GET /api/v1/cost", access.Read, a.cost, "by", "since", "until", "timezone", "batch", "account", "tag"),
	}
}

func describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	http.ServeContent(w, &http.Request{Method: http.MethodGet}, "", time.Time{}, bytes.NewReader(description))
}

// part is a part of a list. Next is the cursor of the part after it; empty: it is the last.
type part[T any] struct {
	Data []T    `json:"data"`
	Next string `json:"next,omitempty"`
}

// requestError tells of a request that is wrong as it came.
type requestError struct{ reason string }

func (e *requestError) Error() string { return e.reason }

func bad(format string, args ...any) error { return &requestError{fmt.Sprintf(format, args...)} }

// limit reads how many are asked for.
func limit(r *http.Request) (int, error) {
	s := r.URL.Query().Get("limit")
	if s == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxLimit {
		return 0, bad("limit: must be from 1 to %d", maxLimit)
	}
	return n, nil
}

// cursor reads after which name, or id, a part begins.
func cursor(r *http.Request) (string, error) {
	s := r.URL.Query().Get("cursor")
	if len(s) > 200 || !utf8.ValidString(s) {
		return "", bad("cursor: must be the next of the part before")
	}
	return s, nil
}

// cut returns the part of a list, sorted by its keys, that is asked for.
func cut[T any](r *http.Request, list []T, key func(T) string) (part[T], error) {
	p := part[T]{Data: []T{}}
	after, err := cursor(r)
	if err != nil {
		return p, err
	}
	most, err := limit(r)
	for _, v := range list {
		if err != nil {
			break
		}
		if after != "" && key(v) <= after {
			continue
		}
		if len(p.Data) == most {
			p.Next = key(p.Data[most-1])
			break
		}
		p.Data = append(p.Data, v)
	}
	return p, err
}

// read reads a body of JSON strictly: what it does not know is refused. An empty one is all zero.
func read(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil && d.More() {
		err = errors.New("there is more than one value")
	}
	if r.ContentLength == 0 {
		return nil
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return err
	}
	if err != nil {
		// What the decoder repeats of the body is the name of a field, or an offset.
		return bad("the body must be one JSON object: %.200s", err.Error())
	}
	return nil
}

// answer answers with v, or with the error.
func (a *API) answer(w http.ResponseWriter, r *http.Request, status int, v any, err error) {
	if err != nil {
		a.fail(w, r, err)
		return
	}
	if v == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	data, err := json.Marshal(v)
	if err != nil {
		a.cfg.Log.Error().Err(err).Str("path", r.URL.Path).Msg("answer not encoded")
		access.Problem(w, http.StatusInternalServerError, "the answer cannot be shown", nil)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n'))
}

// fail answers with an error, and logs what the client cannot help.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	if status != http.StatusServiceUnavailable {
		access.Problem(w, status, err.Error(), nil)
		return
	}
	if r.Context().Err() == nil {
		a.cfg.Log.Warn().Err(err).Str("path", r.URL.Path).Msg("request of a program failed")
	}
	access.Problem(w, status, "the database does not answer", nil)
}

func statusOf(err error) int {
	if _, ok := errors.AsType[*requestError](err); ok {
		return http.StatusBadRequest
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge
	}
	for _, known := range []struct {
		err    error
		status int
	}{
		{schedules.ErrNotFound, http.StatusNotFound},
		{schedules.ErrExists, http.StatusConflict},
		{billing.ErrNoBudget, http.StatusNotFound},
		{billing.ErrNoWallet, http.StatusNotFound},
		{billing.ErrOverdrawn, http.StatusConflict},
		{billing.ErrOtherDeposit, http.StatusUnprocessableEntity},
		{billing.ErrBadOrder, http.StatusBadRequest},
		{fleet.ErrUnknownProvider, http.StatusNotFound},
	} {
		if errors.Is(err, known.err) {
			return known.status
		}
	}
	if _, ok := errors.AsType[*fleet.OrderError](err); ok {
		return http.StatusBadRequest
	}
	return http.StatusServiceUnavailable
}

// named is the name in a path, or "" for what cannot be one.
func named(r *http.Request) string {
	s := r.PathValue("name")
	if len(s) > 256 || !utf8.ValidString(s) || bytes.ContainsRune([]byte(s), 0) {
		return ""
	}
	return s
}
