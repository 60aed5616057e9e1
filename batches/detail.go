package batches

import (
	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

// Detail holds what a job, or a batch, asked for, and who answered. Progress tells
// the rest.
type Detail struct {
	// Asked holds what its jobs ask for, most jobs first: one for a job.
	Asked []Asked
	// Answered says who answered, most jobs first: one or none for a job.
	Answered []Answered
	// Finished says why the answers ended, most jobs first: one or none for a job.
	Finished []Finished
	// Calls are a job's calls in the order in which they were sent; nil for a batch.
	Calls []Call
}

// Asked holds what some jobs ask for.
type Asked struct {
	Provider string `json:"provider"`
	Model    string `json:"model"`
	// Chain is empty where the chain of the task holds.
	Chain    []string           `json:"chain,omitempty"`
	Fallback providers.Fallback `json:"fallback"`
	Jobs     int64              `json:"jobs"`
}

// Answered names a provider and model that gave some jobs their results.
type Answered struct {
	Provider string `json:"provider"`
	Model    string `json:"model"`
	Jobs     int64  `json:"jobs"`
}

// Finished says why some jobs' answers ended.
type Finished struct {
	Finish providers.Finish `json:"finish_reason"`
	Jobs   int64            `json:"jobs"`
}

// Job is one job of a batch, for lists. Provider and model are those that answered,
// or else that were asked.
type Job struct {
	ID       string     `json:"id"`
	CustomID string     `json:"custom_id,omitempty"`
	Row      int64      `json:"row"`
	State    jobs.State `json:"state"`
	Provider string     `json:"provider"`
	Model    string     `json:"model"`
	Calls    int64      `json:"calls"`
	// Cost is real money, Simulated that of mocks and fakes.
	Cost      billing.NanoUSD `json:"cost_usd"`
	Simulated billing.NanoUSD `json:"simulated_cost_usd"`
	// Charge is the money that the account is charged for it.
	Charge   billing.NanoUSD `json:"charge_usd"`
	Unpriced int64           `json:"unpriced_calls"`
	// Error is the class of its failure, and Message what was said; empty without one.
	Error   string `json:"error,omitempty"`
	Message string `json:"message,omitempty"`
}

// Call is one provider call as the ledger has it.
type Call struct {
	Provider string `json:"provider"`
	Model    string `json:"model"`
	// Scope names the limits that let it through: the class of models, and the id of the key
	// where there are several, as in gpt-6-luna@1f2e3d4c5b6a; empty: the provider's own.
	Scope string `json:"scope,omitempty"`
	// Outcome is "running", or a jobs.Outcome.
	Outcome string `json:"outcome"`
	// Error is the kind of its failure, and Message what the provider said; both
	// empty without one.
	Error   string `json:"error,omitempty"`
	Message string `json:"message,omitempty"`
	Status  int    `json:"http_status,omitempty"`
	// LatencyMS is nil while it runs, and where its end was not seen.
	LatencyMS *int64 `json:"latency_ms"`
	// Cost is nil where no price is known, and while it runs.
	Cost *billing.NanoUSD `json:"cost_usd"`
}
