package batches_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/jobs"
)

// intakeStore takes every row and counts it as known, so that nothing is pushed.
type intakeStore struct {
	accept    func(rows []jobs.New)
	fail      error // of the second chunk
	conflicts []int64
	// unsealable is a store that answers no sealing.
	unsealable bool

	mu     sync.Mutex
	opened jobs.Batch
	opens  int
	chunks []int
	keys   []string
	sealed bool
}

func (s *intakeStore) OpenBatch(_ context.Context, b jobs.Batch) error {
	s.opened = b
	s.opens++
	return nil
}

func (s *intakeStore) AcceptJobs(_ context.Context, batchID string, rows []jobs.New, _ bool) (jobs.Accepted, error) {
	if s.accept != nil {
		s.accept(rows)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil && len(s.chunks) == 1 {
		return jobs.Accepted{}, s.fail
	}
	if batchID != s.opened.ID || s.sealed {
		return jobs.Accepted{}, fmt.Errorf("rows for batch %q, opened is %q, sealed %v", batchID, s.opened.ID, s.sealed)
	}
	s.chunks = append(s.chunks, len(rows))
	for _, r := range rows {
		s.keys = append(s.keys, r.Key)
	}
	acc := jobs.Accepted{Duplicates: len(rows) - len(s.conflicts), Conflicts: s.conflicts}
	s.conflicts = nil
	return acc, nil
}

func (s *intakeStore) SealBatch(ctx context.Context, _ string) error {
	if s.unsealable {
		<-ctx.Done()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.sealed = true
	return nil
}

func intake(s *intakeStore) batches.Intake {
	return batches.Intake{Input: input(), Batch: jobs.Batch{ID: "b1", Account: "ana", Source: "rows.jsonl"}, Store: s, Producer: jobs.NewProducer(s, nil)}
}

func lines(n int) io.Reader {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"prompt\":\"row %d\"}\n", i)
	}
	return strings.NewReader(b.String())
}

func TestAnIntakeTakesAllRowsInChunksAndSealsTheBatchAtTheEnd(t *testing.T) {
	t.Parallel()
	for n, chunks := range map[int][]int{0: nil, 1: {1}, 1999: {1999}, 2000: {2000}, 2001: {2000, 1}, 4500: {2000, 2000, 500}} {
		s := &intakeStore{}
		in := intake(s)
		var told []batches.Report
		in.Progress = func(r batches.Report) { told = append(told, r) }
		rep, err := in.Take(t.Context(), source(lines(n)))
		if err != nil || rep.Duplicates != n || rep.BatchID != "b1" || !s.sealed || s.opens != min(n, 1) {
			t.Errorf("%d rows: %+v, %v, sealed %v, opened %d times", n, rep, err, s.sealed, s.opens)
		}
		slices.SortFunc(s.chunks, func(a, b int) int { return b - a })
		if diff := cmp.Diff(chunks, s.chunks); diff != "" || len(told) != len(chunks) {
			t.Errorf("%d rows: progress was told %d times, chunks: %s", n, len(told), diff)
		}
	}
}

// The first chunk is there alone: by its rows the batch is known again. After it two are under way.
func TestTwoChunksAreAcceptedAtOnceOnceTheFirstIsThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var under, most atomic.Int32
		var early atomic.Bool
		s := &intakeStore{}
		s.accept = func(rows []jobs.New) {
			n := under.Add(1)
			defer under.Add(-1)
			most.Store(max(most.Load(), n))
			if rows[0].Seq == 1 {
				<-time.After(time.Minute)
				early.Store(most.Load() > 1)
			}
			<-time.After(time.Second)
		}
		began := time.Now()
		rep, err := intake(s).Take(t.Context(), source(lines(14000)))
		if took := time.Since(began); err != nil || rep.Duplicates != 14000 || early.Load() || most.Load() != 2 || took != 64*time.Second {
			t.Errorf("%+v, %v: %d chunks at once, beside the first: %v, %s", rep, err, most.Load(), early.Load(), took)
		}
	})
}

