package fakeprovider_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"oneflow/internal/fakeprovider"
)

func TestEachVendorFailsInItsOwnWords(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	type failure struct {
		status int
		want   string
	}
	const (
		openai, anthropic     = fakeprovider.OpenAI, fakeprovider.Anthropic
		stability, elevenlabs = fakeprovider.Stability, fakeprovider.ElevenLabs
	)
	for fault, vendors := range map[fakeprovider.Fault]map[fakeprovider.Vendor]failure{
		fakeprovider.ServerError: {
			openai: {500, `"type":"server_error"`}, anthropic: {500, `"type":"api_error"`},
			stability: {500, `"name":"internal_error"`}, elevenlabs: {500, "Internal Server Error"},
		},
		fakeprovider.BadGateway:  {openai: {502, "<html>"}, elevenlabs: {502, "<html>"}},
		fakeprovider.Unavailable: {openai: {503, `"error"`}, stability: {503, `"errors"`}},
		fakeprovider.Overloaded: {
			openai: {503, "overloaded"}, anthropic: {529, `"type":"overloaded_error"`},
			stability: {503, "overloaded"}, elevenlabs: {429, `"status":"system_busy"`},
		},
		fakeprovider.RateLimited: {
			openai: {429, `"code":"rate_limit_exceeded"`}, anthropic: {429, `"type":"rate_limit_error"`},
			stability: {429, `"name":"rate_limit_exceeded"`}, elevenlabs: {429, `"status":"rate_limit_exceeded"`},
		},
		fakeprovider.OutOfMoney: {
			openai: {429, `"code":"insufficient_quota"`}, anthropic: {402, `"type":"billing_error"`},
			stability: {402, `"name":"payment_required"`}, elevenlabs: {401, `"status":"quota_exceeded"`},
		},
		fakeprovider.Unauthorised: {
			openai: {401, `"code":"invalid_api_key"`}, anthropic: {401, `"type":"authentication_error"`},
			stability: {401, `"name":"unauthorized"`}, elevenlabs: {401, `"status":"invalid_api_key"`},
		},
		fakeprovider.Moderated: {
			openai: {400, `"code":"invalid_prompt"`}, anthropic: {400, "content filtering policy"},
			stability: {403, `"name":"content_moderation"`}, elevenlabs: {400, "content_against_policy"},
		},
		fakeprovider.Refused: {openai: {200, `"finish_reason":"content_filter"`}, anthropic: {200, `"stop_reason":"refusal"`}, stability: {403, "content_moderation"}},
		fakeprovider.Blurred: {openai: {400, "invalid_prompt"}, stability: {200, "\x89PNG"}},
	} {
		for vendor, want := range vendors {
			s.Next(fault, 1)
			r := send(t, good(t, s, vendor))
			r.has(t, want.status, want.want)
			if fault == fakeprovider.Blurred && vendor == stability && r.header.Get("Finish-Reason") != "CONTENT_FILTERED" {
				t.Errorf("%v", r.header)
			}
			if got := r.header.Get("Finish-Reason"); r.status >= 400 && got != "" {
				t.Errorf("%s of %s: an error with finish-reason %s", fault, vendor, got)
			}
		}
	}
	s.Next(fakeprovider.Moderated, 1)
	send(t, post(t, s, openai, "/v1/images/generations", `{"model":"gpt-image-1","prompt":"a"}`)).has(t, 400, `"code":"moderation_blocked"`)
	send(t, good(t, s, openai)).has(t, 200)
}

