package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/internal/cli"
)

// questions are prompts of every sort that files get wrong.
func questions(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("Question %d, \"quoted\"; with a tab\t, a line\nend, <b>&amp;</b>, Grüße 🌍 and \\n: %s", i, canary))
	}
	return list
}

// write writes a file of the test's own.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func packed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(text))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTheSameQuestionIsTheSameRequestInWhateverFormatItComes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var ours, openai, half strings.Builder
	var anthropic []any
	var table, parts bytes.Buffer
	first, second := csv.NewWriter(&table), csv.NewWriter(&parts)
	second.Comma = ';'
	first.Write([]string{"custom_id", "question", "max_tokens"})
	second.Write([]string{"custom_id", "begin", "end", "max_tokens"})
	for i, q := range questions(300) {
		id := fmt.Sprint("q", i)
		turn := []any{map[string]any{"role": "user", "content": q}}
		fmt.Fprintln(&ours, asJSON(t, map[string]any{"custom_id": id, "prompt": q, "max_tokens": 64}))
		fmt.Fprintln(&openai, asJSON(t, map[string]any{
			"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": map[string]any{"model": "mock-text", "messages": turn, "max_tokens": 64},
		}))
		anthropic = append(anthropic, map[string]any{"custom_id": id, "params": map[string]any{"model": "mock-text", "max_tokens": 64, "messages": turn}})
		fmt.Fprintln(&half, asJSON(t, anthropic[i]))
		first.Write([]string{id, q, "64.0"})
		begin, end, _ := strings.Cut(q, "\n")
		second.Write([]string{id, begin, end, "64"})
	}
	first.Flush()
	second.Flush()
	taken := map[string][]string{
		"openai":    {write(t, "openai.jsonl", openai.String())},
		"anthropic": {write(t, "anthropic.json", asJSON(t, map[string]any{"requests": anthropic}))},
		"lines":     {write(t, "anthropic.jsonl", half.String()), "--format", "anthropic"},
		"csv":       {write(t, "questions.csv", table.String()), "--map", "prompt=question"},
		"gz":        {write(t, "questions.csv.gz", packed(t, table.String())), "--map", "prompt=question"},
		"template":  {write(t, "parts.csv", parts.String()), "--template", write(t, "t.txt", "{{begin}}\n{{ end }}\n")},
		"list":      {write(t, "list.json", "["+strings.ReplaceAll(strings.TrimSpace(ours.String()), "\n", ",")+"]")},
	}
	if r := s.enqueue("batch", write(t, "ours.jsonl", ours.String()), "--batch-id", "ours"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	parquet := filepath.Join(t.TempDir(), "ours.parquet")
	if r := s.enqueue("export", "ours", "--format", "parquet", "--with", "prompt", "--out", parquet); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	taken["parquet"] = []string{parquet, "--set", "max_tokens=64"}
	const all = `SELECT array_agg(custom_id || ' ' || encode(content_sha256, 'hex') || ' ' || request::text ORDER BY seq) FROM jobs WHERE batch_id = $1`
	want := one[[]string](s, all, "ours")
	for name, args := range taken {
		r := s.enqueue(append([]string{"batch", "--batch-id", name}, args...)...)
		if r.code != cli.OK {
			t.Errorf("%s: %+v", name, r)
			continue
		}
		if diff := cmp.Diff(want, one[[]string](s, all, name)); diff != "" {
			t.Errorf("%s:\n%.2000s", name, diff)
		}
	}
}

