package jobs

import (
	"time"

	"github.com/google/uuid"

	"oneflow/billing"
	"oneflow/providers"
)

// Filter selects jobs; what is zero selects all.
type Filter struct {
	Account, BatchID string
	State            State
	// Dead selects what has ended without an answer and was not cancelled: failed, expired
	// or unknown.
	Dead            bool
	Provider, Model string
	Task            providers.Task
	// Error is a part of the class or the message of a failure.
	Error string
	// Tag is one of the batch, as NAME=VALUE, or as NAME with any value.
	Tag string
	// From and Until bound when a job was accepted.
	From, Until time.Time
	// Before leaves out a job and those that are younger: where the page before ended.
	Before uuid.UUID
	// IDs are the jobs to choose from; nil: all.
	IDs []uuid.UUID
	// Limit bounds the list, the newest first.
	Limit int
}

// Line is one job, for lists. It holds neither what was asked nor what was answered.
type Line struct {
	ID       string         `json:"id"`
	BatchID  string         `json:"batch_id,omitempty"`
	CustomID string         `json:"custom_id,omitempty"`
	Account  string         `json:"account"`
	Task     providers.Task `json:"task"`
	// Provider and Model are those that answered, or else that were asked.
	Provider string `json:"provider"`
	Model    string `json:"model"`
	// RequestedProvider is the one whose queue it is in.
	RequestedProvider string `json:"-"`
	Lane              Lane   `json:"lane"`
	State             State  `json:"state"`
	Paused            bool   `json:"paused"`
	Attempt           int    `json:"attempt"`
	Calls             int64  `json:"calls"`
	// Waits names the cause of its wait, though nothing failed.
	Waits string `json:"waits_for,omitempty"`
	// Error is the class of its failure, and Message what was said, shortened.
	Error   string `json:"error,omitempty"`
	Message string `json:"message,omitempty"`
	Money
	CreatedAt  time.Time `json:"created_at"`
	RunAt      time.Time `json:"run_at"`
	Deadline   time.Time `json:"deadline"`
	StartedAt  time.Time `json:"started_at,omitzero"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
}

// Lines is a part of a list of jobs.
type Lines struct {
	Jobs []Line `json:"jobs"`
	// Next names the job after which the next part begins: see Filter.Before. Empty: there is no more. A
	// part may be short, or empty, and not the last: a bounded number of jobs is looked at.
	Next string `json:"next,omitempty"`
}

// CallLine is one call of a job, as the ledger has it.
type CallLine struct {
	ID       string `json:"id"`
	Provider string `json:"provider"`
	Model    string `json:"model"`
	// Attempt is the claim of the job that sent it, and Gen the delivery that was claimed: a
	// take-over, and a retry by a person, begin another.
	Attempt int `json:"attempt"`
	Gen     int `json:"generation"`
	// Outcome is "running", or an Outcome.
	Outcome   string    `json:"outcome"`
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	Status    int       `json:"http_status,omitempty"`
	RequestID string    `json:"request_id,omitempty"`
	Error     string    `json:"error,omitempty"`
	Message   string    `json:"message,omitempty"`
	// Jobs counts the jobs that it was sent for.
	Jobs         int64  `json:"jobs"`
	LatencyMS    *int64 `json:"latency_ms"`
	InputTokens  int64  `json:"input_tokens"`
	OutputTokens int64  `json:"output_tokens"`
	Simulated    bool   `json:"simulated"`
	// Reserved is the most that it could cost, Cost the job's share of what it did; nil
	// where no price is known, and Cost while it runs.
	Reserved *billing.NanoUSD `json:"reserved_usd"`
	Cost     *billing.NanoUSD `json:"cost_usd"`
}

// Trail holds what has happened to a job, as far as it is kept, beside its Line.
type Trail struct {
	Calls []CallLine
	// Delivery is the task in Redis that carries it, and DispatchedAt when it was handed over;
	// zero: none does.
	Delivery     string
	DispatchedAt time.Time
	// CancelRequestedAt and PausedAt are when somebody asked for it; zero: nobody did, or it
	// goes on.
	CancelRequestedAt, PausedAt time.Time
	// NotBefore holds the time at which a job that was given back goes on; zero: it was not.
	NotBefore time.Time
	// Parent is the job of the step before whose answer it was made of, and Child the job that
	// its own answer led to; empty: none. LeftOut reports whether the next step's filter left it out.
	Parent, Child string
	LeftOut       bool
}
