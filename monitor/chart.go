package monitor

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"oneflow/billing"
	"oneflow/fleet"
)

// chart is a series of figures over time. The server draws it, for browsers without scripts
// and for screen readers; in a browser uPlot draws it from the same figures, with a cursor.
type chart struct {
	// Title stands above it; empty: the page says what it is.
	Title string
	// Label says what it shows, for whoever does not see it.
	Label string
	// From is the time of the first figure, and Step that between two.
	From time.Time
	Step time.Duration
	// Unit is that of the figures.
	Unit unit
	// Bars draws the first line as bars: sums of days, say.
	Bars  bool
	Lines []line
}

// unit names the sort of a chart's figures.
type unit string

const (
	unitJobs unit = "jobs"
	unitUSD  unit = "usd"
	unitMS   unit = "ms"
)

// line is one series of a chart. Class is its colour.
type line struct {
	Name   string
	Class  string
	Values []float64 // NaN: there is none
}

const (
	chartHeight = 80
	chartColumn = 10 // the width of a figure
)

// Peak is the largest figure.
func (c chart) Peak() float64 {
	peak := 0.0
	for _, l := range c.Lines {
		for _, v := range l.Values {
			if v > peak { // a NaN is not
				peak = v
			}
		}
	}
	return peak
}

// Width is that of the picture.
func (c chart) Width() int {
	if len(c.Lines) == 0 {
		return 0
	}
	return len(c.Lines[0].Values) * chartColumn
}

// Until is the time of the last figure.
func (c chart) Until() time.Time {
	return c.From.Add(time.Duration(c.Width()/chartColumn-1) * c.Step)
}

// Said is a figure for people.
func (c chart) Said(v float64) string {
	switch c.Unit {
	case unitUSD:
		return billing.NanoUSD(math.Round(v * float64(billing.USD))).Human()
	case unitMS:
		return span(time.Duration(v) * time.Millisecond)
	case unitJobs:
	}
	return count(int64(v))
}

// Clock is the time of a figure for people: a day where figures are of days.
func (c chart) Clock(t time.Time) string {
	switch {
	case c.Step >= 24*time.Hour:
		return t.UTC().Format(time.DateOnly)
	case c.Step >= time.Hour:
		return t.UTC().Format("2006-01-02 15:04 UTC")
	}
	return t.UTC().Format("15:04 UTC")
}

// bar is a figure of the first line that is drawn as a bar.
type bar struct {
	X, Y, Height int64
	Title        string
}

// Columns are the bars of a picture that is chartHeight high.
func (c chart) Columns() (list []bar) {
	if !c.Bars || len(c.Lines) == 0 {
		return nil
	}
	for i, v := range c.Lines[0].Values {
		h := c.height(v)
		list = append(list, bar{int64(i) * chartColumn, chartHeight - h, h, c.Clock(c.From.Add(time.Duration(i)*c.Step)) + ": " + c.Said(v)})
	}
	return list
}

// stroke is a line, or a piece of it between two gaps, as an SVG has it.
type stroke struct{ Class, Points string }

// Strokes are the lines of a picture that is chartHeight high.
func (c chart) Strokes() (list []stroke) {
	if c.Bars {
		return nil
	}
	for _, l := range c.Lines {
		var piece []string
		end := func() {
			if len(piece) == 1 { // a figure alone is a dash
				x, y, _ := strings.Cut(piece[0], ",")
				at, _ := strconv.Atoi(x)
				piece = append(piece, fmt.Sprintf("%d,%s", at+chartColumn/2, y))
			}
			if len(piece) > 0 {
				list = append(list, stroke{l.Class, strings.Join(piece, " ")})
			}
			piece = nil
		}
		for i, v := range l.Values {
			if math.IsNaN(v) {
				end()
				continue
			}
			piece = append(piece, fmt.Sprintf("%d,%d", i*chartColumn+chartColumn/2, chartHeight-c.height(v)))
		}
		end()
	}
	return list
}

// height returns the height that a figure is drawn with; what is there at all is seen.
func (c chart) height(v float64) int64 {
	peak := c.Peak()
	if !(v > 0) || peak <= 0 {
		return 0
	}
	return max(int64(v/peak*chartHeight), 1)
}