func TestAFolderIsOneBatchWithThePlaceOfEachError(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := write(t, "all/a.jsonl", "{\"custom_id\":\"1\",\"prompt\":\"a\"}\nbad\n")
	folder := filepath.Dir(a)
	for name, text := range map[string]string{"b.csv": "custom_id,prompt\n2,b\n1,again\n3,\n", ".hidden": "x", "_SUCCESS": "", "sub/c.txt": "c\n"} {
		path := filepath.Join(folder, name)
		os.MkdirAll(filepath.Dir(path), 0o700)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := s.enqueue("batch", folder, "--batch-id", "b1", "-o", "json")
	if got := s.report(r); got != (report{"b1", 3, 0, 3}) {
		t.Errorf("%+v", r)
	}
	for _, want := range []string{"a.jsonl:2:1: not valid JSON\n", "b.csv:3: custom_id \"1\": used before on line 1 of a.jsonl\n", "b.csv:4: prompt: must not be empty\n"} {
		if !strings.Contains(r.err, want) {
			t.Errorf("%q is missing: %s", want, r.err)
		}
	}
	// The rows that are there already are named in their files, too.
	os.WriteFile(filepath.Join(folder, "b.csv"), []byte("custom_id,prompt\n2,changed\n"), 0o600)
	r = s.enqueue("batch", folder, "--batch-id", "b1")
	if !strings.Contains(r.err, "b.csv:2: the batch has this custom_id already, with other content: the first is kept\n") {
		t.Errorf("%+v", r)
	}
}

func TestAPartOfAFileIsTakenWithTagsAndPriority(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var text strings.Builder
	for i := range 100 {
		fmt.Fprintf(&text, "prompt %d\n", i+1)
	}
	path := write(t, "many.txt", text.String())
	r := s.enqueue("batch", path, "--batch-id", "few", "--limit", "3", "--tag", "team=search", "--tag", "night=yes", "--priority", "high")
	if got := one[string](s, `SELECT string_agg(seq || lane, ' ' ORDER BY seq) || (SELECT tags::text FROM batches WHERE id = 'few') FROM jobs WHERE batch_id = 'few'`); r.code != cli.OK || got != `1high 2high 3high{"team": "search", "night": "yes"}` {
		t.Errorf("%s %+v", got, r)
	}
	if r := s.enqueue("batch", path, "--batch-id", "few", "--limit", "5", "--tag", "team=search", "-o", "json"); s.report(r) != (report{"few", 2, 3, 0}) {
		t.Errorf("more of the same: %+v", r)
	}
	// What was spent under a tag, or by an account, stays there.
	for flag, says := range map[string]string{"--tag=night=no": "has tag night=yes already, and this says night=no", "--tag=by=ana": "has no tag by already, and this says by=ana", "--account=rich": "has account default already, and this says rich"} {
		if r := s.enqueue("batch", path, "--batch-id", "few", "--limit", "8", flag); r.code != cli.Usage || !strings.Contains(r.err, "batch few "+says+": nothing was accepted; say the same, or use another --batch-id") {
			t.Errorf("%+v", r)
		}
	}
	if got := one[string](s, `SELECT tags::text FROM batches WHERE id = 'few'`); got != `{"team": "search", "night": "yes"}` {
		t.Error(got)
	}
	rows := func(id string, args ...string) string {
		r := s.run(t.Context(), strings.NewReader(text.String()), append([]string{"batch", "--batch-id", id}, args...)...)
		if r.code != cli.OK {
			t.Errorf("%+v", r)
		}
		return one[string](s, `SELECT string_agg(seq::text, ' ' ORDER BY seq) FROM jobs WHERE batch_id = $1`, id)
	}
	file, again, other := rows("s1", path, "--sample", "10"), rows("s2", "-", "--sample", "10"), rows("s3", path, "--sample", "10", "--seed", "2")
	if file != again || file == other || strings.Count(file, " ") != 9 {
		t.Errorf("%s; %s; %s", file, again, other)
	}
}

func TestAMissingColumnOfATemplateIsToldWithItsLine(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.enqueue("batch", write(t, "rows.jsonl", `{"q":"a","of":{"deep":[1,"x"]}}
{"question":"b"}
{"q":null,"of":{"deep":1}}
{"q":"d","of":"{\"deep\": 2.50}"}
`), "--template", "Q: {{q}} {{of.deep}}!", "--batch-id", "b1")
	if !strings.HasPrefix(r.err, "rows.jsonl:2: column \"q\" of the template is not there; the row has question\nrows.jsonl:3: column \"q\" of the template has no value\n") {
		t.Errorf("%+v", r)
	}
	if got := one[string](s, `SELECT string_agg(request ->> 'prompt', '|' ORDER BY seq) || max(own::text) FILTER (WHERE seq = 1) FROM jobs`); got != `Q: a [1,"x"]!|Q: d 2.50!{"q":"a","of":{"deep":[1,"x"]}}` {
		t.Error(got)
	}
	r = s.enqueue("batch", write(t, "rows.csv", "a,b\n1,2\n"), "--template", "{{q}}", "--batch-id", "b2")
	if r.code != cli.Usage || !strings.Contains(r.err, "rows.csv: column \"q\" of the template is not there; there are a, b\n") {
		t.Errorf("%+v", r)
	}
}

// A rerun of an intake that was killed adds exactly what is missing.
func TestAnIntakeThatIsKilledIsResumedInEveryFormat(t *testing.T) {
	t.Parallel()
	const n = 12_000
	s := newSite(t)
	enqueue := binary(t)
	var table strings.Builder
	table.WriteString("custom_id,prompt,answer\n")
	for i := range n {
		fmt.Fprintf(&table, "r%d,\"row %d, %s\",%d\n", i, i, strings.Repeat("lorem ", 20), i)
	}
	path := write(t, "rows.csv", table.String())
	if r := s.enqueue("batch", path, "--batch-id", "whole"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	parquet := filepath.Join(t.TempDir(), "rows.parquet")
	if r := s.enqueue("export", "whole", "--format", "parquet", "--with", "prompt", "--out", parquet); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	// While hold is locked, an intake that has rows takes no more of them.
	const hold = 1
	_, err := s.pool.Exec(t.Context(), fmt.Sprintf(`
		CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF EXISTS (SELECT FROM batches b JOIN jobs j ON j.batch_id = b.id WHERE b.sealed_at IS NULL) THEN
				PERFORM pg_advisory_xact_lock_shared(%d);
			END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER held BEFORE INSERT ON jobs EXECUTE FUNCTION held()`, hold))
	if err != nil {
		t.Fatal(err)
	}
	holder, err := s.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Release()
	for id, path := range map[string]string{"csv": path, "gz": write(t, "rows.csv.gz", packed(t, table.String())), "parquet": parquet} {
		args := []string{"batch", path, "--batch-id", id, "-o", "json", "--provider", "mock"}
		if _, err := holder.Exec(t.Context(), `SELECT pg_advisory_lock($1)`, hold); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), enqueue, args...)
		cmd.Env = append(os.Environ(), "DATABASE_URL="+s.database, "REDIS_URL="+s.redis)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		count := func() int64 { return one[int64](s, `SELECT count(*) FROM jobs WHERE batch_id = $1`, id) }
		s.until("some rows are accepted", func() bool { return count() > 0 })
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if _, err := holder.Exec(t.Context(), `SELECT pg_advisory_unlock($1)`, hold); err != nil {
			t.Fatal(err)
		}
		s.until("its last commit is over", func() bool {
			return one[int64](s, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'`) == 0
		})
		there := count()
		if there == 0 || there == n {
			t.Errorf("%s: killed with %d rows, which shows nothing", id, there)
		}
		r := s.enqueue(args...)
		if got := s.report(r); r.code != cli.OK || got != (report{id, n - int(there), int(there), 0}) {
			t.Errorf("%s: %d rows were there: %+v", id, there, r)
		}
		if got := one[int64](s, `SELECT count(*) FROM jobs a JOIN jobs b USING (custom_id, content_sha256) WHERE a.batch_id = 'whole' AND b.batch_id = $1`, id); got != n {
			t.Errorf("%s: %d of the rows are the same", id, got)
		}
	}
}

// Of a folder with a file of another kind nothing is accepted, wherever the file stands among
// the others, and nothing is left that a rerun would come on top of.
func TestAFolderWithAFileThatHasNoRowsIsRefusedWhole(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var text strings.Builder
	for i := range 9000 {
		fmt.Fprintf(&text, "{\"prompt\":\"%d %x\"}\n", i, sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
	}
	whole := packed(t, text.String())
	for name, c := range map[string]struct{ text, want string }{
		"b.pdf":      {"%PDF-1.7\n", "b.pdf: is in a format that is not read"},
		"b.png":      {"\x89PNG\r\n\x1a\n\x00", "b.png: is image/png and no text"},
		"sub/b.csv":  {"prompt,prompt\na,b\n", "b.csv:1: column \"prompt\" stands twice"},
		"b.jsonl.gz": {"\x1f\x8b\x08\x00", "b.jsonl.gz: "},
	} {
		first := write(t, "all/a.jsonl", lines(1, 3000))
		path := filepath.Join(filepath.Dir(first), name)
		os.MkdirAll(filepath.Dir(path), 0o700)
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := s.enqueue("batch", filepath.Dir(first))
		if r.code != cli.Usage && name != "b.jsonl.gz" || r.code == cli.OK || !strings.Contains(r.err, c.want) || !strings.Contains(r.err, "nothing was accepted") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if n := one[int64](s, `SELECT count(*) FROM batches`); n != 0 {
		t.Errorf("%d batches are left", n)
	}
	// What only its end shows is told with what is there by then, and the way to go on.
	first := write(t, "cut/a.jsonl", lines(1, 2000))
	if err := os.WriteFile(filepath.Join(filepath.Dir(first), "b.jsonl.gz"), []byte(whole[:len(whole)/2]), 0o600); err != nil {
		t.Fatal(err)
	}
	r := s.enqueue("batch", filepath.Dir(first), "--batch-id", "half")
	if r.code != cli.Failure || !strings.Contains(r.err, "rows of batch half are accepted; run the same command with --batch-id half to add the rest") {
		t.Errorf("%+v", r)
	}
	// One that breaks before any row was accepted leaves no batch.
	if r := s.run(t.Context(), strings.NewReader(whole[:400]), "batch", "-", "--batch-id", "none"); r.code == cli.OK || !strings.Contains(r.err, "no row was accepted") {
		t.Errorf("%+v", r)
	}
	if n := one[int64](s, `SELECT count(*) FROM batches WHERE id = 'none'`); n != 0 {
		t.Error("an empty batch is left")
	}
}

// A column whose name happens to be that of an option is never taken for one in silence, and can
// be kept.
func TestAColumnThatIsTakenAsAnOptionIsNamedAndCanBeKept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	table := write(t, "q.csv", "question,n,team\nwhy?,5,a\nhow?,2,b\n")
	const requests = `SELECT string_agg(coalesce((request ->> 'n'), '-') || ' ' || coalesce(own::text, ''), E'\n' ORDER BY seq) FROM jobs WHERE batch_id = $1`
	taken, kept := "enqueue: columns that are taken as options: n; to keep one as your own, say --map n=\n", "enqueue: kept with the rows and not sent to a provider: question, n, team\n"
	for id, c := range map[string]struct {
		args       []string
		said, want string
	}{
		"taken":    {[]string{"--template", "{{question}}"}, taken, "5 {\"question\":\"why?\",\"team\":\"a\"}\n2 {\"question\":\"how?\",\"team\":\"b\"}"},
		"mapped":   {[]string{"--map", "prompt=question"}, taken, "5 {\"question\":\"why?\",\"team\":\"a\"}\n2 {\"question\":\"how?\",\"team\":\"b\"}"},
		"kept":     {[]string{"--template", "{{question}}", "--map", "n="}, kept, "- {\"question\":\"why?\",\"n\":\"5\",\"team\":\"a\"}\n- {\"question\":\"how?\",\"n\":\"2\",\"team\":\"b\"}"},
		"both":     {[]string{"--map", "prompt=question", "--map", "n="}, kept, "- {\"question\":\"why?\",\"n\":\"5\",\"team\":\"a\"}\n- {\"question\":\"how?\",\"n\":\"2\",\"team\":\"b\"}"},
		"swapped":  {[]string{"--map", "prompt=question", "--map", "n=", "--map", "max_tokens=n"}, kept, "- {\"question\":\"why?\",\"n\":\"5\",\"team\":\"a\"}\n- {\"question\":\"how?\",\"n\":\"2\",\"team\":\"b\"}"},
		"approved": {[]string{"--map", "prompt=question", "--max-cost", "5"}, taken, "5 {\"question\":\"why?\",\"team\":\"a\"}\n2 {\"question\":\"how?\",\"team\":\"b\"}"},
	} {
		r := s.enqueue(append([]string{"batch", table, "--batch-id", id}, c.args...)...)
		if r.code != cli.OK || strings.Count(r.err, c.said) != 1 || strings.Contains(r.err, "taken as options") != (c.said == taken) {
			t.Errorf("%s: %+v", id, r)
			continue
		}
		if diff := cmp.Diff(c.want, one[string](s, requests, id)); diff != "" {
			t.Errorf("%s:\n%s", id, diff)
		}
	}
	for _, args := range [][]string{
		{"batch", table, "--map", "prompt=question", "--dry-run"},
		{"--config", twoMocks(t), "compare", table, "--map", "prompt=question", "--with", "east,west", "--dry-run"},
		{"schedule", "add", "x", "--every", "6h", "--", "batch", table, "--map", "prompt=question"},
	} {
		if r := s.enqueue(args...); !strings.Contains(r.err, taken) {
			t.Errorf("%q: %+v", args, r)
		}
	}
	// Rows of JSON say what they mean: nothing of theirs is named.
	if r := s.enqueue("batch", file(t, `{"prompt":"a","n":2}`)); r.code != cli.OK || strings.Contains(r.err, "taken as") {
		t.Errorf("%+v", r)
	}
	// Where the value does not do as an option, and where the vendor has none of this name, the way out is told.
	for text, want := range map[string]string{
		"prompt,n\na,many\n":             "n: must be a whole number, got a JSON string; to keep the column as your own, say --map n=\n",
		"prompt,lane\na,left\n":          "lane \"left\": must be high, default or bulk; to keep the column as your own, say --map lane=\n",
		"prompt,verbosity\na,high\n":     "say --map verbosity=\n",
		"prompt,provider\na,somebody\n":  "to keep the column as your own, say --map provider=\n",
		"prompt,size\na,256x256\n":       "to keep the column as your own, say --map size=\n",
		"prompt,chain\na,supermarket\n":  "to keep the column as your own, say --map chain=\n",
		"prompt,temperature\na,tepid\n":  "to keep the column as your own, say --map temperature=\n",
		"prompt,run_at\na,the weekend\n": "to keep the column as your own, say --map run_at=\n",
	} {
		name, _, _ := strings.Cut(strings.TrimPrefix(text, "prompt,"), "\n")
		path := write(t, "t.csv", text)
		if r := s.enqueue("batch", path, "--provider", "mock"); r.code != cli.Failure || !strings.Contains(r.err, want) {
			t.Errorf("%q: %+v", text, r)
		}
		if r := s.enqueue("batch", path, "--provider", "mock", "--map", name+"=", "-o", "json"); s.report(r).Accepted != 1 {
			t.Errorf("%q, kept: %+v", text, r)
		}
	}
	for _, c := range [][3]string{
		{"question=prompt", "--map question=prompt: is the wrong way round: --map prompt=question takes prompt from the column question"},
		{"x=", "--map x=: there is no column of this name to keep; there are question, n, team"},
		{"x=question", "--map x=…: there is no such field; fields are "},
	} {
		if r := s.enqueue("batch", table, "--map", c[0]); r.code != cli.Usage || !strings.Contains(r.err, c[1]) {
			t.Errorf("%s: %+v", c[0], r)
		}
	}
}
