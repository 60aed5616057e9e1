package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"oneflow/internal/cli"
	"oneflow/internal/media"
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
	bad := file(t, `{"prompt":"b","temperature":"hot"}`)
	for _, c := range []struct{ want, args string }{
		{"prompts.jsonl:1: temperature", "batch " + bad},
		{"none of the rows of prompts.jsonl can be a job: nothing was added", "batch " + bad},
		{"none of the rows of prompts.jsonl can be a job: nothing was added", "batch file://" + bad},
		{"a file URL has three slashes", "batch file:/" + bad[:1] + strings.TrimPrefix(bad, "/")},
		{"compare: is not for a schedule, which runs text, image, audio, video, embedding, transcription, batch, pipeline; nothing was added", "compare " + bad},
		{"no such file", "pipeline nofile.yaml"},
		{"no such file", "transcription nofile.mp3"},
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

func TestABadRowIsLeftOutOfAScheduleAsOfABatch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	bad := file(t, `{"prompt":"a"}`, `{"prompt":"b","temperature":"hot"}`)
	r := s.enqueue("schedule", "add", "x", "--cron", "@daily", "--", "batch", bad)
	if r.code != cli.Failure || !strings.Contains(r.err, "prompts.jsonl:2: temperature") || !strings.Contains(r.err, "the schedule is added, and each fire leaves out 1 bad line: mend what is wrong, remove the schedule (enqueue schedule rm x) and add it again") || !strings.Contains(r.out, "jobs      1\n") {
		t.Errorf("%+v", r)
	}
	if r := s.enqueue("schedule", "add", "strict", "--cron", "@daily", "--", "batch", bad, "--strict"); r.code != cli.Failure || !strings.Contains(r.err, "1 bad line: nothing was added, because of --strict") {
		t.Errorf("%+v", r)
	}
	if r := s.enqueue("schedule", "add", "later", "--cron", "@daily", "--", "batch", "file:///nope/rows.csv"); r.code != cli.OK || !strings.Contains(r.err, "enqueue: cannot be read now: ") || !strings.Contains(r.err, "Each fire reads it anew") {
		t.Errorf("%+v", r)
	}
	if r := s.enqueue("schedule", "add", "url", "--cron", "@daily", "--", "batch", "file://"+bad); r.code != cli.OK || !strings.Contains(r.out, "at each fire, now 1") || !strings.Contains(r.err, "prompts.jsonl:2: temperature") {
		t.Errorf("%+v", r)
	}
	if got := one[string](s, `SELECT string_agg(name, ' ' ORDER BY name) FROM schedules`); got != "later url x" {
		t.Error(got)
	}
}

func TestAScheduleRunsVectorsSoundsAndPipelines(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	sound := filepath.Join(t.TempDir(), "call.wav")
	if err := os.WriteFile(sound, media.WAV(1, 16000, time.Second), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, text := range map[string]string{
		"rows.txt":      "one\ntwo\n",
		"pipeline.yaml": "input: rows.txt\nsteps:\n  - name: draft\n  - name: check\n    template: 'Check {{answer}}'\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, args := range map[string][]string{
		"vectors": {"embedding", "hello", "--provider", "openai"},
		"sounds":  {"transcription", sound, "--provider", "openai"},
		"line":    {"pipeline", filepath.Join(folder, "pipeline.yaml")},
	} {
		if r := s.enqueue(append([]string{"schedule", "add", name, "--cron", "@daily", "--"}, args...)...); r.code != cli.OK {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if got := one[string](s, `SELECT string_agg(name || ' ' || (input::jsonb -> 'defaults' ->> 'task'), ', ' ORDER BY name) || ', ' || (SELECT jsonb_array_length(input::jsonb -> 'steps') FROM schedules WHERE name = 'line') FROM schedules`); got != "line text, sounds transcription, vectors embedding, 2" {
		t.Error(got)
	}
}
