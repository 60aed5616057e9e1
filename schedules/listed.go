package schedules

import (
	"strings"
	"time"
)

// Listed is a schedule in the form that programs get, from commands and from the API.
type Listed struct {
	Name string `json:"name"`
	// Cron and Zone, or Every, say when it fires.
	Cron    string            `json:"cron,omitempty"`
	Zone    string            `json:"timezone,omitempty"`
	Every   string            `json:"every,omitempty"`
	Overlap Overlap           `json:"overlap"`
	Account string            `json:"account"`
	Tags    map[string]string `json:"tags"` // never null
	Source  string            `json:"source"`
	Paused  bool              `json:"paused"`
	// Next are the next five fires, none while it is paused; never null.
	Next []time.Time `json:"next"`
}

// Listed returns the schedule in that form.
func (s Schedule) Listed() Listed {
	l := Listed{
		Name: s.Name, Cron: s.Spec.Cron, Zone: s.Spec.Zone, Overlap: s.Overlap, Account: s.Account, Tags: s.Tags, Source: s.Source,
		Paused: !s.PausedAt.IsZero(), Next: s.Coming(5),
	}
	if l.Tags == nil {
		l.Tags = map[string]string{}
	}
	if l.Next == nil {
		l.Next = []time.Time{}
	}
	if s.Spec.Every > 0 {
		l.Every, l.Zone = strings.TrimPrefix(s.Spec.String(), "every "), ""
	}
	return l
}

// ListedFire is a fire in that form.
type ListedFire struct {
	At       time.Time `json:"at"`
	FiredAt  time.Time `json:"fired_at"`
	LateMS   int64     `json:"late_ms"`
	Missed   int       `json:"missed"`
	ByHand   bool      `json:"by_hand"`
	State    State     `json:"state"`
	BatchID  string    `json:"batch_id"`
	Accepted int       `json:"accepted"`
	Rejected int       `json:"rejected"`
	Error    string    `json:"error,omitempty"`
}

// Listed returns the fire in that form.
func (f Fire) Listed() ListedFire {
	return ListedFire{f.At, f.FiredAt, f.Late().Milliseconds(), f.Missed, f.ByHand, f.State, f.BatchID, f.Accepted, f.Rejected, f.Error}
}
