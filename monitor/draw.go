package monitor

import (
	"fmt"
	"slices"

	"oneflow/batches"
	"oneflow/fleet"
	"oneflow/jobs"
)

// segment is a piece of a bar that is barWidth wide.
type segment struct {
	Class       string
	From, Width int64
}

const (
	barWidth = 1000
	// least is the width of the smallest piece: one failure in a million shows.
	least = 8
)

// segments draws a tally as a bar. There is one piece for each colour, also an
// empty one, so that pieces grow in place. What waits is not drawn.
func segments(t batches.Tally) []segment {
	c, total := t.Counts, t.Total()
	list := []segment{
		{Class: "succeeded", Width: c[jobs.Succeeded]},
		{Class: "failed", Width: t.Failures()},
		{Class: "cancelled", Width: c[jobs.Cancelled]},
		{Class: "running", Width: c[jobs.Running]},
		{Class: "retrying", Width: c[jobs.Retrying]},
	}
	drawn := int64(0)
	for i := range list {
		if n := list[i].Width; n > 0 {
			list[i].Width = max(n*barWidth/total, least)
		}
		drawn += list[i].Width
	}
	// What the smallest got on top comes from the widest, which also gets what
	// rounding left over of a full bar.
	if full := total > 0 && t.Done() == total; full || drawn > barWidth {
		widest := 0
		for i := range list {
			if list[i].Width > list[widest].Width {
				widest = i
			}
		}
		list[widest].Width += barWidth - drawn
	}
	var at int64
	for i := range list {
		list[i].From = at
		at += list[i].Width
	}
	return list
}

// column is a minute of a curve that is curveHeight high.
type column struct {
	Class        string
	X, Y, Height int64
}

const (
	curveHeight = 32
	columnWidth = 10
)

// curve draws a provider's requests a minute against the page's peak: a column as
// high as the curve is the busiest minute of all providers.
func curve(p fleet.Provider, peak int64) []column {
	list := make([]column, len(p.Curve))
	for i, n := range p.Curve {
		h := int64(1)
		class := "idle"
		if n > 0 {
			h, class = max(min(n, peak)*curveHeight/max(peak, 1), 2), "busy"
		}
		list[i] = column{Class: class, X: int64(i) * columnWidth, Y: curveHeight - h, Height: h}
	}
	return list
}

func curveLabel(p fleet.Provider, peak int64) string {
	return fmt.Sprintf("Requests a minute in the last %d minutes, at most %s; the scale ends at %s",
		len(p.Curve), count(slices.Max(append(p.Curve, 0))), count(peak))
}

// lane draws a queue's unfinished jobs as a bar against the page's largest queue.
func lane(q fleet.Queue, most int64) []segment {
	list := []segment{{Class: "running", Width: q.Running}, {Class: "delivered", Width: q.Delivered}, {Class: "waiting", Width: q.Waiting}}
	var at int64
	for i, s := range list {
		w := int64(0)
		if s.Width > 0 {
			w = min(max(s.Width*barWidth/max(most, 1), least), barWidth-at)
		}
		list[i].From, list[i].Width = at, w
		at += w
	}
	return list
}

// usedBar is the width of a bar of the share of a limit that was used; none where there is no
// limit.
func usedBar(p fleet.Provider) []int64 {
	used, ok := p.Used()
	if !ok {
		return nil
	}
	return []int64{min(int64(used*barWidth), barWidth)}
}

// perMinute is a rate for people.
func perMinute(n float64) string {
	if n > 0 && n < 10 {
		return fmt.Sprintf("%.1f", n)
	}
	return count(int64(n))
}
