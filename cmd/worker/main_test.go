package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oneflow/internal/cli"
	"oneflow/internal/storetest"
	"oneflow/migrations"
)

func TestMain(m *testing.M) { storetest.Main(m) }

type result struct {
	code     int
	out, err string
}

func command(ctx context.Context, args ...string) result {
	var out, errs bytes.Buffer
	code := cli.Code("worker", &errs, run(ctx, args, cli.Env{In: strings.NewReader(""), Out: &out, Err: &errs, Getenv: func(string) string { return "" }}))
	return result{code, out.String(), errs.String()}
}

// closed is an address of this machine where nobody listens, nor will while a test runs.
const closed = "127.0.0.1:1"

func TestMigrateBringsTheSchemaUpOnceAndShowsIt(t *testing.T) {
	t.Parallel()
	database := storetest.Database(t)
	if err := migrations.Down(t.Context(), database, 0); err != nil {
		t.Fatal(err)
	}
	migrate := func(what string) result {
		return command(t.Context(), "migrate", what, "--database-url", database, "--redis-url", "")
	}
	list, err := migrations.List(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	applied := func(want string) {
		t.Helper()
		r := migrate("status")
		lines := strings.Split(strings.TrimSpace(r.out), "\n")
		if r.code != cli.OK || r.err != "" || len(lines) != 1+len(list) || strings.Join(strings.Fields(lines[0]), " ") != "VERSION NAME APPLIED" {
			t.Fatalf("%+v", r)
		}
		for i, line := range lines[1:] {
			if f := strings.Fields(line); len(f) != 3 || f[1] != list[i].Name || f[2] != want {
				t.Errorf("%q, want %s %s", line, list[i].Name, want)
			}
		}
	}
	applied("no")
	if r := migrate("up"); r.code != cli.OK || r.err != "" || !strings.HasPrefix(r.out, "applied ") {
		t.Errorf("%+v", r)
	}
	applied("yes")
	if r := migrate("up"); r.code != cli.OK || r.out != "the schema is up to date\n" {
		t.Errorf("%+v", r)
	}
}

func TestWorkersThatMigrateAtOnceDoNotStandInEachOthersWay(t *testing.T) {
	t.Parallel()
	database := storetest.Database(t)
	if err := migrations.Down(t.Context(), database, 0); err != nil {
		t.Fatal(err)
	}
	results := make(chan result)
	const n = 3
	for range n {
		go func() { results <- command(t.Context(), "migrate", "up", "--database-url", database) }()
	}
	up := 0
	for range n {
		r := <-results
		if r.code != cli.OK {
			t.Errorf("%+v", r)
		}
		if strings.HasPrefix(r.out, "applied ") {
			up++
		}
	}
	if up != 1 {
		t.Errorf("%d of %d applied the migrations", up, n)
	}
}

func TestWrongUseIsToldAtOnce(t *testing.T) {
	t.Parallel()
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("providers: {mock: {limits: {rpm: -1}}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Nothing answers there: who tried would end with exit code 3.
	down := []string{"--database-url", "postgres://" + closed, "--redis-url", "redis://" + closed, "--connect-timeout", "1ms"}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{}, "a command is missing"},
		{[]string{"walk"}, "unexpected argument walk"},
		{[]string{"run", "--provider", "opnai"}, "--provider opnai: is not configured; there are "},
		{[]string{"run", "--provider", "mock", "--provider", "opnai"}, "--provider opnai: is not configured"},
		{[]string{"run", "--config", "none.yaml"}, "none.yaml: no such file"},
		{[]string{"run", "--config", bad}, "bad.yaml:1: providers.mock.limits.rpm: must be positive, got -1"},
		{[]string{"migrate"}, "a command is missing"},
		{[]string{"run", "--log-file", filepath.Join(bad, "below")}, "--log-file: "},
		{[]string{"run", "--database-url", ""}, "DATABASE_URL is not set"},
	} {
		if r := command(t.Context(), append(down, c.args...)...); r.code != cli.Usage || r.out != "" || !strings.Contains(r.err, c.want) {
			t.Errorf("%q: %+v, want %s", c.args, r, c.want)
		}
	}
	if r := command(t.Context(), "--help"); r.code != cli.OK || !strings.Contains(r.out, "migrate up") {
		t.Errorf("%+v", r)
	}
}

func TestServersThatAreDownAreExitCode3(t *testing.T) {
	t.Parallel()
	database, nowhere := storetest.Database(t), closed
	for _, c := range []struct {
		want string
		args []string
	}{
		{"Postgres does not answer at " + nowhere + " (DATABASE_URL)", []string{"run", "--database-url", "postgres://u:canary@" + nowhere + "/x", "--redis-url", "redis://" + nowhere}},
		{"Postgres does not answer at " + nowhere + " (DATABASE_URL)", []string{"migrate", "up", "--database-url", "postgres://u:canary@" + nowhere + "/x"}},
		{"Postgres does not answer at " + nowhere + " (DATABASE_URL)", []string{"migrate", "status", "--database-url", "postgres://u:canary@" + nowhere + "/x"}},
		{"Redis does not answer at " + nowhere + " (REDIS_URL)", []string{"run", "--database-url", database, "--redis-url", "redis://:canary@" + nowhere}},
	} {
		r := command(t.Context(), append(c.args, "--connect-timeout", "100ms")...)
		// Where only Redis is away, Postgres has to answer before that, however busy the machine is.
		for _, timeout := range []string{"3s", "1m"} {
			if strings.HasPrefix(c.want, "Redis") && !strings.Contains(r.err, c.want) {
				r = command(t.Context(), append(c.args, "--connect-timeout", timeout)...)
			}
		}
		if r.code != cli.Unavailable || r.out != "" || !strings.Contains(r.err, c.want) || strings.Contains(r.err, "canary") {
			t.Errorf("%q: %+v, want %s", c.args, r, c.want)
		}
	}
}

func TestADatabaseWithoutTheSchemaIsExitCode3(t *testing.T) {
	t.Parallel()
	database := storetest.Database(t)
	if err := migrations.Down(t.Context(), database, 0); err != nil {
		t.Fatal(err)
	}
	r := command(t.Context(), "run", "--database-url", database, "--redis-url", storetest.Redis(t))
	if r.code != cli.Unavailable || !strings.Contains(r.err, "run `worker migrate up`") {
		t.Errorf("%+v", r)
	}
}

func TestAWorkerThatIsStoppedBeforeItHasStartedEndsWithoutError(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := command(ctx, "run", "--database-url", "postgres://"+closed, "--redis-url", "redis://"+closed); r.code != cli.OK || r.out != "" {
		t.Errorf("%+v", r)
	}
}
