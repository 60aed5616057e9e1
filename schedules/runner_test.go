package schedules_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"

	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/schedules"
	"oneflow/store"
)

// site is a database with a clock of the test's own.
type site struct {
	*store.Store
	t    *testing.T
	pool *pgxpool.Pool

	mu  sync.Mutex
	now time.Time
}

func newSite(t *testing.T, now string) *site {
	t.Helper()
	url := storetest.Database(t)
	db, err := store.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return &site{Store: db, t: t, pool: storetest.Pool(t, url), now: moment(t, now)}
}

func (s *site) Now(context.Context) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, nil
}

func (s *site) set(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

func (s *site) add(name string, spec schedules.Spec, overlap schedules.Overlap) {
	s.t.Helper()
	err := s.AddSchedule(s.t.Context(), schedules.Schedule{
		Name: name, Spec: spec, Overlap: overlap, Account: "acme", Tags: map[string]string{"team": "search"}, Source: "rows", Input: []byte("{}"),
		CreatedAt: s.now, Next: spec.Next(s.now), Content: []byte("a"),
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// rowsOfAFire is the number of jobs that each fire makes here.
const rowsOfAFire = 3

// take accepts the rows of a fire, in two commits.
func (s *site) take(ctx context.Context, f schedules.OpenFire) (taken schedules.Taken, err error) {
	if err := s.OpenBatch(ctx, jobs.Batch{ID: f.BatchID, Account: f.Of.Account, Tags: f.Of.Tags, Append: true}); err != nil {
		return taken, err
	}
	keys := jobs.NewKeys()
	for i := range rowsOfAFire {
		row := jobs.New{ID: jobs.NewID(), Seq: int64(i + 1), Provider: "mock", Account: f.Of.Account, Request: providers.Request{Task: providers.Text, Model: "m", Prompt: fmt.Sprint(i)}}
		if err := keys.Assign(&row); err != nil {
			return taken, err
		}
		acc, err := s.AcceptJobs(ctx, f.BatchID, []jobs.New{row}, false)
		if err != nil {
			return taken, err
		}
		taken.Accepted += acc.New + acc.Duplicates
	}
	return taken, s.SealBatch(ctx, f.BatchID)
}

// dying is a store whose user dies at its n-th call, before or after what that does.
type dying struct {
	*site
	n      *int
	cancel context.CancelFunc
}

func (d dying) step() {
	if *d.n--; *d.n == 0 {
		d.cancel()
	}
}

func (d dying) Fire(ctx context.Context, f schedules.Fire, expected, next time.Time) (schedules.State, error) {
	d.step()
	state, err := d.site.Fire(ctx, f, expected, next)
	d.step()
	return state, errors.Join(err, ctx.Err())
}

func (d dying) EndFire(ctx context.Context, f schedules.Fire) error {
	d.step()
	err := d.site.EndFire(ctx, f)
	d.step()
	return errors.Join(err, ctx.Err())
}

func (d dying) take(ctx context.Context, f schedules.OpenFire) (schedules.Taken, error) {
	d.step()
	if ctx.Err() == nil && *d.n == 1 { // in the middle of its rows
		_ = d.OpenBatch(ctx, jobs.Batch{ID: f.BatchID, Account: f.Of.Account, Append: true})
		d.step()
	}
	return d.site.take(ctx, f)
}

func (s *site) fired(name string) (list []string) {
	s.t.Helper()
	rows, err := s.pool.Query(s.t.Context(), `
		SELECT to_char(f.fire_at AT TIME ZONE 'UTC', 'MM-DD HH24:MI') || ' ' || f.state || ' ' || f.missed || ' ' || f.accepted || ' '
			|| (SELECT count(*) FROM jobs j WHERE j.batch_id = f.batch_id AND j.account = 'acme')
			|| (SELECT CASE WHEN b.sealed_at IS NULL THEN ' open' ELSE '' END FROM batches b WHERE b.id = f.batch_id)
		FROM schedule_fires f
		WHERE f.schedule = $1
		ORDER BY f.fire_at`, name)
	if err != nil {
		s.t.Fatal(err)
	}
	list, err = pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}

func TestEachFireIsOnceWithThreeWorkersAndTenDeathsInNightsThatChangeTheClock(t *testing.T) {
	t.Parallel()
	for _, night := range []struct {
		from, to string
		cron     string
		zone     string
		want     []string
	}{
		{"2026-03-28T22:00:00Z", "2026-03-29T08:00:00Z", "*/30 1-3 * * *", "Europe/Paris", []string{"03-29 00:00", "03-29 00:30", "03-29 01:00", "03-29 01:30"}},
		{"2026-10-24T21:00:00Z", "2026-10-25T08:00:00Z", "30 * * * *", "Europe/Paris", []string{
			"10-24 21:30", "10-24 22:30", "10-24 23:30", "10-25 00:30", "10-25 01:30", "10-25 02:30", "10-25 03:30", "10-25 04:30", "10-25 05:30", "10-25 06:30", "10-25 07:30",
		}},
		{"2026-03-08T04:00:00Z", "2026-03-08T12:00:00Z", "15 1-4 * * *", "America/New_York", []string{"03-08 06:15", "03-08 07:00", "03-08 07:15", "03-08 08:15"}},
		{"2026-11-01T03:00:00Z", "2026-11-01T12:00:00Z", "15 1-4 * * *", "America/New_York", []string{"11-01 05:15", "11-01 07:15", "11-01 08:15", "11-01 09:15"}},
		{"2026-01-30T22:00:00Z", "2026-02-01T23:30:00Z", "0 0,12 1,31 * *", "Europe/Paris", []string{"01-30 23:00", "01-31 11:00", "01-31 23:00", "02-01 11:00"}},
		{"2028-02-28T12:00:00Z", "2028-03-01T12:00:00Z", "0 6,7,8,9 29 2 *", "UTC", []string{"02-29 06:00", "02-29 07:00", "02-29 08:00", "02-29 09:00"}},
	} {
		t.Run(night.zone+" "+night.from, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, night.from)
			s.add("nightly", spec(t, night.cron, night.zone), schedules.Skip)
			// The jobs of a fire have ended when the next is due.
			finish := `UPDATE job_states SET state = 'cancelled', finished_at = now() WHERE finished_at IS NULL`
			var deaths atomic.Int64
			for now := s.now; !now.After(moment(t, night.to)); now = now.Add(15 * time.Minute) {
				s.set(now)
				due, err := s.DueSchedules(t.Context(), now)
				if err != nil {
					t.Fatal(err)
				}
				for death := 1; len(due) > 0 && death <= 4; death++ {
					var running sync.WaitGroup
					for range 3 {
						running.Go(func() {
							ctx, cancel := context.WithCancel(t.Context())
							defer cancel()
							n := death
							mortal := dying{site: s, n: &n, cancel: cancel}
							r := schedules.Runner{Store: mortal, Take: mortal.take, Log: zerolog.Nop()}
							err := r.Round(ctx)
							switch {
							case ctx.Err() != nil:
								deaths.Add(1)
							case err != nil:
								t.Error(err)
							}
						})
					}
					running.Wait()
				}
				r := schedules.Runner{Store: s, Take: s.take, Log: zerolog.Nop()}
				if err := r.Round(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, err := s.pool.Exec(t.Context(), finish); err != nil {
					t.Fatal(err)
				}
			}
			if n := deaths.Load(); n < 10 {
				t.Errorf("only %d deaths", n)
			}
			want := make([]string, len(night.want))
			for i, at := range night.want {
				want[i] = at + " accepted 0 3 3"
			}
			if diff := cmp.Diff(want, s.fired("nightly")); diff != "" {
				t.Errorf("fires (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFiresThatNobodySawToBecomeOneLateRunThatSaysSo(t *testing.T) {
	t.Parallel()
	s := newSite(t, "2026-01-01T00:30:00Z")
	s.add("hourly", spec(t, "0 * * * *", "UTC"), schedules.Skip)
	s.set(moment(t, "2026-01-03T10:20:00Z"))
	r := schedules.Runner{Store: s, Take: s.take, Log: zerolog.Nop()}
	for range 3 {
		if err := r.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"01-03 10:00 accepted 57 3 3"}, s.fired("hourly")); diff != "" {
		t.Errorf("fires (-want +got):\n%s", diff)
	}
}

func TestAFireWhoseLastBatchGoesOnIsSkippedOrWaits(t *testing.T) {
	t.Parallel()
	s := newSite(t, "2026-01-01T00:30:00Z")
	s.add("skips", spec(t, "0 * * * *", "UTC"), schedules.Skip)
	s.add("queues", spec(t, "0 * * * *", "UTC"), schedules.Queue)
	r := schedules.Runner{Store: s, Take: s.take, Log: zerolog.Nop()}
	round := func(now string) {
		t.Helper()
		s.set(moment(t, now))
		if err := r.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	round("2026-01-01T01:00:01Z")
	round("2026-01-01T02:00:01Z")
	round("2026-01-01T03:00:01Z")
	if _, err := s.pool.Exec(t.Context(), `UPDATE job_states SET state = 'cancelled', finished_at = now()`); err != nil {
		t.Fatal(err)
	}
	round("2026-01-01T03:30:00Z")
	round("2026-01-01T04:00:01Z")
	if diff := cmp.Diff([]string{"01-01 01:00 accepted 0 3 3", "01-01 02:00 skipped 0 0 0", "01-01 03:00 skipped 0 0 0", "01-01 04:00 accepted 0 3 3"}, s.plain("skips")); diff != "" {
		t.Errorf("skips (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"01-01 01:00 accepted 0 3 3", "01-01 03:00 accepted 1 3 3"}, s.plain("queues")); diff != "" {
		t.Errorf("queues (-want +got):\n%s", diff)
	}
}

// plain are the fires, also those without a batch.
func (s *site) plain(name string) (list []string) {
	s.t.Helper()
	fires, err := s.Fires(s.t.Context(), name, 100)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range slices.Backward(fires) {
		var n int
		if err := s.pool.QueryRow(s.t.Context(), `SELECT count(*) FROM jobs WHERE batch_id = $1`, f.BatchID).Scan(&n); err != nil {
			s.t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s %s %d %d %d", f.At.UTC().Format("01-02 15:04"), f.State, f.Missed, f.Accepted, n))
	}
	return list
}

func TestRowsThatCannotBeReadAreTriedAgainAndThenTheFireHasFailed(t *testing.T) {
	t.Parallel()
	s := newSite(t, "2026-01-01T00:30:00Z")
	s.add("passing", spec(t, "0 1 * * *", "UTC"), schedules.Skip)
	s.add("lasting", spec(t, "0 1 * * *", "UTC"), schedules.Skip)
	s.add("final", spec(t, "0 1 * * *", "UTC"), schedules.Skip)
	s.add("bad", spec(t, "0 1 * * *", "UTC"), schedules.Skip)
	tries := map[string]int{}
	var lasting []string
	r := schedules.Runner{Store: s, Log: zerolog.Nop(), Take: func(ctx context.Context, f schedules.OpenFire) (schedules.Taken, error) {
		tries[f.Schedule]++
		switch {
		case f.Schedule == "lasting":
			lasting = append(lasting, s.now.Format("04:05"))
			return schedules.Taken{}, errors.New("the bucket is away")
		case f.Schedule == "final":
			return schedules.Taken{}, &schedules.FinalError{Err: errors.New("no rows at all")}
		case f.Schedule == "bad":
			return schedules.Taken{Rejected: 2, Why: "rows.csv:2: prompt: must not be empty"}, nil
		case tries[f.Schedule] == 1:
			return schedules.Taken{}, errors.New("the bucket is away")
		}
		taken, err := s.take(ctx, f)
		taken.Rejected, taken.Why = 2, "line 7: no prompt"
		return taken, err
	}}
	for now := moment(t, "2026-01-01T01:00:00Z"); now.Before(moment(t, "2026-01-01T01:30:00Z")); now = now.Add(time.Second) {
		s.set(now)
		if err := r.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]string{}
	for name := range tries {
		fires, err := s.Fires(t.Context(), name, 10)
		if err != nil {
			t.Fatal(err)
		}
		got[name] = fmt.Sprintf("%d fires, %d tries: %s %d+%d %q", len(fires), tries[name], fires[0].State, fires[0].Accepted, fires[0].Rejected, fires[0].Error)
	}
	want := map[string]string{
		"passing": `1 fires, 2 tries: accepted 3+2 "line 7: no prompt"`,
		"lasting": `1 fires, 8 tries: failed 0+0 "the bucket is away"`,
		"final":   `1 fires, 1 tries: failed 0+0 "no rows at all"`,
		"bad":     `1 fires, 1 tries: failed 0+2 "none of its 2 rows can be a job: rows.csv:2: prompt: must not be empty"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// After 5 s, and then twice as long each time.
	if diff := cmp.Diff([]string{"00:00", "00:05", "00:15", "00:35", "01:15", "02:35", "05:15", "10:35"}, lasting); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAPausedScheduleDoesNotFireAndMakesUpForNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, "2026-01-01T00:30:00Z")
	hourly := spec(t, "0 * * * *", "UTC")
	s.add("hourly", hourly, schedules.Skip)
	r := schedules.Runner{Store: s, Take: s.take, Log: zerolog.Nop()}
	if err := s.PauseSchedule(t.Context(), "hourly"); err != nil {
		t.Fatal(err)
	}
	s.set(moment(t, "2026-01-01T05:10:00Z"))
	if err := r.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.ResumeSchedule(t.Context(), "hourly", hourly.Next(s.now)); err != nil {
		t.Fatal(err)
	}
	if err := r.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.plain("hourly"); got != nil {
		t.Errorf("fired while it was paused: %v", got)
	}
	s.set(moment(t, "2026-01-01T06:00:00Z"))
	if err := r.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"01-01 06:00 accepted 0 3 3"}, s.plain("hourly")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := s.RemoveSchedule(t.Context(), "hourly"); err != nil {
		t.Fatal(err)
	}
	if err := s.PauseSchedule(t.Context(), "hourly"); !errors.Is(err, schedules.ErrNotFound) {
		t.Errorf("pause of a removed one: %v", err)
	}
}
