package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"oneflow/access"
)

// subject is something that a stream tells of when it is another than before.
type subject struct {
	key string
	v   any
	// quiet leaves it out at first: it has ended before anybody listened.
	quiet bool
}

// topic reads all subjects of a kind.
type topic struct {
	name string
	read func(ctx context.Context) ([]subject, error)
}

// topicNames are the kinds of subjects of a stream, those of all accounts last.
func topicNames() []string { return []string{"batch", "job", "provider", "alert"} }

// topics are those that a request asks for with types; without it batches and, for a token of
// all accounts, providers and alerts.
func (m *Monitor) topics(r *http.Request) (list []topic, err error) {
	oneAccount := access.From(r.Context()).Account != ""
	names := []string{"batch", "provider", "alert"}
	if oneAccount {
		names = names[:1]
	}
	if s := r.URL.Query().Get("types"); s != "" {
		names = strings.Split(s, ",")
	}
	for i, name := range names {
		switch {
		case !slices.Contains(topicNames(), name) || slices.Contains(names[:i], name):
			return nil, &queryError{fmt.Errorf("types: must be of %s, each once", strings.Join(topicNames(), ", "))}
		case oneAccount && (name == "provider" || name == "alert"):
			return nil, errOfFleet
		}
		read, err := m.topic(r, name)
		if err != nil {
			return nil, err
		}
		list = append(list, topic{name, read})
	}
	return list, nil
}

// errOfFleet is returned where an account's token asks for what is of all accounts.
var errOfFleet = errors.New("this token is for one account, and providers and alerts are of all")

// topic returns what reads the subjects of a kind.
func (m *Monitor) topic(r *http.Request, name string) (func(ctx context.Context) ([]subject, error), error) {
	switch name {
	case "batch":
		f, err := batchFilter(r)
		if err != nil {
			return nil, &queryError{err}
		}
		return func(ctx context.Context) (list []subject, err error) {
			found, err := m.cfg.Jobs.Batches(ctx, f)
			for _, b := range found {
				b.PerSecond = 0
				list = append(list, subject{b.ID, b, b.Finished()})
			}
			return list, err
		}, nil
	case "job":
		f, err := filter(r)
		if err != nil {
			return nil, &queryError{err}
		}
		return func(ctx context.Context) (list []subject, err error) {
			found, err := m.cfg.Jobs.Jobs(ctx, f)
			for _, j := range found.Jobs {
				list = append(list, subject{j.ID, j, j.State.Finished()})
			}
			return list, err
		}, nil
	case "provider":
		return func(ctx context.Context) (list []subject, err error) {
			found, err := m.cfg.Store.Standings(ctx)
			for _, h := range found {
				list = append(list, subject{h.Name, h, false})
			}
			return list, err
		}, nil
	}
	return func(ctx context.Context) (list []subject, err error) {
		found, err := m.cfg.Store.Alerts(ctx, true, alertsShown)
		for _, a := range found {
			list = append(list, subject{strconv.FormatInt(a.ID, 10), a, !a.ClosedAt.IsZero()})
		}
		return list, err
	}, nil
}

// apiEvents streams batches, jobs, providers and alerts as they change: first those that have
// not ended, then each that is another than before.
func (m *Monitor) apiEvents(w http.ResponseWriter, r *http.Request) {
	topics, err := m.topics(r)
	known := map[string]string{}
	if err == nil {
		err = m.events.stream(w, r, func(first bool) (string, error) { return changes(r.Context(), topics, known, first) }) //nolint:contextcheck // it is the request's
	}
	switch {
	case errors.Is(err, errTooMany):
		w.Header().Set("Retry-After", "10")
		m.problem(w, r, http.StatusServiceUnavailable, err.Error())
	case errors.Is(err, errOfFleet):
		m.problem(w, r, http.StatusForbidden, err.Error())
	case err != nil:
		m.answer(w, r, nil, err)
	}
}

// changes returns the events of what is another than is known, and remembers it. What is gone
// from a list is forgotten.
func changes(ctx context.Context, topics []topic, known map[string]string, first bool) (string, error) {
	var text strings.Builder
	if first {
		text.WriteString(": what has not ended\n\n")
	}
	// All is read before anything is remembered: what is not told counts as not known.
	found := make([][]subject, len(topics))
	for i, t := range topics {
		var err error
		if found[i], err = t.read(ctx); err != nil {
			return "", err
		}
	}
	there := map[string]bool{}
	for i, t := range topics {
		for _, s := range found[i] {
			key := t.name + " " + s.key
			there[key] = true
			data, err := json.Marshal(s.v)
			if err != nil || known[key] == string(data) {
				continue
			}
			known[key] = string(data)
			if !first || !s.quiet {
				fmt.Fprintf(&text, "event: %s\ndata: %s\n\n", t.name, data)
			}
		}
	}
	for key := range known {
		if !there[key] {
			delete(known, key)
		}
	}
	return text.String(), nil
}
