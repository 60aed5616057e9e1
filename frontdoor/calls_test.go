package frontdoor_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/responses"

	"oneflow/access"
	"oneflow/fleet"
	"oneflow/internal/fakeprovider"
	"oneflow/jobs"
	"oneflow/providers"
)

func chat(model, text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)}}
}

func TestOpenAIsClientCallsAnyProviderUnchanged(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, true)
	client := h.openai(h.token(t, access.Enqueue, "research"))
	for _, model := range []string{"gpt-5.4-mini", "openai/gpt-5.4-mini", "claude-haiku-5-5", "anthropic", "mock"} {
		res, err := client.Chat.Completions.New(t.Context(), chat(model, "hello"))
		if err != nil || len(res.Choices) != 1 || res.Choices[0].Message.Content == "" || res.Choices[0].FinishReason != "stop" || res.Usage.CompletionTokens == 0 {
			t.Errorf("%s: %+v %v", model, res, err)
		}
		params := chat(model, "hello stream")
		params.StreamOptions.IncludeUsage = openai.Bool(true)
		stream := client.Chat.Completions.NewStreaming(t.Context(), params)
		var all openai.ChatCompletionAccumulator
		for stream.Next() {
			all.AddChunk(stream.Current())
		}
		if err := stream.Err(); err != nil || len(all.Choices) != 1 || all.Choices[0].Message.Content == "" || all.Usage.CompletionTokens == 0 {
			t.Errorf("%s as a stream: %+v %v", model, all.ChatCompletion, err)
		}
		response, err := client.Responses.New(t.Context(), responses.ResponseNewParams{Model: model, Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hello")}})
		if err != nil || response.OutputText() == "" || response.Status != "completed" {
			t.Errorf("%s by responses: %+v %v", model, response, err)
		}
	}
	events := client.Responses.NewStreaming(t.Context(), responses.ResponseNewParams{Model: "mock", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hello")}})
	text, completed := "", false
	for events.Next() {
		e := events.Current()
		text += e.AsResponseOutputTextDelta().Delta
		completed = completed || e.Type == "response.completed"
	}
	if events.Err() != nil || text == "" || !completed {
		t.Errorf("responses as a stream: %q %v", text, events.Err())
	}
	embedding, err := client.Embeddings.New(t.Context(), openai.EmbeddingNewParams{Model: "text-embedding-3-small", Input: openai.EmbeddingNewParamsInputUnion{OfString: openai.String("hello")}})
	if err != nil || len(embedding.Data) != 1 || len(embedding.Data[0].Embedding) == 0 {
		t.Errorf("embedding: %v", err)
	}
	image, err := client.Images.Generate(t.Context(), openai.ImageGenerateParams{Model: "gpt-image-1", Prompt: "a cat"})
	if err != nil || len(image.Data) != 1 {
		t.Fatalf("image: %+v %v", image, err)
	}
	if picture, err := base64.StdEncoding.DecodeString(image.Data[0].B64JSON); err != nil || !strings.HasPrefix(http.DetectContentType(picture), "image/") {
		t.Errorf("picture of %d bytes: %v", len(picture), err)
	}
	models, err := client.Models.List(t.Context())
	must(t, err)
	names := map[string]bool{}
	for _, m := range models.Data {
		names[m.ID] = true
	}
	if !names["mock"] || !names["openai"] {
		t.Errorf("models: %v", names)
	}
	if _, err := client.Chat.Completions.New(t.Context(), chat("nobody-9", "hello")); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("an unknown model: %v", err)
	}
}

func TestAnthropicsClientCallsAnyProviderUnchanged(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, true)
	client := h.anthropic(h.token(t, access.Enqueue, ""))
	for _, model := range []string{"claude-haiku-5-5", "gpt-5.4-mini", "mock"} {
		params := anthropic.MessageNewParams{Model: model, MaxTokens: 100, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("hello"))}}
		m, err := client.Messages.New(t.Context(), params)
		if err != nil || len(m.Content) == 0 || m.Content[0].Text == "" || m.Usage.OutputTokens == 0 || m.StopReason == "" {
			t.Errorf("%s: %+v %v", model, m, err)
		}
		stream := client.Messages.NewStreaming(t.Context(), params)
		var all anthropic.Message
		for stream.Next() {
			must(t, all.Accumulate(stream.Current()))
		}
		if err := stream.Err(); err != nil || len(all.Content) == 0 || all.Content[0].Text == "" || all.StopReason == "" {
			t.Errorf("%s as a stream: %+v %v", model, all, err)
		}
	}
	answer := h.send(t, http.MethodPost, "/v1/messages", "wrong", `{}`)
	text, err := io.ReadAll(answer.Body)
	if answer.StatusCode != http.StatusUnauthorized || !strings.Contains(string(text), `"authentication_error"`) {
		t.Errorf("a wrong token: %d %s %v", answer.StatusCode, text, err)
	}
}

