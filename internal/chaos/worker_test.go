package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"time"

	"oneflow/internal/harness"
)

// worker is a worker process behind proxies of its own.
type worker struct {
	*harness.Process
	x                   *experiment
	pg, redis, provider *proxy
	commits             *commits
	born                time.Time
}

// worker starts a worker.
func (x *experiment) worker() *worker { return x.workerOf(release) }

// workerOf starts a worker of the commands in a folder.
func (x *experiment) workerOf(folder string, env ...string) *worker {
	x.t.Helper()
	k := &worker{x: x, born: time.Now(), commits: newCommits(rand.New(rand.NewPCG(uint64(x.intn(1<<32)), 1)))}
	k.pg = newProxy(x.t, "127.0.0.1:"+x.pg.Port())
	k.pg.through(k.commits.forward)
	k.redis = newProxy(x.t, "127.0.0.1:"+x.redis.Port())
	k.provider = newProxy(x.t, strings.TrimPrefix(x.provider.URL, "http://"))
	through := func(url, port string, p *proxy) string { return strings.Replace(url, "127.0.0.1:"+port, p.addr, 1) }
	var err error
	k.Process, err = x.Start(x.t.Context(), harness.Command{
		Name: "worker", Args: []string{"run", "--provider", "openai", "--pprof", "127.0.0.1:0"}, Bin: folder,
		Env: append([]string{
			"DATABASE_URL=" + through(x.DatabaseURL, x.pg.Port(), k.pg), "REDIS_URL=" + through(x.RedisURL, x.redis.Port(), k.redis),
			"OPENAI_BASE_URL=http://" + k.provider.addr + "/openai/v1",
		}, env...),
	})
	if err != nil {
		x.t.Fatal(err)
	}
	x.mu.Lock()
	x.workers = append(x.workers, k)
	x.mu.Unlock()
	x.t.Cleanup(k.Kill)
	return k
}

// ready waits until the worker has started.
func (k *worker) ready() *worker {
	k.x.t.Helper()
	k.x.until(time.Minute, "a worker to start", func() bool { return strings.Contains(k.Text(), "worker started") })
	return k
}

// goroutines returns the number that it has. What Go lists upon SIGQUIT is no measure: it may be cut off.
func (k *worker) goroutines() int {
	k.x.t.Helper()
	at := regexp.MustCompile(`"address":"([0-9.:]+)",.*"message":"profiles are served"`).FindStringSubmatch(k.Text())
	if at == nil {
		k.x.t.Fatalf("no address of the profiles in %s", k.Log)
	}
	ctx, cancel := context.WithTimeout(k.x.t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at[1]+"/debug/pprof/goroutine?debug=1", http.NoBody)
	if err != nil {
		k.x.t.Fatal(err)
	}
	answer, err := new(http.Client).Do(req)
	if err != nil {
		k.x.t.Fatalf("list the goroutines of a worker: %v", err)
	}
	defer func() { _ = answer.Body.Close() }()
	var n int
	if _, err := fmt.Fscanf(answer.Body, "goroutine profile: total %d", &n); err != nil {
		k.x.t.Fatalf("list the goroutines of a worker: %v", err)
	}
	return n
}

// stop asks it to stop, and fails the test if it does not end in time and well.
func (k *worker) stop() {
	k.x.t.Helper()
	if err := k.Stop(time.Minute); err != nil {
		k.x.t.Errorf("a worker ended with %v: see %s", err, k.Log)
	}
}

// alive are the workers that run, oldest first.
func (x *experiment) alive() []*worker {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []*worker
	for _, k := range x.workers {
		if k.Alive() {
			out = append(out, k)
		}
	}
	return out
}
