package store_test

import (
	"testing"

	"oneflow/providers"
)

func TestWhatACallUsedIsReadAsItWasTold(t *testing.T) {
	t.Parallel()
	for name, used := range map[string]providers.Usage{
		"tokens":        {InputTokens: 11, OutputTokens: 32},
		"no output":     {InputTokens: 11},
		"cached tokens": {InputTokens: 1, CachedInputTokens: 10, OutputTokens: 32},
		"a variant":     {OutputTokens: 7, Variant: "1024x1024"},
	} {
		for _, alone := range []bool{true, false} { // recorded by either statement
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newDatabase(t)
				if !alone {
					w.exec(t, `INSERT INTO budgets (account, period, limit_nano, began_at) VALUES ('default', 'total', 1000000, '-infinity')`)
				}
				j := w.running(t, nil)
				done := success(j, w.sent(t, j, nano(5)), nano(3))
				done.Settlement.Usage, done.Response.Usage = used, used
				if err := w.Succeed(t.Context(), done); err != nil {
					t.Fatal(err)
				}
				bought, err := w.Bought(t.Context(), j.ID.String(), j.Deadline, 10)
				if err != nil || len(bought) != 1 || bought[0].Usage != used {
					t.Errorf("%+v, %v, want %+v", bought, err, used)
				}
				if w.count(t, `SELECT count(*) FROM calls WHERE usage = '{}'`) == 1 != (used == providers.Usage{InputTokens: used.InputTokens, OutputTokens: used.OutputTokens}) {
					t.Error("a call keeps what its tokens say, or does not keep the rest")
				}
				w.holds(t)
			})
		}
	}
}