// A chunk that is under way when another fails counts, as it is there.
func TestAReportCountsTheChunkBesideOneThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &intakeStore{}
		broken := errors.New("broken")
		fail := func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.fail = err
		}
		s.accept = func(rows []jobs.New) {
			switch rows[0].Seq {
			case 2001:
				<-time.After(time.Second)
				fail(broken)
			case 4001:
				<-time.After(time.Minute)
				fail(nil)
			}
		}
		rep, err := intake(s).Take(t.Context(), source(lines(9000)))
		if !errors.Is(err, broken) || rep.Duplicates != 4000 || s.sealed {
			t.Errorf("%+v, %v, sealed %v", rep, err, s.sealed)
		}
	})
}

func TestBadRowsAndConflictsAreToldWithTheirLinesAndCounted(t *testing.T) {
	t.Parallel()
	in := intake(&intakeStore{conflicts: []int64{1, 4}})
	var bad []string
	in.Reject = func(e *rows.LineError) { bad = append(bad, e.Error()) }
	rep, err := in.Take(t.Context(), source(strings.NewReader(`{"custom_id":"a","prompt":"1"}
bad
{"custom_id":"b","prompt":"3"}
{"custom_id":"c","prompt":"4"}
`)))
	if diff := cmp.Diff(batches.Report{BatchID: "b1", Duplicates: 1, Rejected: 3}, rep, cmpopts.EquateErrors()); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	const there = "the batch has this custom_id already, with other content: the first is kept"
	want := []string{"rows.jsonl:2:1: not valid JSON", "rows.jsonl:1: " + there, "rows.jsonl:4: " + there}
	if diff := cmp.Diff(want, bad); diff != "" {
		t.Error(diff)
	}
	in = intake(&intakeStore{}) // and nobody listens
	if rep, err := in.Take(t.Context(), source(strings.NewReader("bad\n"))); err != nil || rep.Rejected != 1 {
		t.Errorf("%+v, %v", rep, err)
	}
}

func TestAnIntakeThatFailsTellsWhatWasAcceptedAndDoesNotSeal(t *testing.T) {
	t.Parallel()
	s := &intakeStore{fail: jobs.ErrBatchCancelled}
	rep, err := intake(s).Take(t.Context(), source(lines(5000)))
	if !errors.Is(err, jobs.ErrBatchCancelled) || rep.Duplicates != 2000 || s.sealed {
		t.Errorf("%+v, %v, sealed %v", rep, err, s.sealed)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s = &intakeStore{accept: func([]jobs.New) { cancel() }}
	rep, err = intake(s).Take(ctx, source(lines(5000)))
	if !errors.Is(err, context.Canceled) || rep.Duplicates != 2000 || s.sealed {
		t.Errorf("cancelled: %+v, %v, sealed %v", rep, err, s.sealed)
	}
}

func TestABatchIsSealedAlsoWhereItsLastRowsAreAcceptedWhileSomebodyLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &intakeStore{accept: func([]jobs.New) { cancel() }}
		if rep, err := intake(s).Take(ctx, source(lines(10))); err != nil || rep.Duplicates != 10 || !s.sealed {
			t.Errorf("%+v, %v, sealed %v", rep, err, s.sealed)
		}
		// It is not waited for long.
		ctx, cancel = context.WithCancel(t.Context())
		s = &intakeStore{accept: func([]jobs.New) { cancel() }, unsealable: true}
		start := time.Now()
		if rep, err := intake(s).Take(ctx, source(lines(10))); !errors.Is(err, context.Canceled) || rep.Duplicates != 10 || time.Since(start) != 5*time.Second {
			t.Errorf("%+v, %v after %v", rep, err, time.Since(start))
		}
	})
}

