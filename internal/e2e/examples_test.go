//go:build examples

package e2e

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"oneflow/internal/storetest"
)

// TestTheExamplesSubmitJobsInTransactionsOfTheirOwn runs examples/ with the runtimes that
// `make test-examples` installs, as a role that may do nothing else.
func TestTheExamplesSubmitJobsInTransactionsOfTheirOwn(t *testing.T) {
	t.Parallel()
	sut := newSystem(t, "latency: 1ms")
	role := "shop_" + strings.ReplaceAll(uuid.NewString(), "-", "")[:12]
	pool := storetest.Pool(t, sut.DatabaseURL)
	for _, sql := range []string{`CREATE ROLE ` + role + ` LOGIN PASSWORD 'shop'`, `CREATE SCHEMA ` + role + ` AUTHORIZATION ` + role} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if _, err := pool.Exec(context.WithoutCancel(t.Context()), `DROP OWNED BY `+role+` CASCADE; DROP ROLE `+role); err != nil {
			t.Error(err)
		}
	})
	login, err := url.Parse(sut.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	login.User = url.UserPassword(role, "shop")
	sut.run(0, "worker", "roles", "grant", role, "--account", "shop")
	sut.configure("chains: {text: [mock]}\nproviders:\n  mock: {latency: 1ms}\n")
	sut.worker()
	root, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	for _, example := range [][]string{
		{"psql", "psql", login.String(), "-f", "enqueue.sql"},
		{"python", "/usr/bin/python3", "enqueue.py"},
		{"node", "node", "enqueue.js"},
	} {
		cmd := exec.CommandContext(t.Context(), example[1], example[2:]...)
		cmd.Dir = filepath.Join(root, example[0])
		cmd.Env = append(os.Environ(), "DATABASE_URL="+login.String())
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", example[0], err, out)
			continue
		}
		job := strings.TrimSpace(string(out))
		if query[string](sut, `SELECT count(*)::text FROM `+role+`.orders WHERE description_job = $1::uuid AND item = 'lighthouse'`, job) != "1" {
			t.Errorf("%s: its order does not have the job %q", example[0], job)
		}
		sut.until("the job of "+example[0]+" has succeeded", func() bool {
			return query[string](sut, `SELECT coalesce(string_agg(s.state, ''), '') FROM job_states s JOIN jobs j ON j.id = s.job_id WHERE j.id = $1::uuid AND j.account = 'shop'`, job) == "succeeded"
		})
	}
	read := exec.CommandContext(t.Context(), "psql", login.String(), "-v", "job="+query[string](sut, `SELECT max(id::text) FROM jobs`), "-f", "result.sql")
	read.Dir = filepath.Join(root, "psql")
	if out, err := read.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "succeeded|") {
		t.Errorf("the answer: %v\n%s", err, out)
	}
	if n := sut.text(`SELECT count(*)::text FROM jobs`); n != "3" {
		t.Errorf("%s jobs, want 3: what was rolled back is none", n)
	}
}

// TestTheExamplesOfVendorsClientsRunAgainstTheFrontDoor runs examples/sdk: the clients are the
// vendors' own, at locked versions.
func TestTheExamplesOfVendorsClientsRunAgainstTheFrontDoor(t *testing.T) {
	t.Parallel()
	sut := newSystem(t, "latency: 1ms")
	sut.configure("chains: {text: [mock]}\nproviders:\n  mock: {latency: 1ms}\n")
	var token struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(sut.run(0, "monitor", "token", "create", "example", "--scope", "enqueue", "--account", "research", "-o", "json")), &token); err != nil {
		t.Fatal(err)
	}
	sut.worker()
	monitor, address, err := sut.Monitor(t.Context())
	sut.watched(monitor, err)
	root, err := filepath.Abs("../../examples/sdk")
	if err != nil {
		t.Fatal(err)
	}
	for _, example := range []struct {
		name, folder, want string
		command            []string
	}{
		{"OpenAI's client for Node", "node", "call: true\nstream: true\nbatch: completed 20\n", []string{"node", "openai.js"}},
		{"Anthropic's client for Node", "node", "call: true\nstream: true\nbatch: ended 20\n", []string{"node", "anthropic.js"}},
		{"OpenAI's client for Go", "go", "call: true\nstream: true\nbatch: completed 20\n", []string{"go", "run", "."}},
		{"Python's standard library", "python", "call: true\nstream: true\nbatch: completed 20\n", []string{"/usr/bin/python3", "calls.py"}},
		{"curl", ".", "call: true\nbatch: completed 3\njob: succeeded\n", []string{"sh", "curl.sh"}},
	} {
		cmd := exec.CommandContext(t.Context(), example.command[0], example.command[1:]...)
		cmd.Dir = filepath.Join(root, example.folder)
		cmd.Env = append(os.Environ(),
			"OPENAI_BASE_URL="+address+"v1", "OPENAI_API_KEY="+token.Token, "ANTHROPIC_BASE_URL="+strings.TrimSuffix(address, "/"), "ANTHROPIC_API_KEY="+token.Token)
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != example.want {
			t.Errorf("%s: %v\n%s", example.name, err, out)
		}
	}
	if n := sut.text(`SELECT count(*)::text FROM jobs WHERE account <> 'research'`); n != "0" {
		t.Errorf("%s jobs belong to another account than the token's", n)
	}
}
