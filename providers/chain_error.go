package providers

import "strings"

// ChainError is the failure of a request that was brought to several providers.
type ChainError struct {
	// Failures are those of each, in the order of the chain; a provider that
	// was passed over is there with an error that was not Sent.
	Failures []*Error
	// Ended reports whether the last of them ended the chain: what it says about the
	// job holds, whatever the others said.
	Ended bool
}

// Error names each provider with its failure, and where to see more.
func (e *ChainError) Error() string { return e.text((*Error).Error) }

// Explain is Error with what each provider gave as its reason: see Error.Explain.
func (e *ChainError) Explain() string { return e.text((*Error).Explain) }

func (e *ChainError) text(of func(*Error) string) string {
	parts := make([]string, len(e.Failures))
	for i, f := range e.Failures {
		parts[i] = of(f)
	}
	return "no provider did it: " + strings.Join(parts, "; ") + " (`enqueue status` with the job's id shows each call)"
}

// Unwrap returns the failures.
func (e *ChainError) Unwrap() []error {
	errs := make([]error, len(e.Failures))
	for i, f := range e.Failures {
		errs[i] = f
	}
	return errs
}

// Decisive returns the failure that says what becomes of the job, by the reaction
// to its kind: the one that ended the chain, else the shortest wait, else one that
// may pass, else one that a person must mend, else a final one.
//
// A wait beside a call that was refused for good comes back as an Overloaded, which
// costs the job an attempt: else it would go round, refused each time, for as long
// as the wait lasts. A pause beside one gives way to it for the same reason.
func (e *ChainError) Decisive() *Error {
	if len(e.Failures) == 0 {
		return &Error{Kind: Unknown, Billing: Unbilled}
	}
	if e.Ended {
		return e.Failures[len(e.Failures)-1]
	}
	first := map[Reaction]*Error{}
	var refused *Error
	for _, f := range e.Failures {
		reaction := f.Kind.Reaction()
		known, ok := first[reaction]
		if !ok || reaction == Wait && f.RetryAfter < known.RetryAfter {
			first[reaction] = f
		}
		if reaction == Final && f.Sent && refused == nil {
			refused = f
		}
	}
	switch wait, retry, pause := first[Wait], first[Retry], first[Pause]; {
	case wait != nil && refused != nil && retry == nil:
		counted := *wait
		counted.Kind = Overloaded
		return &counted
	case wait != nil && refused == nil:
		return wait
	case retry != nil:
		return retry
	case pause != nil && refused == nil:
		return pause
	case refused != nil:
		return refused
	}
	return first[Final]
}
