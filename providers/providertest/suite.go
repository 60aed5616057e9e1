package providertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// outcome is the end of a call.
type outcome struct {
	res providers.Response
	err error
}

// generate makes a call, and does not wait for ever.
func generate(ctx context.Context, s Subject, req providers.Request) outcome {
	done := make(chan outcome, 1)
	go func() {
		res, err := s.Provider.Generate(ctx, req)
		done <- outcome{res, err}
	}()
	select {
	case o := <-done:
		return o
	case <-time.After(timeout):
		return outcome{err: fmt.Errorf("%s: Generate() has not returned after %s", req.Task, timeout)}
	}
}

// succeeds checks the answer to one call.
func succeeds(t *testing.T, config Config, req providers.Request) {
	t.Helper()
	s := config.New(t, None)
	before := s.Calls()
	o := generate(t.Context(), s, req)
	if o.err != nil {
		t.Fatal(o.err)
	}
	if n := s.Calls() - before; n != 1 {
		t.Errorf("the service received %d calls, want exactly 1", n)
	}
	for problem, found := range map[string]bool{
		"does not name the configured provider": o.res.Provider != s.Provider.Name() || o.res.Provider == "",
		"names no model":                        o.res.Model == "",
		"has no successful status":              o.res.Status < 200 || o.res.Status > 299,
		"has no request id":                     o.res.RequestID == "" && !slices.Contains(config.Nameless, req.Task),
		"took no time":                          o.res.Latency <= 0 || o.res.Latency > timeout,
		"used nothing":                          len(o.res.Usage.Quantities()) < 2,
		"has a body that is not JSON":           o.res.Raw != nil && !json.Valid(o.res.Raw),
	} {
		if found {
			t.Errorf("the response %s: %+v", problem, summary(o.res))
		}
	}
	switch req.Task {
	case providers.Text, providers.Transcription:
		if o.res.Text == "" || len(o.res.Blobs) > 0 || o.res.Raw == nil && req.Task == providers.Text {
			t.Errorf("the response holds no text, or more than that: %+v", summary(o.res))
		}
		return
	case providers.Embedding:
		if len(o.res.Vector) == 0 || len(o.res.Blobs) > 0 || o.res.Text != "" {
			t.Errorf("the response holds no vector, or more than that: %+v", summary(o.res))
		}
		return
	case providers.Image, providers.Audio, providers.Video, providers.Moderation:
	}
	if o.res.Text != "" || len(o.res.Blobs) != max(req.N, 1) {
		t.Errorf("the response holds %d blobs and the text %q", len(o.res.Blobs), o.res.Text)
	}
	for _, blob := range o.res.Blobs {
		if !strings.HasPrefix(blob.MIME, string(req.Task)+"/") || !marked(blob) {
			t.Errorf("a blob says that it is %s and begins with %q", blob.MIME, blob.Data[:min(len(blob.Data), 16)])
		}
	}
}

// summary is a response without what is long.
func summary(res providers.Response) providers.Response {
	res.Raw = res.Raw[:min(len(res.Raw), 200)]
	res.Blobs = nil
	return res
}

// marked reports whether a blob begins as its media type says.
func marked(blob providers.Blob) bool {
	mark, at := map[string]string{
		"image/png": "\x89PNG\r\n\x1a\n", "image/jpeg": "\xff\xd8\xff", "image/webp": "RIFF",
		"audio/mpeg": "\xff", "audio/wav": "RIFF", "video/mp4": "ftyp",
	}[blob.MIME], 0
	if blob.MIME == "video/mp4" {
		at = 4
	}
	if blob.MIME == "audio/mpeg" && bytes.HasPrefix(blob.Data, []byte("ID3")) {
		return true
	}
	return mark != "" && len(blob.Data) > at && bytes.HasPrefix(blob.Data[at:], []byte(mark))
}

// refuses asks for all that the capabilities do not hold.
func refuses(t *testing.T, config Config, capabilities providers.Capabilities) {
	t.Helper()
	s := config.New(t, None)
	before := s.Calls()
	for name, req := range unsupported(t, capabilities) {
		e := failure(t, s, req, generate(t.Context(), s, req))
		if got, want := said(e), (Failure{providers.InvalidRequest, providers.Unbilled, false}); got != want {
			t.Errorf("%s: failed as %+v, want %+v", name, got, want)
		}
	}
	if n := s.Calls() - before; n != 0 {
		t.Errorf("the service received %d calls, want none", n)
	}
}

// unsupported are requests that the capabilities do not allow.
func unsupported(t *testing.T, capabilities providers.Capabilities) map[string]providers.Request {
	t.Helper()
	requests := map[string]providers.Request{"a task that does not exist": {Task: "smell", Prompt: prompt}}
	for _, task := range providers.Tasks() {
		can, ok := capabilities.Tasks[task]
		if !ok {
			requests["the task "+string(task)] = providers.Request{Task: task, Prompt: prompt}
			continue
		}
		requests[string(task)+" of nothing"] = providers.Request{Task: task, Model: can.DefaultModel}
		for name, value := range options() {
			if slices.Contains(can.Options, name) {
				continue
			}
			req := Least(providers.Request{Task: task, Model: can.DefaultModel, Prompt: prompt})
			if err := json.Unmarshal(fmt.Appendf(nil, `{%q:%s}`, name, value), &req); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			requests[fmt.Sprintf("%s with %s", task, name)] = req
		}
	}
	return requests
}

