package frontdoor

import "sync"

// arrivals counts the calls that are being let in, by provider: none of them is a job yet, and all
// that come at once would find the same short queue.
type arrivals struct {
	mu    sync.Mutex
	calls map[string]int
}

// enter returns how many came before and are no jobs yet, and a function to call when this one is
// a job or was refused.
func (a *arrivals) enter(provider string) (before int, leave func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls == nil {
		a.calls = map[string]int{}
	}
	before = a.calls[provider]
	a.calls[provider]++
	return before, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.calls[provider]--; a.calls[provider] == 0 {
			delete(a.calls, provider)
		}
	}
}
