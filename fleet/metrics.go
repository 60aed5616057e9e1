package fleet

import (
	"time"

	"oneflow/jobs"
)

// Metrics are the figures of a model's calls that ended in an hour.
type Metrics struct {
	Hour           time.Time `json:"hour"`
	Provider       string    `json:"provider"`
	Model          string    `json:"model"`
	Requests       int64     `json:"requests"`
	Succeeded      int64     `json:"succeeded"`
	FailedUnbilled int64     `json:"failed_unbilled"`
	FailedBilled   int64     `json:"failed_billed"`
	Unknown        int64     `json:"unknown"`
	RateLimited    int64     `json:"rate_limited"`
	Refused        int64     `json:"refused"`
	InputTokens    int64     `json:"input_tokens"`
	OutputTokens   int64     `json:"output_tokens"`
	jobs.Money
	// MeanLatency and MaxLatency are in milliseconds.
	MeanLatency int64 `json:"mean_latency_ms"`
	MaxLatency  int64 `json:"max_latency_ms"`
}
