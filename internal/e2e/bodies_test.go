package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
	"oneflow/internal/media"
	"oneflow/providers/providertest"
)

// bodyRow is a row of the table: what is enqueued, and what must arrive.
type bodyRow struct {
	name, provider string
	// endpoint and body are the vendor's own: they arrive as they are given, at path.
	// Without them fields are the row.
	endpoint, body string
	fields         map[string]any
	path           string
	// want is the JSON that must arrive, or the fields of a form; empty: body.
	want string
	form map[string]string
	// file is the vendor's description, in ../shared/specs.
	file string
	// media is the number of pictures, sounds and films that the answer holds.
	media int
}

// samples are the media of the rows, in base64.
func samples(t *testing.T) (png, wav, pdf string) {
	t.Helper()
	picture, err := media.PNG(1, 16, 16)
	if err != nil {
		t.Fatal(err)
	}
	in := base64.StdEncoding.EncodeToString
	return in(picture), in(media.WAV(1, 8000, 100*time.Millisecond)), in([]byte("%PDF-1.4\n1 0 obj <</Type /Page>> endobj"))
}

// marked is a JSON text with the row's name and the media in it.
func marked(t *testing.T, text, name string) string {
	t.Helper()
	png, wav, pdf := samples(t)
	return strings.NewReplacer("$M", "row "+name+".", "$PNG", png, "$WAV", wav, "$PDF", pdf).Replace(text)
}

// row is the row as it is enqueued.
func (b bodyRow) row(t *testing.T) map[string]any {
	t.Helper()
	row := map[string]any{}
	if b.endpoint != "" {
		row["endpoint"], row["body"] = b.endpoint, json.RawMessage(b.body)
	}
	maps.Copy(row, b.fields)
	row["custom_id"], row["provider"] = b.name, b.provider
	data, err := json.Marshal(row)
	if err != nil {
		t.Fatalf("%s: %v", b.name, err)
	}
	var out map[string]any
	d := json.NewDecoder(strings.NewReader(marked(t, string(data), b.name)))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		t.Fatalf("%s: %v", b.name, err)
	}
	return out
}

// arrived is the call that a row came to.
func (b bodyRow) arrived(t *testing.T, calls []fakeprovider.Call) (c fakeprovider.Call, found bool) {
	t.Helper()
	for _, c := range calls {
		if c.Method == http.MethodPost && bytes.Contains(c.Body, []byte("row "+b.name+".")) {
			return c, true
		}
	}
	return c, false
}

