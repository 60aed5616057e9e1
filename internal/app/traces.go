package app

import (
	"cmp"
	"context"
	"time"

	"github.com/google/uuid"

	"oneflow/internal/cli"
	"oneflow/traces"
	"oneflow/worker"
)

// sendGrace is the time that the last traces may take to leave.
const sendGrace = 5 * time.Second

// newTracer makes what tells a collector of calls, or nothing where the environment names
// none. Mistakes there are found before the worker starts.
func newTracer(o WorkerOptions, id uuid.UUID) (worker.Tracer, func(), error) {
	if o.Getenv == nil {
		return nil, func() {}, nil
	}
	t, err := traces.Open(traces.Config{
		Getenv: o.Getenv, Worker: id, Version: cli.Release(), Log: o.Log,
		Vendor: func(provider string) string {
			p := o.Config.Providers[provider]
			return cmp.Or(p.Preset, p.Kind, provider)
		},
	})
	if err != nil {
		return nil, nil, cli.Fail(cli.Usage, err)
	}
	if t == nil {
		return nil, func() {}, nil
	}
	o.Log.Info().Msg("traces of calls are sent to the collector of OTEL_EXPORTER_OTLP_ENDPOINT")
	return t, func() {
		ctx, done := context.WithTimeout(context.Background(), sendGrace)
		defer done()
		_ = t.Close(ctx) // what could not be sent is told in the log
	}, nil
}
