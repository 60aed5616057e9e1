package frontdoor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/internal/fakeprovider"
	"oneflow/jobs"
)

// hostile are bodies of a chat that are refused wherever they come in.
func hostile() map[string]string {
	with := func(fields string) string {
		return `{"model":"mock","messages":[{"role":"user","content":"hello"}],` + fields + `}`
	}
	return map[string]string{
		"half a character":        strings.Replace(helloBody, "hello", `\ud800`, 1),
		"half in a name":          with(`"\udc00":1`),
		"no UTF-8":                strings.Replace(helloBody, "hello", "\xff\xfe", 1),
		"a model twice":           with(`"model":"claude-opus"`),
		"a model twice, streamed": with(`"model":"claude-opus","stream":true`),
		"a name twice within":     strings.Replace(helloBody, `"role":"user"`, `"role":"system","role":"user"`, 1),
		"a huge number":           with(`"max_tokens":1e400`),
		"a long number":           with(`"max_tokens":` + strings.Repeat("9", 400)),
		"a deep list":             with(`"metadata":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)),
		"a deep object":           with(`"metadata":` + strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000)),
		"no end":                  strings.Repeat("[", 10_000),
		"more after it":           helloBody + helloBody,
		"NUL in the model":        strings.Replace(helloBody, `"mock"`, `"mock/\u0000"`, 1),
	}
}

func TestHostileBodiesAreRefusedWhereTheyComeIn(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, false)
	token := h.token(t, access.Enqueue, "")
	client := h.openai(token)
	for name, body := range hostile() {
		for _, path := range []string{"/v1/chat/completions", "/v1/messages", "/v1/responses"} {
			answer := h.send(t, http.MethodPost, path, token, body)
			text, err := io.ReadAll(answer.Body)
			if answer.StatusCode != http.StatusBadRequest && answer.StatusCode != http.StatusNotFound || err != nil || len(text) > 2000 {
				t.Errorf("%s to %s: %d %.300s %v", name, path, answer.StatusCode, text, err)
			}
		}
		if strings.Contains(name, "streamed") || name == "more after it" {
			continue
		}
		up, err := client.Files.New(t.Context(), file(line("good", "/v1/chat/completions", helloBody)+line("bad", "/v1/chat/completions", body)))
		must(t, err)
		b, err := client.Batches.New(t.Context(), batchOf(up.ID))
		must(t, err)
		eventually(t, "the batch with "+name+" fails", func() bool {
			b, err = client.Batches.Get(t.Context(), b.ID)
			return err == nil && b.Status == openai.BatchStatusFailed
		})
		if len(b.Errors.Data) != 1 || b.Errors.Data[0].Line != 2 {
			t.Errorf("a line with %s: %+v", name, b.Errors.Data)
		}
	}
	for header, want := range map[string]int{"Idempotency-Key": http.StatusBadRequest, "X-OneFlow-Account": http.StatusForbidden} {
		if answer := h.send(t, http.MethodPost, "/v1/chat/completions", token, helloBody, header, "\xff\xfe"); answer.StatusCode != want {
			t.Errorf("%s that is no text: %d", header, answer.StatusCode)
		}
	}
	if list, err := h.db.Jobs(t.Context(), jobs.Filter{Limit: 10}); err != nil || len(list.Jobs) > 0 {
		t.Errorf("jobs: %+v %v", list.Jobs, err)
	}
}

// NUL is a character that JSON and vendors take, and Postgres does not.
func TestAPromptWithNULIsAnsweredAndExported(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, true)
	token := h.token(t, access.Enqueue, "")
	client := h.openai(token)
	const nul = `a\u0000b \\u0000 c`
	for _, model := range []string{"mock", "gpt-5.4-mini", "claude-haiku-5-5"} {
		body := fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"%s"}]}`, model, nul)
		answer := h.send(t, http.MethodPost, "/v1/chat/completions", token, body)
		text, err := io.ReadAll(answer.Body)
		if answer.StatusCode != http.StatusOK || err != nil {
			t.Errorf("%s: %d %s %v", model, answer.StatusCode, text, err)
		}
		up, err := client.Files.New(t.Context(), file(line("a", "/v1/chat/completions", body)))
		must(t, err)
		b, err := client.Batches.New(t.Context(), batchOf(up.ID))
		must(t, err)
		eventually(t, "the batch with NUL for "+model+" is completed", func() bool {
			b, err = client.Batches.Get(t.Context(), b.ID)
			return err == nil && b.Status == openai.BatchStatusCompleted
		})
		must(t, unread(t, client, b.OutputFileID))
		n := 0
		must(t, h.db.Export(t.Context(), b.ID, func(r batches.Record) error {
			if n++; r.Prompt != "" && r.Prompt != "a\x00b \\u0000 c" {
				t.Errorf("%s: prompt %q", model, r.Prompt)
			}
			return nil
		}))
		if n != 1 {
			t.Errorf("%s: %d records", model, n)
		}
	}
}

