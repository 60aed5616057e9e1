//go:build linux || darwin

package devstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStartAndCloseLeaveNothing(t *testing.T) {
	t.Parallel()
	began := time.Now()
	s := start(t, Options{})
	t.Logf("started in %s", time.Since(began).Round(time.Millisecond))
	r := describe(s)
	if !lives(r.Postgres) || (!s.RedisIsMini && !lives(r.Redis)) {
		t.Fatalf("the servers do not run: %+v", r)
	}
	for setting, want := range map[string]string{
		"timezone": "UTC", "server_encoding": "UTF8", "fsync": "off", "password_encryption": "scram-sha-256",
		"unix_socket_directories": "", "listen_addresses": "127.0.0.1", "max_connections": "200",
	} {
		if got := query(t, s, "SHOW "+setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	if err := redisClient(t, s).Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Error(err)
	}
	closing := time.Now()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("closed in %s", time.Since(closing).Round(time.Millisecond))
	if err := s.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	select {
	case <-s.Done():
	default:
		t.Error("Done is open after Close")
	}
	if s.Err() != nil {
		t.Errorf("Err after Close: %v", s.Err())
	}
	if lives(r.Postgres) || lives(r.Redis) {
		t.Errorf("servers outlive Close: %+v", r)
	}
	if _, err := os.Stat(r.Folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s outlives Close: %v", r.Folder, err)
	}
}

func TestServersNeverRunAsRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("we are not root")
	}
	r := describe(start(t, Options{}))
	for _, pid := range []int{r.Postgres, r.Redis} {
		if pid == 0 {
			continue
		}
		out, err := exec.CommandContext(t.Context(), "stat", "-c", "%u", "/proc/"+itoa(pid)).Output()
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(out)) == "0" {
			t.Errorf("process %d runs as root", pid)
		}
	}
}

func TestServersDieWithAKilledParentAndTheNextStartCleansUp(t *testing.T) {
	t.Parallel()
	cmd, r := startHelper(t, "throwaway")
	if !lives(r.Postgres) {
		t.Fatalf("the helper's Postgres does not run: %+v", r)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "Postgres dies", func() bool { return !lives(r.Postgres) })
	eventually(t, "Redis dies", func() bool { return !lives(r.Redis) })
	start(t, Options{})
	if _, err := os.Stat(r.Folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s outlives the next start: %v", r.Folder, err)
	}
}

func TestDoneTellsOfAServerThatDied(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	if s.Err() != nil {
		t.Fatalf("Err while it runs: %v", s.Err())
	}
	if err := syscall.Kill(describe(s).Postgres, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
	case <-time.After(time.Minute):
		t.Fatal("Done stays open")
	}
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "Postgres") {
		t.Errorf("Err is %v, want one that names Postgres", err)
	}
}

func TestPersistKeepsDataBetweenRuns(t *testing.T) {
	t.Parallel()
	dir := folderFor(t)
	var log bytes.Buffer
	s := start(t, Options{Dir: dir, Persist: true, Log: &log})
	query(t, s, `WITH made AS (SELECT set_config('x.y', 'z', false)) SELECT 'ok' FROM made`)
	query(t, s, `SELECT 'made' FROM (SELECT lo_from_bytea(4242, 'kept')) AS x`)
	rdb := redisClient(t, s)
	if err := rdb.Set(t.Context(), "kept", "yes", 0).Err(); err != nil {
		t.Fatal(err)
	}
	file, err := s.Share(dir, map[string]string{"OPENAI_API_KEY": "fake"})
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("DATABASE_URL='%s'\nOPENAI_API_KEY='fake'\nREDIS_URL='%s'\n", s.DatabaseURL, s.RedisURL)
	if text, err := os.ReadFile(file); err != nil || string(text) != want || file != filepath.Join(dir, "env") {
		t.Errorf("%s: %q, %v", file, text, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "env")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the env file outlives Close: %v", err)
	}

	began := time.Now()
	again := start(t, Options{Dir: dir, Persist: true, Log: &log})
	if again.DatabaseURL != s.DatabaseURL || (!again.RedisIsMini && again.RedisURL != s.RedisURL) {
		t.Errorf("the addresses changed from %s and %s to %s and %s: open terminals are lost", s.DatabaseURL, s.RedisURL, again.DatabaseURL, again.RedisURL)
	}
	t.Logf("warm start in %s", time.Since(began).Round(time.Millisecond))
	if got := query(t, again, `SELECT convert_from(lo_get(4242), 'UTF8')`); got != "kept" {
		t.Errorf("Postgres kept %q", got)
	}
	if !again.RedisIsMini {
		if got := redisClient(t, again).Get(t.Context(), "kept").Val(); got != "yes" {
			t.Errorf("Redis kept %q", got)
		}
	}
	if strings.Contains(log.String(), "@") {
		t.Errorf("the log shows credentials: %s", log.String())
	}
}

