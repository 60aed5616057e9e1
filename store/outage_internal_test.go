package store

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/internal/sleep"
)

// told runs do beside a watched outage for a minute and returns what was told, by
// second.
func told(t *testing.T, do func(context.Context, *outage)) (list []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began := time.Now()
		o := &outage{asked: map[uint64]time.Time{}}
		o.report = func(w Outage) {
			what := "away"
			if w.Over {
				what = "back"
			}
			list = append(list, fmt.Sprintf("%s after %.0f s", what, time.Since(began).Seconds()))
		}
		go o.watch(ctx)
		go do(ctx, o)
		_ = sleep.For(t.Context(), time.Minute) // the bubble's clock
	})
	return list
}

func ask(o *outage) context.Context {
	return o.TraceQueryStart(context.Background(), nil, pgx.TraceQueryStartData{})
}

func TestAnOutageIsToldAfterTwoSecondsThenEveryTenAndWhenItIsOver(t *testing.T) {
	t.Parallel()
	got := told(t, func(ctx context.Context, o *outage) {
		for range 24 { // statements fail for 24 s
			o.TraceQueryEnd(ask(o), nil, pgx.TraceQueryEndData{Err: io.ErrUnexpectedEOF})
			_ = sleep.For(ctx, time.Second)
		}
		o.TraceQueryEnd(ask(o), nil, pgx.TraceQueryEndData{})
	})
	if want := []string{"away after 2 s", "away after 12 s", "away after 22 s", "back after 24 s"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestAStatementWithoutAnAnswerIsAnOutage(t *testing.T) {
	t.Parallel()
	got := told(t, func(ctx context.Context, o *outage) {
		asked := o.TraceCopyFromStart(ctx, nil, pgx.TraceCopyFromStartData{})
		_ = sleep.For(ctx, 25500*time.Millisecond)
		o.TraceCopyFromEnd(asked, nil, pgx.TraceCopyFromEndData{})
	})
	if want := []string{"away after 10 s", "away after 20 s", "back after 26 s"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestAShortFailureAndARefusalAreNoOutage(t *testing.T) {
	t.Parallel()
	got := told(t, func(ctx context.Context, o *outage) {
		o.TraceConnectEnd(o.TraceConnectStart(ctx, pgx.TraceConnectStartData{}), pgx.TraceConnectEndData{Err: io.EOF})
		_ = sleep.For(ctx, 1500*time.Millisecond)
		o.TraceBatchEnd(o.TraceBatchStart(ctx, nil, pgx.TraceBatchStartData{}), nil, pgx.TraceBatchEndData{})
		for range 30 { // a mistake of ours, again and again
			o.TraceQueryEnd(ask(o), nil, pgx.TraceQueryEndData{Err: pgx.ErrNoRows})
			_ = sleep.For(ctx, time.Second)
		}
	})
	if len(got) > 0 {
		t.Errorf("told %q", got)
	}
}