func TestTheTransportBreaksInEveryWay(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "calls.ndjson")
	s := start(t, fakeprovider.Config{CallLog: path, HugeBytes: 3 << 20, TrickleEvery: time.Microsecond})
	for _, secure := range []bool{false, true} {
		transport := http.DefaultTransport
		if secure {
			var err error
			s, err = fakeprovider.New(fakeprovider.Config{CallLog: path, HugeBytes: 3 << 20, TrickleEvery: time.Microsecond})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.StartTLS(""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			if _, err := try(good(t, s, fakeprovider.OpenAI), transport); !strings.Contains(fmt.Sprint(err), "certificate") {
				t.Errorf("bad TLS: %v", err)
			}
			transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.CertPool()}}
		}
		next := func(fault fakeprovider.Fault) (reply, error) {
			s.Next(fault, 1)
			return try(good(t, s, fakeprovider.OpenAI), transport)
		}
		whole, err := try(good(t, s, fakeprovider.OpenAI), transport)
		if err != nil {
			t.Fatal(err)
		}
		whole.has(t, 200)
		if r, err := next(fakeprovider.Trickle); err != nil || len(r.body) < 100 {
			t.Errorf("trickle: %d bytes, %v", len(r.body), err)
		}
		if r, err := next(fakeprovider.Truncated); !errors.Is(err, io.ErrUnexpectedEOF) || len(r.body) == 0 {
			t.Errorf("truncated: %d bytes, %v", len(r.body), err)
		}
		for _, fault := range []fakeprovider.Fault{fakeprovider.ResetBefore, fakeprovider.ResetAfter} {
			if _, err := next(fault); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: %v", fault, err)
			}
		}
		if r, err := next(fakeprovider.Garbage); err != nil || r.status != 200 || json.Valid(r.body) {
			t.Errorf("garbage: %s, %v", r.body, err)
		}
		if r, err := next(fakeprovider.Empty); err != nil || r.status != 200 || string(r.body) != "{}" {
			t.Errorf("empty: %s, %v", r.body, err)
		}
		if r, err := next(fakeprovider.Huge); err != nil || len(r.body) != 3<<20+8 || !json.Valid(r.body) {
			t.Errorf("huge: %d bytes, %v", len(r.body), err)
		}
		s.Next(fakeprovider.Hang, 1)
		before := len(readLog(t, path))
		ctx, cancel := context.WithCancel(t.Context())
		hung := make(chan error, 1)
		go func() {
			_, err := try(good(t, s, fakeprovider.OpenAI).WithContext(ctx), transport)
			hung <- err
		}()
		waitFor(t, func() bool { return len(readLog(t, path)) > before }) // it has begun
		select {
		case err := <-hung:
			t.Errorf("hang: %v", err)
		default:
		}
		cancel()
		<-hung
	}
	waitFor(t, func() bool { return strings.Count(fmt.Sprint(readLog(t, path)), " hang ") == 2 })
	for _, line := range readLog(t, path) {
		// A vendor charges for what it has done, whoever gets the answer.
		if lost := line.Event == "end" && line.Outcome != "reset_before"; lost && (line.Usage == nil || line.Usage.InputTokens == 0) {
			t.Errorf("no usage: %+v", line)
		}
	}
}

func TestInjectionsAreForTheCallsTheyName(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	s.Inject(fakeprovider.Injection{Fault: fakeprovider.ServerError, Times: -1, Vendor: fakeprovider.Anthropic})
	s.Inject(fakeprovider.Injection{Fault: fakeprovider.OutOfMoney, Times: 1, Key: "another-key"})
	s.Inject(fakeprovider.Injection{Fault: fakeprovider.Unauthorised, Times: 1, Path: "/v1/models"})
	send(t, good(t, s, fakeprovider.OpenAI)).has(t, 200)
	for range 3 {
		send(t, good(t, s, fakeprovider.Anthropic)).has(t, 500)
	}
	r := good(t, s, fakeprovider.OpenAI)
	authorise(r, fakeprovider.OpenAI, "another-key")
	send(t, r).has(t, 429, "insufficient_quota")
	get(t, s, fakeprovider.OpenAI, "/v1/models").has(t, 401)
	get(t, s, fakeprovider.OpenAI, "/v1/models").has(t, 200)
	s.Clear()
	send(t, good(t, s, fakeprovider.Anthropic)).has(t, 200)
}

func TestConfiguredFaultsComeAtTheirRateAndRepeatWithTheSeed(t *testing.T) {
	t.Parallel()
	const calls = 600
	run := func(seed uint64) string {
		s := start(t, fakeprovider.Config{
			Seed:    seed,
			Default: fakeprovider.Behaviour{Faults: map[fakeprovider.Fault]float64{fakeprovider.ServerError: 0.2, fakeprovider.Overloaded: 0.1}},
			Keys: map[string]*fakeprovider.Behaviour{
				key: nil, "broken-key": {Faults: map[fakeprovider.Fault]float64{fakeprovider.OutOfMoney: 1}},
			},
		})
		var statuses strings.Builder
		for range calls {
			fmt.Fprint(&statuses, send(t, good(t, s, fakeprovider.Anthropic)).status, " ")
		}
		r := good(t, s, fakeprovider.Anthropic)
		authorise(r, fakeprovider.Anthropic, "broken-key")
		send(t, r).has(t, 402)
		return statuses.String()
	}
	first := run(1)
	for status, rate := range map[string]float64{"500": 0.2, "529": 0.1, "200": 0.7} {
		if got := float64(strings.Count(first, status)) / calls; got < rate-0.06 || got > rate+0.06 {
			t.Errorf("%s: %.3f of calls, want %.1f", status, got, rate)
		}
	}
	if run(1) != first || run(2) == first {
		t.Error("faults do not go by the seed")
	}
}

