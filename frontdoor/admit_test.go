package frontdoor_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"

	"oneflow/access"
	"oneflow/internal/fakeprovider"
	"oneflow/jobs"
)

func TestAnEmptyWalletRefusesCallsAndBatches(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, true)
	_, err := h.db.Deposit(t.Context(), "poor", 1, "a test", "ada")
	must(t, err)
	token := h.token(t, access.Enqueue, "poor")
	client := h.openai(token)
	if _, err := client.Chat.Completions.New(t.Context(), chat("gpt-5.4-mini", "hello")); err == nil || !strings.Contains(err.Error(), "402") {
		t.Errorf("a call: %v", err)
	}
	up, err := client.Files.New(t.Context(), file(line("a", "/v1/chat/completions", `{"model":"gpt-5.4-mini","messages":[{"role":"user","content":"hello"}]}`)))
	must(t, err)
	b, err := client.Batches.New(t.Context(), batchOf(up.ID))
	must(t, err)
	eventually(t, "the batch fails", func() bool {
		b, err = client.Batches.Get(t.Context(), b.ID)
		return err == nil && b.Status == openai.BatchStatusFailed
	})
	if len(b.Errors.Data) != 1 || b.Errors.Data[0].Code != "insufficient_funds" {
		t.Errorf("batch: %+v", b.Errors.Data)
	}
	list, err := h.db.Jobs(t.Context(), jobs.Filter{Account: "poor", Limit: 10})
	if err != nil || len(list.Jobs) > 0 || h.vendor.Count() > 0 {
		t.Errorf("%d calls were made, jobs %+v, %v", h.vendor.Count(), list.Jobs, err)
	}
}

func TestACallThatWasSentIsAnsweredAfterItsDeadlineSinceItIsPaid(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{Default: fakeprovider.Behaviour{Latency: fakeprovider.Latency{Mean: 3 * time.Second}}}, true)
	token := h.token(t, access.Enqueue, "")
	answer := h.send(t, http.MethodPost, "/v1/chat/completions", token, strings.Replace(helloBody, "mock", "gpt-5.4-mini", 1), "X-OneFlow-Deadline", "1")
	text, err := io.ReadAll(answer.Body)
	if sent := h.vendor.Count(); sent == 0 && answer.StatusCode != http.StatusGatewayTimeout || sent == 1 && answer.StatusCode != http.StatusOK || sent > 1 || err != nil {
		t.Errorf("%d calls, %d %s %v", sent, answer.StatusCode, text, err)
	}
	for _, wrong := range []string{"0", "-1", "soon", "NaN", "Inf", "1e99"} {
		if answer := h.send(t, http.MethodPost, "/v1/chat/completions", token, helloBody, "X-OneFlow-Deadline", wrong); answer.StatusCode != http.StatusBadRequest {
			t.Errorf("a deadline of %s: %d", wrong, answer.StatusCode)
		}
	}
}

func TestHeadersPutACallIntoABatchOfItsAccountWithTags(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, true)
	mine, theirs := h.token(t, access.Enqueue, "mine"), h.token(t, access.Enqueue, "theirs")
	for range 2 { // two equal calls are two jobs
		if answer := h.send(t, http.MethodPost, "/v1/chat/completions", mine, helloBody, "X-OneFlow-Batch", "chats", "X-OneFlow-Tags", "team=red, feature=search"); answer.StatusCode != http.StatusOK {
			t.Fatalf("%d", answer.StatusCode)
		}
	}
	if answer := h.send(t, http.MethodPost, "/api/v1/jobs", mine, `{"provider":"mock","prompt":"hello"}`, "X-OneFlow-Batch", "chats"); answer.StatusCode != http.StatusAccepted {
		t.Errorf("a job of our own API: %d", answer.StatusCode)
	}
	eventually(t, "the batch has three jobs that have ended", func() bool {
		p, err := h.db.Progress(t.Context(), "chats")
		return err == nil && p.Counts[jobs.Succeeded] == 3 && p.State == jobs.BatchFinished
	})
	list, err := h.db.Jobs(t.Context(), jobs.Filter{Tag: "team=red", Account: "mine", Limit: 10})
	if err != nil || len(list.Jobs) != 3 {
		t.Errorf("%d jobs have the tag, %v", len(list.Jobs), err)
	}
	for name, c := range map[string]struct {
		token  string
		header []string
		status int
	}{
		"another account's batch": {theirs, []string{"X-OneFlow-Batch", "chats"}, http.StatusConflict},
		"no batch":                {mine, []string{"X-OneFlow-Tags", "a=b"}, http.StatusBadRequest},
		"a bad name":              {mine, []string{"X-OneFlow-Batch", "../x"}, http.StatusBadRequest},
		"a bad tag":               {mine, []string{"X-OneFlow-Batch", "chats", "X-OneFlow-Tags", "red"}, http.StatusBadRequest},
		"too many tags":           {mine, []string{"X-OneFlow-Batch", "chats", "X-OneFlow-Tags", strings.Repeat("a=b,", 20) + "c=d"}, http.StatusBadRequest},
	} {
		if answer := h.send(t, http.MethodPost, "/v1/chat/completions", c.token, helloBody, c.header...); answer.StatusCode != c.status {
			t.Errorf("%s: %d", name, answer.StatusCode)
		}
	}
	if p, err := h.db.Progress(t.Context(), "chats"); err != nil || p.Total() != 3 {
		t.Errorf("then it has %d, %v", p.Total(), err)
	}
	must(t, h.db.StopJobs(t.Context(), "chats"))
}