// options are a good value for each option of a request. Extra stands for all
// further fields: which of them are refused is each vendor's own matter.
func options() map[string]string {
	return map[string]string{
		"system": `"be brief"`, "max_tokens": `10`, "temperature": `0.5`, "top_p": `0.5`, "stop": `["x"]`, "seed": `1`,
		"response_format": `{"type":"text"}`, "n": `2`, "size": `"64x64"`, "quality": `"low"`, "background": `"opaque"`,
		"style": `"vivid"`, "aspect_ratio": `"1:1"`, "negative_prompt": `"rain"`, "voice": `"alloy"`, "speed": `1`,
		"voice_settings": `{"stability":0.5}`, "output_format": `"png"`, "seconds": `4`,
		"tools": `[{"name":"f"}]`, "tool_choice": `{"mode":"auto"}`, "parallel_tool_calls": `true`, "effort": `"low"`, "service_tier": `"auto"`,
		"logprobs": `true`, "top_logprobs": `2`, "dimensions": `8`, "language": `"en"`,
	}
}

// ends calls with contexts that have ended, and with some that end on the way.
func ends(t *testing.T, config Config) {
	t.Helper()
	over := func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithDeadline(ctx, time.Now().Add(-time.Second))
	}
	cancelled := func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return ctx, cancel
	}
	for _, req := range config.requests() {
		for kind, ended := range map[providers.Kind]func(context.Context) (context.Context, context.CancelFunc){
			providers.Cancelled: cancelled, providers.Timeout: over,
		} {
			t.Run(fmt.Sprintf("%s before the %s call", kind, req.Task), func(t *testing.T) {
				t.Parallel()
				s := config.New(t, None)
				before := s.Calls()
				ctx, cancel := ended(t.Context())
				defer cancel()
				e := failure(t, s, req, generate(ctx, s, req))
				if got, want := said(e), (Failure{kind, providers.Unbilled, false}); got != want {
					t.Errorf("failed as %+v, want %+v", got, want)
				}
				if n := s.Calls() - before; n != 0 {
					t.Errorf("the service received %d calls, want none", n)
				}
			})
		}
		if !slices.Contains(config.faults(), Hang) {
			continue
		}
		t.Run(fmt.Sprintf("cancelled during the %s call", req.Task), func(t *testing.T) {
			t.Parallel()
			s := config.New(t, Hang)
			e := failure(t, s, req, cancelledOnTheWay(t.Context(), t, s, req))
			if got, want := said(e), (Failure{providers.Cancelled, providers.BillingUnknown, true}); got != want {
				t.Errorf("failed as %+v, want %+v", got, want)
			}
		})
	}
}

// cancelledOnTheWay makes a call and cancels it once the service has received it.
func cancelledOnTheWay(ctx context.Context, t *testing.T, s Subject, req providers.Request) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, timeout/2)
	defer cancel()
	before := s.Calls()
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for s.Calls() == before && ctx.Err() == nil {
			<-tick.C
		}
		cancel()
	}()
	return generate(ctx, s, req)
}

// fails checks how a call fails with a fault.
func fails(t *testing.T, config Config, fault Fault, req providers.Request) {
	t.Helper()
	s := config.New(t, fault)
	ctx, cancel := s.within(t, fault)
	defer cancel()
	before := s.Calls()
	e := failure(t, s, req, generate(ctx, s, req))
	if got, want := said(e), config.expected(fault, req.Task); got != want {
		t.Errorf("failed as %+v, want %+v: %v", got, want, e)
	}
	if n := s.Calls() - before; n != 1 {
		t.Errorf("the service received %d calls, want exactly 1", n)
	}
	if fault == RateLimited && e.RetryAfter <= 0 {
		t.Errorf("the time to wait is lost: %v", e)
	}
}

// within bounds a call: shortly, where only that will end it.
func (s Subject) within(t *testing.T, fault Fault) (context.Context, context.CancelFunc) {
	t.Helper()
	if fault == Hang {
		return context.WithTimeout(t.Context(), time.Second)
	}
	return context.WithTimeout(t.Context(), timeout)
}

// said returns a failure's statement of what follows.
func said(e *providers.Error) Failure { return Failure{e.Kind, e.Billing, e.Sent} }

