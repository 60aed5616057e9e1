package app

import (
	"context"
	"errors"

	"oneflow/billing"
	"oneflow/providers"
)

// windowed holds what a provider says that a call used against the context window of
// its model, before anybody counts or charges it.
type windowed struct {
	providers.Provider
	prices *billing.Prices
}

// Generate implements providers.Provider.
func (w *windowed) Generate(ctx context.Context, req providers.Request) (providers.Response, error) {
	res, err := w.Provider.Generate(ctx, req)
	return w.within(req, res, err)
}

// Resume implements providers.Resumer.
func (w *windowed) Resume(ctx context.Context, req providers.Request, handle string) (providers.Response, error) {
	res, err := providers.Resume(ctx, w.Provider, req, handle)
	return w.within(req, res, err)
}

func (w *windowed) within(req providers.Request, res providers.Response, err error) (providers.Response, error) {
	window := w.window(req)
	res.Usage = res.Usage.Within(window)
	if e, ok := errors.AsType[*providers.Error](err); ok {
		e.Usage = e.Usage.Within(window)
	}
	return res, err
}

// window is 0 where a call may go through its model more than once: for several
// answers, or for tools that the vendor runs, which only its own options ask for.
func (w *windowed) window(req providers.Request) int64 {
	if req.Task != providers.Text || req.N > 1 || len(req.Extra) > 0 || len(req.Body) > 0 {
		return 0
	}
	return w.prices.List.ContextWindow(w.prices.Kinds[w.Name()], req.Model)
}