// TestFaultsDoNotGoByTheOrderOfTheCalls asks one vendor by a form, whose bounds are random, with
// and without calls of another between.
func TestFaultsDoNotGoByTheOrderOfTheCalls(t *testing.T) {
	t.Parallel()
	run := func(others int) (statuses []int) {
		s := start(t, fakeprovider.Config{Seed: 7, Default: fakeprovider.Behaviour{Faults: map[fakeprovider.Fault]float64{fakeprovider.ServerError: 0.5}}})
		for range 40 {
			for range others {
				send(t, good(t, s, fakeprovider.OpenAI))
			}
			statuses = append(statuses, send(t, good(t, s, fakeprovider.Stability)).status)
		}
		return statuses
	}
	alone := run(0)
	if !slices.Equal(run(2), alone) || !slices.Contains(alone, 200) || !slices.Contains(alone, 500) {
		t.Errorf("the same calls fail otherwise: alone %v", alone)
	}
}

func TestTheWitnessSawEachCallAndNoPrompt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "calls.ndjson")
	s := start(t, fakeprovider.Config{CallLog: path, Keep: len(fakeprovider.Vendors())})
	for _, vendor := range fakeprovider.Vendors() {
		r := good(t, s, vendor)
		r.Header.Set("X-OneFlow-Job", "job-7")
		send(t, r).has(t, 200)
	}
	send(t, request(t, s, fakeprovider.OpenAI, `{}`)).has(t, 400)

	lines := readLog(t, path)
	calls := len(fakeprovider.Vendors()) + 1
	if len(lines) != 2*calls {
		t.Fatalf("%d lines for %d calls", len(lines), calls)
	}
	for i := 0; i < len(lines); i += 2 {
		begin, end := lines[i], lines[i+1]
		if begin.Event != "begin" || end.Event != "end" || begin.Call != end.Call || begin.Request != end.Request || len(begin.Request) != 64 {
			t.Errorf("begin %+v, end %+v", begin, end)
		}
		wantOutcome, wantJob := "ok", "job-7"
		if i == len(lines)-2 {
			wantOutcome, wantJob = "invalid", ""
		}
		if end.Outcome != wantOutcome || end.Job != wantJob || end.Key != "6789" || (wantOutcome == "ok") != (end.Usage != nil) {
			t.Errorf("%+v", end)
		}
	}
	drawn := slices.IndexFunc(lines, func(l fakeprovider.LogLine) bool { return l.Vendor == fakeprovider.Stability && l.Event == "end" })
	if got := lines[drawn]; got.Model != "core" || got.Usage.MilliCredits != 3000 || got.Usage.Images != 1 {
		t.Errorf("%+v", got)
	}

	kept := s.Calls()
	if len(kept) != calls-1 || s.Count() != int64(calls) {
		t.Fatalf("%d calls kept of %d", len(kept), s.Count())
	}
	of := func(vendor fakeprovider.Vendor) fakeprovider.Call {
		return kept[slices.IndexFunc(kept, func(c fakeprovider.Call) bool { return c.Vendor == vendor })]
	}
	if spoken := of(fakeprovider.ElevenLabs); of(fakeprovider.Stability).Form["prompt"] != "secret prompt" || !strings.Contains(string(spoken.Body), "secret prompt") || spoken.Header.Get("Xi-Api-Key") != key {
		t.Errorf("%+v", kept)
	}
}

// readLog reads a call log, which must hold no prompt and no key.
func readLog(t *testing.T, path string) []fakeprovider.LogLine {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var lines []fakeprovider.LogLine
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		var line fakeprovider.LogLine
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", scanner.Text(), err)
		}
		if strings.Contains(scanner.Text(), "secret") || strings.Contains(scanner.Text(), key) {
			t.Errorf("the log holds a secret: %s", scanner.Text())
		}
		lines = append(lines, line)
	}
	return lines
}
