package api

import (
	"net/http"
	"strconv"
	"time"

	"oneflow/access"
	"oneflow/config"
	"oneflow/fleet"
	"oneflow/jobs"
	"oneflow/providers"
)

// The time that figures of providers are about.
const (
	defaultSince = time.Hour
	maxSince     = 30 * 24 * time.Hour
)

// health reads how the providers do in the time that is asked for.
func (a *API) health(r *http.Request) ([]fleet.Health, error) {
	since := defaultSince
	if s := r.URL.Query().Get("since"); s != "" {
		var err error
		if since, err = config.ParseDuration(s); err != nil || since <= 0 || since > maxSince {
			return nil, bad("since: must be a time such as 24h or 7d, of at most 30d")
		}
	}
	return a.cfg.Fleet.Health(r.Context(), since)
}

func (a *API) listProviders(w http.ResponseWriter, r *http.Request) {
	list, err := a.health(r)
	var p part[fleet.Health]
	if err == nil {
		p, err = cut(r, list, func(h fleet.Health) string { return h.Name })
	}
	for i := range p.Data {
		if p.Data[i].Models == nil {
			p.Data[i].Models = []fleet.Figures{}
		}
	}
	a.answer(w, r, http.StatusOK, p, err)
}

func (a *API) getProvider(w http.ResponseWriter, r *http.Request) { a.showProvider(w, r, nil) }

// showProvider answers with the provider that a path names, or with the error.
func (a *API) showProvider(w http.ResponseWriter, r *http.Request, err error) {
	var list []fleet.Health
	if err == nil {
		list, err = a.health(r)
	}
	name := named(r)
	for _, h := range list {
		if h.Name == name {
			if h.Models == nil {
				h.Models = []fleet.Figures{}
			}
			a.answer(w, r, http.StatusOK, h, err)
			return
		}
	}
	if err == nil {
		err = fleet.ErrUnknownProvider
	}
	a.fail(w, r, err)
}

// actor is whom an order is from.
func actor(r *http.Request) string { return access.From(r.Context()).Name }

func (a *API) disable(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Reason string `json:"reason"`
	}
	err := read(r, &body)
	if err == nil {
		err = a.cfg.Orders.Disable(r.Context(), actor(r), named(r), body.Reason)
	}
	a.showProvider(w, r, err)
}

func (a *API) enable(w http.ResponseWriter, r *http.Request) {
	a.showProvider(w, r, a.cfg.Orders.Enable(r.Context(), actor(r), named(r)))
}

func (a *API) holdBreaker(w http.ResponseWriter, r *http.Request) {
	var body struct {
		// Held is open, closed, or auto.
		Held string `json:"held"`
	}
	err := read(r, &body)
	state := fleet.BreakerState(body.Held)
	switch {
	case err == nil && body.Held == "":
		err = bad("held: must be open, closed or auto")
	case body.Held == "auto":
		state = ""
	}
	if err == nil {
		err = a.cfg.Orders.ForceBreaker(r.Context(), actor(r), named(r), state)
	}
	a.showProvider(w, r, err)
}

func (a *API) pinLimits(w http.ResponseWriter, r *http.Request) {
	pins := map[providers.Dimension]int64{}
	err := read(r, &pins)
	if err == nil {
		err = a.cfg.Orders.SetLimits(r.Context(), actor(r), named(r), r.URL.Query().Get("model"), pins)
	}
	a.showProvider(w, r, err)
}

func (a *API) resetLimits(w http.ResponseWriter, r *http.Request) {
	a.showProvider(w, r, a.cfg.Orders.ResetLimits(r.Context(), actor(r), named(r), r.URL.Query().Get("model")))
}

func (a *API) listWorkers(w http.ResponseWriter, r *http.Request) {
	f, err := a.cfg.Fleet.Fleet(r.Context())
	p := part[fleet.Worker]{Data: f.Workers}
	if p.Data == nil {
		p.Data = []fleet.Worker{}
	}
	a.answer(w, r, http.StatusOK, p, err)
}

// listAlerts lists open alerts, or all, the newest first.
func (a *API) listAlerts(w http.ResponseWriter, r *http.Request) {
	all := r.URL.Query().Get("all") == "true"
	most, err := limit(r)
	before := int64(0)
	if c, bad := cursor(r); c != "" || bad != nil {
		if before, bad = strconv.ParseInt(c, 10, 64); bad != nil && err == nil {
			err = &requestError{"cursor: must be the next of the part before"}
		}
	}
	p := part[jobs.Alert]{Data: []jobs.Alert{}}
	if err == nil {
		// There are few: those before the cursor are passed over.
		var list []jobs.Alert
		list, err = a.cfg.Alerts.Alerts(r.Context(), all, maxAlerts)
		for _, alert := range list {
			if before != 0 && alert.ID >= before {
				continue
			}
			if len(p.Data) == most {
				p.Next = strconv.FormatInt(p.Data[most-1].ID, 10)
				break
			}
			p.Data = append(p.Data, alert)
		}
	}
	a.answer(w, r, http.StatusOK, p, err)
}

// maxAlerts bounds the alerts that are looked at.
const maxAlerts = 10_000