const helloBody = `{"model":"mock","messages":[{"role":"user","content":"hello"}]}`

func TestARetryOfAClientJoinsItsJobAndBuysNothing(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, true)
	token := h.token(t, access.Enqueue, "")
	post := func(body string, header ...string) (int, string) {
		answer := h.send(t, http.MethodPost, "/v1/chat/completions", token, body, header...)
		_, err := io.Copy(io.Discard, answer.Body)
		must(t, err)
		return answer.StatusCode, answer.Header.Get("X-Oneflow-Job")
	}
	_, first := post(helloBody, "X-Stainless-Retry-Count", "0")
	if _, again := post(helloBody, "X-Stainless-Retry-Count", "1"); again != first || first == "" {
		t.Errorf("the retry of job %s made %s", first, again)
	}
	_, second := post(helloBody, "X-Stainless-Retry-Count", "0")
	if second == first {
		t.Error("an equal call that is no retry got the job of another")
	}
	if _, again := post(helloBody, "X-Stainless-Retry-Count", "1"); again != second {
		t.Errorf("a retry joined %s, which was joined already, and not %s", again, second)
	}
	if _, other := post(strings.Replace(helloBody, "hello", "bye", 1), "X-Stainless-Retry-Count", "1"); other == first || other == second || other == "" {
		t.Errorf("a retry that was never sent before got %q", other)
	}
	_, one := post(helloBody, "Idempotency-Key", "k")
	if _, same := post(helloBody, "Idempotency-Key", "k"); same != one {
		t.Errorf("the same key made %s and %s", one, same)
	}
	if code, _ := post(strings.Replace(helloBody, "hello", "bye", 1), "Idempotency-Key", "k"); code != http.StatusUnprocessableEntity {
		t.Errorf("the same key with another body: %d", code)
	}
	stranger := h.token(t, access.Enqueue, "")
	answer := h.send(t, http.MethodPost, "/v1/chat/completions", stranger, helloBody, "Idempotency-Key", "k")
	if other := answer.Header.Get("X-Oneflow-Job"); other == one || other == "" {
		t.Errorf("another token got the job of this one: %q", other)
	}
}

func TestAClientThatGoesAwayStopsItsJobUnlessItIsToBeKept(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, false) // nobody works: nothing is sent
	for name, c := range map[string]struct {
		header []string
		body   string
		want   jobs.State
	}{
		"a plain call":   {nil, helloBody, jobs.Cancelled},
		"a stream":       {nil, strings.Replace(helloBody, `{`, `{"stream":true,`, 1), jobs.Cancelled},
		"a kept one":     {[]string{"X-OneFlow-Keep", "1"}, helloBody, jobs.Queued},
		"one with a key": {[]string{"Idempotency-Key", "k"}, helloBody, jobs.Queued},
	} {
		token := h.token(t, access.Enqueue, strings.ReplaceAll(name, " ", "-"))
		leave := h.waits(t, token, c.body, c.header...)
		leave()
		h.waitFor(t, 0)
		if state := h.onlyJob(t, strings.ReplaceAll(name, " ", "-")); state != c.want {
			t.Errorf("%s: %s", name, state)
		}
	}
}

