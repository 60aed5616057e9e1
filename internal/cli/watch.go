package cli

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"oneflow/jobs"
)

const (
	pollEvery = 500 * time.Millisecond
	// lineEvery is the interval at which a line is printed where there is no terminal.
	lineEvery = 5 * time.Second
	// readTimeout is the time that one read may take, and watchTimeout the time that all
	// reads may fail.
	readTimeout  = 5 * time.Second
	watchTimeout = 10 * time.Second
	// rateWindow is the time over which the rate is measured.
	rateWindow = 10 * time.Second
	// After noteAfter polls, and then with each noteEvery-th, WatchLooking looks: what is
	// done within a second needs it not.
	noteAfter, noteEvery = 2, 10
)

// Look holds the answers to what is asked now and then beside the progress.
type Look struct {
	// TokensPerMinute is the number of tokens that the last minute's calls used, in and out.
	TokensPerMinute int64
	// Waits says what holds most of the jobs back; empty: nothing does, or nobody knows.
	Waits string
	// Notes are lines to print, each once.
	Notes []string
}

// Watch shows the progress of a batch or a job on w until it has finished, and
// returns where it stood last: a live bar on a terminal, plain lines elsewhere.
// read may fail, or hang, for 10 s in a row before Watch gives up, with the exit code
// Unavailable.
func Watch(ctx context.Context, w io.Writer, read func(context.Context) (jobs.Progress, error)) (jobs.Progress, error) {
	return WatchLooking(ctx, w, nil, read, func(context.Context) Look { return Look{} })
}

// WatchLooking is Watch, and shows what look returns, which is asked now and then. It
// reads each half second, and when hints, which may be nil, has a value.
func WatchLooking(ctx context.Context, w io.Writer, hints <-chan struct{}, read func(context.Context) (jobs.Progress, error), look func(context.Context) Look) (jobs.Progress, error) {
	said := map[string]bool{}
	v := view(&plain{w: w})
	if IsTerminal(w) {
		v = newBar(w)
	}
	defer v.close()
	m := meter{}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	good := time.Now()
	var last jobs.Progress
	var seen Look
	hinted := false
	for n := 0; ; {
		reading, done := context.WithTimeout(ctx, readTimeout)
		p, err := read(reading)
		done()
		switch {
		case ctx.Err() != nil:
			return last, ctx.Err()
		case err != nil:
			if failing := time.Since(good); failing >= watchTimeout {
				return last, Fail(Unavailable, fmt.Errorf("Postgres has not answered for %s: %w", failing.Round(time.Second), err))
			}
		default:
			good, last = time.Now(), p
			m.add(time.Now(), p.Done())
			if !hinted && n%noteEvery == noteAfter && !p.Finished() {
				seen = look(ctx)
				for _, note := range seen.Notes {
					if !said[note] {
						said[note] = true
						v.say(note)
					}
				}
			}
			v.show(p, m.rate(), seen)
			if p.Finished() {
				return p, nil
			}
		}
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-tick.C:
			n++
			hinted = false
		case <-hints:
			hinted = true
		}
	}
}

// view shows progress.
type view interface {
	show(p jobs.Progress, rate float64, l Look)
	say(note string)
	close()
}

// meter measures the rate over the last rateWindow.
type meter struct {
	at   []time.Time
	done []int64
}

func (m *meter) add(now time.Time, done int64) {
	m.at, m.done = append(m.at, now), append(m.done, done)
	for len(m.at) > 2 && now.Sub(m.at[0]) > rateWindow {
		m.at, m.done = m.at[1:], m.done[1:]
	}
}

// rate is in jobs a second.
func (m *meter) rate() float64 {
	n := len(m.at) - 1
	if n < 1 {
		return 0
	}
	return float64(m.done[n]-m.done[0]) / m.at[n].Sub(m.at[0]).Seconds()
}

