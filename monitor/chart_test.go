package monitor

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/fleet"
	"oneflow/jobs"
)

func TestAChartIsDrawnWithItsGapsAndItsScale(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	c := chart{From: from, Step: time.Minute, Unit: unitMS, Lines: []line{{"p50", "running", []float64{100, 200, math.NaN(), 50, math.NaN(), 1}}}}
	if diff := cmp.Diff([]stroke{{"running", "5,40 15,0"}, {"running", "35,60 40,60"}, {"running", "55,79 60,79"}}, c.Strokes()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if c.Clock(c.Until()) != "08:05 UTC" || c.Said(c.Peak()) != "200ms" || c.Columns() != nil {
		t.Errorf("until %s, up to %s, bars %v", c.Clock(c.Until()), c.Said(c.Peak()), c.Columns())
	}
	var plotted struct {
		From, Step int64
		Lines      []struct{ Values []*float64 }
	}
	text, err := c.Plot()
	if err != nil || json.Unmarshal([]byte(text), &plotted) != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if v := plotted.Lines[0].Values; plotted.From != from.Unix() || plotted.Step != 60 || len(v) != 6 || v[2] != nil || *v[1] != 200 {
		t.Errorf("a browser is told %s", text)
	}

	days := chart{From: from, Step: 24 * time.Hour, Unit: unitUSD, Bars: true, Lines: []line{{"", "", []float64{0, 0.5, 1e-9}}}}
	want := []bar{{0, 80, 0, "2026-11-29: $0.00"}, {10, 0, 80, "2026-11-30: $0.50"}, {20, 79, 1, "2026-12-01: <$0.0001"}}
	if diff := cmp.Diff(want, days.Columns()); diff != "" || days.Strokes() != nil {
		t.Errorf("-want +got:\n%s", diff)
	}
	if none := (chart{}); none.Strokes() != nil || none.Peak() != 0 || none.Width() != 0 {
		t.Errorf("nothing is drawn as %v", none.Strokes())
	}
}

func TestSimulatedMoneyHasALineOfItsOwnWhereThereIsSome(t *testing.T) {
	t.Parallel()
	lines := func(m jobs.Money) int { return len(activityCharts([]fleet.Minute{{Money: m}})[1].Lines) }
	if paid, simulated := lines(jobs.Money{Cost: 5}), lines(jobs.Money{Simulated: 5}); paid != 1 || simulated != 2 {
		t.Errorf("%d lines with real money, %d with simulated", paid, simulated)
	}
}
