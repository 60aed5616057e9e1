package chaos

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// worker is a worker process behind proxies of its own.
type worker struct {
	w                   *world
	cmd                 *exec.Cmd
	log                 string
	pg, redis, provider *proxy
	commits             *commits
	done                chan struct{}
	err                 error
	born                time.Time
}

// worker starts a worker.
func (w *world) worker() *worker { return w.workerOf(release) }

// workerOf starts a worker of the commands in a folder.
func (w *world) workerOf(folder string, env ...string) *worker {
	w.t.Helper()
	k := &worker{w: w, done: make(chan struct{}), born: time.Now(), commits: newCommits(rand.New(rand.NewPCG(uint64(w.intn(1<<32)), 1)))}
	k.pg = newProxy(w.t, "127.0.0.1:"+w.pg.Port())
	k.pg.through(k.commits.forward)
	k.redis = newProxy(w.t, "127.0.0.1:"+w.redis.Port())
	k.provider = newProxy(w.t, strings.TrimPrefix(w.provider.URL, "http://"))
	through := func(url, port string, p *proxy) string { return strings.Replace(url, "127.0.0.1:"+port, p.addr, 1) }
	k.cmd = w.command(folder, "worker", through(w.pg.URL, w.pg.Port(), k.pg), through(w.redis.URL, w.redis.Port(), k.redis),
		"http://"+k.provider.addr, "run", "--provider", "openai")
	k.cmd.Env = append(k.cmd.Env, env...)
	k.log = k.cmd.Stderr.(*os.File).Name()
	if err := start(k.cmd, func(err error) { k.err = err; close(k.done) }); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.workers = append(w.workers, k)
	w.mu.Unlock()
	w.t.Cleanup(func() { k.kill() })
	return k
}

// ready waits until the worker has started.
func (k *worker) ready() *worker {
	k.w.t.Helper()
	k.w.until(time.Minute, "a worker to start", func() bool { return strings.Contains(k.text(), "worker started") })
	return k
}

// text is all that the worker has written.
func (k *worker) text() string {
	data, err := os.ReadFile(k.log)
	if err != nil {
		return ""
	}
	return string(data)
}

// kill is kill -9.
func (k *worker) kill() {
	_ = k.cmd.Process.Kill() // it may be gone already
	<-k.done
}

// living tells whether it runs.
func (k *worker) living() bool {
	select {
	case <-k.done:
		return false
	default:
		return true
	}
}

// stop asks it to stop, and fails the test if it does not end in time and well.
func (k *worker) stop() {
	k.w.t.Helper()
	_ = k.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-k.done:
		if k.err != nil {
			k.w.t.Errorf("a worker ended with %v: see %s", k.err, k.log)
		}
	case <-time.After(time.Minute):
		k.w.t.Errorf("a worker did not end within a minute of SIGTERM: see %s", k.log)
		k.kill()
	}
}

// files is how many file descriptors it has; 0 where the system does not tell.
func (k *worker) files() int {
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(k.cmd.Process.Pid) + "/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// goroutines ends it with SIGQUIT, which makes Go list them.
func (k *worker) goroutines() int {
	_ = k.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-k.done:
	case <-time.After(20 * time.Second):
		k.kill()
	}
	return strings.Count(k.text(), "\ngoroutine ")
}

// alive are the workers that run, oldest first.
func (w *world) alive() []*worker {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*worker
	for _, k := range w.workers {
		if k.living() {
			out = append(out, k)
		}
	}
	return out
}
