package worker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"oneflow/jobs"
	"oneflow/providers"
)

// cacheable lets the answers of jobs be a day old.
func cacheable(prompt string) func(*jobs.New) {
	return func(r *jobs.New) {
		zero := 0.0
		r.Request.Prompt, r.Request.Temperature, r.Request.CacheSeconds = prompt, &zero, 86400
	}
}

func TestTheSameRequestIsAnsweredFromTheCache(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(answers)
	f.worker(t, s, nil)
	f.await(t, f.enqueue(t, 1, cacheable("hello"))[0], jobs.Succeeded)
	again := f.enqueue(t, 1, cacheable("hello"))[0]
	f.await(t, again, jobs.Succeeded)
	if n := len(s.made()); n != 1 {
		t.Errorf("%d calls were made for the same request", n)
	}
	for name, change := range map[string]func(*jobs.New){
		"another prompt":  cacheable("bye"),
		"another model":   func(r *jobs.New) { cacheable("hello")(r); r.Request.Model = "n" },
		"another account": func(r *jobs.New) { cacheable("hello")(r); r.Account = "alpha" },
		"another tier":    func(r *jobs.New) { cacheable("hello")(r); r.Request.ServiceTier = "flex" },
		"not asked for":   func(r *jobs.New) { cacheable("hello")(r); r.Request.CacheSeconds = 0 },
		"variety":         func(r *jobs.New) { cacheable("hello")(r); r.Request.Temperature = nil },
	} {
		before := len(s.made())
		f.await(t, f.enqueue(t, 1, change)[0], jobs.Succeeded)
		if len(s.made()) != before+1 {
			t.Errorf("%s: was answered from the cache", name)
		}
	}
	expenses, err := f.store.Expenses(t.Context(), again.String())
	if err != nil || len(expenses) != 1 || expenses[0].Sort != "cache" || expenses[0].Cost != 0 || expenses[0].Saved != 10 {
		t.Errorf("%+v, %v", expenses, err)
	}
}

func TestVarietyIsCachedWhereOneIsTold(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(answers)
	f.worker(t, s, nil)
	told := func(r *jobs.New) {
		cacheable("hello")(r)
		r.Request.Temperature, r.Request.CacheVaried = nil, true
	}
	f.await(t, f.enqueue(t, 1, told)[0], jobs.Succeeded)
	f.await(t, f.enqueue(t, 1, told)[0], jobs.Succeeded)
	if n := len(s.made()); n != 1 {
		t.Errorf("%d calls were made", n)
	}
}

func TestRequestsInFlightBecomeOneCallWhoseFollowersWaitVisibly(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	asked, answer := make(chan struct{}, 10), make(chan struct{})
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		asked <- struct{}{}
		<-answer
		return answers(ctx, n, req)
	})
	f.worker(t, s, nil)
	list := f.enqueue(t, 5, cacheable("hello"))
	<-asked
	eventually(t, "four follow", func() bool {
		waiting, err := f.store.Waiting(t.Context(), "", "")
		n := int64(0)
		for _, w := range waiting {
			if w.Reason == jobs.WaitForCache {
				n += w.Jobs
			}
		}
		return err == nil && n == 4
	})
	close(answer)
	for _, d := range list {
		f.await(t, d, jobs.Succeeded)
	}
	if n := len(s.made()); n != 1 {
		t.Errorf("%d calls were made for one request", n)
	}
}

