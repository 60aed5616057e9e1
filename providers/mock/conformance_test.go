package mock_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"oneflow/providers"
	"oneflow/providers/mock"
	"oneflow/providers/providertest"
)

func TestTheMockHoldsToTheContract(t *testing.T) {
	t.Parallel()
	providertest.Run(t, providertest.Config{
		Descriptor: mock.Descriptor(),
		New:        conforming,
		Requests: []providers.Request{
			{Task: providers.Text},
			{Task: providers.Image, N: 2},
			{Task: providers.Audio},
			{Task: providers.Video, Size: "64x64"},
			{Task: providers.Embedding},
			{Task: providers.Transcription},
		},
		Faults: []providertest.Fault{providertest.Overloaded, providertest.RateLimited, providertest.Hang},
	})
}

// conforming makes a mock whose calls can be counted. It is its own service.
func conforming(t *testing.T, fault providertest.Fault) providertest.Subject {
	t.Helper()
	config := mock.Config{Latency: -1, CallLog: filepath.Join(t.TempDir(), "calls.jsonl")}
	switch fault { //nolint:exhaustive // the mock can make these alone
	case providertest.Overloaded:
		config.ErrorRate = 1
	case providertest.RateLimited:
		config.RPM = 1
	case providertest.Hang:
		config.Latency = time.Hour
	}
	p, err := mock.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	if fault == providertest.RateLimited {
		if _, err := p.Generate(t.Context(), providers.Request{Task: providers.Text, Prompt: "the one call that is allowed"}); err != nil {
			t.Fatal(err)
		}
	}
	calls := func() int {
		log, err := os.ReadFile(config.CallLog)
		if err != nil {
			t.Error(err)
		}
		return bytes.Count(log, []byte(`"event":"begin"`))
	}
	return providertest.Subject{Provider: p, Calls: calls, Close: func() {}}
}
