package app

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"oneflow/providers"
	"oneflow/providers/keys"
)

// choosy is a vendor that refuses some keys.
type choosy struct {
	key     func(context.Context) (string, error)
	refuses map[string]providers.Kind
	used    []string // since it was asked last
}

func (c *choosy) Name() string { return "openai" }

func (c *choosy) Generate(ctx context.Context, _ providers.Request) (providers.Response, error) {
	secret, err := c.key(ctx)
	if err != nil {
		return providers.Response{}, &providers.Error{Provider: "openai", Kind: providers.Unauthorised, Billing: providers.Unbilled, Err: err}
	}
	c.used = append(c.used, secret)
	if kind := c.refuses[secret]; kind != "" {
		return providers.Response{}, &providers.Error{Provider: "openai", Kind: kind, Billing: providers.Unbilled, Sent: true}
	}
	return providers.Response{Text: "answer"}, nil
}

func TestARefusedKeyIsLeftAloneForAWhileAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	for _, kind := range []providers.Kind{providers.Unauthorised, providers.OutOfMoney, providers.AccessDenied} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			var now atomic.Int64 // seconds; a change of the file is noticed by another goroutine
			path := t.TempDir() + "/keys.json"
			write := func() {
				if err := os.WriteFile(path, []byte(`{"openai": ["`+keyA+`", "`+keyB+`"]}`), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write()
			store, err := keys.Open(keys.Config{Path: path, Getenv: func(string) string { return "" }, Now: func() time.Time { return time.Unix(now.Load(), 0) }})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(store.Close)
			vendor := &choosy{key: store.Source("openai", "https://api.openai.com"), refuses: map[string]providers.Kind{keyA: kind}}
			p := &keyed{Provider: vendor, keys: store}
			call := func() *providers.Error {
				_, err := p.Generate(t.Context(), providers.Request{})
				failure, _ := errors.AsType[*providers.Error](err)
				return failure
			}
			asked := func() []string {
				defer func() { vendor.used = nil }()
				for range 4 {
					_ = call()
				}
				return vendor.used
			}

			if failure := call(); failure == nil || failure.RefusedKey != "…111" {
				t.Errorf("with another key left: %+v", failure)
			}
			vendor.used = nil
			if used := asked(); slices.Contains(used, keyA) || len(used) != 4 {
				t.Errorf("after its refusal the keys %q were used", used)
			}
			now.Add(int64(keyPause.Seconds()))
			if used := asked(); !slices.Contains(used, keyA) {
				t.Errorf("after the pause the keys %q were used", used)
			}

			vendor.refuses = nil
			write()
			<-store.Changed()
			if used := asked(); !slices.Contains(used, keyA) || !slices.Contains(used, keyB) {
				t.Errorf("after the file changed the keys %q were used", used)
			}

			// The last one's refusal is the provider's.
			vendor.refuses = map[string]providers.Kind{keyA: kind, keyB: kind}
			first, last := call(), call()
			if first.RefusedKey == "" || last.RefusedKey != "" {
				t.Errorf("both were refused: %+v, then %+v", first, last)
			}
			vendor.used = nil
			if used := asked(); (len(used) == 0) != (kind == providers.Unauthorised) {
				t.Errorf("after both were refused the keys %q were used", used)
			}
			now.Add(int64(keyPause.Seconds()))
			vendor.refuses = nil
			if used := asked(); len(used) != 4 {
				t.Errorf("when the vendor takes them again the keys %q were used", used)
			}
		})
	}
}
