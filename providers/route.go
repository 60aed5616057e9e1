package providers

// Fallback says when a job may go to another provider than its own.
type Fallback string

// The kinds of fallback.
const (
	// FallbackAuto, the default: for every failure but a final one.
	FallbackAuto Fallback = "auto"
	// FallbackNever: not at all.
	FallbackNever Fallback = "never"
	// FallbackAlways: also where the provider refused the request itself.
	FallbackAlways Fallback = "always"
)

// Route says where a request may be sent.
type Route struct {
	// Provider is the first to be asked.
	Provider string
	// Chain are the providers to ask in order, for a job that has a chain of its
	// own; nil: Provider, then those of the task's chain.
	Chain []string
	// Fallback says when to go on to the next; empty: FallbackAuto.
	Fallback Fallback
	// Urgency orders those that wait here for the same provider: 0 is the most
	// urgent lane.
	Urgency int
}