// vendorsOf serves all vendors, and has a worker for them. more are providers beside them.
func vendorsOf(t *testing.T, config fakeprovider.Config, more ...string) (*system, *fakeprovider.Server) {
	t.Helper()
	server, err := harness.Provider(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	sut := newSystem(t, "latency: 1ms")
	yaml := fmt.Sprintf("artifacts: %s/artifacts\nproviders:\n", sut.Dir)
	for name, path := range map[string]string{
		"openai": "/openai/v1", "anthropic": "/anthropic", "stability": "/stability", "elevenlabs": "/elevenlabs", "gemini": "/gemini",
		"films": "/openai/v1, kind: openai, compatible: true, prices_as: openai",
	} {
		yaml += fmt.Sprintf("  %s: {base_url: %s%s, limits: {rpm: 60000, concurrent: 16}, concurrency: 8, latency: 10ms}\n", name, server.URL, path)
		if name != "openai" && name != "anthropic" {
			sut.Env = append(sut.Env, strings.ToUpper(name)+"_API_KEY="+canaryKey+"-"+name)
		}
	}
	sut.configure(yaml + strings.Join(more, ""))
	sut.workerOf("openai", "anthropic", "stability", "elevenlabs", "gemini", "films")
	return sut, server
}

// sound writes the sound that rows name.
func (sut *system) sound() {
	sut.t.Helper()
	_, wav, _ := samples(sut.t)
	data, err := base64.StdEncoding.DecodeString(wav)
	if err == nil {
		err = os.WriteFile(filepath.Join(sut.Dir, "sound.wav"), data, 0o600)
	}
	if err != nil {
		sut.t.Fatal(err)
	}
}

// TestEveryBodyArrivesAsItWasGiven brings in a row for each endpoint and kind of part, and
// looks at what the vendor received.
func TestEveryBodyArrivesAsItWasGiven(t *testing.T) {
	t.Parallel()
	sut, server := vendorsOf(t, fakeprovider.Config{Keep: 10_000})
	table := append(append(openAIRows(), anthropicRows()...), append(geminiRows(), namedRows()...)...)
	rows := make([]map[string]any, len(table))
	for i, b := range table {
		rows[i] = b.row(t)
	}
	if len(rows) < 60 {
		t.Fatalf("%d rows, want 60", len(rows))
	}
	sut.sound()
	sut.run(0, "enqueue", "batch", sut.file("rows.jsonl", rows), "--batch-id", "bodies", "--no-fallback", "--watch")
	calls := server.Calls()
	for _, b := range table {
		c, found := b.arrived(t, calls)
		if !found || c.Path != b.path {
			t.Errorf("%s: arrived at %q, want %s", b.name, c.Path, b.path)
			continue
		}
		b.compare(t, c)
	}
	media := map[string]int{}
	for line := range strings.Lines(sut.run(0, "enqueue", "export", "bodies")) {
		var out struct {
			CustomID string `json:"custom_id"`
			OneFlow  struct {
				State     string `json:"state"`
				Artifacts []any  `json:"artifacts"`
				Cost      string `json:"cost_usd"`
			} `json:"oneflow"`
		}
		if err := json.Unmarshal([]byte(line), &out); err != nil {
			t.Fatal(err)
		}
		if media[out.CustomID] = len(out.OneFlow.Artifacts); out.OneFlow.State != "succeeded" || out.OneFlow.Cost == "" {
			t.Errorf("%.600s", line)
		}
	}
	for _, b := range table {
		if media[b.name] != b.media {
			t.Errorf("%s: %d pictures, sounds and films were kept, want %d", b.name, media[b.name], b.media)
		}
	}
	if n := sut.number(`SELECT count(*) FROM calls WHERE cost_nano > reserved_nano OR reserved_nano IS NULL`); n != 0 {
		t.Errorf("%d calls cost more than was reserved for them: %s", n, sut.text(`SELECT string_agg(model || ' ' || cost_nano || ' > ' || coalesce(reserved_nano, 0), ', ') FROM calls WHERE cost_nano > reserved_nano OR reserved_nano IS NULL`))
	}
	t.Run("the vendors' descriptions allow them", func(t *testing.T) {
		t.Parallel()
		describe := descriptions(t)
		for _, b := range table {
			if b.file == "" {
				continue
			}
			if c, found := b.arrived(t, calls); found {
				if err := describe(b.file).Check(recorded(c)); err != nil {
					t.Errorf("%s: %s refuses it: %.1000v", b.name, b.file, err)
				}
			}
		}
	})
}

// compare holds what arrived against what was to.
func (b bodyRow) compare(t *testing.T, c fakeprovider.Call) {
	t.Helper()
	if b.form != nil {
		want := map[string]string{}
		for name, value := range b.form {
			want[name] = marked(t, value, b.name)
		}
		if diff := cmp.Diff(want, c.Form); diff != "" {
			t.Errorf("%s: the form differs (-want +got):\n%s", b.name, diff)
		}
		return
	}
	text := b.want
	if text == "" {
		text = b.body
	}
	var want, got any
	if err := json.Unmarshal([]byte(marked(t, text, b.name)), &want); err != nil {
		t.Fatalf("%s: %v", b.name, err)
	}
	if err := json.Unmarshal(c.Body, &got); err != nil {
		t.Errorf("%s: %v in %.200s", b.name, err, c.Body)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: the body differs (-want +got):\n%s", b.name, diff)
	}
}

// recorded is a call as a vendor's description has it: without the version that stands in
// the description's own address.
func recorded(c fakeprovider.Call) providertest.Recorded {
	path := c.Path
	for _, version := range []string{"/v1beta", "/v1/chat", "/v1/responses", "/v1/embeddings", "/v1/moderations", "/v1/images", "/v1/audio"} {
		if strings.HasPrefix(path, version) {
			path = "/" + strings.TrimPrefix(strings.TrimPrefix(path, "/v1beta/"), "/v1/")
			break
		}
	}
	if c.Query != "" {
		path += "?" + c.Query
	}
	return providertest.Recorded{Method: c.Method, URL: path, Header: c.Header, Body: c.Body}
}

// descriptions reads each vendor's description once.
func descriptions(t *testing.T) func(file string) *providertest.Description {
	t.Helper()
	read := map[string]*providertest.Description{}
	return func(file string) *providertest.Description {
		if read[file] == nil {
			read[file] = providertest.Describe(t, file)
		}
		return read[file]
	}
}

// brokenRows are bodies that each vendor must refuse, one for each endpoint.
func brokenRows() []bodyRow {
	openai := func(path, body string) bodyRow {
		file := "openai-trim.json"
		if path == "/v1/images/edits" || path == "/v1/moderations" {
			file = "openai-more-trim.json"
		}
		return bodyRow{name: "broken " + path, provider: "openai", endpoint: path, path: path, body: body, file: file}
	}
	google := func(method, model, body string) bodyRow {
		path := "/v1beta/models/" + model + ":" + method
		return bodyRow{name: "broken " + method, provider: "gemini", endpoint: path, path: path, body: body, file: "gemini-trim.json"}
	}
	return []bodyRow{
		openai(chat, `{"model":"gpt-6-luna",`+user61+`,"service_tier":"gold"}`),
		openai("/v1/responses", `{"model":"gpt-6-luna","input":"$M","service_tier":"gold"}`),
		openai("/v1/embeddings", `{"model":"text-embedding-3-small","input":"$M","encoding_format":"roman"}`),
		openai("/v1/moderations", `{"model":"omni-moderation-latest","input":[{"type":"scent","text":"$M"}]}`),
		openai("/v1/images/generations", `{"model":"gpt-image-2","prompt":"$M","quality":"divine"}`),
		openai("/v1/images/edits", `{"model":"gpt-image-2","prompt":"$M","images":[]}`),
		openai("/v1/audio/speech", `{"model":"gpt-4o-mini-tts","input":"$M","voice":"alloy","response_format":"vinyl"}`),
		{
			name: "broken messages", provider: "anthropic", endpoint: messages, path: messages, file: "anthropic-trim.json",
			body: `{"model":"claude-haiku-5-5","max_tokens":9,"messages":[{"role":"user","content":"$M"}],"service_tier":"gold"}`,
		},
		{
			name: "broken /v1/videos", provider: "films", endpoint: "/v1/videos", path: "/v1/videos", body: `{"model":"sora-2","prompt":"$M","size":"1x1"}`,
		},
		google("generateContent", "gemini-3.5-flash-lite", `{"contents":[{"parts":[{"text":"$M"}]}],"serviceTier":"gold"}`),
		google("embedContent", "gemini-embedding-2", `{"content":{"parts":[{"text":"$M"}]},"taskType":"GUESSING"}`),
		google("batchEmbedContents", "gemini-embedding-2", `{"requests":[{"model":"models/gemini-embedding-2","content":{"parts":[{"text":"$M"}]},"taskType":"GUESSING"}]}`),
	}
}

// TestWhatAVendorMustRefuseIsRefusedWithItsReason knows that the table's vendors and
// descriptions can refuse at all.
func TestWhatAVendorMustRefuseIsRefusedWithItsReason(t *testing.T) {
	t.Parallel()
	sut, server := vendorsOf(t, fakeprovider.Config{Keep: 1000})
	table := brokenRows()
	rows := make([]map[string]any, len(table))
	for i, b := range table {
		rows[i] = b.row(t)
	}
	sut.run(5, "enqueue", "batch", sut.file("rows.jsonl", rows), "--batch-id", "broken", "--no-fallback", "--watch")
	if n := sut.number(`SELECT count(*) FROM job_states WHERE state = 'failed' AND error_class = 'invalid_request' AND error_message LIKE '%HTTP 4%' AND attempt = 1`); int(n) != len(rows) {
		t.Errorf("%d of %d jobs were refused, at the first try: %s", n, len(rows), sut.text(`SELECT string_agg(state || ' ' || coalesce(error_class, '') || ' ' || coalesce(error_message, ''), E'\n') FROM job_states`))
	}
	calls := server.Calls()
	for _, b := range table {
		if c, found := b.arrived(t, calls); !found || c.Path != b.path {
			t.Errorf("%s: arrived at %q, want %s", b.name, c.Path, b.path)
		}
	}
	t.Run("the vendors' descriptions refuse them", func(t *testing.T) {
		t.Parallel()
		describe := descriptions(t)
		for _, b := range table {
			if b.file == "" {
				continue
			}
			if c, found := b.arrived(t, calls); found && describe(b.file).Check(recorded(c)) == nil {
				t.Errorf("%s: %s allows it: the table would notice nothing", b.name, b.file)
			}
		}
	})
}

// TestAnUnfaithfulFallbackIsRefusedByTheNameOfItsField names another vendor's provider for
// bodies and options that it has no words for.
func TestAnUnfaithfulFallbackIsRefusedByTheNameOfItsField(t *testing.T) {
	t.Parallel()
	sut, _ := vendorsOf(t, fakeprovider.Config{})
	chatBody := func(rest string) string { return `{"model":"gpt-6-luna",` + user61 + `,` + rest + `}` }
	claude := func(rest string) string { return `{"model":"claude-haiku-5-5","max_tokens":9,` + rest + `}` }
	generate := "/v1beta/models/gemini-3.5-flash-lite:generateContent"
	table := []struct{ provider, endpoint, body, field string }{
		{"anthropic", chat, chatBody(`"logit_bias":{"1":2}`), "body.logit_bias"},
		{"anthropic", chat, chatBody(`"presence_penalty":1`), "body.presence_penalty"},
		{"anthropic", chat, chatBody(`"n":2`), `option "n"`},
		{"anthropic", chat, chatBody(`"seed":7`), `option "seed"`},
		{"anthropic", chat, chatBody(`"response_format":{"type":"json_object"}`), "response_format"},
		{"anthropic", chat, `{"model":"gpt-6-luna","messages":[{"role":"user","content":[{"type":"text","text":"$M"},{"type":"input_audio","input_audio":{"data":"$WAV","format":"wav"}}]}]}`, "messages[0].content[1] (audio)"},
		{"gemini", chat, chatBody(`"parallel_tool_calls":false,"tools":[{"type":"function","function":{"name":"f"}}]`), `option "parallel_tool_calls"`},
		{"gemini", chat, chatBody(`"logprobs":true`), `option "logprobs"`},
		{"gemini", chat, chatBody(`"reasoning_effort":"xhigh"`), "effort"},
		{"gemini", "/v1/responses", `{"model":"gpt-6-luna","input":"$M","previous_response_id":"r"}`, "body.previous_response_id"},
		{"gemini", "/v1/responses", `{"model":"gpt-6-luna","input":[{"type":"item_reference","id":"x"}]}`, "body.input"},
		{"openai", messages, claude(user61 + `,"top_k":5`), "body.top_k"},
		{"openai", messages, claude(user61 + `,"thinking":{"type":"enabled","budget_tokens":1024}`), "body.thinking"},
		{"openai", messages, claude(`"messages":[{"role":"user","content":[{"type":"search_result","source":"a","title":"b","content":[]}]}]`), "body.messages[0].content[0] (search_result)"},
		{"openai", generate, `{"contents":[{"parts":[{"text":"$M"}]}],"safetySettings":[]}`, "body.safetySettings"},
		{"openai", generate, `{"contents":[{"parts":[{"text":"$M"}]}],"generationConfig":{"topK":4}}`, "body.generationConfig.topK"},
		{"anthropic", generate, `{"contents":[{"parts":[{"text":"$M"}]}],"cachedContent":"cachedContents/1"}`, "body.cachedContent"},
		{"anthropic", generate, `{"contents":[{"parts":[{"text":"$M","videoMetadata":{"fps":1}}]}]}`, "body.contents[0].parts[0].videoMetadata"},
	}
	rows := make([]map[string]any, len(table))
	for i, c := range table {
		rows[i] = bodyRow{name: fmt.Sprintf("refused %d", i), provider: c.provider, endpoint: c.endpoint, body: c.body}.row(t)
	}
	r, err := sut.Run(t.Context(), harness.Command{Name: "enqueue", Args: []string{"batch", sut.file("rows.jsonl", rows), "--batch-id", "refused"}})
	if code := r.State.ExitCode(); code != 1 {
		t.Errorf("exit code %d, %v", code, err)
	}
	said := map[int]string{}
	for line := range strings.Lines(r.Stderr) {
		var n int
		if _, err := fmt.Sscanf(line, "rows.jsonl:%d:", &n); err == nil {
			said[n] = line
		}
	}
	for i, c := range table {
		if !strings.Contains(said[i+1], ": "+c.field) {
			t.Errorf("%s to %s: said %q, want %s", c.body, c.provider, said[i+1], c.field)
		}
	}
	if n := sut.number(`SELECT count(*) FROM jobs`); n != 0 {
		t.Errorf("%d jobs were taken", n)
	}
}