func TestNothingIsBoughtTwiceForOneIdempotencyKey(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{Models: []string{"gpt-5.4-mini"}, Default: fakeprovider.Behaviour{Latency: fakeprovider.Latency{Mean: 300 * time.Millisecond}}}, true)
	all := h.token(t, access.Enqueue, "")
	body := strings.Replace(helloBody, "mock", "openai/gpt-5.4-mini", 1)
	unknown := strings.Replace(body, "gpt-5.4-mini", "gpt-9", 1)
	type outcome struct {
		code int
		job  string
	}
	post := func(body string, header ...string) outcome {
		answer := h.send(t, http.MethodPost, "/v1/chat/completions", all, body, header...)
		_, err := io.Copy(io.Discard, answer.Body)
		must(t, err)
		return outcome{answer.StatusCode, answer.Header.Get("X-Oneflow-Job")}
	}
	bought := int64(0)
	once := func(what string) {
		t.Helper()
		bought++
		if n := h.vendor.Count(); n != bought {
			t.Errorf("%s: %d calls were made, want %d", what, n, bought)
			bought = n
		}
	}
	// At the same time, as it runs, and after it.
	both := make(chan outcome, 2)
	for range 2 {
		go func() { both <- post(body, "Idempotency-Key", "k") }()
	}
	first, other := <-both, <-both
	if again := post(body, "Idempotency-Key", "k"); first != other || again != first || first.code != http.StatusOK {
		t.Errorf("%+v %+v %+v", first, other, again)
	}
	once("one key")
	if o := post(strings.Replace(body, "hello", "bye", 1), "Idempotency-Key", "k"); o.code != http.StatusUnprocessableEntity {
		t.Errorf("the key with another body: %+v", o)
	}
	for _, account := range []string{"a", "b"} {
		if o := post(body, "Idempotency-Key", "k", "X-OneFlow-Account", account); o.code != http.StatusOK || o.job == first.job {
			t.Errorf("the key for account %s: %+v", account, o)
		}
		once("account " + account)
	}
	failed := post(unknown, "Idempotency-Key", "f")
	if again := post(unknown, "Idempotency-Key", "f"); again != failed || failed.code != http.StatusNotFound {
		t.Errorf("after a failure: %+v %+v", failed, again)
	}
	once("a failed call")
	// A retry without a key, of a client that left as the call was under way.
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url+"/v1/chat/completions", strings.NewReader(strings.Replace(body, "hello", "left", 1)))
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+all)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if answer, err := h.client.Do(r); err == nil {
			_ = answer.Body.Close()
		}
	}()
	eventually(t, "the call is sent", func() bool { return h.vendor.Count() > bought })
	leave()
	<-gone
	if o := post(strings.Replace(body, "hello", "left", 1), "X-Stainless-Retry-Count", "1"); o.code != http.StatusOK {
		t.Errorf("the retry: %+v", o)
	}
	once("a client that left")
	// A wallet that is empty by now does not keep from an answer that is paid.
	_, err = h.db.Deposit(t.Context(), "a", 1, "a test", "ada")
	must(t, err)
	if o := post(body, "Idempotency-Key", "k", "X-OneFlow-Account", "a"); o.code != http.StatusOK {
		t.Errorf("with an empty wallet: %+v", o)
	}

	client := h.openai(all)
	up, err := client.Files.New(t.Context(), file(line("a", "/v1/chat/completions", body)))
	must(t, err)
	batch := func(account, metadata string) (int, string) {
		answer := h.send(t, http.MethodPost, "/v1/batches", all, `{"input_file_id":"`+up.ID+`","endpoint":"/v1/chat/completions","completion_window":"24h","metadata":{"x":"`+metadata+`"}}`,
			"Idempotency-Key", "k", "X-OneFlow-Account", account)
		var b struct{ ID string }
		must(t, json.NewDecoder(answer.Body).Decode(&b))
		return answer.StatusCode, b.ID
	}
	_, one := batch("c", "1")
	if code, same := batch("c", "1"); code != http.StatusOK || same != one || one == "" {
		t.Errorf("the same key made batches %q and %q", one, same)
	}
	if code, _ := batch("c", "2"); code != http.StatusUnprocessableEntity {
		t.Errorf("the key of a batch with another body: %d", code)
	}
	if _, strange := batch("d", "1"); strange == one || strange == "" {
		t.Errorf("another account's key: %q", strange)
	}
}

func TestARetryAfterALostConnectionIsMadeAnewWhereNothingWasSent(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, false) // nobody works: nothing is sent
	token := h.token(t, access.Enqueue, "")
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url+"/v1/chat/completions", strings.NewReader(`{"stream":true,`+helloBody[1:]))
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := h.client.Do(r)
	must(t, err)
	id := answer.Header.Get("X-Oneflow-Job")
	leave()
	_ = answer.Body.Close()
	eventually(t, "the job is cancelled", func() bool {
		p, err := h.db.Progress(t.Context(), id)
		return err == nil && p.State == string(jobs.Cancelled)
	})
	again := h.send(t, http.MethodPost, "/v1/chat/completions", token, `{"stream":true,`+helloBody[1:], "X-Stainless-Retry-Count", "1")
	job := again.Header.Get("X-Oneflow-Job")
	if p, err := h.db.Progress(t.Context(), job); err != nil || job == id || p.State != string(jobs.Queued) {
		t.Errorf("the retry of %s has job %s, which is %s, %v", id, job, p.State, err)
	}
}
