// Package traces tells an OpenTelemetry collector of calls and jobs that have ended. A job
// is one trace, whose id is the job's id; each of its provider calls is a span, with the
// attributes of the semantic conventions for generative AI, its outcome and its cost. No
// prompt, answer or message of a provider is in a span. It may import jobs and
// providers; package worker declares the interface that Tracer implements.
//
// Spans are sent as OTLP over HTTP in JSON, by an exporter of this package: the one of
// OpenTelemetry's own links gRPC, of 69 packages.
package traces

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"oneflow/jobs"
	"oneflow/providers"
)

// Config configures a Tracer.
type Config struct {
	// Getenv reads OpenTelemetry's variables; see Open.
	Getenv func(string) string
	// Vendor returns whose protocol a configured provider speaks, such as "openai".
	Vendor func(provider string) string
	// Worker and Version name the process that sends.
	Worker  uuid.UUID
	Version string
	// Client makes the requests. Default: one that gives up after 10 s.
	Client *http.Client
	Log    zerolog.Logger
}

// Tracer makes spans. Its methods may be called by several goroutines and never wait: of
// more spans than can be sent, the newest are dropped.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	vendor   func(provider string) string
}

// Open returns a Tracer as OpenTelemetry's variables say, or nil where they ask for none.
// OTEL_EXPORTER_OTLP_ENDPOINT is the collector's address, to which /v1/traces is added, or
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT that of traces as it stands. OTEL_EXPORTER_OTLP_HEADERS
// holds headers such as key=value,key2=value2; OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG
// the fraction of jobs to tell of, all of whose calls are told; OTEL_SERVICE_NAME (default
// oneflow-worker) and OTEL_RESOURCE_ATTRIBUTES name the sender; the OTEL_BSP variables bound
// the queue. OTEL_SDK_DISABLED=true and OTEL_TRACES_EXPORTER=none turn it off. An error
// names the variable.
//
// Source: opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables.
func Open(c Config) (*Tracer, error) {
	address, err := endpoint(c.Getenv)
	if err != nil || address == "" {
		return nil, err
	}
	headers, err := headersOf(c.Getenv)
	if err != nil {
		return nil, err
	}
	sampler, err := samplerOf(c.Getenv)
	if err != nil {
		return nil, err
	}
	sender, err := senderOf(c)
	if err != nil {
		return nil, err
	}
	if c.Client == nil {
		c.Client = &http.Client{Timeout: 10 * time.Second}
	}
	provider := sdk.NewTracerProvider(
		sdk.WithResource(sender), sdk.WithSampler(sampler), sdk.WithIDGenerator(ids{}),
		sdk.WithBatcher(&exporter{address: address, headers: headers, client: c.Client, log: c.Log}),
	)
	return &Tracer{provider: provider, tracer: provider.Tracer("oneflow", trace.WithInstrumentationVersion(c.Version)), vendor: c.Vendor}, nil
}

