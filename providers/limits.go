package providers

import "time"

// Limits bound one account's use of a provider. 0 means: no limit.
//
// A new dimension is a field here, with its case in fieldOf and a row in table; the limiter, the plan of a
// worker and what is shown of limits go by the table. config.Limits names it in the
// configuration file and for operators. One that counts something new needs a Measure, too,
// and the limiter's Demand.
type Limits struct {
	// RPS, RPM and RPD are requests a second, a minute and a day.
	RPS int64 `json:"rps,omitempty"`
	RPM int64 `json:"rpm,omitempty"`
	RPD int64 `json:"rpd,omitempty"`
	// TPM is tokens a minute, input and output together (OpenAI).
	TPM int64 `json:"tpm,omitempty"`
	// ITPM and OTPM are input and output tokens a minute (Anthropic).
	ITPM int64 `json:"itpm,omitempty"`
	OTPM int64 `json:"otpm,omitempty"`
	// Concurrent is the number of calls that may be under way at once (ElevenLabs).
	Concurrent int64 `json:"concurrent,omitempty"`
}

// Dimension is one way in which a provider limits its use, by the name that it
// has in the configuration.
type Dimension string

// The dimensions of Limits, named as its fields.
const (
	DimensionRPS        Dimension = "rps"
	DimensionRPM        Dimension = "rpm"
	DimensionRPD        Dimension = "rpd"
	DimensionTPM        Dimension = "tpm"
	DimensionITPM       Dimension = "itpm"
	DimensionOTPM       Dimension = "otpm"
	DimensionConcurrent Dimension = "concurrent"
)

// Measure says what a dimension counts.
type Measure int

// What dimensions count.
const (
	CountsRequests Measure = iota
	CountsTokens           // input and output together
	CountsInput
	CountsOutput
	CountsInFlight // calls under way at once
)

// row is one dimension.
type row struct {
	name   Dimension
	unit   string
	counts Measure
	window time.Duration // 0 where it counts what is in flight
	// header returns what an answer's headers say of it; nil: headers never do.
	header func(RateLimits) *RateLimit
}

// table holds the dimensions, in the order in which they are shown.
func table() [7]row {
	return [...]row{
		{DimensionRPS, "requests/s", CountsRequests, time.Second, nil},
		{DimensionRPM, "requests/min", CountsRequests, time.Minute, func(r RateLimits) *RateLimit { return r.Requests }},
		{DimensionRPD, "requests/day", CountsRequests, 24 * time.Hour, nil},
		{DimensionTPM, "tokens/min", CountsTokens, time.Minute, func(r RateLimits) *RateLimit { return r.Tokens }},
		{DimensionITPM, "input tokens/min", CountsInput, time.Minute, func(r RateLimits) *RateLimit { return r.InputTokens }},
		{DimensionOTPM, "output tokens/min", CountsOutput, time.Minute, func(r RateLimits) *RateLimit { return r.OutputTokens }},
		{DimensionConcurrent, "concurrent calls", CountsInFlight, 0, func(r RateLimits) *RateLimit { return r.Concurrent }},
	}
}

// Dimensions lists the dimensions, in the order in which they are shown.
func Dimensions() []Dimension {
	all := table()
	names := make([]Dimension, len(all))
	for i, r := range all {
		names[i] = r.name
	}
	return names
}

// row returns the dimension's row; the zero row where there is no such dimension.
func (d Dimension) row() row {
	for _, r := range table() {
		if r.name == d {
			return r
		}
	}
	return row{}
}

// Unit returns what the dimension counts in words, such as "requests/min".
func (d Dimension) Unit() string { return d.row().unit }

// Counts returns what the dimension counts.
func (d Dimension) Counts() Measure { return d.row().counts }

// Window returns the time over which it counts; 0 where it counts what is in flight.
func (d Dimension) Window() time.Duration { return d.row().window }

// Of returns what an answer's headers say of a dimension; nil where they say nothing.
func (r RateLimits) Of(d Dimension) *RateLimit {
	if header := d.row().header; header != nil {
		return header(r)
	}
	return nil
}

// fieldOf is the limit in a dimension.
func fieldOf(l *Limits, d Dimension) *int64 {
	switch d {
	case DimensionRPS:
		return &l.RPS
	case DimensionRPM:
		return &l.RPM
	case DimensionRPD:
		return &l.RPD
	case DimensionTPM:
		return &l.TPM
	case DimensionITPM:
		return &l.ITPM
	case DimensionOTPM:
		return &l.OTPM
	case DimensionConcurrent:
		return &l.Concurrent
	}
	return new(int64)
}

// Of returns the limit in a dimension; 0: none.
func (l Limits) Of(d Dimension) int64 { return *fieldOf(&l, d) }

// With returns l with another limit in a dimension; 0: none.
func (l Limits) With(d Dimension, n int64) Limits {
	*fieldOf(&l, d) = n
	return l
}
