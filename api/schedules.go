package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/config"
	"oneflow/jobs"
	"oneflow/schedules"
)

func (a *API) listSchedules(w http.ResponseWriter, r *http.Request) {
	all, err := a.cfg.Schedules.Schedules(r.Context(), "")
	var mine []schedules.Listed
	for _, s := range all {
		if access.From(r.Context()).Sees(s.Account) {
			mine = append(mine, s.Listed())
		}
	}
	var p part[schedules.Listed]
	if err == nil {
		p, err = cut(r, mine, func(s schedules.Listed) string { return s.Name })
	}
	a.answer(w, r, http.StatusOK, p, err)
}

// mySchedule reads the schedule that a path names, if whoever asks may see it.
func (a *API) mySchedule(r *http.Request) (schedules.Schedule, error) {
	name := named(r)
	if name == "" {
		return schedules.Schedule{}, schedules.ErrNotFound
	}
	list, err := a.cfg.Schedules.Schedules(r.Context(), name)
	if err != nil {
		return schedules.Schedule{}, err
	}
	if !access.From(r.Context()).Sees(list[0].Account) {
		return schedules.Schedule{}, schedules.ErrNotFound
	}
	return list[0], nil
}

func (a *API) getSchedule(w http.ResponseWriter, r *http.Request) {
	s, err := a.mySchedule(r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.answer(w, r, http.StatusOK, s.Listed(), nil)
}

// onSchedule carries an order out.
func (a *API) onSchedule(do func(context.Context, string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, err := a.mySchedule(r)
		if err == nil {
			err = do(r.Context(), s.Name)
		}
		a.answer(w, r, http.StatusNoContent, nil, err)
	}
}

func (a *API) runSchedule(w http.ResponseWriter, r *http.Request) {
	s, err := a.mySchedule(r)
	batch := ""
	if err == nil {
		batch, err = schedules.RunNow(r.Context(), a.cfg.Schedules, s.Name)
	}
	a.answer(w, r, http.StatusAccepted, map[string]string{"batch_id": batch}, err)
}

func (a *API) listFires(w http.ResponseWriter, r *http.Request) {
	s, err := a.mySchedule(r)
	most := 0
	if err == nil {
		most, err = limit(r)
	}
	p := part[schedules.ListedFire]{Data: []schedules.ListedFire{}}
	if err == nil {
		var fires []schedules.Fire
		fires, err = a.cfg.Schedules.Fires(r.Context(), s.Name, most)
		for _, f := range fires {
			p.Data = append(p.Data, f.Listed())
		}
	}
	a.answer(w, r, http.StatusOK, p, err)
}

// newSchedule holds what a program brings.
type newSchedule struct {
	Name     string            `json:"name"`
	Cron     string            `json:"cron"`
	Timezone string            `json:"timezone"`
	Every    string            `json:"every"`
	Overlap  schedules.Overlap `json:"overlap"`
	Account  string            `json:"account"`
	Tags     map[string]string `json:"tags"`
	// Rows are the lines that each fire makes jobs of, as in a file of JSON lines; Defaults hold for
	// all of them, and Template makes prompts of them.
	Rows      []json.RawMessage          `json:"rows"`
	Defaults  map[string]json.RawMessage `json:"defaults"`
	Template  string                     `json:"template"`
	OnUnknown jobs.OnUnknown             `json:"on_unknown"`
}

// schedule checks all of it but its rows.
func (n newSchedule) schedule(now time.Time) (s schedules.Schedule, err error) {
	if err := schedules.CheckName(n.Name); err != nil {
		return s, bad("name: %s", err)
	}
	s = schedules.Schedule{
		Name: n.Name, Overlap: n.Overlap, Account: n.Account, Tags: n.Tags, Source: "the API", CreatedAt: now,
		Spec: schedules.Spec{Cron: n.Cron, Zone: n.Timezone, Anchor: now},
	}
	if s.Overlap == "" {
		s.Overlap = schedules.Skip
	}
	if s.Overlap != schedules.Skip && s.Overlap != schedules.Queue {
		return s, bad("overlap: must be skip or queue")
	}
	if s.Spec.Zone == "" || n.Every != "" {
		s.Spec.Zone = "UTC"
	}
	if (n.Cron == "") == (n.Every == "") {
		return s, bad("cron, every: name one of them")
	}
	if n.Every != "" {
		if s.Spec.Every, err = config.ParseDuration(n.Every); err != nil {
			return s, bad("every: must be a time such as 6h or 2d")
		}
		s.Spec.Every = s.Spec.Every.Truncate(time.Second)
	}
	if s.Spec, err = s.Spec.Parse(); err != nil {
		return s, bad("%s", err)
	}
	s.Next = s.Spec.Next(now)
	return s, nil
}

func (a *API) addSchedule(w http.ResponseWriter, r *http.Request) {
	var n newSchedule
	err := read(r, &n)
	p := access.From(r.Context())
	if n.Account == "" {
		n.Account = jobs.DefaultAccount
		if p.Account != "" {
			n.Account = p.Account
		}
	}
	if err == nil && !p.Sees(n.Account) {
		access.Problem(w, http.StatusForbidden, "account: the token is for another", nil)
		return
	}
	var s schedules.Schedule
	if err == nil {
		s, err = n.schedule(time.Now().Truncate(time.Second))
	}
	if err == nil {
		err = a.keep(&s, n)
	}
	if err == nil {
		err = a.cfg.Schedules.AddSchedule(r.Context(), s)
	}
	if err == nil {
		w.Header().Set("Location", "/api/v1/schedules/"+s.Name)
	}
	a.answer(w, r, http.StatusCreated, s.Listed(), err)
}

// keep keeps the rows with the schedule, after it has read them as a fire will.
func (a *API) keep(s *schedules.Schedule, n newSchedule) error {
	if len(n.Rows) == 0 {
		return bad("rows: must have at least one")
	}
	var lines bytes.Buffer
	for _, row := range n.Rows {
		if err := json.Compact(&lines, row); err != nil {
			return bad("rows: %s", err)
		}
		lines.WriteByte('\n')
	}
	s.Content = lines.Bytes()
	kept := batches.Kept{Name: "rows", Format: rows.FormatJSONLines, Defaults: n.Defaults, Template: n.Template, OnUnknown: n.OnUnknown}
	in := a.cfg.Input
	in.Account = s.Account
	var first error // of the bad rows
	err := kept.Check(in, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(s.Content)), nil }, func(jobs.New) error { return nil },
		func(e *rows.LineError) {
			if first == nil {
				first = e
			}
		})
	if err = errors.Join(err, first); err != nil {
		return bad("%s", rows.Printable(err))
	}
	s.Input, err = json.Marshal(kept)
	return err
}