func TestAFollowerLeadsWhereTheLeaderEndsWithoutSuccess(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var once sync.Once
	asked, answer := make(chan struct{}, 10), make(chan struct{})
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		first := false
		once.Do(func() { first = true })
		if first {
			asked <- struct{}{}
			<-answer
			return providers.Response{}, failure(providers.InvalidRequest, providers.Unbilled)
		}
		return answers(ctx, n, req)
	})
	f.worker(t, s, nil)
	leader := f.enqueue(t, 1, cacheable("hello"))[0]
	<-asked
	followers := f.enqueue(t, 3, cacheable("hello"))
	eventually(t, "three follow", func() bool {
		st, err := f.store.CacheStats(t.Context())
		return err == nil && st.Following == 3 && st.Leading == 1
	})
	close(answer)
	f.await(t, leader, jobs.Failed)
	for _, d := range followers {
		f.await(t, d, jobs.Succeeded)
	}
	if n := len(s.made()); n != 2 {
		t.Errorf("%d calls were made, want the leader's and one more", n)
	}
}

func TestNoAnswerIsCachedThatIsCutOrFailed(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(context.Context, int, providers.Request) (providers.Response, error){
		"cut": func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
			res, err := answers(ctx, n, req)
			res.FinishReason = "length"
			return res, err
		},
		"filtered": func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
			res, err := answers(ctx, n, req)
			res.FinishReason = "content_filter"
			return res, err
		},
		"failed": func(context.Context, int, providers.Request) (providers.Response, error) {
			return providers.Response{}, failure(providers.InvalidRequest, providers.Unbilled)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			s := serve(answer)
			f.worker(t, s, nil)
			for i := range 2 {
				d := f.enqueue(t, 1, cacheable("hello"))[0]
				eventually(t, fmt.Sprint("job ", i, " has ended"), func() bool {
					p, err := f.store.Progress(t.Context(), d.String())
					return err == nil && p.Finished()
				})
			}
			if n := len(s.made()); n != 2 {
				t.Errorf("%d calls were made: the answer was cached", n)
			}
		})
	}
}

func TestClearingTheCacheForgetsTheAnswersOfItsScope(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(answers)
	f.worker(t, s, nil)
	f.await(t, f.enqueue(t, 1, cacheable("hello"))[0], jobs.Succeeded)
	if _, err := f.store.ClearCache(t.Context(), jobs.CacheScope{Model: "another"}); err != nil {
		t.Fatal(err)
	}
	f.await(t, f.enqueue(t, 1, cacheable("hello"))[0], jobs.Succeeded)
	if n := len(s.made()); n != 1 {
		t.Errorf("%d calls were made", n)
	}
	n, err := f.store.ClearCache(t.Context(), jobs.CacheScope{Provider: "svc"})
	if err != nil || n != 1 {
		t.Errorf("%d were forgotten, %v", n, err)
	}
	f.await(t, f.enqueue(t, 1, cacheable("hello"))[0], jobs.Succeeded)
	if n := len(s.made()); n != 2 {
		t.Errorf("%d calls were made after the cache was cleared", n)
	}
}

func TestAnAnswerIsNoOlderThanItsReaderAsks(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(answers)
	f.worker(t, s, nil)
	f.await(t, f.enqueue(t, 1, cacheable("hello"))[0], jobs.Succeeded)
	f.exec(t, `UPDATE cache_entries SET answered_at = now() - interval '2 hours'`)
	hour := func(r *jobs.New) {
		cacheable("hello")(r)
		r.Request.CacheSeconds = 3600
	}
	for i, c := range []struct {
		job  func(*jobs.New)
		want int
	}{
		{cacheable("hello"), 1}, // a day
		{hour, 2},               // made anew
		{hour, 2},               // and kept for the next
		{cacheable("hello"), 2},
	} {
		f.await(t, f.enqueue(t, 1, c.job)[0], jobs.Succeeded)
		if n := len(s.made()); n != c.want {
			t.Fatalf("job %d: %d calls, want %d", i, n, c.want)
		}
	}
	// What has expired is made anew for whomever.
	f.exec(t, `UPDATE cache_entries SET expires_at = now()`)
	f.await(t, f.enqueue(t, 1, cacheable("hello"))[0], jobs.Succeeded)
	if n := len(s.made()); n != 3 {
		t.Errorf("%d calls, want 3: the answer had expired", n)
	}
}
