package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"oneflow/internal/cli"
	"oneflow/internal/harness"
)

// TestCommandsFindWhatDevRunsByThemselves runs `dev up` in a folder, and commands in it whose environment names nothing but
// a real key.
func TestCommandsFindWhatDevRunsByThemselves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // the services' account passes through
		t.Fatal(err)
	}
	sut := &system{t: t, Fleet: harness.Fleet{Dir: dir, Bin: binaries, Env: []string{"OPENAI_API_KEY=" + canaryKey}}}
	sut.configure("{}")
	envFile := filepath.Join(dir, ".oneflow", "env")
	up := func() *harness.Process {
		t.Helper()
		dev := sut.background("dev", "up", "--fake-providers", "--listen", "127.0.0.1:0")
		sut.until("dev to be up", func() bool { return strings.Contains(dev.Text(), "OneFlow is up") || !dev.Alive() })
		return dev
	}
	shared := func() string {
		t.Helper()
		text, err := os.ReadFile(envFile)
		if err != nil {
			t.Fatal(err)
		}
		var services string
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "DATABASE_URL=") || strings.HasPrefix(line, "REDIS_URL=") {
				services += line
			}
		}
		return services
	}

	dev := up()
	first := shared()
	for _, args := range [][]string{{"run", "--explain"}, {"keys", "check"}, {"check"}} {
		out := sut.run(0, "worker", args...)
		for _, provider := range []string{"openai", "anthropic", "stability", "elevenlabs"} {
			if !strings.Contains(out, provider) {
				t.Errorf("worker %s does not show %s:\n%s", strings.Join(args, " "), provider, out)
			}
		}
	}
	if out := sut.run(0, "enqueue", "text", "hello", "--provider", "openai", "--wait", "-v"); out == "" {
		t.Error("the job has no answer")
	}
	if all, err := sut.Output(); err != nil || !strings.Contains(all, "running `make dev`") {
		t.Errorf("-v does not tell where the environment is from: %v", err)
	}
	second := sut.workerOf()
	sut.until("a second worker to start", func() bool { return strings.Contains(second.Text(), "worker started") })
	if err := stop(second, syscall.SIGTERM); err != nil {
		t.Errorf("a second worker: %v\n%s", err, second.Text())
	}
	sut.run(0, "enqueue", "image", "a lighthouse", "--provider", "stability", "--wait")
	if pictures, err := os.ReadDir(filepath.Join(dir, ".oneflow", "artifacts")); err != nil || len(pictures) == 0 {
		t.Errorf("the folder of the data holds no picture: %v", err)
	}
	if strings.Contains(dev.Text(), `"job"`) {
		t.Errorf("dev logs a line per job:\n%s", dev.Text())
	}
	if err := stop(dev, syscall.SIGINT); err != nil {
		t.Errorf("dev: %v", err)
	}

	// With nothing running a command says so at once, and the next start has the addresses of the first.
	sut.run(cli.Usage, "enqueue", "text", "hello", "--connect-timeout", "1h")
	again := up()
	if now := shared(); now != first {
		t.Errorf("the addresses changed, so old terminals are lost:\n%s%s", first, now)
	}
	if err := stop(again, syscall.SIGINT); err != nil {
		t.Errorf("dev: %v", err)
	}
}

func TestATakenPortIsNoticedBeforeServicesStart(t *testing.T) {
	t.Parallel()
	sut := &system{t: t, Fleet: harness.Fleet{Dir: t.TempDir(), Bin: binaries}}
	sut.configure("{}")
	listener := listen(t)
	for _, args := range [][]string{{"up"}, {"demo"}} {
		sut.run(cli.Usage, "dev", append(args, "--listen", listener)...)
	}
	out, err := sut.Output()
	if err != nil || strings.Contains(out, "Postgres") || !strings.Contains(out, "--listen") {
		t.Errorf("%v\n%s", err, out)
	}
	// Alone, dev starts nothing either.
	sut.run(cli.Usage, "dev")
}

// listen takes a port for the length of the test.
func listen(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}