// describe says what the bar does not draw.
func describe(p jobs.Progress, rate float64) string {
	s := fmt.Sprintf("%s/%s done", Count(p.Done()), Count(p.Total()))
	if n := p.Failures(); n > 0 {
		s += fmt.Sprintf(", %s failed", Count(n))
	}
	if n := p.Counts[jobs.Cancelled]; n > 0 {
		s += fmt.Sprintf(", %s cancelled", Count(n))
	}
	if n := p.Counts[jobs.Retrying]; n > 0 {
		s += fmt.Sprintf(", %s retrying", Count(n))
	}
	if rate > 0 {
		digits := 0
		if rate < 10 {
			digits = 1
		}
		s += fmt.Sprintf(", %.*f/s", digits, rate)
		if left := p.Total() - p.Done(); left > 0 {
			s += ", " + Span(time.Duration(float64(left)/rate*float64(time.Second))) + " left"
		}
	}
	return s
}

// figures say what has been spent, and what all of it will cost at this rate.
func figures(p jobs.Progress, l Look) string {
	spent := jobs.Money{Cost: p.Cost, Simulated: p.Simulated, Unpriced: p.Unpriced}
	s := Amount(spent)
	if p.Finished() {
		return s
	}
	if all, ok := spent.Projected(p.Done(), p.Total()); ok {
		s += " of about " + all.Human()
	}
	if l.TokensPerMinute > 0 {
		s += ", " + Count(l.TokensPerMinute) + " tokens/min"
	}
	return s
}

// waiting says what holds the jobs back.
func waiting(p jobs.Progress, l Look) string {
	if p.Finished() {
		return ""
	}
	return Printable(l.Waits)
}

// plain prints a line now and then.
type plain struct {
	w    io.Writer
	last time.Time
}

func (v *plain) show(p jobs.Progress, rate float64, l Look) {
	if now := time.Now(); p.Finished() || now.Sub(v.last) >= lineEvery {
		v.last = now
		line := describe(p, rate) + ", " + figures(p, l)
		if held := waiting(p, l); held != "" {
			line += "; " + held
		}
		fmt.Fprintf(v.w, "%s %s\n", now.Format(time.TimeOnly), line)
	}
}

func (v *plain) say(note string) { fmt.Fprintln(v.w, note) }

func (v *plain) close() {}

// bar draws on a terminal.
type bar struct {
	progress *mpb.Progress
	bar      *mpb.Bar

	mu    sync.Mutex
	text  string
	below []string // two lines of their own
}

func newBar(w io.Writer) *bar {
	b := &bar{progress: mpb.New(mpb.WithOutput(w), mpb.WithWidth(30), mpb.WithRefreshRate(150*time.Millisecond))}
	b.bar = b.progress.New(0, mpb.BarStyle(),
		mpb.PrependDecorators(decor.Any(func(s decor.Statistics) string {
			if s.Total <= 0 {
				return "  0%"
			}
			return fmt.Sprintf("%3d%%", 100*s.Current/s.Total)
		})),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.text
		})),
		mpb.BarExtender(mpb.BarFillerFunc(func(w io.Writer, s decor.Statistics) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, line := range b.below {
				if _, err := fmt.Fprintln(w, cut("     "+line, s.AvailableWidth)); err != nil {
					return err
				}
			}
			return nil
		}), false))
	return b
}

func (b *bar) show(p jobs.Progress, rate float64, l Look) {
	b.mu.Lock()
	b.text, b.below = describe(p, rate), []string{figures(p, l), waiting(p, l)}
	b.mu.Unlock()
	b.bar.SetTotal(max(p.Total(), 1), false)
	b.bar.SetCurrent(p.Done())
	if p.Finished() {
		b.bar.SetTotal(max(p.Total(), 1), true)
	}
}

// cut leaves out what does not fit into a line.
func cut(text string, width int) string {
	if runes := []rune(text); width > 1 && len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return text
}

// say prints above the bar.
func (b *bar) say(note string) { fmt.Fprintln(b.progress, note) }

// close leaves the bar as it stands.
func (b *bar) close() {
	b.bar.Abort(false)
	b.progress.Wait()
}