func TestAKeptPortThatIsTakenIsPassedOver(t *testing.T) {
	t.Parallel()
	f := &folder{path: t.TempDir(), keep: true}
	port, err := f.port(t.Context(), "postgres-15")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := f.port(t.Context(), "postgres-15"); err != nil || again != port {
		t.Errorf("%d at first, then %d %v", port, again, err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:"+itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if other, err := f.port(t.Context(), "redis"); err != nil || other == port {
		t.Errorf("two servers of a folder share the port %d %v", other, err)
	}
	if next, err := f.port(t.Context(), "postgres-15"); err != nil || next == port {
		t.Errorf("the port %d is taken and was chosen again %v", next, err)
	}
}

func TestPersistentFolderOfALiveProcessIsRefused(t *testing.T) {
	t.Parallel()
	dir := folderFor(t)
	s := start(t, Options{Dir: dir, Persist: true})
	_, err := Start(t.Context(), Options{Dir: dir, Persist: true, Getenv: clean})
	wantError(t, err, "is in use by the process "+itoa(os.Getpid()), "stop it first")
	if !lives(describe(s).Postgres) {
		t.Error("the first one's Postgres was stopped")
	}
}

func TestPersistentStackOfAKilledProcessStartsAgain(t *testing.T) {
	t.Parallel()
	dir := folderFor(t)
	cmd, r := startHelper(t, dir)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // but not for its servers: Start meets them while they stop
	s := start(t, Options{Dir: dir, Persist: true})
	if got := describe(s).Postgres; got == r.Postgres || !lives(got) {
		t.Errorf("Postgres is process %d, was %d", got, r.Postgres)
	}
}

func TestServersLeftBehindAreStopped(t *testing.T) {
	t.Parallel()
	dir := folderFor(t)
	o, err := Options{Dir: dir, Persist: true, Getenv: clean}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if err := start(t, o).Close(); err != nil {
		t.Fatal(err)
	}
	p, err := makePlan(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	// A Postgres that nobody claims, as a watchdog that was killed too would leave it.
	left, err := startPostgres(t.Context(), p.postgres, &folder{path: dir, keep: true}, p.account)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	o.Log = &log
	start(t, o)
	select {
	case <-left.exited:
	default:
		t.Errorf("process %d still runs", left.pid)
	}
	if !strings.Contains(log.String(), "left behind") {
		t.Errorf("the log does not tell: %s", log.String())
	}
}

func TestStalePidFileOfAStrangerIsNoObstacle(t *testing.T) {
	t.Parallel()
	for name, pid := range map[string]string{"a live stranger": itoa(os.Getpid()), "nobody": "2147483000", "empty": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folderFor(t)
			s := start(t, Options{Dir: dir, Persist: true})
			files, _ := filepath.Glob(filepath.Join(dir, "postgres-*", "data"))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(files[0], "postmaster.pid")
			if err := os.WriteFile(file, []byte(pid+"\n"+files[0]+"\n1\n5432\n\n127.0.0.1\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			start(t, Options{Dir: dir, Persist: true})
		})
	}
}

func TestUnreachableFolderOfRootIsReplaced(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("we are not root")
	}
	closed := filepath.Join(t.TempDir(), "home")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := start(t, Options{Dir: filepath.Join(closed, ".oneflow"), Persist: true, Log: &log, fallback: folderFor(t)})
	if strings.HasPrefix(s.Dir, closed) || !strings.Contains(log.String(), "may not pass through "+closed) {
		t.Errorf("data in %s, log: %s", s.Dir, log.String())
	}
}

func TestStandInForRedisExpiresKeys(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := start(t, Options{Log: &log, Getenv: env(map[string]string{"PATH": pathWithout(t, "redis-server", "valkey-server")}), search: []string{"/usr/lib/postgresql/*/bin"}})
	if !s.RedisIsMini || !strings.Contains(log.String(), "for trying out only") {
		t.Fatalf("RedisIsMini is %t, log: %s", s.RedisIsMini, log.String())
	}
	c := redisClient(t, s)
	if err := c.Do(t.Context(), "SET", "short", "1", "PX", "50").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the key expires", func() bool { return c.Exists(t.Context(), "short").Val() == 0 })
}

func TestWatchdogEndsAChildOfADeadParent(t *testing.T) {
	t.Parallel()
	victim := exec.CommandContext(t.Context(), "sleep", "300")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), watchVar+"="+itoa(victim.Process.Pid))
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatalf("the watchdog's parent did not get ready: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	var exit *exec.ExitError
	if err := victim.Wait(); !errors.As(err, &exit) {
		t.Fatalf("the victim ended with %v", err)
	}
	if st, ok := exit.Sys().(syscall.WaitStatus); !ok || st.Signal() != syscall.SIGINT {
		t.Errorf("the victim ended with %v, want an interrupt", exit)
	}
}

func TestWatchdogLeavesTheChildAloneWhenUntied(t *testing.T) {
	t.Parallel()
	victim := exec.CommandContext(t.Context(), "cat")
	in, err := victim.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	untie, err := startWatchdog(victim.Process.Pid, syscall.SIGKILL, nil)
	if err != nil {
		t.Fatal(err)
	}
	untie()
	in.Close()
	if err := victim.Wait(); err != nil {
		t.Errorf("the child ended with %v", err)
	}
}

func TestEndedContextStopsAStart(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s, err := Start(ctx, Options{Getenv: clean})
	if err == nil {
		t.Errorf("started %s, want an error; closed: %v", s.Dir, s.Close())
	}
}
