package billing

import (
	"errors"
	"time"
)

// Retirement is the day on which models are shut down.
type Retirement struct {
	// Provider and Match say which models, as in Row.
	Provider string
	Match    []string
	// Day is the first on which they are not to be had, in UTC.
	Day time.Time
	// Replacement is the model that the vendor names in their place; empty where it
	// names none.
	Replacement string
	// Source is the page that tells the day.
	Source string
}

// retirementJSON is a Retirement in the form of the file.
type retirementJSON struct {
	Provider    string   `json:"provider"`
	Match       []string `json:"match"`
	Retires     string   `json:"retires"`
	Replacement string   `json:"replacement"`
	Source      string   `json:"source"`
}

// retirement checks each field and returns the retirement.
func (in retirementJSON) retirement() (*Retirement, error) {
	if err := checkMatch(in.Provider, in.Match); err != nil {
		return nil, err
	}
	day, err := parseDate("retires", in.Retires)
	if err != nil {
		return nil, err
	}
	if in.Source == "" {
		return nil, errors.New("source: must say where the day is from")
	}
	return &Retirement{Provider: in.Provider, Match: in.Match, Day: day, Replacement: in.Replacement, Source: in.Source}, nil
}

// Retires returns when a model is or was shut down; ok is false where nobody has
// said so.
func (l *List) Retires(provider, model string) (r Retirement, ok bool) {
	found := l.ends[provider].find(model, func(*Retirement) bool { return true })
	if found == nil {
		return Retirement{}, false
	}
	return *found, true
}
