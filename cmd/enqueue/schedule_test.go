package main

import (
	"strings"
	"testing"
	"time"

	"oneflow/internal/cli"
	"oneflow/schedules"
)

func TestAScheduleIsAddedShownPausedFiredAndRemoved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	rows := file(t, `{"prompt":"`+canary+`","ref":7}`, `{"prompt":"b"}`)
	added := s.enqueue("schedule", "add", "nightly", "--cron", "30 2 * * *", "--tz", "Europe/Paris", "-o", "json", "--", "batch", rows, "--tag", "team=care", "--account", "acme")
	if added.code != 0 {
		t.Fatalf("add: %d %s", added.code, added.err)
	}
	l := decoded[schedules.Listed](t, added.out)
	if len(l.Next) != 5 || l.Next[0].In(time.UTC).Minute() != 30 || l.Account != "acme" || l.Tags["team"] != "care" || l.Source != "prompts.jsonl" {
		t.Errorf("added: %+v", l)
	}
	if kept := one[string](s, `SELECT convert_from(content, 'UTF8') FROM schedules`); !strings.Contains(kept, canary) {
		t.Errorf("kept: %q", kept)
	}
	if again := s.enqueue("schedule", "add", "nightly", "--every", "6h", "--", "text", "x"); again.code != cli.Usage || !strings.Contains(again.err, "enqueue schedule rm nightly") {
		t.Errorf("add again: %d %s", again.code, again.err)
	}
	if ls := s.enqueue("schedule", "ls"); !strings.Contains(ls.out, "30 2 * * * Europe/Paris") || !strings.Contains(ls.out, "nightly fires: ") {
		t.Errorf("ls: %s", ls.out)
	}
	if r := s.enqueue("schedule", "pause", "nightly"); r.code != 0 || r.out != "nightly is paused\n" {
		t.Errorf("pause: %+v", r)
	}
	if ls := s.enqueue("schedule", "ls", "nightly"); !strings.Contains(ls.out, "nightly fires: paused") {
		t.Errorf("ls of a paused one: %s", ls.out)
	}
	if l := decoded[schedules.Listed](t, s.enqueue("schedule", "pause", "nightly", "-o", "json").out); !l.Paused || l.Name != "nightly" || len(l.Next) != 0 {
		t.Errorf("pause for programs: %+v", l)
	}
	if l := decoded[schedules.Listed](t, s.enqueue("schedule", "resume", "nightly", "-o", "json").out); l.Paused || len(l.Next) != 5 {
		t.Errorf("resume for programs: %+v", l)
	}
	if r := s.enqueue("schedule", "resume", "nightly"); r.code != 0 {
		t.Errorf("resume: %+v", r)
	}
	fired := s.enqueue("schedule", "run-now", "nightly")
	if fired.code != 0 || !strings.HasPrefix(fired.out, "nightly-20") {
		t.Errorf("run-now: %+v", fired)
	}
	history := decoded[schedules.ListedFire](t, s.enqueue("schedule", "history", "nightly", "-o", "ndjson").out)
	if !history.ByHand || history.BatchID+"\n" != fired.out || history.State != "accepting" {
		t.Errorf("history: %+v", history)
	}
	if r := s.enqueue("schedule", "rm", "nightly", "--yes", "-o", "ndjson"); r.code != 0 || r.out != `{"name":"nightly","removed":true}`+"\n" {
		t.Errorf("rm: %+v", r)
	}
	if r := s.enqueue("schedule", "history", "nightly"); r.code != cli.Usage {
		t.Errorf("history of a removed one: %+v", r)
	}
}

func TestWhatNoFireCouldRunIsRefusedWhenItIsAdded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	bad := file(t, `{"prompt":"a"}`, `{"prompt":"b","temperature":"hot"}`)
	for _, c := range []struct{ want, args string }{
		{"prompts.jsonl:2: temperature", "batch " + bad},
		{"leave it out", "batch " + bad + " --watch"},
		{"leave it out", "batch " + bad + " --batch-id x"},
		{"leave it out", "text hello --wait"},
		{"--in, --at", "text hello --at 18:00"},
		{"a duration", "text hello --complete-by 18:00"},
		{"is not configured", "text hello --provider nobody"},
		{"no such file", "batch nofile.jsonl"},
		{"is a folder", "batch ."},
		{"unexpected argument", "sing hello"},
	} {
		r := s.enqueue(append([]string{"schedule", "add", "x", "--cron", "@daily", "--"}, strings.Fields(c.args)...)...)
		if r.code != cli.Usage || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: %d %s, want an error with %q", c.args, r.code, r.err, c.want)
		}
	}
	if n := one[int64](s, `SELECT count(*) FROM schedules`); n != 0 {
		t.Errorf("%d schedules were added", n)
	}
}
