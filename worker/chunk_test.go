package worker_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/worker"
)

const bulk = "svc.bulk"

// chunked has a bulk lane's tasks carry so many jobs, before there is a worker.
func (f *fleet) chunked(t *testing.T, size int) {
	t.Helper()
	f.exec(t, fmt.Sprintf(`INSERT INTO providers (name, kind, limits_configured, concurrency, chunk_size) VALUES ('svc', 'mock', '{}', 1, %d)`, size))
}

func inBulk(r *jobs.New) { r.Lane = jobs.Bulk }

// bulkTasks returns the number of tasks of the bulk lane that are in Redis, by state.
func (f *fleet) bulkTasks(t *testing.T) (live, archived int) {
	t.Helper()
	info, err := f.inspector.GetQueueInfo(bulk)
	if err != nil {
		t.Fatal(err)
	}
	return info.Pending + info.Active + info.Scheduled + info.Retry, info.Archived
}

func (f *fleet) bulkDrained(t *testing.T) {
	t.Helper()
	eventually(t, "no task of the bulk lane is left", func() bool {
		live, _ := f.bulkTasks(t)
		return live == 0
	})
	storetest.Invariants(t, f.sql)
}

func TestTheJobsOfAChunkRunOnceEach(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 50)
	s := serve(answers)
	ids := f.enqueue(t, 120, inBulk)
	if live, _ := f.bulkTasks(t); live != 3 {
		t.Errorf("%d tasks, want 3 that carry 50, 50 and 20", live)
	}
	for _, key := range f.redis.Keys(t.Context(), "asynq:{*}:t:*").Val() {
		if body := f.redis.HGet(t.Context(), key, "msg").Val(); body == "" || strings.Contains(body, "secret") {
			t.Errorf("%s holds %q", key, body)
		}
	}
	f.worker(t, s, nil)
	for i, id := range ids {
		want := row{State: jobs.Succeeded, Gen: 1, Attempt: 1, Cost: 10, Outcomes: []string{"succeeded"}, Text: fmt.Sprint("answer to secret prompt ", i)}
		if diff := cmp.Diff(want, f.await(t, id, jobs.Succeeded)); diff != "" {
			t.Error(diff)
		}
	}
	f.bulkDrained(t)
	if got := len(s.made()); got != len(ids) {
		t.Errorf("%d calls for %d jobs", got, len(ids))
	}
}

func TestTheHighLaneAndASingleJobHaveTasksOfTheirOwn(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 50)
	ids := append(f.enqueue(t, 3, func(r *jobs.New) { r.Lane = jobs.High }), f.enqueue(t, 1, inBulk)...)
	for i, id := range ids {
		queue := jobs.QueueName("svc", jobs.High)
		if i == 3 {
			queue = bulk
		}
		if _, err := f.inspector.GetTaskInfo(queue, jobs.TaskID(id, 1)); err != nil {
			t.Errorf("job %d: %v", i, err)
		}
	}
}

func TestAChunkWhoseJobsEndInEveryWay(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 50)
	var overloaded, poor atomic.Int64
	slow := make(chan struct{})
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		switch {
		case strings.HasSuffix(req.Prompt, " 1"):
			return providers.Response{}, failure(providers.InvalidRequest, providers.Unbilled)
		case strings.HasSuffix(req.Prompt, " 2") && overloaded.Add(1) <= 4:
			return providers.Response{}, failure(providers.Overloaded, providers.Unbilled)
		case strings.HasSuffix(req.Prompt, " 3") && poor.Add(1) <= 1:
			return providers.Response{}, failure(providers.OutOfMoney, providers.Unbilled)
		case strings.HasSuffix(req.Prompt, " 4"):
			<-slow
		case strings.HasSuffix(req.Prompt, " 5"):
			panic("in a client")
		}
		return answers(ctx, n, req)
	})
	ids := f.enqueue(t, 10, inBulk)
	f.exec(t, fmt.Sprintf(`UPDATE job_states SET cancel_requested_at = now() WHERE job_id = '%s'`, ids[6]))
	f.exec(t, fmt.Sprintf(`UPDATE job_states SET paused_at = now() WHERE job_id = '%s'`, ids[7]))
	f.worker(t, s, nil)
	want := []jobs.State{
		jobs.Succeeded, jobs.Failed, jobs.Succeeded, jobs.Succeeded, jobs.Running, jobs.Failed, jobs.Cancelled, jobs.Queued, jobs.Succeeded, jobs.Succeeded,
	}
	for i, id := range ids {
		f.await(t, id, want[i])
	}
	close(slow)
	f.await(t, ids[4], jobs.Succeeded)
	f.exec(t, fmt.Sprintf(`UPDATE job_states SET paused_at = NULL WHERE job_id = '%s'`, ids[7]))
	f.await(t, ids[7], jobs.Succeeded)
	f.bulkDrained(t)
	for i, calls := range []int{1, 1, 5, 2, 1, 1, 0, 1, 1, 1} {
		if got := f.job(t, ids[i]); len(got.Outcomes) != calls {
			t.Errorf("job %d: calls %v, want %d", i, got.Outcomes, calls)
		}
	}
	list, err := f.inspector.ListArchivedTasks(bulk)
	if err != nil || len(list) != 1 || !strings.Contains(list[0].LastErr, "2 of 10 jobs failed") || !strings.Contains(list[0].LastErr, ids[1].String()) {
		t.Errorf("archived: %+v, %v; want the chunk with its two failed jobs", list, err)
	}
}

