package monitor

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"oneflow/access"
	"oneflow/schedules"
)

// ScheduleStore reads schedules, and keeps what people order of them.
type ScheduleStore interface {
	schedules.OrderStore
	// Fires returns the last fires of a schedule, the newest first. It fails with
	// schedules.ErrNotFound.
	Fires(ctx context.Context, schedule string, limit int) ([]schedules.Fire, error)
}

const (
	// comingFires is the number of the next fires that are shown, and firesShown that of
	// the last.
	comingFires = 5
	firesShown  = 100
)

// schedulesPage is the data of the page of schedules.
type schedulesPage struct {
	At        time.Time
	Schedules []schedules.Schedule
	// May reports whether whoever looks may give orders.
	May bool
}

// schedules reads those that whoever asks may see.
func (m *Monitor) schedules(r *http.Request) ([]schedules.Schedule, error) {
	list, err := m.cfg.Schedules.Schedules(r.Context(), "")
	return slices.DeleteFunc(list, func(s schedules.Schedule) bool { return mine(r, s.Account) != nil }), err
}

func (m *Monitor) schedulesPage(w http.ResponseWriter, r *http.Request) {
	list, err := m.schedules(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	p := schedulesPage{time.Now(), list, access.From(r.Context()).Scope.Includes(access.Operate)}
	m.show(w, r, http.StatusOK, frame{Title: "Schedules", Here: "schedules", At: p.At}, "schedules", p)
}

func (m *Monitor) schedulesCSV(w http.ResponseWriter, r *http.Request) {
	list, err := m.schedules(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	rows := [][]string{{"name", "when", "overlap", "account", "source", "paused_at", "next_fires"}}
	for _, s := range list {
		var next []string
		for _, at := range s.Coming(comingFires) {
			next = append(next, stampOr(at))
		}
		rows = append(rows, []string{s.Name, s.Spec.String(), string(s.Overlap), s.Account, s.Source, stampOr(s.PausedAt), strings.Join(next, " ")})
	}
	sendTable(w, "schedules.csv", rows)
}

// schedulePage is the data of a schedule's page.
type schedulePage struct {
	At time.Time
	schedules.Schedule
	Fires []schedules.Fire
	May   bool
}

// schedule reads the schedule that a path names, if whoever asks may see it.
func (m *Monitor) schedule(r *http.Request) (schedules.Schedule, error) {
	name := r.PathValue("id")
	if schedules.CheckName(name) != nil {
		return schedules.Schedule{}, schedules.ErrNotFound
	}
	list, err := m.cfg.Schedules.Schedules(r.Context(), name)
	if err == nil {
		err = mine(r, list[0].Account)
	}
	if err != nil {
		return schedules.Schedule{}, err
	}
	return list[0], nil
}

// fires reads a schedule and its last fires.
func (m *Monitor) fires(r *http.Request, limit int) (p schedulePage, err error) {
	p.At, p.May = time.Now(), access.From(r.Context()).Scope.Includes(access.Operate)
	if p.Schedule, err = m.schedule(r); err != nil {
		return p, err
	}
	p.Fires, err = m.cfg.Schedules.Fires(r.Context(), p.Name, limit)
	return p, err
}

func (m *Monitor) schedulePage(w http.ResponseWriter, r *http.Request) {
	p, err := m.fires(r, firesShown)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	m.show(w, r, http.StatusOK, frame{Title: p.Name, Here: "schedules", At: p.At}, "schedule", p)
}

func (m *Monitor) firesCSV(w http.ResponseWriter, r *http.Request) {
	p, err := m.fires(r, jobsPerFile)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	rows := [][]string{{"at", "fired_at", "state", "batch", "accepted", "rejected", "missed", "by_hand", "tries", "error"}}
	for _, f := range p.Fires {
		rows = append(rows, []string{
			stampOr(f.At), stampOr(f.FiredAt), string(f.State), f.BatchID, strconv.Itoa(f.Accepted), strconv.Itoa(f.Rejected), strconv.Itoa(f.Missed),
			strconv.FormatBool(f.ByHand), strconv.Itoa(f.Tries), f.Error,
		})
	}
	sendTable(w, "fires.csv", rows)
}

// orderSchedule carries out what a person orders of a schedule, and leads to the page that do
// names.
func (m *Monitor) orderSchedule(do func(ctx context.Context, name string) (to string, err error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, err := m.schedule(r)
		to := ""
		if err == nil {
			to, err = do(r.Context(), s.Name)
		}
		switch {
		case errors.Is(err, schedules.ErrExists):
			m.refuse(w, r, http.StatusConflict, "it fires at this second already")
		case err != nil:
			status, t := m.explain(r, err)
			m.refuse(w, r, status, t.Heading)
		default:
			http.Redirect(w, r, m.cfg.BasePath+to, http.StatusSeeOther)
		}
	}
}

// scheduleOrders are the orders of schedules, by the last part of their path.
func (m *Monitor) scheduleOrders() map[string]http.HandlerFunc {
	page := func(name string) string { return "/schedules/" + url.PathEscape(name) }
	return map[string]http.HandlerFunc{
		"pause": m.orderSchedule(func(ctx context.Context, name string) (string, error) {
			return page(name), m.cfg.Schedules.PauseSchedule(ctx, name)
		}),
		"resume": m.orderSchedule(func(ctx context.Context, name string) (string, error) {
			return page(name), schedules.Resume(ctx, m.cfg.Schedules, name)
		}),
		"run": m.orderSchedule(func(ctx context.Context, name string) (string, error) {
			_, err := schedules.RunNow(ctx, m.cfg.Schedules, name)
			return page(name), err
		}),
	}
}
