//go:build pooler

package e2e

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"oneflow/internal/harness"
	"oneflow/migrations"
)

// pooled is the number of poolers that were started.
var pooled atomic.Int32

// pooler starts PgBouncer in transaction mode, with three connections of Postgres'
// for everybody, and returns the URL that leads through it.
func pooler(t *testing.T, databaseURL string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer"
	}
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	port := 6432 + int(pooled.Add(1)) // below those that the system gives to others
	// It refuses to run as root, and another user has to read its files.
	dir, err := os.MkdirTemp("", "oneflow-pooler-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	users := write("users.txt", fmt.Sprintf("%q %q\n", u.User.Username(), password))
	settings := write("pgbouncer.ini", fmt.Sprintf(`[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = plain
auth_file = %s
pool_mode = transaction
default_pool_size = 3
max_client_conn = 500
`, u.Hostname(), u.Port(), port, users))
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, settings)
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("PgBouncer is missing (apt-get install pgbouncer): %v", err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	u.Host = fmt.Sprintf("127.0.0.1:%d", port)
	return u.String()
}

func TestEverythingWorksThroughAPoolerInTransactionMode(t *testing.T) {
	t.Parallel()
	for name, query := range map[string]string{"as it is": "", "told to prepare nothing": "default_query_exec_mode=exec"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sut := newSystem(t, "")
			if err := migrations.Down(t.Context(), sut.DatabaseURL, 0); err != nil {
				t.Fatal(err)
			}
			through := pooler(t, sut.DatabaseURL)
			if query != "" {
				through += "&" + query
			}
			direct := sut.DatabaseURL
			sut.DatabaseURL = through
			// Several at once, twice: a lock that is left behind would hold the second.
			for range 2 {
				var migrators []*harness.Process
				for range 3 {
					migrators = append(migrators, sut.background("worker", "migrate", "up"))
				}
				for _, m := range migrators {
					if err := m.Wait(); err != nil {
						t.Fatalf("migrate up: %v\n%s", err, m.Text())
					}
				}
			}
			sut.worker()
			sut.worker()
			rows := make([]map[string]any, 1000)
			for i := range rows {
				rows[i] = map[string]any{"prompt": canaryPrompt + fmt.Sprint(i), "provider": "mock"}
			}
			file := sut.file("rows.jsonl", rows)
			sut.run(0, "enqueue", "batch", file, "--batch-id", "nightly", "--watch")
			sut.run(0, "enqueue", "text", canaryPrompt, "--provider", "mock", "--wait")
			sut.run(0, "enqueue", "status", "nightly")
			sut.run(0, "enqueue", "cost", "nightly")
			sut.run(0, "monitor", "limits", "set", "mock", "--rpm", "120000")
			sut.run(0, "monitor", "providers", "disable", "mock", "--reason", "test")
			sut.run(0, "monitor", "providers", "enable", "mock")
			sut.run(0, "monitor", "status")
			if out := sut.run(0, "enqueue", "export", "nightly"); strings.Count(out, "\n") != len(rows) {
				t.Errorf("exported %d lines, want %d", strings.Count(out, "\n"), len(rows))
			}
			if begun, _ := sut.calls(); len(begun) != len(rows)+1 {
				t.Errorf("%d calls, want %d", len(begun), len(rows)+1)
			}
			sut.DatabaseURL = direct
		})
	}
}
