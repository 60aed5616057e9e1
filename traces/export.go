package traces

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"oneflow/internal/sleep"
)

// exporter sends spans as OTLP over HTTP in JSON. What a collector does not take is
// dropped, and told in the log once a minute: a trace is no ledger.
//
// Source: opentelemetry.io/docs/specs/otlp, OTLP/HTTP; the names are those of
// opentelemetry-proto's trace.proto in JSON, ids in hexadecimal, 64-bit integers as text.
type exporter struct {
	address string
	headers http.Header
	client  *http.Client
	log     zerolog.Logger

	mu      sync.Mutex
	dropped int
	told    time.Time
}

const (
	// tries is the number of times that spans are sent, and between the wait before the
	// next try where the collector names none.
	tries   = 3
	between = time.Second
	// longestWait bounds what a collector may ask for.
	longestWait = 10 * time.Second
	tellEvery   = time.Minute
)

// ExportSpans sends spans. It returns no error: the SDK's handler of errors is one for
// the whole process.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if err := e.export(ctx, spans); err != nil {
		e.drop(len(spans), err)
	}
	return nil
}

func (e *exporter) export(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	body, err := encode(spans)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		after, err := e.send(ctx, body)
		if err == nil || after == 0 || try == tries || sleep.For(ctx, min(after, longestWait)) != nil {
			return err
		}
	}
}

// Shutdown has nothing to end.
func (*exporter) Shutdown(context.Context) error { return nil }

// send posts once. After is the time to wait before the next try, 0 where there is none.
func (e *exporter) send(ctx context.Context, body []byte) (after time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.address, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	maps.Copy(req.Header, e.headers)
	req.Header.Set("Content-Type", "application/json")
	res, err := e.client.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok { // it names the whole address
			err = u.Err
		}
		return between, err
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection is used again
	switch res.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		return 0, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		after = between
		if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
			after = time.Duration(min(seconds, 60)) * time.Second
		}
	}
	return after, fmt.Errorf("HTTP %d", res.StatusCode)
}

// drop counts what was not taken, and says so now and then.
func (e *exporter) drop(spans int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dropped += spans
	if now := time.Now(); now.Sub(e.told) >= tellEvery {
		u, _ := url.Parse(e.address)
		e.log.Warn().Err(err).Str("collector", u.Host).Int("spans", e.dropped).Msg("the collector did not take traces, which are dropped: look at OTEL_EXPORTER_OTLP_ENDPOINT and its headers")
		e.dropped, e.told = 0, now
	}
}

type (
	exportRequest struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   resourceOf   `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	resourceOf struct {
		Attributes []keyValue `json:"attributes"`
	}
	scopeSpans struct {
		Scope scopeOf    `json:"scope"`
		Spans []spanJSON `json:"spans"`
	}
	scopeOf struct {
		Name    string `json:"name"`
		Version string `json:"version,omitempty"`
	}
	spanJSON struct {
		TraceID      string     `json:"traceId"`
		SpanID       string     `json:"spanId"`
		ParentSpanID string     `json:"parentSpanId,omitempty"`
		Flags        uint32     `json:"flags"`
		Name         string     `json:"name"`
		Kind         int        `json:"kind"`
		Start        int64      `json:"startTimeUnixNano,string"`
		End          int64      `json:"endTimeUnixNano,string"`
		Attributes   []keyValue `json:"attributes"`
		Status       statusOf   `json:"status"`
	}
	statusOf struct {
		Code int `json:"code,omitempty"`
	}
	keyValue struct {
		Key   string `json:"key"`
		Value any    `json:"value"`
	}
	textValue struct {
		StringValue string `json:"stringValue"`
	}
	wholeValue struct {
		IntValue int64 `json:"intValue,string"`
	}
	numberValue struct {
		DoubleValue float64 `json:"doubleValue"`
	}
	boolValue struct {
		BoolValue bool `json:"boolValue"`
	}
)

// statusError is STATUS_CODE_ERROR.
const statusError = 2

// encode writes spans of one sender, as all of a worker are.
func encode(spans []sdk.ReadOnlySpan) ([]byte, error) {
	if len(spans) == 0 {
		return json.Marshal(exportRequest{})
	}
	first := spans[0]
	scope := scopeSpans{Scope: scopeOf{first.InstrumentationScope().Name, first.InstrumentationScope().Version}}
	for _, s := range spans {
		at := s.SpanContext()
		out := spanJSON{
			TraceID: at.TraceID().String(), SpanID: at.SpanID().String(), Flags: uint32(at.TraceFlags()), Name: s.Name(),
			Kind:  int(s.SpanKind()), // the same numbers: 3 is a client, 5 a consumer
			Start: s.StartTime().UnixNano(), End: s.EndTime().UnixNano(), Attributes: keyValues(s.Attributes()),
		}
		if s.Parent().IsValid() {
			out.ParentSpanID = s.Parent().SpanID().String()
		}
		if s.Status().Code == codes.Error {
			out.Status.Code = statusError
		}
		scope.Spans = append(scope.Spans, out)
	}
	return json.Marshal(exportRequest{[]resourceSpans{{resourceOf{keyValues(first.Resource().Attributes())}, []scopeSpans{scope}}}})
}

func keyValues(attributes []attribute.KeyValue) []keyValue {
	out := make([]keyValue, len(attributes))
	for i, a := range attributes {
		out[i].Key = string(a.Key)
		switch v := a.Value.AsInterface().(type) {
		case int64:
			out[i].Value = wholeValue{v}
		case float64:
			out[i].Value = numberValue{v}
		case bool:
			out[i].Value = boolValue{v}
		default:
			out[i].Value = textValue{a.Value.String()}
		}
	}
	return out
}
