package monitor

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"oneflow/access"
	"oneflow/fleet"
	"oneflow/providers"
)

// FleetStore reads how the providers do.
type FleetStore interface {
	// Health returns each provider with its state, and the figures of its models over a
	// window.
	Health(ctx context.Context, window time.Duration) ([]fleet.Health, error)
	// Latencies returns how long the answers of each provider took, over a window in steps of
	// whole minutes or hours, the oldest first.
	Latencies(ctx context.Context, window, step time.Duration) (map[string][]fleet.LatencyPoint, error)
	// ProviderLimits returns the limits of each provider by source.
	ProviderLimits(ctx context.Context) ([]fleet.ProviderLimits, error)
	// Settings returns what is stored of each provider, its scopes among it.
	Settings(ctx context.Context) (map[string]fleet.Stored, map[providers.Task][]string, error)
	// BreakerMoves returns the last moves of circuit breakers, the newest first: of a
	// provider, or of each where it is empty.
	BreakerMoves(ctx context.Context, provider string, limit int) ([]fleet.BreakerMove, error)
}

const (
	// movesShown and movesPerFile bound the moves of breakers in a page and a table.
	movesShown, movesPerFile = 30, 5000
)

// healthWindows are the times that the page of providers may be about, by name.
func healthWindows() []string { return []string{"1h", "24h", "168h"} }

// providersPage is the data of the page of providers.
type providersPage struct {
	At      time.Time
	Window  string
	Windows []string
	Health  []fleet.Health
	// Latencies are charts, by provider.
	Latencies map[string]chart
	Limits    []limitLine
	Moves     []fleet.BreakerMove
	Holds     map[string][]string
	// May reports whether whoever looks may give orders.
	May bool
}

// limitLine is a limit of a provider, or of one of its scopes, by source.
type limitLine struct {
	Provider string
	// Model and Key are those of a scope: a class of models, and the id of a key where there
	// are several. Both are empty for what holds for all calls together.
	Model, Key                  string
	Dimension                   providers.Dimension
	Configured, Learned, Pinned string
	InForce                     string
	From                        fleet.LimitSource
	PinnedBy                    string
}

// window reads the time that figures are asked for.
func window(r *http.Request) (name string, d time.Duration, err error) {
	name = r.URL.Query().Get("window")
	if name == "" {
		name = healthWindows()[0]
	}
	if !slices.Contains(healthWindows(), name) {
		return name, 0, errors.New("window: must be 1h, 24h or 168h")
	}
	d, err = time.ParseDuration(name)
	return name, d, err
}

// figures are those of providers over a window.
type figures struct {
	health    []fleet.Health
	latencies map[string][]fleet.LatencyPoint
	step      time.Duration
}

// health reads how the providers do, for any number of people at the cost of one.
func (m *Monitor) health(ctx context.Context, name string, d time.Duration) (figures, error) {
	return m.figures[name].get(ctx, time.Now, func(ctx context.Context) (f figures, err error) {
		f.step = time.Minute
		if d > time.Hour {
			f.step = time.Hour
		}
		all, ctx := errgroup.WithContext(ctx)
		all.Go(func() (err error) {
			f.health, err = m.cfg.Fleet.Health(ctx, d)
			return err
		})
		all.Go(func() (err error) {
			f.latencies, err = m.cfg.Fleet.Latencies(ctx, d, f.step)
			return err
		})
		return f, all.Wait()
	})
}

