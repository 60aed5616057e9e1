package frontdoor_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/packages/param"

	"oneflow/access"
	"oneflow/internal/fakeprovider"
)

func messages(n int, model string) anthropic.MessageBatchNewParams {
	var params anthropic.MessageBatchNewParams
	for i := range n {
		params.Requests = append(params.Requests, anthropic.MessageBatchNewParamsRequest{
			CustomID: fmt.Sprintf("row-%d", i),
			Params: anthropic.MessageBatchNewParamsRequestParams{
				Model: model, MaxTokens: 500, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(fmt.Sprintf("hello %d", i)))},
			},
		})
	}
	return params
}

func TestAnthropicsClientHasABatchAnsweredUnchanged(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, true)
	client := h.anthropic(h.token(t, access.Enqueue, "mine"))
	const n = 12
	params := messages(n, "claude-haiku-5-5")
	params.Requests[1].Params.Model = "openai/gpt-5.4-mini"
	b, err := client.Messages.Batches.New(t.Context(), params)
	must(t, err)
	if b.ProcessingStatus != anthropic.MessageBatchProcessingStatusInProgress || b.RequestCounts.Processing != n || !strings.HasPrefix(b.ID, "msgbatch_") {
		t.Errorf("batch: %+v", b)
	}
	eventually(t, "the batch has ended", func() bool {
		b, err = client.Messages.Batches.Get(t.Context(), b.ID, anthropic.MessageBatchGetParams{})
		return err == nil && b.ProcessingStatus == anthropic.MessageBatchProcessingStatusEnded
	})
	if b.RequestCounts.Succeeded != n || b.ResultsURL == "" || b.EndedAt.IsZero() {
		t.Errorf("batch: %+v", b)
	}
	got := map[string]string{}
	stream := client.Messages.Batches.ResultsStreaming(t.Context(), b.ID, anthropic.MessageBatchResultsParams{})
	for stream.Next() {
		line := stream.Current()
		if ok := line.Result.AsSucceeded(); len(ok.Message.Content) > 0 {
			got[line.CustomID] = ok.Message.Content[0].Text
		} else {
			t.Errorf("%s", line.RawJSON())
		}
	}
	must(t, stream.Err())
	if len(got) != n || got["row-1"] == "" {
		t.Errorf("results: %v", got)
	}
	// The page of the other vendor's batches does not show it, and the other way round.
	list, err := client.Messages.Batches.List(t.Context(), anthropic.MessageBatchListParams{Limit: param.NewOpt[int64](1)})
	must(t, err)
	if len(list.Data) != 1 || list.Data[0].ID != b.ID || list.HasMore {
		t.Errorf("list: %+v", list)
	}
	mine := h.token(t, access.Enqueue, "mine")
	if text, err := io.ReadAll(h.send(t, http.MethodGet, "/v1/batches", mine, "").Body); err != nil || strings.Contains(string(text), b.ID) {
		t.Errorf("OpenAI's list: %s", text)
	}
	if r := h.send(t, http.MethodGet, "/v1/batches/"+b.ID, mine, ""); r.StatusCode != http.StatusNotFound {
		t.Errorf("OpenAI's batch: %d", r.StatusCode)
	}
	stranger := h.anthropic(h.token(t, access.Operate, "others"))
	if _, err := stranger.Messages.Batches.Get(t.Context(), b.ID, anthropic.MessageBatchGetParams{}); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a stranger gets %v", err)
	}
	if list, err := stranger.Messages.Batches.List(t.Context(), anthropic.MessageBatchListParams{}); err != nil || len(list.Data) != 0 {
		t.Errorf("a stranger sees %+v %v", list, err)
	}
}

func TestABatchOfMessagesIsCancelled(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, false)
	client := h.anthropic(h.token(t, access.Enqueue, ""))
	b, err := client.Messages.Batches.New(t.Context(), messages(3, "claude-haiku-5-5"))
	must(t, err)
	if r := h.send(t, http.MethodGet, "/v1/messages/batches/"+b.ID+"/results", h.token(t, access.Read, ""), ""); r.StatusCode != http.StatusConflict {
		t.Errorf("results of what has not ended: %d", r.StatusCode)
	}
	eventually(t, "its rows are jobs", func() bool {
		p, err := h.db.Progress(t.Context(), b.ID)
		return err == nil && p.Total() == 3
	})
	b, err = client.Messages.Batches.Cancel(t.Context(), b.ID, anthropic.MessageBatchCancelParams{})
	must(t, err)
	if b.CancelInitiatedAt.IsZero() {
		t.Errorf("batch: %+v", b)
	}
	eventually(t, "the batch has ended", func() bool {
		b, err = client.Messages.Batches.Get(t.Context(), b.ID, anthropic.MessageBatchGetParams{})
		return err == nil && b.ProcessingStatus == anthropic.MessageBatchProcessingStatusEnded && b.RequestCounts.Canceled == 3
	})
}

func TestWrongBatchesOfMessagesAreRefusedAndNothingOfThemRuns(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, false)
	token := h.token(t, access.Enqueue, "")
	good := `{"custom_id":"a","params":{"model":"claude-haiku-5-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}}`
	for body, want := range map[string]string{
		"":                                  "requests",
		"[]":                                "requests",
		`{"requests":[]}`:                   "at least one",
		`{"requests":[` + good:              "requests",
		`{"requests":[` + good + `],"x":1}`: "requests",
		`{"requests":[{"custom_id":"a"}]}`:  "requests.0",
		`{"requests":[` + good + `,` + strings.Replace(good, "claude-haiku-5-5", "nobody's", 1) + `]}`:               "requests.1",
		`{"requests":[` + good + `,` + good + `]}`:                                                                   "requests.1",
		`{"requests":[` + strings.Replace(good, `"custom_id"`, `"url":"/v1/chat/completions","custom_id"`, 1) + `]}`: "requests.0",
	} {
		r := h.send(t, http.MethodPost, "/v1/messages/batches", token, body)
		text, err := io.ReadAll(r.Body)
		must(t, err)
		if r.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), want) || !strings.Contains(string(text), `"type":"error"`) {
			t.Errorf("%.60s: %d %s", body, r.StatusCode, text)
		}
	}
	if text, err := io.ReadAll(h.send(t, http.MethodGet, "/v1/messages/batches", token, "").Body); err != nil || !strings.Contains(string(text), `"data":[]`) {
		t.Errorf("there is %s", text)
	}
	// The same again, as a client's retry sends it, is the same batch.
	send := func(header ...string) string {
		text, err := io.ReadAll(h.send(t, http.MethodPost, "/v1/messages/batches", token, `{"requests":[`+good+`]}`, header...).Body)
		must(t, err)
		return string(text)
	}
	first, again, other := send(), send("X-Stainless-Retry-Count", "1"), send()
	if id := func(s string) string { return s[:min(60, len(s))] }; id(first) != id(again) || id(first) == id(other) {
		t.Errorf("first %s, again %s, other %s", first, again, other)
	}
}
