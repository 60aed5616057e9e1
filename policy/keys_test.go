package policy_test

import (
	"context"
	"testing"
	"testing/synctest"

	"oneflow/providers"
)

func TestARefusedKeyCostsNoTimeWhereAnotherIsLeft(t *testing.T) {
	t.Parallel()
	refused := func(key string) func(context.Context) (providers.Response, error) {
		return func(context.Context) (providers.Response, error) {
			return providers.Response{}, &providers.Error{Provider: "p", Kind: providers.Unauthorised, Billing: providers.Unbilled, Sent: true, RefusedKey: key}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		p := newScript(refused("…1111"), refused("…2222"), ok, ok, refused(""), ok)
		s, j := guarded(t, p, t.Context()), &ledger{t: t}
		generate := func() providers.Kind {
			_, err := s.Generate(t.Context(), providers.Route{Provider: "p"}, providers.Request{}, j)
			return kindOf(err)
		}
		if kind := generate(); kind != "" || len(p.calls) != 3 || p.calls[2] != 0 {
			t.Errorf("%q after calls at %v", kind, p.calls)
		}
		if kind := generate(); kind != "" || p.calls[3] != 0 {
			t.Errorf("the next: %q after calls at %v", kind, p.calls)
		}
		// With the last one the provider is left alone.
		for range 3 {
			if kind := generate(); kind != providers.Unauthorised {
				t.Errorf("without a key: %q", kind)
			}
		}
		if len(p.calls) != 5 {
			t.Errorf("%d calls", len(p.calls))
		}
		j.settled(p)
	})
}