// failure returns the error of a call that must have failed, and checks what must
// hold of any failure.
func failure(t *testing.T, s Subject, req providers.Request, o outcome) *providers.Error {
	t.Helper()
	var e *providers.Error
	if !errors.As(o.err, &e) || e == nil {
		t.Fatalf("%s: error = %T %v, want a *providers.Error", req.Task, o.err, o.err)
	}
	if o.res.Text != "" || len(o.res.Blobs) > 0 {
		t.Errorf("%s: failed and answered", req.Task)
	}
	for _, hidden := range []string{Key, "yellow bird"} {
		for where, text := range map[string]string{
			"text": o.err.Error(), "code": e.Code, "request id": e.RequestID, "explanation": e.Explain(), "parameter": e.Param, "URL": e.URL,
		} {
			if strings.Contains(text, hidden) {
				t.Errorf("%s: the error's %s holds %q: %q", req.Task, where, hidden, text)
			}
		}
	}
	for problem, found := range map[string]bool{
		"names another provider":               e.Provider != s.Provider.Name(),
		"has no kind of the contract":          !slices.Contains(kinds(), e.Kind),
		"does not say whether it is charged":   !slices.Contains([]providers.Billing{providers.Unbilled, providers.Billed, providers.BillingUnknown}, e.Billing),
		"may be charged, though it never left": !e.Sent && e.Billing != providers.Unbilled,
		"was answered, though it never left":   !e.Sent && e.Status != 0,
		"has used something for nothing":       e.Billing == providers.Unbilled && e.Usage != providers.Usage{},
		"asks to wait for a negative time":     e.RetryAfter < 0,
		"has a code that is not a short word":  e.Code != wire.SanitiseCode(e.Code),
		"keeps too much":                       int64(len(e.Body)) > wire.MaxErrorBody && e.Billing != providers.Billed || int64(len(e.Body)) > wire.MaxAnswer,
		"is another one after AsError":         providers.AsError("other", o.err) != e,
	} {
		if found {
			t.Errorf("%s: the error %s: %v", req.Task, problem, e)
		}
	}
	return e
}

// kinds are all kinds of failure.
func kinds() []providers.Kind {
	return []providers.Kind{
		providers.RateLimited, providers.ConcurrencyLimit, providers.Overloaded, providers.OutOfMoney, providers.Unauthorised,
		providers.AccessDenied, providers.InvalidRequest, providers.Moderated, providers.NotFound, providers.TooLarge, providers.Timeout,
		providers.Connection, providers.MalformedResponse, providers.Unreadable, providers.Cancelled, providers.Unknown,
	}
}

// concurrent makes many calls at once, which must get the answers that they get
// one after the other.
func concurrent(t *testing.T, config Config) {
	t.Helper()
	const each = 8
	s := config.New(t, None)
	var requests []providers.Request
	for _, req := range config.requests() {
		for i := range each {
			req.Prompt = fmt.Sprintf("%s no. %d", prompt, i)
			requests = append(requests, req)
		}
	}
	before := s.Calls()
	results := make([]outcome, len(requests))
	var calls sync.WaitGroup
	for i, req := range requests {
		calls.Go(func() { results[i] = generate(t.Context(), s, req) })
	}
	calls.Wait()
	if n := s.Calls() - before; n != len(requests) {
		t.Errorf("the service received %d calls, want %d", n, len(requests))
	}
	for i, req := range requests {
		alone := generate(t.Context(), s, req)
		if results[i].err != nil || alone.err != nil {
			t.Fatalf("%s: %v at once, %v alone", req.Task, results[i].err, alone.err)
		}
		// A form has another boundary each time, by which a fake may answer anew.
		again := generate(t.Context(), s, req)
		if same(alone.res, again.res) && !same(results[i].res, alone.res) {
			t.Errorf("%s: the answers at once and alone differ", req.Task)
		}
	}
}

// same reports whether two responses hold the same content.
func same(a, b providers.Response) bool {
	return a.Text == b.Text && slices.EqualFunc(a.Blobs, b.Blobs, sameBlob)
}

func sameBlob(a, b providers.Blob) bool { return a.MIME == b.MIME && bytes.Equal(a.Data, b.Data) }

// leavesNothing makes calls that go well and badly, and looks for goroutines that
// they have started and left. Labels tell them from those of other tests.
func leavesNothing(t *testing.T, config Config) {
	t.Helper()
	label := t.Name()
	for _, fault := range append([]Fault{None}, config.faults()...) {
		for _, req := range config.requests() {
			s := config.New(t, fault)
			ctx, cancel := s.within(t, fault)
			pprof.Do(ctx, pprof.Labels("providertest", label), func(ctx context.Context) {
				if fault == Hang {
					_ = cancelledOnTheWay(ctx, t, s, req)
				}
				if o := generate(ctx, s, req); (o.err == nil) != (fault == None) {
					t.Errorf("%s with the fault %q: %v", req.Task, fault, o.err)
				}
			})
			cancel()
			s.Close()
		}
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(timeout / 2); ; <-tick.C {
		left := labelled(t, label)
		if left == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still running:\n%s", left)
		}
	}
}

// labelled is the stacks of the goroutines with a label.
func labelled(t *testing.T, label string) string {
	t.Helper()
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
		t.Fatal(err)
	}
	var found []string
	for record := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(record, fmt.Sprintf("%q:%q", "providertest", label)) {
			found = append(found, record)
		}
	}
	return strings.Join(found, "\n\n")
}