func TestRowsThatComeSlowlyAreAcceptedBeforeTheNextOnes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		every time.Duration
		rows  int
		want  []int
	}{
		"with pauses":         {1500 * time.Millisecond, 3, []int{1, 1, 1}},
		"one after the other": {600 * time.Millisecond, 20, []int{9, 9, 2}}, // none waits for longer than 5 s
		"fast":                {time.Millisecond, 2100, []int{2000, 100}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				in, pen := io.Pipe()
				go func() {
					for i := range c.rows {
						fmt.Fprintf(pen, "bad\n\n{\"custom_id\":\"r%d\",\"prompt\":\"a\"}\n", i)
						time.Sleep(c.every) //nolint:forbidigo // in a bubble, where it is the clock
					}
					pen.Close()
				}()
				s := &intakeStore{}
				take := intake(s)
				var bad []int64
				take.Reject = func(e *rows.LineError) { bad = append(bad, e.Line) }
				var seqs []int64
				s.accept = func(rows []jobs.New) {
					for _, r := range rows {
						seqs = append(seqs, r.Seq)
					}
				}
				rep, err := take.Take(t.Context(), source(in))
				if diff := cmp.Diff(c.want, s.chunks); diff != "" || err != nil || rep.Duplicates != c.rows || rep.Rejected != c.rows || !s.sealed {
					t.Errorf("%+v, %v, sealed %v, chunks: %s", rep, err, s.sealed, diff)
				}
				for i := range seqs {
					if seqs[i] != int64(3*i+3) || bad[i] != int64(3*i+1) {
						t.Fatalf("row %d is on line %d, the bad one on line %d", i, seqs[i], bad[i])
					}
				}
			})
		})
	}
}

// A bubble ends only when all its goroutines have ended.
func TestAnIntakeThatEndsEarlyLeavesNobodyBehind(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"rows": "{\"prompt\":\"a\"}\n", "bad lines": "bad\n"} {
		synctest.Test(t, func(t *testing.T) {
			in, pen := io.Pipe()
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				for n := 0; ; n++ {
					// 2,000 lines are read ahead, and a chunk has 2,000 rows: by then one was accepted.
					if n == 6000 {
						cancel()
					}
					if _, err := io.WriteString(pen, text); err != nil {
						return
					}
				}
			}()
			rep, err := intake(&intakeStore{}).Take(ctx, source(in))
			if !errors.Is(err, context.Canceled) || rep.Duplicates+rep.Rejected < 900 {
				t.Errorf("%s: %+v, %v", name, rep, err)
			}
			synctest.Wait()
			in.Close()
		})
	}
	synctest.Test(t, func(t *testing.T) { // one that waits for its input
		in, pen := io.Pipe()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := intake(&intakeStore{}).Take(ctx, source(in)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		pen.Close()
	})
}

func TestABatchIDIsReadableSortsByTimeAndIsItsOwn(t *testing.T) {
	t.Parallel()
	at := time.Date(2031, 2, 3, 23, 5, 6, 0, time.FixedZone("east", 2*3600))
	seen := map[string]bool{}
	for range 100 {
		id := batches.NewID(at)
		if !regexp.MustCompile(`^b-20310203-210506-[a-z2-7]{6}$`).MatchString(id) || seen[id] || batches.CheckID(id) != nil {
			t.Fatalf("%s, seen before: %v", id, seen[id])
		}
		seen[id] = true
	}
	if batches.NewID(at) >= batches.NewID(at.Add(time.Second)) {
		t.Error("a later id sorts before an earlier one")
	}
}

func TestABatchIDIsCheckedAsTheSchemaChecksIt(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"a", "0", "A.b-c_d", strings.Repeat("x", 64)} {
		if err := batches.CheckID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"", ".", "-a", "_a", "a b", "a/b", "ä", "a\n", "\na", strings.Repeat("x", 65), strings.Repeat("x", 1000)} {
		if err := batches.CheckID(id); err == nil || len(err.Error()) > 300 {
			t.Errorf("%.80q: %v", id, err)
		}
	}
}