// Plot returns the figures as charts.js reads them, in JSON.
func (c chart) Plot() (string, error) {
	type plotted struct {
		Name   string     `json:"name"`
		Class  string     `json:"class"`
		Values []*float64 `json:"values"`
	}
	out := struct {
		From  int64     `json:"from"`
		Step  int64     `json:"step"`
		Unit  unit      `json:"unit"`
		Bars  bool      `json:"bars"`
		Lines []plotted `json:"lines"`
	}{c.From.Unix(), int64(c.Step.Seconds()), c.Unit, c.Bars, nil}
	for _, l := range c.Lines {
		p := plotted{l.Name, l.Class, make([]*float64, len(l.Values))}
		for i, v := range l.Values {
			if !math.IsNaN(v) {
				p.Values[i] = &v
			}
		}
		out.Lines = append(out.Lines, p)
	}
	text, err := json.Marshal(out)
	return string(text), err
}

// activityCharts are the two of the last hour: jobs that ended, and money that was spent.
func activityCharts(minutes []fleet.Minute) []chart {
	if len(minutes) == 0 {
		return nil
	}
	values := func(of func(fleet.Minute) float64) []float64 {
		list := make([]float64, len(minutes))
		for i, m := range minutes {
			list[i] = of(m)
		}
		return list
	}
	usd := func(of func(fleet.Minute) billing.NanoUSD) []float64 {
		return values(func(m fleet.Minute) float64 { return float64(of(m)) / float64(billing.USD) })
	}
	ended := chart{Title: "Jobs a minute", Unit: unitJobs, From: minutes[0].At, Step: time.Minute, Lines: []line{
		{"succeeded", "succeeded", values(func(m fleet.Minute) float64 { return float64(m.Succeeded) })},
		{"failed", "failed", values(func(m fleet.Minute) float64 { return float64(m.Failed) })},
	}}
	ended.Label = "Jobs that ended in each minute of the last hour, at most " + ended.Said(ended.Peak())
	spent := chart{Title: "Spending a minute", Unit: unitUSD, From: ended.From, Step: time.Minute, Lines: []line{
		{"real money", "running", usd(func(m fleet.Minute) billing.NanoUSD { return m.Cost })},
	}}
	if simulated := (line{"simulated", "retrying", usd(func(m fleet.Minute) billing.NanoUSD { return m.Simulated })}); (chart{Lines: []line{simulated}}).Peak() > 0 {
		spent.Lines = append(spent.Lines, simulated)
	}
	spent.Label = "Money spent in each minute of the last hour, at most " + spent.Said(spent.Peak())
	return []chart{ended, spent}
}

// latencyChart shows the latencies of a provider's answers.
func latencyChart(provider string, list []fleet.LatencyPoint, step time.Duration) chart {
	c := chart{Title: "Latency of answers", Unit: unitMS, Step: step}
	values := func(of func(fleet.LatencyPoint) int64) []float64 {
		all := make([]float64, len(list))
		for i, p := range list {
			if all[i] = float64(of(p)); p.Calls == 0 {
				all[i] = math.NaN()
			}
		}
		return all
	}
	if len(list) > 0 {
		c.From = list[0].At
		c.Lines = []line{
			{"p50", "running", values(func(p fleet.LatencyPoint) int64 { return p.P50 })},
			{"p95", "retrying", values(func(p fleet.LatencyPoint) int64 { return p.P95 })},
		}
	}
	c.Label = fmt.Sprintf("How long answers of %s took, p50 and p95, at most %s", provider, c.Said(c.Peak()))
	return c
}

// activityCSV sends the figures of the last hour as a table.
func (m *Monitor) activityCSV(w http.ResponseWriter, r *http.Request) {
	o, err := m.reader.Overview(r.Context())
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	rows := [][]string{{"minute", "jobs_succeeded", "jobs_failed", "cost_usd", "simulated_cost_usd", "unpriced_calls"}}
	for _, a := range o.Activity {
		rows = append(rows, []string{stampOr(a.At), number(a.Succeeded), number(a.Failed), a.Cost.String(), a.Simulated.String(), number(a.Unpriced)})
	}
	sendTable(w, "activity.csv", rows)
}
