package billing

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Dimension is something by which spending is summed up.
type Dimension string

// The dimensions. A batch with several tags counts for each of them; hours and days are
// those of SpendingQuery.Zone.
const (
	ByProvider Dimension = "provider"
	ByModel    Dimension = "model"
	ByHour     Dimension = "hour"
	ByDay      Dimension = "day"
	ByAccount  Dimension = "account"
	ByTag      Dimension = "tag"
	ByBatch    Dimension = "batch"
	// ByKind says why a call was made: see CallKind.
	ByKind Dimension = "kind"
)

// Dimensions lists them.
func Dimensions() []Dimension {
	return []Dimension{ByProvider, ByModel, ByHour, ByDay, ByAccount, ByTag, ByBatch, ByKind}
}

// CallKind says why a call was made.
type CallKind string

// The kinds of calls.
const (
	CallFirst    CallKind = "first"    // a job's first
	CallRetry    CallKind = "retry"    // another, after one that failed
	CallReask    CallKind = "reask"    // another, after an answer that was rejected
	CallFallback CallKind = "fallback" // of another provider than the job asks first
	CallCached   CallKind = "cache"    // none: an answer from the cache
	CallUnknown  CallKind = "unknown"  // any of these whose outcome is not known: at its reserved price
)

// SpendingQuery asks what calls have cost that ended in a time.
type SpendingQuery struct {
	// Since and Until bound it; zero: it is not bounded. Hours are taken whole.
	Since, Until time.Time
	// By are the dimensions; none: one sum of all.
	By []Dimension
	// Zone is the time zone of days. Default: UTC.
	Zone string
	// Batch is the one batch, and Account the one account whose calls count; empty: all.
	Batch, Account string
	// Tag is a tag that the calls' batch has, as NAME=VALUE, or as NAME with any value: then
	// ByTag sums up by this tag alone. Empty: calls of all batches count, and the tags which
	// OneFlow itself gives to the batches of comparisons are none.
	Tag string
}

// Check fails with what is wrong with the query.
func (q SpendingQuery) Check() error {
	for _, d := range q.By {
		if !slices.Contains(Dimensions(), d) {
			names := make([]string, len(Dimensions()))
			for i, known := range Dimensions() {
				names[i] = string(known)
			}
			return badOrder("by %q: must be of %s", string(d), strings.Join(names, ", "))
		}
	}
	if _, err := time.LoadLocation(q.Zone); err != nil || q.Zone == "Local" {
		return badOrder("time zone %q: not known: use a name such as Europe/Paris or UTC", q.Zone)
	}
	return nil
}

// Spending sums up the calls that have one value in each dimension.
type Spending struct {
	// Of holds the values, in the order of the query's dimensions.
	Of    []string
	Calls int64
	// Failed counts those that brought no answer, and Unpriced those that no price is
	// known for, which Cost leaves out.
	Failed, Unpriced int64
	// Cost is real money, Simulated what calls of mocks and fakes would have cost.
	Cost, Simulated NanoUSD
	// Charge is the money that accounts are charged for it: the cost, where no rate card
	// says something else. Simulated money is charged to nobody.
	Charge NanoUSD
	// Overruns counts calls whose bill was above what was reserved, Overrun by how much.
	Overruns int64
	Overrun  NanoUSD
	// Hits counts answers from the cache, which are no calls and cost nothing; Saved and
	// SavedSimulated are the costs of the calls that they stand for.
	Hits                  int64
	Saved, SavedSimulated NanoUSD
}

// Plus is the sum, without values.
func (s Spending) Plus(o Spending) Spending {
	return Spending{
		Calls: s.Calls + o.Calls, Failed: s.Failed + o.Failed, Unpriced: s.Unpriced + o.Unpriced, Cost: s.Cost + o.Cost, Charge: s.Charge + o.Charge,
		Simulated: s.Simulated + o.Simulated, Overruns: s.Overruns + o.Overruns, Overrun: s.Overrun + o.Overrun,
		Hits: s.Hits + o.Hits, Saved: s.Saved + o.Saved, SavedSimulated: s.SavedSimulated + o.SavedSimulated,
	}
}

// Fields are the names of Row's columns after those of the dimensions.
func (Spending) Fields() []string {
	return []string{
		"calls", "failed_calls", "cost_usd", "charge_usd", "simulated_cost_usd", "unpriced_calls", "overrun_calls", "overrun_usd",
		"cached_answers", "saved_usd", "simulated_saved_usd",
	}
}

// Row is the values and figures as text, for CSV.
func (s Spending) Row() []string {
	return append(slices.Clone(s.Of), fmt.Sprint(s.Calls), fmt.Sprint(s.Failed), s.Cost.String(), s.Charge.String(), s.Simulated.String(), fmt.Sprint(s.Unpriced),
		fmt.Sprint(s.Overruns), s.Overrun.String(), fmt.Sprint(s.Hits), s.Saved.String(), s.SavedSimulated.String())
}

// SpendingLine is Spending as programs get it.
type SpendingLine struct {
	// By holds the values by their dimensions; never nil.
	By     map[Dimension]string `json:"by"`
	Calls  int64                `json:"calls"`
	Failed int64                `json:"failed_calls"`
	Cost   NanoUSD              `json:"cost_usd"`
	// Charge is the money that accounts are charged: the cost, unless rate cards differ.
	Charge NanoUSD `json:"charge_usd"`
	// Simulated money is that of mocks and fakes; Cost leaves it out.
	Simulated NanoUSD `json:"simulated_cost_usd"`
	Unpriced  int64   `json:"unpriced_calls"`
	Overruns  int64   `json:"overrun_calls"`
	Overrun   NanoUSD `json:"overrun_usd"`
	// Hits are answers from the cache, which are no calls; Saved and SavedSimulated are what
	// these would have cost.
	Hits           int64   `json:"cached_answers"`
	Saved          NanoUSD `json:"saved_usd"`
	SavedSimulated NanoUSD `json:"simulated_saved_usd"`
}

// Line is the sum for programs. by are the dimensions that it was summed up by.
func (s Spending) Line(by []Dimension) SpendingLine {
	l := SpendingLine{map[Dimension]string{}, s.Calls, s.Failed, s.Cost, s.Charge, s.Simulated, s.Unpriced, s.Overruns, s.Overrun, s.Hits, s.Saved, s.SavedSimulated}
	for i, d := range by {
		l.By[d] = s.Of[i]
	}
	return l
}