func TestAClientThatGoesAwayStopsNoJobThatItsRetryWaitsFor(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, false)
	token := h.token(t, access.Enqueue, "mine")
	leave := h.waits(t, token, helloBody, "X-Stainless-Retry-Count", "0")
	h.waitFor(t, 1)
	leaveRetry := h.waits(t, token, helloBody, "X-Stainless-Retry-Count", "1")
	h.waitFor(t, 2)
	leave()
	h.waitFor(t, 1)
	if state := h.onlyJob(t, "mine"); state != jobs.Queued {
		t.Errorf("the job of the retry is %s", state)
	}
	leaveRetry()
	h.waitFor(t, 0)
	if state := h.onlyJob(t, "mine"); state != jobs.Queued {
		t.Errorf("the job that somebody may come for is %s", state)
	}
}

// waits makes a call whose answer is waited for until leave is called.
func (h *house) waits(t *testing.T, token, body string, header ...string) (leave func()) {
	t.Helper()
	before := h.waiting()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url+"/v1/chat/completions", strings.NewReader(body))
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if answer, err := h.client.Do(r); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
		}
	}()
	h.waitFor(t, before+1)
	return func() {
		cancel()
		<-gone
	}
}

// waitFor waits until so many calls wait.
func (h *house) waitFor(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d calls wait", n), func() bool { return h.waiting() == n })
}

// onlyJob returns the state of the one job of an account.
func (h *house) onlyJob(t *testing.T, account string) jobs.State {
	t.Helper()
	list, err := h.db.Jobs(t.Context(), jobs.Filter{Account: account, Limit: 2})
	must(t, err)
	if len(list.Jobs) != 1 {
		t.Fatalf("%s has %d jobs, want one", account, len(list.Jobs))
	}
	return list.Jobs[0].State
}

func TestACallThatCannotBeAnsweredInTimeIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, false)
	token := h.token(t, access.Enqueue, "")
	must(t, h.db.AddProvider(t.Context(), fleet.Configured{Name: "mock", Kind: "mock", Simulated: true}))
	must(t, h.db.SetLimits(t.Context(), "mock", "", map[providers.Dimension]int64{providers.DimensionRPM: 1}, "ada"))
	// One waits: the next would be answered in a minute.
	first := h.send(t, http.MethodPost, "/v1/chat/completions", token, strings.Replace(helloBody, `{`, `{"stream":true,`, 1))
	if first.StatusCode != http.StatusOK {
		t.Fatalf("the first: %d", first.StatusCode)
	}
	for seconds, want := range map[string]int{"5": http.StatusTooManyRequests, "59.5": http.StatusTooManyRequests, "600": http.StatusOK} {
		answer := h.send(t, http.MethodPost, "/v1/chat/completions", token, strings.Replace(helloBody, `{`, `{"stream":true,`, 1), "X-Stainless-Timeout", seconds)
		if answer.StatusCode != want || want == http.StatusTooManyRequests && answer.Header.Get("Retry-After") == "" {
			t.Errorf("who waits %s s: %d %v", seconds, answer.StatusCode, answer.Header)
		}
		if want == http.StatusOK {
			break // it waits, too, and what comes after it waits longer
		}
	}
	list, err := h.db.Jobs(t.Context(), jobs.Filter{Limit: 10})
	if err != nil || len(list.Jobs) > 2 {
		t.Errorf("what was refused is a job: %+v %v", list, err)
	}
}

func TestCallsThatComeAtOnceAreNotAllLetIntoAShortQueue(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, false)
	token := h.token(t, access.Enqueue, "")
	must(t, h.db.AddProvider(t.Context(), fleet.Configured{Name: "mock", Kind: "mock", Simulated: true}))
	must(t, h.db.SetLimits(t.Context(), "mock", "", map[providers.Dimension]int64{providers.DimensionRPM: 15}, "ada"))
	var wg sync.WaitGroup
	var in atomic.Int64
	for i := range 40 {
		wg.Go(func() {
			body := strings.Replace(helloBody, `{`, fmt.Sprintf(`{"stream":true,"user":"u%d",`, i), 1)
			if h.send(t, http.MethodPost, "/v1/chat/completions", token, body, "X-Stainless-Timeout", "20").StatusCode == http.StatusOK {
				in.Add(1)
			}
		})
	}
	wg.Wait()
	// One in four seconds: five are answered in time.
	if n := in.Load(); n < 1 || n > 5 {
		t.Errorf("%d calls of 40 were let in", n)
	}
}

