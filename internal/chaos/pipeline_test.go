//go:build chaos

package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// killInPipeline kills one of three workers again and again while rows go through three
// steps, and starts another in its place each time: each success has exactly one child.
func killInPipeline(x *experiment, rows, kills int) {
	const first, second, third = "line", "line.2.second", "line.3.third"
	var then []string
	for _, step := range []struct{ name, id string }{{"second", second}, {"third", third}} {
		path := filepath.Join(x.Dir, step.name+".yaml")
		text := fmt.Sprintf("name: %s\nprovider: openai\nset: {max_tokens: 20}\ntemplate: '%s: %s/{{custom_id}}. Go on from: {{answer}}'\n",
			step.name, canaryPrompt, step.id)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			x.t.Fatal(err)
		}
		then = append(then, "--then", path)
	}
	for range 3 {
		x.worker()
	}
	x.enqueue(first, rows, "retry", then...)
	x.mu.Lock()
	x.brought[second], x.brought[third] = batch{0, "retry"}, batch{0, "retry"}
	x.mu.Unlock()
	var watching sync.WaitGroup
	for i := range kills {
		x.progressed(2*time.Minute, int64(i*3*rows*9/(kills*10)))
		x.pass(x.between(0, 300*time.Millisecond))
		running := x.alive()
		victim := running[x.intn(len(running))]
		x.hurt(x.plan.slots)
		victim.Kill()
		died := time.Now()
		watching.Go(func() { x.recovered(x.takenOver(victim, died)) })
		x.worker()
	}
	watching.Wait()
	x.drained(4 * time.Minute)
	x.until(30*time.Second, "the last step to be sealed", func() bool {
		n, err := ask[int64](x, `SELECT count(*) FROM batches WHERE sealed_at IS NULL`)
		return err == nil && n == 0
	})
	for parent, child := range map[string]string{first: second, second: third} {
		succeeded := x.count(`SELECT count(*) FROM job_states WHERE batch_id = '` + parent + `' AND state = 'succeeded'`)
		if succeeded < int64(rows)*95/100 {
			x.t.Errorf("%d jobs of %s have succeeded, of %d", succeeded, parent, rows)
		}
		// All children are counted at once: looked up for each parent, tables that were never
		// analysed make it a matter of minutes.
		wrong := x.count(`
			SELECT count(*)
			FROM job_states s
			LEFT JOIN (
				SELECT l.parent_id, count(*) AS n
				FROM step_links l
				JOIN jobs j ON j.id = l.child_id
				WHERE j.batch_id = '` + child + `'
				GROUP BY l.parent_id
			) c ON c.parent_id = s.job_id
			WHERE s.batch_id = '` + parent + `' AND s.state = 'succeeded' AND coalesce(c.n, 0) <> 1`)
		if wrong != 0 {
			x.t.Errorf("%d jobs of %s do not have exactly one child", wrong, parent)
		}
		x.mu.Lock()
		x.brought[child] = batch{int(succeeded), "retry"}
		x.mu.Unlock()
	}
}
