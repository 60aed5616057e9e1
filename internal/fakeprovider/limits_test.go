package fakeprovider_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"oneflow/internal/fakeprovider"
)

func limited(c *clock, l fakeprovider.Limits) fakeprovider.Config {
	return fakeprovider.Config{Now: c.Now, Default: fakeprovider.Behaviour{Limits: l}}
}

func TestOpenAIKeepsAStrictWindowAndSaysSoInHeaders(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := start(t, limited(c, fakeprovider.Limits{Requests: 2, Tokens: 100000}))
	r := send(t, good(t, s, fakeprovider.OpenAI))
	for name, want := range map[string]string{
		"x-ratelimit-limit-requests": "2", "x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "1m0s",
		"x-ratelimit-limit-tokens": "100000", "x-ratelimit-reset-tokens": "1m0s",
	} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	c.advance(20 * time.Second)
	send(t, good(t, s, fakeprovider.OpenAI)).has(t, 200)
	c.advance(10500 * time.Millisecond)
	r = send(t, good(t, s, fakeprovider.OpenAI))
	r.has(t, 429, `"code":"rate_limit_exceeded"`, `"type":"requests"`, "Limit 2, Used 2, Requested 1", "try again in 29.5s")
	if r.header.Get("Retry-After") != "30" || r.header.Get("Retry-After-Ms") != "29500" || r.header.Get("X-Ratelimit-Remaining-Requests") != "0" {
		t.Errorf("%v", r.header)
	}
	other := good(t, s, fakeprovider.OpenAI)
	authorise(other, fakeprovider.OpenAI, "another-key")
	send(t, other).has(t, 200)
	c.advance(29499 * time.Millisecond)
	send(t, good(t, s, fakeprovider.OpenAI)).has(t, 429)
	c.advance(time.Millisecond)
	send(t, good(t, s, fakeprovider.OpenAI)).has(t, 200)
	get(t, s, fakeprovider.OpenAI, "/v1/models").has(t, 200) // costs nothing
}

func TestOpenAITokensAreLimitedTogether(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := start(t, limited(c, fakeprovider.Limits{Tokens: 1000}))
	big := `{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"` + strings.Repeat("abcd", 599) + `"}]}`
	r := send(t, request(t, s, fakeprovider.OpenAI, big))
	if got := r.header.Get("X-Ratelimit-Remaining-Tokens"); got != "400" {
		t.Errorf("remaining %s", got)
	}
	send(t, request(t, s, fakeprovider.OpenAI, big)).has(t, 429, `"type":"tokens"`, "Limit 1000, Used 600, Requested 600")
	send(t, request(t, s, fakeprovider.OpenAI, strings.Replace(big, "abcd", strings.Repeat("abcd", 1000), 1))).has(t, 429, "Request too large")
}

func TestRefusedCallsCountWhereTheLimitSaysSo(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := start(t, limited(c, fakeprovider.Limits{Requests: 1, CountRefused: true}))
	send(t, good(t, s, fakeprovider.OpenAI)).has(t, 200)
	c.advance(30 * time.Second)
	send(t, good(t, s, fakeprovider.OpenAI)).has(t, 429)
	c.advance(30 * time.Second)
	send(t, good(t, s, fakeprovider.OpenAI)).has(t, 429)
	c.advance(time.Minute)
	send(t, good(t, s, fakeprovider.OpenAI)).has(t, 200)
}

func TestAnthropicLimitsInputAndOutputApart(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := start(t, limited(c, fakeprovider.Limits{Requests: 50, InputTokens: 10, OutputTokens: 3}))
	body := `{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"` + strings.Repeat("a", 16) + `"}]}`
	r := send(t, request(t, s, fakeprovider.Anthropic, body))
	r.has(t, 200)
	for name, want := range map[string]string{
		"anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-remaining": "49",
		"anthropic-ratelimit-input-tokens-remaining": "6", "anthropic-ratelimit-output-tokens-remaining": "2",
		"anthropic-ratelimit-input-tokens-reset": "2026-01-02T03:05:05Z",
	} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	send(t, request(t, s, fakeprovider.Anthropic, body)).has(t, 200)
	r = send(t, request(t, s, fakeprovider.Anthropic, body))
	r.has(t, 429, `"type":"rate_limit_error"`, "10 input tokens per minute")
	if r.header.Get("Retry-After") != "60" {
		t.Errorf("%v", r.header)
	}
}

