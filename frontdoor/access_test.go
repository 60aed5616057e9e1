package frontdoor_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"oneflow/access"
	"oneflow/internal/fakeprovider"
)

func TestAllRoutesAskForTheirScopeAndHideOtherAccounts(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, true)
	const secret = "a prompt that nobody may see"
	mine := h.token(t, access.Enqueue, "mine")
	client := h.openai(mine)
	body := strings.Replace(helloBody, "hello", secret, 1)
	up, err := client.Files.New(t.Context(), file(line("a-row-of-mine", "/v1/chat/completions", body)))
	must(t, err)
	b, err := client.Batches.New(t.Context(), batchOf(up.ID))
	must(t, err)
	eventually(t, "the batch is completed", func() bool {
		b, err = client.Batches.Get(t.Context(), b.ID)
		return err == nil && b.OutputFileID != ""
	})
	spoken := messages(1, "claude-haiku-5-5")
	spoken.Requests[0].CustomID = "a-row-of-mine"
	claude := h.anthropic(mine)
	talk, err := claude.Messages.Batches.New(t.Context(), spoken)
	must(t, err)
	joined := h.send(t, http.MethodPost, "/v1/chat/completions", mine, body, "Idempotency-Key", "k").Header.Get("X-Oneflow-Job")

	tokens := map[access.Scope]string{"": ""}
	for _, s := range access.Scopes() {
		tokens[s] = h.token(t, s, "")
	}
	stranger := h.token(t, access.Operate, "others")
	ids := map[string][]string{
		"/v1/files/{id}": {up.ID, b.OutputFileID, "file-" + b.ID + "-errors"}, "/v1/files/{id}/content": {up.ID, b.OutputFileID, "file-" + b.ID + "-errors"},
		"/v1/batches/{id}": {b.ID}, "/v1/batches/{id}/cancel": {b.ID}, "/v1/models/{id...}": {"mock"},
		"/v1/messages/batches/{id}": {talk.ID}, "/v1/messages/batches/{id}/results": {talk.ID}, "/v1/messages/batches/{id}/cancel": {talk.ID},
	}
	for _, route := range h.routes {
		method, path, _ := strings.Cut(route.Pattern, " ")
		if route.Scope == "" || route.Fleet {
			t.Errorf("%s is for anybody, or for nobody with an account", route.Pattern)
		}
		of := ids[path]
		if of == nil {
			if strings.Contains(path, "{") {
				t.Errorf("%s is not tried: say of what", route.Pattern)
			}
			of = []string{""}
		}
		for _, id := range of {
			path := strings.NewReplacer("{id}", id, "{id...}", id).Replace(path)
			// As for a stranger first: what deletes finds it there.
			answer := h.send(t, method, path, stranger, "{}")
			text, err := io.ReadAll(answer.Body)
			must(t, err)
			if id != "" && answer.StatusCode != http.StatusNotFound && id != "mock" {
				t.Errorf("%s %s of another account: %d %s", method, path, answer.StatusCode, text)
			}
			for _, theirs := range []string{up.ID, b.ID, talk.ID, "input.jsonl", "a-row-of-mine", secret, joined} {
				if answer.StatusCode < 300 && strings.Contains(string(text), theirs) {
					t.Errorf("%s %s shows another account %q: %s", method, path, theirs, text)
				}
			}
			for scope, token := range tokens {
				if method == http.MethodDelete && scope.Includes(route.Scope) {
					continue // it would be gone
				}
				answer := h.send(t, method, path, token, "{}")
				refused := answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized
				if refused == scope.Includes(route.Scope) || scope == "" && answer.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s %s with scope %q: %d", method, path, scope, answer.StatusCode)
				}
			}
		}
	}
	for _, e := range []string{"/v1/files?after=" + up.ID, "/v1/files?purpose=batch", "/v1/batches?after=" + b.ID} {
		text, err := io.ReadAll(h.send(t, http.MethodGet, e, stranger, "").Body)
		if err != nil || !strings.Contains(string(text), `"data":[]`) {
			t.Errorf("%s shows a stranger %s", e, text)
		}
	}
	// A call and a batch with the same key, or the same file, are others'.
	if id := h.send(t, http.MethodPost, "/v1/chat/completions", stranger, body, "Idempotency-Key", "k").Header.Get("X-Oneflow-Job"); id == joined || id == "" {
		t.Errorf("a stranger joined job %q", id)
	}
	if answer := h.send(t, http.MethodPost, "/v1/chat/completions", stranger, body, "X-OneFlow-Account", "mine"); answer.StatusCode != http.StatusForbidden {
		t.Errorf("a stranger pays with another's money: %d", answer.StatusCode)
	}
	// What wrong tokens see: none is better than another.
	for _, wrong := range []string{"sk-1", "oneflow_aaaaaaaaaa_WRONG", mine[:len(mine)-1], mine + "A"} {
		for _, route := range []string{"/v1/files", "/v1/batches"} {
			if answer := h.send(t, http.MethodGet, route, wrong, ""); answer.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s with a wrong token: %d", route, answer.StatusCode)
			}
		}
	}
}