// Close sends what is left, for as long as ctx holds.
func (t *Tracer) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// CallEnded tells of a call of a job: what was asked of a configured provider, which model
// answered ("" where none did), when it began, and what came of it.
func (t *Tracer) CallEnded(job jobs.Job, provider string, req providers.Request, answered string, started time.Time, s jobs.Settlement) {
	operation, output := operationOf(req.Task)
	attributes := []attribute.KeyValue{
		attribute.String("gen_ai.operation.name", operation),
		attribute.String("gen_ai.provider.name", providerName(t.vendor(provider))),
		attribute.String("gen_ai.request.model", req.Model),
		attribute.String("oneflow.provider", provider),
		attribute.Stringer("oneflow.call.id", s.CallID),
		attribute.String("oneflow.call.outcome", string(s.Outcome)),
		attribute.Int("oneflow.job.attempt", job.Attempt),
	}
	attributes = append(attributes, jobAttributes(job)...)
	add := func(condition bool, a attribute.KeyValue) {
		if condition {
			attributes = append(attributes, a)
		}
	}
	add(output != "", attribute.String("gen_ai.output.type", output))
	add(answered != "", attribute.String("gen_ai.response.model", answered))
	add(req.MaxTokens > 0, attribute.Int64("gen_ai.request.max_tokens", req.MaxTokens))
	add(s.Status > 0, attribute.Int("http.response.status_code", s.Status))
	add(s.RequestID != "", attribute.String("oneflow.call.request_id", s.RequestID))
	add(s.Usage.TotalInput() > 0, attribute.Int64("gen_ai.usage.input_tokens", s.Usage.TotalInput()))
	add(s.Usage.TotalOutput() > 0, attribute.Int64("gen_ai.usage.output_tokens", s.Usage.TotalOutput()))
	add(s.Usage.CachedInputTokens > 0, attribute.Int64("gen_ai.usage.cache_read.input_tokens", s.Usage.CachedInputTokens))
	written := s.Usage.CacheWriteTokens + s.Usage.CacheWrite1hTokens
	add(written > 0, attribute.Int64("gen_ai.usage.cache_creation.input_tokens", written))
	add(s.Usage.ReasoningTokens > 0, attribute.Int64("gen_ai.usage.reasoning.output_tokens", s.Usage.ReasoningTokens))
	if s.Cost != nil {
		attributes = append(attributes, attribute.Float64("oneflow.cost_usd", float64(*s.Cost)/1e9))
	}
	failed := s.Outcome != jobs.CallSucceeded
	add(failed, attribute.String("error.type", string(s.Kind)))
	ctx := trace.ContextWithRemoteSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID(job.ID), SpanID: spanID(job.ID)}))
	_, span := t.tracer.Start(withID(ctx, s.CallID), operation+" "+req.Model, trace.WithTimestamp(started), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	if failed {
		span.SetStatus(codes.Error, "") // the provider's words may hold the prompt
	}
	span.End(trace.WithTimestamp(started.Add(s.Latency)))
}

// JobEnded tells of a job that has ended, in which state and with which class of error.
// Its span begins when it was accepted, which its id tells.
func (t *Tracer) JobEnded(job jobs.Job, state jobs.State, class string) {
	attributes := append(jobAttributes(job), attribute.String("oneflow.job.state", string(state)), attribute.String("oneflow.provider", job.Provider))
	if class != "" {
		attributes = append(attributes, attribute.String("error.type", class))
	}
	_, span := t.tracer.Start(withID(context.Background(), job.ID), "job "+string(job.Request.Task),
		trace.WithTimestamp(acceptedAt(job.ID)), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attributes...))
	if state != jobs.Succeeded && state != jobs.Cancelled {
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

func jobAttributes(job jobs.Job) []attribute.KeyValue {
	attributes := []attribute.KeyValue{
		attribute.Stringer("oneflow.job.id", job.ID), attribute.String("oneflow.account", job.Account), attribute.String("oneflow.lane", string(job.Lane)),
	}
	if job.BatchID != "" {
		attributes = append(attributes, attribute.String("oneflow.batch.id", job.BatchID))
	}
	return attributes
}

// operationOf returns the names that the semantic conventions have for a task, and for what
// comes of it.
func operationOf(task providers.Task) (operation, output string) {
	switch task {
	case providers.Text:
		return "chat", "text"
	case providers.Embedding:
		return "embeddings", ""
	case providers.Image:
		return "generate_content", "image"
	case providers.Audio:
		return "generate_content", "speech"
	case providers.Video:
		return "generate_content", "video"
	case providers.Transcription:
		return "generate_content", "text"
	case providers.Moderation:
	}
	return string(task), ""
}

// providerName returns the name that the semantic conventions have for a vendor.
func providerName(vendor string) string {
	switch vendor {
	case "gemini":
		return "gcp.gemini"
	case "azure":
		return "azure.ai.openai"
	case "mistral":
		return "mistral_ai"
	case "xai":
		return "x_ai"
	}
	return vendor
}

// acceptedAt is the time in a job's id, which is of version 7.
func acceptedAt(id uuid.UUID) time.Time {
	sec, nsec := id.Time().UnixTime()
	return time.Unix(sec, nsec)
}

// ids hands out the ids of the rows that spans are about, so that a job's trace is found
// by the job's id, and a repeated report is the same span.
type ids struct{}

type idKey struct{}

func withID(ctx context.Context, id uuid.UUID) context.Context {
	return context.WithValue(ctx, idKey{}, id)
}

func (ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	id, _ := ctx.Value(idKey{}).(uuid.UUID)
	return trace.TraceID(id), spanID(id)
}

func (g ids) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	_, span := g.NewIDs(ctx)
	return span
}

