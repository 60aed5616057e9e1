package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"oneflow/billing"
	"oneflow/jobs"
)

// writeJSON writes v as one indented object.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// Line writes v as one line of JSON.
func Line(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// Status is the form of a Progress for programs.
type Status struct {
	BatchID string               `json:"batch_id"`
	JobID   string               `json:"job_id,omitempty"`
	State   string               `json:"state"`
	Paused  bool                 `json:"paused,omitempty"`
	Counts  map[jobs.State]int64 `json:"counts"`
	CostUSD billing.NanoUSD      `json:"cost_usd"`
	// SimulatedUSD is the cost as mocks and fakes tell it; CostUSD leaves it out.
	SimulatedUSD billing.NanoUSD `json:"simulated_cost_usd"`
	// ChargeUSD is the money that the account is charged: the cost, unless a rate card differs.
	ChargeUSD billing.NanoUSD `json:"charge_usd"`
	Unpriced  int64           `json:"unpriced_calls"`
	// Estimate holds the expected cost of a batch as its jobs were accepted; nil for a job.
	Estimate *jobs.Estimate `json:"estimate,omitempty"`
	Error    string         `json:"error,omitempty"`
}

// StatusOf prepares p for programs.
func StatusOf(p jobs.Progress) Status {
	s := Status{
		BatchID: p.BatchID, JobID: p.JobID, State: p.State, Paused: p.Paused, Counts: p.Counts, CostUSD: p.Cost, SimulatedUSD: p.Simulated, ChargeUSD: p.Charge, Unpriced: p.Unpriced,
	}
	if p.JobID == "" {
		s.Estimate = &p.Estimate
	}
	if p.ErrorClass != "" {
		s.Error = p.ErrorClass + ": " + p.ErrorMessage
	}
	return s
}

// PrintStatus writes p for people, and more rows below.
func PrintStatus(w io.Writer, p jobs.Progress, more ...[]string) error {
	what, id := "batch", p.BatchID
	if p.JobID != "" {
		what, id = "job", p.JobID
	}
	state := p.State
	if p.JobID != "" && p.Paused && !p.Finished() {
		state += ", paused"
	}
	rows := [][]string{{what, id}, {"state", state}}
	if p.JobID == "" {
		for _, state := range jobs.States() {
			if n := p.Counts[state]; n > 0 {
				rows = append(rows, []string{"  " + string(state), Count(n)})
			}
		}
	}
	rows = append(rows, []string{"cost", Money(p.Cost, p.Unpriced)})
	if estimate := p.Estimate.Human(p.Total()); estimate != "" {
		rows = append(rows, []string{"estimate", estimate})
	}
	if p.Charge != p.Cost {
		rows = append(rows, []string{"charged", p.Charge.Human()})
	}
	if p.Simulated > 0 {
		rows = append(rows, []string{"simulated", p.Simulated.Human()})
	}
	if p.ErrorClass != "" {
		rows = append(rows, []string{"error", p.ErrorClass + ": " + p.ErrorMessage})
	}
	return Fields(w, append(rows, more...))
}

// Amount writes the cost of calls for people: simulated money and calls without a
// price are said, not hidden.
func Amount(m jobs.Money) string {
	spent := Money(m.Cost, m.Unpriced)
	switch {
	case m.Simulated == 0:
		return spent
	case m.Cost == 0 && m.Unpriced == 0:
		return m.Simulated.Human() + " simulated"
	}
	return spent + " + " + m.Simulated.Human() + " simulated"
}

// Money is an amount for people; calls without a price are said, not hidden.
func Money(n billing.NanoUSD, unpriced int64) string {
	s := n.Human()
	if unpriced > 0 {
		s += fmt.Sprintf(" + %s without a known price", Things(unpriced, "call"))
	}
	return s
}

// Things is a number of things of one name, such as "1 job" and "12,345 jobs".
func Things(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + one + "s"
}

// Count is a number for people, such as "12,345".
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// Span is a length of time for people: "850ms", "4.2s", "3m 5s", "2h 10m",
// "3d 4h".
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "0ms"
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm %ds", int(d.Minutes()), int(d.Seconds())%60)
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd %dh", int(d.Hours())/24, int(d.Hours())%24)
	}
	return fmt.Sprintf("%dh %dm", int(d.Hours()), int(d.Minutes())%60)
}
