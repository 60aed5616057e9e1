package store_test

import (
	"context"
	"slices"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
)

// pack makes a call for several jobs of one batch, and has it end in any way, or not at all.
func (p *player) pack(ctx context.Context) error {
	b := p.shared
	worker, _ := some(p, &b.workers)
	var all []*jobs.Job
	b.mu.Lock()
	batch := p.rand.IntN(len(b.ids)/40) * 40
	ids := slices.Clone(b.ids[batch : batch+40])
	b.mu.Unlock()
	for range 8 { // claimed by the way
		c := jobs.Claim{ID: ids[p.rand.IntN(len(ids))], Gen: []int{1, 1, 1, 2, 2, 3, 4}[p.rand.IntN(7)], LeaseToken: jobs.NewID()}
		got, err := p.store.Claim(ctx, worker, c)
		if err != nil {
			return err
		}
		if got.Job != nil {
			all = append(all, got.Job)
			b.add(func() { b.leases = append(b.leases, got.Job) })
		}
	}
	if len(all) == 0 {
		first, ok := some(p, &b.leases)
		if !ok {
			return nil
		}
		all = append(all, first)
	}
	first := all[0]
	for range 8 {
		j, _ := some(p, &b.leases)
		if j.BatchID == first.BatchID && j.Account == first.Account && !slices.ContainsFunc(all, func(o *jobs.Job) bool { return o.ID == j.ID }) {
			all = append(all, j)
		}
	}
	if len(all) == 1 {
		return nil
	}
	c, done := packOf(all, nano(p.rand.Int64N(100)), nano(p.rand.Int64N(120)), func(int) int { return 1 + p.rand.IntN(5) })
	done.Parts = done.Parts[p.rand.IntN(2):]
	for i := range done.Parts {
		for _, j := range all {
			if j.ID == done.Parts[i].JobID {
				done.Parts[i].Child = p.child(j)
			}
		}
	}
	// One holder does one thing at a time, and whoever holds several takes them in one order.
	slices.SortFunc(all, func(x, y *jobs.Job) int { return slices.Compare(x.LeaseToken[:], y.LeaseToken[:]) })
	held := func(do func() error) error {
		for _, j := range all {
			defer b.hold(j.LeaseToken)()
		}
		return do()
	}
	err := p.do(func(s *store.Store) error { return held(func() error { return s.BeginCall(ctx, worker, c) }) })
	if err != nil {
		return err
	}
	switch p.rand.IntN(4) {
	case 0: // left behind
		return nil
	case 1:
		failed := jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallFailedBilled, Cost: nano(p.rand.Int64N(120)), Kind: providers.Unreadable, Packed: true}
		return p.do(func(s *store.Store) error { return held(func() error { return s.SettleCall(ctx, failed) }) })
	case 2: // its answer comes after it was given up
		lost := jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallUnknown, Packed: true}
		if err := held(func() error { return p.store.SettleCall(ctx, lost) }); err != nil {
			return err
		}
	}
	return p.do(func(s *store.Store) error { return held(func() error { return s.Succeed(ctx, done) }) })
}

// spend changes what may be spent.
func (p *player) spend(ctx context.Context) error {
	money := billing.NewMoney(p.store, "player")
	scope := []billing.Scope{{}, {}, {Account: "default"}, {Batch: "b1"}, {Provider: "mock", Model: "m"}, {Model: "another"}}[p.rand.IntN(6)]
	switch k := p.rand.IntN(16); {
	case k >= 12: // bills above their reserves have stopped the model
		return money.RaiseBound(ctx, "mock", "m", 100+p.rand.IntN(100))
	case k >= 10:
		cards := []*billing.Card{nil, words(), {Name: "resale", Markup: "1.333333"}}
		_, err := money.SetCard(ctx, []string{"default", "alpha"}[p.rand.IntN(2)], cards[p.rand.IntN(3)])
		return err
	case k < 4:
		_, err := money.Set(ctx, billing.Budget{
			Scope: scope, Period: billing.Periods()[p.rand.IntN(5)], Zone: []string{"UTC", "Europe/Paris"}[p.rand.IntN(2)],
			Limit: billing.NanoUSD(p.rand.Int64N(5000 << p.rand.IntN(8))), Blocks: p.rand.IntN(3) > 0,
		})
		return err
	case k < 6:
		list, err := p.store.Budgets(ctx)
		if err != nil || len(list) < 6 {
			return err
		}
		return money.Remove(ctx, list[p.rand.IntN(len(list))].ID)
	default:
		_, err := money.Deposit(ctx, []string{"default", "alpha"}[p.rand.IntN(2)], billing.NanoUSD(p.rand.Int64N(50_000)-1000), "")
		return err
	}
}