// spanID is the random half of an id.
func spanID(id uuid.UUID) trace.SpanID { return trace.SpanID(id[8:]) }

// fraction samples traces by the last seven bytes of their ids, which are random; the
// sampler of OpenTelemetry's own takes eight, of which an id of version 7 sets two bits.
type fraction float64

func (f fraction) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	random := binary.BigEndian.Uint64(p.TraceID[8:]) & (1<<56 - 1)
	if float64(random) < float64(f)*(1<<56) {
		return sdk.SamplingResult{Decision: sdk.RecordAndSample}
	}
	return sdk.SamplingResult{Decision: sdk.Drop}
}

func (f fraction) Description() string { return fmt.Sprintf("fraction %g of jobs", float64(f)) }

func samplerOf(getenv func(string) string) (sdk.Sampler, error) {
	switch name := getenv("OTEL_TRACES_SAMPLER"); strings.TrimPrefix(name, "parentbased_") {
	case "", "always_on":
		return fraction(1), nil
	case "always_off":
		return fraction(0), nil
	case "traceidratio":
		f, err := strconv.ParseFloat(getenv("OTEL_TRACES_SAMPLER_ARG"), 64)
		if err != nil || math.IsNaN(f) || f < 0 || f > 1 {
			return nil, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG %q: must be the fraction of jobs to tell of, from 0 to 1", getenv("OTEL_TRACES_SAMPLER_ARG"))
		}
		return fraction(f), nil
	default:
		return nil, fmt.Errorf("OTEL_TRACES_SAMPLER %q: must be always_on, always_off or traceidratio", name)
	}
}

func endpoint(getenv func(string) string) (string, error) {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return "", nil
	}
	variable := "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	address := getenv(variable)
	if address == "" {
		variable = "OTEL_EXPORTER_OTLP_ENDPOINT"
		if address = getenv(variable); address == "" {
			return "", nil
		}
		address = strings.TrimSuffix(address, "/") + "/v1/traces"
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if getenv(name) == "grpc" {
			return "", fmt.Errorf("%s grpc: traces are sent over HTTP: write http/json, and the collector's HTTP address (port 4318 by default) in %s", name, variable)
		}
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("%s: must be the collector's address, such as http://127.0.0.1:4318", variable)
	}
	return address, nil
}

// senderOf names the process that sends.
func senderOf(c Config) (*resource.Resource, error) {
	own, err := pairs(c.Getenv, "OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=production,service.namespace=a")
	if err != nil {
		return nil, err
	}
	attributes := []attribute.KeyValue{
		attribute.String("service.name", "oneflow-worker"), attribute.String("service.version", c.Version), attribute.Stringer("service.instance.id", c.Worker),
	}
	for _, pair := range own {
		attributes = append(attributes, attribute.String(pair[0], pair[1])) // of two with one name the last holds
	}
	if name := c.Getenv("OTEL_SERVICE_NAME"); name != "" {
		attributes = append(attributes, attribute.String("service.name", name))
	}
	return resource.NewSchemaless(attributes...), nil
}

// headersOf reads the headers to send.
func headersOf(getenv func(string) string) (http.Header, error) {
	variable := "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
	if getenv(variable) == "" {
		variable = "OTEL_EXPORTER_OTLP_HEADERS"
	}
	list, err := pairs(getenv, variable, "authorization=Bearer%20KEY,x-team=a")
	headers := http.Header{}
	for _, pair := range list {
		headers.Set(pair[0], pair[1])
	}
	return headers, err
}

// pairs reads a variable that lists name=value, values percent-encoded. They may be keys:
// no error tells one.
func pairs(getenv func(string) string, variable, example string) ([][2]string, error) {
	var list [][2]string
	for pair := range strings.SplitSeq(getenv(variable), ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); !ok || err != nil || name == "" {
			return nil, fmt.Errorf("%s: must be a list such as %s", variable, example)
		}
		list = append(list, [2]string{name, value})
	}
	return list, nil
}
