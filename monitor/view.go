package monitor

import (
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/fleet"
	"oneflow/jobs"
	"oneflow/schedules"
)

// functions returns the functions of the templates. base is the monitor's base path.
func functions(base string) template.FuncMap {
	return template.FuncMap{
		"at":         func(path string) string { return base + path },
		"count":      count,
		"tokens":     tokens,
		"usd":        billing.NanoUSD.Human,
		"span":       span,
		"ago":        func(then, now time.Time) string { return coarse(now.Sub(then)) },
		"between":    func(from, to time.Time) string { return span(to.Sub(from)) },
		"clock":      func(t time.Time) string { return t.UTC().Format("15:04:05 UTC") },
		"stamp":      func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") },
		"join":       func(list []string) string { return strings.Join(list, ", ") },
		"maxBatches": func() int { return maxBatches },
		"silent":     func(f fleet.Snapshot) int { return len(f.Workers) - f.Alive() },
		"success":    success,
		"latency":    latency,
		"limit":      limit,
		"standing":   standing,
		"over":       func(p fleet.Provider) bool { used, _ := p.Used(); return used > 1.01 },
		"served":     served,
		"rate":       rate,
		"done":       done,
		"shares":     shares,
		"states":     states,
		"segments":   segments,
		"curve":      curve,
		"curveLabel": curveLabel,
		"standingOf": func(s fleet.Standing, now time.Time) string { return standing(fleet.Provider{Standing: s}, now) },
		"stopped":    func(s fleet.Standing) bool { return s.Status == fleet.Unavailable },
		"breaker":    func(s fleet.BreakerState) string { return strings.ReplaceAll(string(s), "_", " ") },
		"valueName":  valueName,
		"names":      names,
		"coming":     func(s schedules.Schedule) []time.Time { return s.Coming(comingFires) },
		"local":      func(t time.Time) string { return t.Format("Mon 2 Jan 15:04 MST") },
		"in":         func(then, now time.Time) string { return coarse(then.Sub(now)) },
		"plus":       func(a, b int64) int64 { return a + b },
		"plusUSD":    func(a, b billing.NanoUSD) billing.NanoUSD { return a + b },
		"sub":        func(a, b billing.NanoUSD) billing.NanoUSD { return a - b },
		"perMinute":  perMinute,
		"usedBar":    usedBar,
		"lane":       lane,
		"best":       best,
		"projected":  projected,
		"estimated":  func(t batches.Tally) string { return t.Estimate.Human(t.Total()) },
		"word":       shellWord,
		"formats":    resultFormats,
		"formatName": formatName,
		"pathWord":   url.PathEscape,
		"plain":      func(v any) string { return strings.ReplaceAll(fmt.Sprint(v), "_", " ") },
		"ms":         func(ms int64) string { return span(time.Duration(ms) * time.Millisecond) },
	}
}

// valueName says what the empty value of a dimension stands for.
func valueName(d billing.Dimension, value string) string {
	if value != "" {
		return value
	}
	return map[billing.Dimension]string{
		billing.ByBatch: "(single jobs)", billing.ByTag: "(no tag)", billing.ByModel: "(no model)", billing.ByAccount: "(removed)",
	}[d]
}

// names joins dimensions as an address has them.
func names(list []billing.Dimension) string {
	texts := make([]string, len(list))
	for i, d := range list {
		texts[i] = string(d)
	}
	return strings.Join(texts, ",")
}

// count is a number for people, such as "12,345".
func count(n int64) string {
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

// tokens is a large number in short, such as "1.2 M".
func tokens(n int64) string {
	switch {
	case n >= 1_000_000_000:
		return fmt.Sprintf("%.1f G", float64(n)/1e9)
	case n >= 1_000_000:
		return fmt.Sprintf("%.1f M", float64(n)/1e6)
	case n >= 10_000:
		return fmt.Sprintf("%.1f k", float64(n)/1e3)
	}
	return count(n)
}

// span is a length of time: "850ms", "4.2s", "3m 5s", "2h 10m", "4d 3h".
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", max(d, 0).Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm %ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh %dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd %dh", int(d.Hours())/24, int(d.Hours())%24)
}