func TestStabilityShutsOutForAMinute(t *testing.T) {
	t.Parallel()
	c := newClock()
	// As documented, but for one request in place of 150.
	limits := fakeprovider.Limits{Requests: 1, Window: 10 * time.Second, Penalty: time.Minute}
	s := start(t, limited(c, limits))
	send(t, good(t, s, fakeprovider.Stability)).has(t, 200)
	send(t, good(t, s, fakeprovider.Stability)).has(t, 429, `"name":"rate_limit_exceeded"`, "1 requests within a 10 second period", "timed out for 60 seconds")
	c.advance(59 * time.Second)
	send(t, good(t, s, fakeprovider.Stability)).has(t, 429)
	c.advance(time.Second)
	send(t, good(t, s, fakeprovider.Stability)).has(t, 200)
}

func TestElevenLabsLimitsHowManyRunAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t, limited(newClock(), fakeprovider.Limits{Concurrent: 1}))
	r := send(t, good(t, s, fakeprovider.ElevenLabs))
	if r.header.Get("Maximum-Concurrent-Requests") != "1" || r.header.Get("Current-Concurrent-Requests") != "1" {
		t.Errorf("%v", r.header)
	}
	s.Inject(fakeprovider.Injection{Fault: fakeprovider.Hang, Times: 100_000, Path: "/v1/text-to-speech/bert"}) // also those that are refused
	ctx, cancel := context.WithCancel(t.Context())
	hung := make(chan error, 1)
	go func() {
		var err error
		for err == nil { // it is refused where one of those below has the place
			_, err = try(post(t, s, fakeprovider.ElevenLabs, "/v1/text-to-speech/bert", `{"text":"a"}`).WithContext(ctx), http.DefaultTransport)
		}
		hung <- err
	}()
	waitFor(t, func() bool { // the hanging call has its place once another is refused
		return send(t, good(t, s, fakeprovider.ElevenLabs)).status == 429
	})
	send(t, good(t, s, fakeprovider.ElevenLabs)).has(t, 429, `"status":"too_many_concurrent_requests"`, "maximum of 1 concurrent")
	cancel()
	if err := <-hung; !errors.Is(err, context.Canceled) {
		t.Errorf("the hanging call ended with %v", err)
	}
	waitFor(t, func() bool { return send(t, good(t, s, fakeprovider.ElevenLabs)).status == 200 })
}

// waitFor repeats a call to the server until it holds.
func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !holds() {
		if ctx.Err() != nil {
			t.Fatal("not within a minute")
		}
	}
}

func TestAnswersTakeTheirTimeAndRefusalsDoNot(t *testing.T) {
	t.Parallel()
	const latency = 300 * time.Millisecond
	s := start(t, fakeprovider.Config{Default: fakeprovider.Behaviour{
		Limits:  fakeprovider.Limits{Requests: 1},
		Latency: fakeprovider.Latency{Mean: latency},
	}})
	begin := time.Now()
	send(t, good(t, s, fakeprovider.OpenAI)).has(t, 200)
	if took := time.Since(begin); took < latency {
		t.Errorf("an answer took %v", took)
	}
	fastest := time.Hour
	for range 20 {
		begin = time.Now()
		send(t, good(t, s, fakeprovider.OpenAI)).has(t, 429)
		fastest = min(fastest, time.Since(begin))
	}
	if fastest >= latency {
		t.Errorf("a refusal took %v", fastest)
	}
}

func TestConfigThatMakesNoSenseIsRefusedByField(t *testing.T) {
	t.Parallel()
	type b = fakeprovider.Behaviour
	for want, config := range map[string]fakeprovider.Config{
		"Default.Limits.Requests":      {Default: b{Limits: fakeprovider.Limits{Requests: -1}}},
		"Default.Latency.Distribution": {Default: b{Latency: fakeprovider.Latency{Distribution: "normal"}}},
		"Default.Latency.Spread":       {Default: b{Latency: fakeprovider.Latency{Distribution: fakeprovider.Uniform, Spread: 2}}},
		"Vendors[openai].Faults[hang]": {Vendors: map[fakeprovider.Vendor]b{fakeprovider.OpenAI: {Faults: map[fakeprovider.Fault]float64{"hang": 2}}}},
		`there is no fault "bang"`:     {Default: b{Faults: map[fakeprovider.Fault]float64{"bang": 1}}},
		"1 together at most":           {Default: b{Faults: map[fakeprovider.Fault]float64{"hang": .6, "huge": .6}}},
		`there is no vendor "acme"`:    {Vendors: map[fakeprovider.Vendor]b{"acme": {}}},
		"Keys[…6789].Limits.Window":    {Keys: map[string]*b{key: {Limits: fakeprovider.Limits{Window: -1}}}},
		"VideoPolls":                   {VideoPolls: -1},
		"CallLog":                      {CallLog: t.TempDir() + "/none/log"},
	} {
		if _, err := fakeprovider.New(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
	s, err := fakeprovider.New(fakeprovider.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start("0.0.0.0:0"); err == nil || !strings.Contains(fmt.Sprint(err), "loopback") {
		t.Errorf("listened to the world: %v", err)
	}
}
