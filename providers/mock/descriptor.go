package mock

import (
	"time"

	"oneflow/providers"
)

// Kind is the name of this kind of provider.
const Kind = "mock"

// Descriptor describes the mock.
func Descriptor() providers.Descriptor {
	return providers.Descriptor{
		Kind:         Kind,
		Capabilities: capabilities,
		Local:        true,
		Limits:       providers.Limits{RPM: 60_000},
		Latency:      50 * time.Millisecond,
		New: func(c providers.ClientConfig) (providers.Provider, error) {
			s := c.Simulation
			return New(Config{
				Name: c.Name, Latency: s.Latency, ErrorRate: s.ErrorRate, RPM: s.RPM, MaxConcurrent: s.MaxConcurrent, CallLog: s.CallLog,
			})
		},
	}
}