// coarse is a length of time in its largest unit: "4s", "3m", "2h", "4d".
func coarse(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(max(d, 0).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

// none stands where there is nothing to show.
const none = "–"

// success is a rate that says 100 % only if nothing failed.
func success(t fleet.Traffic) string {
	rate, ok := t.SuccessRate()
	if !ok {
		return none
	}
	if rate < 1 {
		rate = min(rate, 0.999)
	}
	return strings.Replace(fmt.Sprintf("%.1f %%", 100*rate), "100.0", "100", 1)
}

func latency(ms int64, t fleet.Traffic) string {
	if t.Requests == 0 {
		return none
	}
	return span(time.Duration(ms) * time.Millisecond)
}

// standing returns why a provider is not simply available, who said so and since
// when.
func standing(p fleet.Provider, now time.Time) string {
	if p.Status == fleet.Available {
		return ""
	}
	text := p.Reason
	if text == "" {
		text = "no reason was given"
	}
	if p.By != "" {
		text += ", says " + p.By
	}
	if !p.Since.IsZero() {
		text += ", " + coarse(now.Sub(p.Since))
	}
	return text
}

// limit returns a provider's limit and how much of it was used.
func limit(p fleet.Provider) string {
	limit := p.PerMinute()
	if limit == 0 {
		return "no limit"
	}
	per := count(limit) + "/min"
	if used, ok := p.Used(); ok {
		return fmt.Sprintf("%.0f %% of %s last minute", 100*used, per)
	}
	return per
}

func served(p fleet.Provider) string {
	switch p.Workers {
	case 0:
		return "no worker serves it"
	case 1:
		return fmt.Sprintf("1 worker × %d", p.Concurrency)
	}
	return fmt.Sprintf("%d workers × %d", p.Workers, p.Concurrency)
}

func rate(b batches.Summary) string {
	if b.PerSecond <= 0 {
		return ""
	}
	s := fmt.Sprintf("%.1f/s", b.PerSecond)
	if b.PerSecond >= 10 {
		s = count(int64(b.PerSecond)) + "/s"
	}
	if left := b.Left(); left > 0 {
		s += ", " + remaining(left) + " left"
	}
	return s
}

// remaining is an estimate: seconds are whole.
func remaining(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%ds", int(d.Seconds())+1)
	}
	return span(d)
}

// done is "12 of 300 done".
func done(t batches.Tally) string { return count(t.Done()) + " of " + count(t.Total()) + " done" }

// share is a number of jobs that are shown together.
type share struct {
	Class string // its colour
	Word  string
	Jobs  int64
}

// shares groups a tally into what is told apart by colour, without empty groups.
func shares(t batches.Tally) []share {
	c := t.Counts
	all := []share{
		{"succeeded", "succeeded", c[jobs.Succeeded]},
		{"failed", "failed", c[jobs.Failed]},
		{"failed", "expired", c[jobs.Expired]},
		{"failed", "unknown", c[jobs.Unknown]},
		{"cancelled", "cancelled", c[jobs.Cancelled]},
		{"running", "running", c[jobs.Running]},
		{"retrying", "retrying", c[jobs.Retrying]},
		{"waiting", "queued", c[jobs.Queued]},
		{"waiting", "scheduled", c[jobs.Scheduled]},
	}
	return slices.DeleteFunc(all, func(s share) bool { return s.Jobs == 0 })
}

// states is a tally in full.
func states(t batches.Tally) []share {
	var all []share
	for _, state := range jobs.States() {
		class := string(state)
		switch state {
		case jobs.Expired, jobs.Unknown:
			class = "failed"
		case jobs.Queued, jobs.Scheduled:
			class = "waiting"
		case jobs.Running, jobs.Retrying, jobs.Succeeded, jobs.Failed, jobs.Cancelled:
		}
		all = append(all, share{class, string(state), t.Counts[state]})
	}
	return all
}

// shellWord is a word as a shell takes it.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/@:=") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// projected says what all jobs of a batch will cost at this rate; empty where nobody can tell.
func projected(b batches.Summary) string {
	all, ok := b.Projected(b.Done(), b.Total())
	if !ok {
		return ""
	}
	return "about " + all.Human() + " for all jobs at this rate"
}