func TestASlowJobKeepsItsChunkAndNobodysPlace(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 10)
	slow := make(chan struct{})
	var most, now atomic.Int64
	ids := f.enqueue(t, 30, inBulk)
	f.worker(t, serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		if m := now.Add(1); m > most.Load() {
			most.Store(m)
		}
		defer now.Add(-1)
		if strings.HasSuffix(req.Prompt, "prompt 0") {
			<-slow
		}
		return answers(ctx, n, req)
	}), func(c *worker.Config) { c.Providers[0].Concurrency = 2 })
	for _, id := range ids[1:] {
		f.await(t, id, jobs.Succeeded)
	}
	close(slow)
	f.await(t, ids[0], jobs.Succeeded)
	f.bulkDrained(t)
	if most.Load() > 2 {
		t.Errorf("%d calls at once, want 2 at most", most.Load())
	}
}

func TestWhatHasNoRoomGoesBackAndIsDispatchedAnew(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 10)
	slow := make(chan struct{})
	ids := f.enqueue(t, 10, inBulk)
	f.worker(t, serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		<-slow
		return answers(ctx, n, req)
	}), func(c *worker.Config) { c.Providers[0].Concurrency = 1 })
	eventually(t, "the others are delivered anew, each by itself", func() bool {
		return f.count(t, `SELECT count(*) FROM job_queue WHERE worker_id IS NULL AND dispatched_at IS NOT NULL AND delivery_id IS NULL`) == 9
	})
	close(slow)
	for _, id := range ids {
		if got := f.await(t, id, jobs.Succeeded); got.Attempt != 1 || len(got.Outcomes) != 1 {
			t.Errorf("%+v, want one attempt and one call", got)
		}
	}
	f.bulkDrained(t)
}

func TestAChunkThatIsDeliveredAgainDoesNothingAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 50)
	s := serve(answers)
	in := rows(t, 20, inBulk)
	acc, err := f.store.AcceptJobs(t.Context(), "", in, true)
	if err != nil || len(acc.Deliveries) != 20 {
		t.Fatalf("%d deliveries, %v", len(acc.Deliveries), err)
	}
	for range 2 {
		if _, err := f.dispatch.Push(t.Context(), acc.Deliveries); err != nil {
			t.Fatal(err)
		}
		f.worker(t, s, nil)
		f.awaitAll(t, jobs.Succeeded)
		f.bulkDrained(t)
	}
	if got := len(s.made()); got != 20 {
		t.Errorf("%d calls for 20 jobs", got)
	}
}

func TestAChunkThatRedisLostIsDispatchedAnew(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 8)
	ids := f.enqueue(t, 20, inBulk)
	var lost string
	if err := f.sql.QueryRow(t.Context(), `SELECT delivery_id FROM job_queue WHERE job_id = $1`, ids[9]).Scan(&lost); err != nil {
		t.Fatal(err)
	}
	if err := f.inspector.DeleteTask(bulk, lost); err != nil {
		t.Fatal(err)
	}
	f.worker(t, serve(answers), nil)
	for i, id := range ids {
		got := f.await(t, id, jobs.Succeeded)
		want := 1
		if i >= 8 && i < 16 { // those of its chunk
			want = 2
		}
		if got.Gen != want || got.Attempt != 1 {
			t.Errorf("job %d: %+v, want generation %d and one attempt", i, got, want)
		}
	}
	f.bulkDrained(t)
}

func TestASuspectLeavesItsChunk(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 10)
	ids := f.enqueue(t, 10, inBulk)
	f.exec(t, fmt.Sprintf(`UPDATE job_states SET crashes = %d WHERE job_id = '%s'`, jobs.SuspectCrashes, ids[4]))
	f.worker(t, serve(answers), nil)
	for _, id := range ids {
		if got := f.await(t, id, jobs.Succeeded); got.Attempt != 1 || len(got.Outcomes) != 1 {
			t.Errorf("%+v, want one attempt and one call", got)
		}
	}
	f.bulkDrained(t)
}