func TestAThousandCallsAtOnceAreAnswered(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, true)
	client := h.openai(h.token(t, access.Enqueue, ""))
	const n = 1000
	var wg sync.WaitGroup
	failures := make(chan error, n)
	for i := range n {
		wg.Go(func() {
			res, err := client.Chat.Completions.New(t.Context(), chat("mock", fmt.Sprintf("hello %d", i)))
			if err == nil && (len(res.Choices) != 1 || res.Choices[0].Message.Content == "") {
				err = fmt.Errorf("empty answer: %s", res.RawJSON())
			}
			if err != nil {
				failures <- err
			}
		})
	}
	wg.Wait()
	close(failures)
	for err := range failures {
		t.Fatalf("%d of %d failed: %v", len(failures)+1, n, err)
	}
}

func TestRefusalsOfTheVendorReachTheClient(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{Models: []string{"gpt-5.4-mini"}}, true)
	token := h.token(t, access.Enqueue, "")
	for name, c := range map[string]struct {
		body string
		code int
	}{
		"no object":       {`[]`, 400},
		"not JSON":        {`{`, 400},
		"no model":        {`{"messages":[]}`, 404},
		"the vendor's no": {`{"model":"openai/gpt-9","messages":[{"role":"user","content":"x"}]}`, 404},
	} {
		answer := h.send(t, http.MethodPost, "/v1/chat/completions", token, c.body)
		var e struct {
			Error struct{ Message, Type string }
		}
		text, err := io.ReadAll(answer.Body)
		must(t, err)
		if json.Unmarshal(text, &e) != nil || answer.StatusCode != c.code || e.Error.Message == "" || e.Error.Type == "" {
			t.Errorf("%s: %d %s", name, answer.StatusCode, text)
		}
		// The job has had all its tries, so that the client's own would buy nothing.
		if again, sent := answer.Header.Get("X-Should-Retry"), answer.Header.Get("X-Oneflow-Job") != ""; (again == "false") != sent {
			t.Errorf("%s: the client is told to retry: %q; a job was made: %v", name, again, sent)
		}
	}
	answer := h.send(t, http.MethodPost, "/v1/chat/completions", token, `{"stream":true,"model":"openai/gpt-9","messages":[{"role":"user","content":"x"}]}`)
	text, err := io.ReadAll(answer.Body)
	if answer.StatusCode != http.StatusOK || err != nil || !strings.Contains(string(text), `data: {"error":{`) {
		t.Errorf("a stream that fails: %d %s", answer.StatusCode, text)
	}
}

// The age that the configuration allows for answers from the cache holds for programs' calls.
func TestTheConfiguredCacheHoldsForProgramsCalls(t *testing.T) {
	t.Parallel()
	h := openAt(t, fakeprovider.Config{}, 60_000, true, "cache: {ttl: 1h}\n")
	client := h.openai(h.token(t, access.Enqueue, "research"))
	ask := func(temperature float64) int64 {
		before := h.vendor.Count()
		params := chat("gpt-5.4-mini", "hello")
		params.Temperature = openai.Float(temperature)
		if _, err := client.Chat.Completions.New(t.Context(), params); err != nil {
			t.Fatal(err)
		}
		return h.vendor.Count() - before
	}
	for i, c := range []struct {
		temperature float64
		calls       int64
	}{{0, 1}, {0, 0}, {0.5, 1}, {0.5, 1}} {
		if n := ask(c.temperature); n != c.calls {
			t.Errorf("request %d at temperature %g: %d calls, want %d", i, c.temperature, n, c.calls)
		}
	}
}
