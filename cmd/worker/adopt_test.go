package main

import (
	"strings"
	"testing"

	"oneflow/internal/cli"
	"oneflow/internal/storetest"
)

func TestARedisOfAnotherFleetIsRefusedUntilItIsAdopted(t *testing.T) {
	t.Parallel()
	redis := storetest.Redis(t)
	first, second := storetest.Database(t), storetest.Database(t)
	for _, step := range []struct {
		database, args string
		code           int
		says           string
	}{
		{first, "adopt-redis", cli.OK, "nobody else had it"},
		{first, "adopt-redis", cli.OK, "nobody else had it"},
		{second, "run --provider mock", cli.Unsafe, "run `worker adopt-redis`"},
		{second, "adopt-redis", cli.OK, "it was the fleet "},
		{first, "run --provider mock", cli.Unsafe, "another database number"},
	} {
		args := append(strings.Fields(step.args), "--database-url", step.database, "--redis-url", redis, "--log-level", "error")
		if r := command(t.Context(), args...); r.code != step.code || !strings.Contains(r.out+r.err, step.says) {
			t.Errorf("%s: %+v, want %d and %q", step.args, r, step.code, step.says)
		}
	}
}