func (m *Monitor) providersPage(w http.ResponseWriter, r *http.Request) {
	name, d, err := window(r)
	if err != nil {
		m.refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	p := providersPage{At: time.Now(), Window: name, Windows: healthWindows(), May: access.From(r.Context()).Scope.Includes(access.Operate)}
	f, err := m.health(r.Context(), name, d)
	if err == nil {
		p.Health, p.Latencies = f.health, map[string]chart{}
		for name, list := range f.latencies {
			p.Latencies[name] = latencyChart(name, list, f.step)
		}
		p.Limits, err = m.limits(r.Context())
	}
	if err == nil {
		p.Moves, err = m.cfg.Fleet.BreakerMoves(r.Context(), "", movesShown)
	}
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	p.Holds = m.reader.heldBack(r.Context())
	m.show(w, r, http.StatusOK, frame{Title: "Providers", Here: "providers", At: p.At, Charts: true}, "providers", p)
}

// limits lists each limit that something is known of, those of a provider's scopes after
// its own.
func (m *Monitor) limits(ctx context.Context) ([]limitLine, error) {
	known, err := m.cfg.Fleet.ProviderLimits(ctx)
	if err != nil {
		return nil, err
	}
	stored, _, err := m.cfg.Fleet.Settings(ctx)
	if err != nil {
		return nil, err
	}
	settings := m.cfg.Known.Settings(stored)
	var lines []limitLine
	for _, l := range m.cfg.Known.Limits(known) {
		for _, line := range limitLines(l.LimitLayers, l.InForce()) {
			line.Provider = l.Provider
			if line.Pinned != none {
				line.PinnedBy = l.PinnedBy
			}
			lines = append(lines, line)
		}
		set := settings[l.Provider]
		for _, scope := range set.Scopes() {
			for _, line := range limitLines(set.ScopeLayers(scope), set.Scope(scope)) {
				line.Provider = l.Provider
				line.Model, line.Key, _ = strings.Cut(scope, "@")
				lines = append(lines, line)
			}
		}
	}
	return lines, nil
}

// limitLines are the dimensions of limits that something is known of.
func limitLines(l fleet.LimitLayers, inForce providers.Limits) (lines []limitLine) {
	for _, d := range providers.Dimensions() {
		pin, pinned := l.Pinned[d]
		n := inForce.Of(d)
		if n == 0 && !pinned && l.Learned.Of(d) == 0 && l.Configured.Of(d) == 0 {
			continue
		}
		line := limitLine{Dimension: d, Configured: orNone(l.Configured.Of(d)), Learned: orNone(l.Learned.Of(d)), Pinned: none, InForce: "no limit"}
		if n > 0 {
			line.InForce = count(n)
			_, line.From = l.Of(d)
		}
		if pinned {
			line.Pinned = "no limit"
			if pin > 0 {
				line.Pinned = count(pin)
			}
		}
		lines = append(lines, line)
	}
	return lines
}

func orNone(n int64) string {
	if n == 0 {
		return none
	}
	return count(n)
}

func (m *Monitor) providersCSV(w http.ResponseWriter, r *http.Request) {
	name, d, err := window(r)
	if err != nil {
		m.refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	f, err := m.health(r.Context(), name, d)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	n := func(n int64) string { return strconv.FormatInt(n, 10) }
	rows := [][]string{{
		"provider", "kind", "status", "reason", "breaker", "workers", "key_ends", "model", "calls", "succeeded", "rate_limited", "refused", "unknown",
		"latency_ms_p50", "latency_ms_p95", "latency_ms_p99", "input_tokens", "output_tokens", "cost_usd", "simulated_cost_usd", "unpriced_calls", "last_error",
	}}
	for _, h := range f.health {
		models := h.Models
		if len(models) == 0 {
			models = []fleet.Figures{{}}
		}
		for _, f := range models {
			rows = append(rows, []string{
				h.Name, h.Kind, string(h.Status), h.Reason, string(h.Breaker.State), strconv.Itoa(h.Workers), strings.Join(h.Keys, " "), f.Model, n(f.Requests), n(f.Succeeded), n(f.RateLimited),
				n(f.Refused), n(f.Unknown), n(f.P50), n(f.P95), n(f.P99), n(f.InputTokens), n(f.OutputTokens), f.Cost.String(), f.Simulated.String(), n(f.Unpriced), f.LastError,
			})
		}
	}
	sendTable(w, "providers.csv", rows)
}

// latenciesCSV sends how long answers took, over time, as a table.
func (m *Monitor) latenciesCSV(w http.ResponseWriter, r *http.Request) {
	name, d, err := window(r)
	if err != nil {
		m.refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	f, err := m.health(r.Context(), name, d)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	rows := [][]string{{"provider", "from", "answers", "latency_ms_p50", "latency_ms_p95"}}
	for _, provider := range slices.Sorted(maps.Keys(f.latencies)) {
		for _, p := range f.latencies[provider] {
			rows = append(rows, []string{provider, stampOr(p.At), number(p.Calls), number(p.P50), number(p.P95)})
		}
	}
	sendTable(w, "latencies.csv", rows)
}

func (m *Monitor) limitsCSV(w http.ResponseWriter, r *http.Request) {
	lines, err := m.limits(r.Context())
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	rows := [][]string{{"provider", "model", "key_id", "limit", "configured", "learned", "pinned", "in_force", "from"}}
	for _, l := range lines {
		rows = append(rows, []string{l.Provider, l.Model, l.Key, string(l.Dimension), l.Configured, l.Learned, l.Pinned, l.InForce, string(l.From)})
	}
	sendTable(w, "limits.csv", rows)
}

// movesCSV sends the last moves of circuit breakers as a table.
func (m *Monitor) movesCSV(w http.ResponseWriter, r *http.Request) {
	list, err := m.cfg.Fleet.BreakerMoves(r.Context(), "", movesPerFile)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	rows := [][]string{{"provider", "at", "state", "held", "reason", "by"}}
	for _, b := range list {
		rows = append(rows, []string{b.Provider, stampOr(b.At), string(b.State), string(b.Held), b.Reason, b.By})
	}
	sendTable(w, "breakers.csv", rows)
}

// fleetOrder carries out an order to the provider that a path names, and leads back to its page.
func (m *Monitor) fleetOrder(do func(ctx context.Context, actor, provider string, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := r.ParseForm()
		if err == nil {
			err = do(r.Context(), access.From(r.Context()).Name, r.PathValue("id"), r)
		}
		wrong, isWrong := errors.AsType[*fleet.OrderError](err)
		switch {
		case errors.Is(err, fleet.ErrUnknownProvider):
			m.refuse(w, r, http.StatusNotFound, err.Error())
		case isWrong:
			m.refuse(w, r, http.StatusBadRequest, wrong.Error())
		case err != nil:
			status, t := m.explain(r, err)
			m.refuse(w, r, status, t.Heading)
		default:
			for _, f := range m.figures {
				f.forget()
			}
			http.Redirect(w, r, m.cfg.BasePath+"/providers#"+url.PathEscape(r.PathValue("id")), http.StatusSeeOther)
		}
	}
}

// orders are the handlers of orders about providers, by the last part of their path.
func (m *Monitor) orders() map[string]http.HandlerFunc {
	o := m.cfg.FleetOrders
	hold := func(state fleet.BreakerState) http.HandlerFunc {
		return m.fleetOrder(func(ctx context.Context, actor, provider string, _ *http.Request) error {
			return o.ForceBreaker(ctx, actor, provider, state)
		})
	}
	return map[string]http.HandlerFunc{
		"disable": m.fleetOrder(func(ctx context.Context, actor, provider string, r *http.Request) error {
			return o.Disable(ctx, actor, provider, r.PostForm.Get("reason"))
		}),
		"enable": m.fleetOrder(func(ctx context.Context, actor, provider string, _ *http.Request) error {
			return o.Enable(ctx, actor, provider)
		}),
		"breaker-open": hold(fleet.BreakerOpen), "breaker-close": hold(fleet.BreakerClosed), "breaker-auto": hold(""),
	}
}

// workersPage is the data of the page of workers.
type workersPage struct {
	At      time.Time
	Workers []fleet.Worker
}

func (m *Monitor) workersPage(w http.ResponseWriter, r *http.Request) {
	o, err := m.reader.Overview(r.Context())
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	m.show(w, r, http.StatusOK, frame{Title: "Workers", Here: "workers", At: o.At}, "workers", workersPage{o.At, o.Workers})
}

func (m *Monitor) workersCSV(w http.ResponseWriter, r *http.Request) {
	o, err := m.reader.Overview(r.Context())
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	rows := [][]string{{"id", "host", "pid", "alive", "lease_age_seconds", "running", "slots", "providers", "version", "started_at"}}
	for _, k := range o.Workers {
		rows = append(rows, []string{
			k.ID, k.Host, strconv.Itoa(k.PID), strconv.FormatBool(k.Alive), strconv.FormatFloat(k.SilentFor.Seconds(), 'f', 1, 64), strconv.FormatInt(k.Running, 10),
			strconv.Itoa(k.Slots), strings.Join(k.Providers, " "), k.Version, stampOr(k.StartedAt),
		})
	}
	sendTable(w, "workers.csv", rows)
}
