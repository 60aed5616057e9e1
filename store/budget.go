package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/billing"
	"oneflow/jobs"
)

// lookForBudgets is the time for which budgets are taken to be there after they were seen. It
// costs a round trip where they are gone, and nothing else.
const lookForBudgets = 10 * time.Second

// chargedSQL puts what the settled calls did cost in place of what they had reserved,
// in each budget that they matched when they began; in wallets it puts what is due for
// them, and writes that into their ledgers. A budget whose period is over stays as it was. What was charged before is
// read under the rows' locks, as what the calls were is. See settleSQL.
const chargedSQL = `
	charged_before AS (
		SELECT c.call_id, c.budget_id, c.reserved_nano, c.spent_nano, CASE WHEN c.wallet THEN s.due_after ELSE s.cost_after END AS takes
		FROM settled s
		CROSS JOIN LATERAL (SELECT * FROM charges WHERE call_id = s.id FOR UPDATE) c
	), drawn AS (
		UPDATE charges h
		SET reserved_nano = 0, spent_nano = coalesce(o.takes, 0)
		FROM charged_before o
		WHERE h.call_id = ANY (ARRAY[o.call_id]) AND h.budget_id = o.budget_id
		RETURNING h.call_id, h.budget_id, h.began_at, o.reserved_nano AS freed, h.spent_nano - o.spent_nano AS spent
	), relieved AS (
		UPDATE budgets b
		SET spent_nano = saturated(b.spent_nano + d.spent),
			reserved_nano = greatest(0, b.reserved_nano - d.freed),
			stopped_until = CASE
				WHEN b.limit_nano - b.spent_nano - d.spent - b.reserved_nano + d.freed >= b.stopped_needs THEN NULL
				ELSE b.stopped_until END
		FROM (SELECT budget_id, began_at, sum(freed) AS freed, sum(spent) AS spent FROM drawn GROUP BY budget_id, began_at) d
		WHERE b.id = d.budget_id AND b.began_at = d.began_at
	), entries AS (
		INSERT INTO ledger_entries (account, call_id, amount_nano)
		SELECT b.account, d.call_id, -d.spent
		FROM drawn d
		CROSS JOIN LATERAL (SELECT account FROM budgets WHERE id = d.budget_id AND wallet) b
		WHERE d.spent <> 0
	)`

// beginWithin begins calls as far as budgets let them: jobs are locked, then budgets,
// in the order of their ids, until the commit. Each call that fits is begun, in turn.
func (s *Store) beginWithin(ctx context.Context, in []beginIn) ([]outcome[struct{}], error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin calls: %w", err)
	}
	// One that is left in a transaction is closed, which rolls it back.
	defer conn.Release()
	columns := beginColumns(in)
	q, err := readBudgets(ctx, conn.Conn(), columns, columns[1])
	if err != nil {
		return nil, fmt.Errorf("begin calls: read budgets: %w", err)
	}
	refusals := q.reserve(in) // a raised bound is reserved, too

	verdicts := make(map[uuid.UUID]string, len(in))
	refused := make([]string, len(in))
	for i := range in {
		if refusals[i] != nil {
			refused[i] = "budget"
		}
	}
	var p pgx.Batch
	p.Queue(renewSQL, q.ids())
	queueBegins(&p, in, refused, verdicts)
	calls, budgets, amounts := q.reservations(in)
	p.Queue(reserveSQL, calls, budgets, amounts)
	if len(q.terms) > 0 {
		p.Queue(termsSQL, q.termColumns(in)...)
	}
	stopped, needs := q.stopped()
	p.Queue(stopSQL, stopped, needs)
	p.Queue(`COMMIT`)
	if err := conn.SendBatch(ctx, &p).Close(); err != nil {
		return nil, fmt.Errorf("begin calls: %w", err)
	}
	if err := s.lookForTaken(ctx, in, verdicts); err != nil {
		return nil, err
	}
	out := make([]outcome[struct{}], len(in))
	for i, b := range in {
		switch verdict := verdicts[b.call.CallID]; {
		case verdict == "budget", b.call.Gen > 0 && verdict != "send" && verdict != "sent" && refusals[i] != nil:
			out[i].err = refusals[i]
		default:
			out[i].err = begun(verdict)
		}
	}
	return out, nil
}

// quotas are the budgets that calls of a group match.
type quotas struct {
	list  []*quota
	of    map[int][]*quota // by the call's place in the group
	taken []reservation
	terms []termsOf
	// bounds are those of models that are not the price list's, by provider and model.
	bounds map[[2]string]billing.Bound
}

type quota struct {
	billing.Budget
	needs *billing.NanoUSD // the least that did not fit
}

// termsOf are the terms of the call at a place, with the most that is due for it.
type termsOf struct {
	place  int
	terms  billing.Terms
	amount billing.NanoUSD
}

// reservation is the amount that the call at a place takes of a budget.
type reservation struct {
	place  int
	budget int64
	amount billing.NanoUSD
}

// readBudgets begins the transaction, locks these jobs and the budgets that the calls
// match, and returns them as of now: where a period is over, of the next one.
func readBudgets(ctx context.Context, conn *pgx.Conn, columns []any, lock any) (*quotas, error) {
	q := &quotas{of: map[int][]*quota{}, bounds: map[[2]string]billing.Bound{}}
	calls, jobIDs, names, models, simulated := columns[0], columns[1], columns[4], columns[5], columns[8]
	byID := map[int64]*quota{}
	var p pgx.Batch
	p.Queue(`BEGIN`)
	// Whoever sets a budget waits for this transaction, or this one for them.
	p.Queue(`LOCK TABLE calls IN ROW EXCLUSIVE MODE`)
	p.QueuedQueries = append(p.QueuedQueries, pipeline().QueuedQueries...)
	p.Queue(`SELECT FROM job_states WHERE job_id = ANY ($1) ORDER BY job_id FOR NO KEY UPDATE`, lock)
	p.Queue(`
		SELECT `+budgetColumns+`
		FROM budgets b
		WHERE id IN (SELECT b.id FROM `+matching+`)
		ORDER BY id
		FOR NO KEY UPDATE`, calls, jobIDs, names, models, simulated).Query(func(rows pgx.Rows) error {
		list, err := pgx.CollectRows(rows, scanBudget)
		for _, b := range list {
			one := &quota{Budget: b}
			byID[b.ID], q.list = one, append(q.list, one)
		}
		return err
	})
	p.Queue(`SELECT `+boundColumns+` FROM bounds WHERE provider = ANY ($1)`, names).Query(func(rows pgx.Rows) error {
		list, err := pgx.CollectRows(rows, pgx.RowToStructByName[billing.Bound])
		for _, b := range list {
			q.bounds[[2]string{b.Provider, b.Model}] = b
		}
		return err
	})
	p.Queue(`
		SELECT w.place - 1, b.id
		FROM `+matching+`
		WHERE NOT EXISTS (SELECT FROM calls c WHERE c.id = ANY (ARRAY[w.id]))
		ORDER BY w.place, b.id`, calls, jobIDs, names, models, simulated).Query(func(rows pgx.Rows) error {
		var place int
		var id int64
		_, err := pgx.ForEachRow(rows, []any{&place, &id}, func() error {
			if b := byID[id]; b != nil {
				q.of[place] = append(q.of[place], b)
			}
			return nil
		})
		return err
	})
	return q, conn.SendBatch(ctx, &p).Close()
}

// matching joins calls w with the budgets b that hold for them.
const matching = `
	unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bool[]) WITH ORDINALITY AS w (id, job_id, provider, model, simulated, place)
	JOIN jobs j ON j.id = ANY (ARRAY[w.job_id])
	JOIN budgets b ON b.simulated = w.simulated
		AND b.account IN ('', j.account)
		AND b.provider IN ('', w.provider)
		AND b.model IN ('', w.model)
		AND b.batch_id IN ('', j.batch_id)
		AND ` + tagged

// tagged holds where the batch of the job j has the tag of the budget b, or where that
// has none.
const tagged = `(b.tag = '' OR EXISTS (
	SELECT
	FROM batches x
	WHERE x.id = j.batch_id AND x.tags ->> split_part(b.tag, '=', 1) = substr(b.tag, strpos(b.tag, '=') + 1)))`

// budgetBegan and budgetEnds bound the period of the budget b that it is now. In some zones
// the clock goes back over midnight: then a day begins at the first of its two midnights.
const (
	budgetBegan = `CASE b.period WHEN 'total' THEN '-infinity'
		WHEN 'hour' THEN date_trunc('hour', now(), b.timezone)
		ELSE ` + periodBegan + ` - CASE WHEN (` + periodBegan + ` - interval '1 hour') AT TIME ZONE b.timezone = ` + periodBegan + ` AT TIME ZONE b.timezone
			THEN interval '1 hour' ELSE interval '0' END END`
	budgetEnds = `CASE b.period WHEN 'total' THEN NULL
		WHEN 'hour' THEN date_trunc('hour', now(), b.timezone) + interval '1 hour' -- by the clock, one of two equal hours would be two long
		ELSE ` + periodEnds + ` - CASE WHEN (` + periodEnds + ` - interval '1 hour') AT TIME ZONE b.timezone = ` + periodEnds + ` AT TIME ZONE b.timezone
			THEN interval '1 hour' ELSE interval '0' END END`

	periodBegan = `date_trunc(b.period, now(), b.timezone)`
	periodEnds  = `((date_trunc(b.period, now() AT TIME ZONE b.timezone) + ('1 ' || b.period)::interval) AT TIME ZONE b.timezone)`
)

// budgetColumns are those of a budget b as it is now, for scanBudget.
const budgetColumns = `b.id, b.account, b.provider, b.model, b.batch_id, b.tag, b.simulated, b.wallet, b.period, b.timezone, b.limit_nano, b.card, b.blocks,
	nullif(` + budgetBegan + `, '-infinity'), ` + budgetEnds + `,
	CASE WHEN b.began_at >= ` + budgetBegan + ` THEN b.spent_nano ELSE 0 END,
	CASE WHEN b.began_at >= ` + budgetBegan + ` THEN b.reserved_nano ELSE 0 END,
	coalesce(b.stopped_until > now(), false), CASE WHEN b.stopped_until > now() THEN b.stopped_needs ELSE 0 END, b.changed_by, b.changed_at`

func scanBudget(row pgx.CollectableRow) (billing.Budget, error) {
	var b billing.Budget
	var began, ends *time.Time
	err := row.Scan(
		&b.ID, &b.Account, &b.Provider, &b.Model, &b.Batch, &b.Tag, &b.Simulated, &b.Wallet, &b.Period, &b.Zone, &b.Limit, &b.Card, &b.Blocks,
		&began, &ends, &b.Spent, &b.Reserved, &b.Stopped, &b.Needs, &b.By, &b.At,
	)
	b.Began, b.Ends = timeOrZero(began), timeOrZero(ends)
	return b, err
}

// reserve takes what each call can cost at most out of all budgets that it matches, in
// turn, and returns why not for those that do not fit.
func (q *quotas) reserve(in []beginIn) []*jobs.BudgetError {
	refusals := make([]*jobs.BudgetError, len(in))
	for i, b := range in {
		amount := billing.NanoUSD(0)
		bound := q.bounds[[2]string{b.call.Provider, b.call.Model}]
		if n := bounded(b.call.Reserved); n != nil {
			amount = bound.Of(billing.NanoUSD(*n))
			in[i].call.Reserved = &amount
		}
		due, terms, dueKnown := dueOf(in[i].call, q.of[i])
		// Of several that it does not fit in, the one that lasts longest is told.
		for _, budget := range q.of[i] {
			amount, unpriced := amount, b.call.Reserved == nil
			if budget.Wallet {
				amount, unpriced = due, !dueKnown
			}
			if budget.Blocks && !bound.StoppedAt.IsZero() {
				refusals[i] = &jobs.BudgetError{Budget: budget.Budget, Needs: amount, Bound: &bound}
				break
			}
			if !budget.Blocks || !unpriced && amount <= budget.Left() {
				continue
			}
			if budget.needs == nil || amount < *budget.needs {
				budget.needs = &amount
			}
			if was := refusals[i]; was == nil || !was.Budget.Ends.IsZero() && (budget.Ends.IsZero() || budget.Ends.After(was.Budget.Ends)) {
				refusals[i] = &jobs.BudgetError{Budget: budget.Budget, Unpriced: unpriced, Needs: amount}
			}
		}
		if refusals[i] != nil {
			continue
		}
		for _, budget := range q.of[i] {
			takes := amount
			if budget.Wallet {
				takes = due
			}
			budget.Reserved += takes
			q.taken = append(q.taken, reservation{i, budget.ID, takes})
		}
		if terms != nil {
			q.terms = append(q.terms, termsOf{i, *terms, due})
		}
	}
	return refusals
}

// dueOf returns the most that is due for a call that reserves so much, and the terms of
// the rate card that says so; nil: it is what the provider charges. known is false where
// nobody knows what that is.
func dueOf(c jobs.Call, of []*quota) (due billing.NanoUSD, terms *billing.Terms, known bool) {
	for _, budget := range of {
		if budget.Wallet && budget.Card != nil {
			t := budget.Card.Terms(c.Task)
			due, known = t.Charge(c.Units, c.Reserved)
			return due, &t, known
		}
	}
	if c.Reserved == nil {
		return 0, nil, false
	}
	return *c.Reserved, nil, true
}

// termColumns are the parameters of termsSQL.
func (q *quotas) termColumns(in []beginIn) []any {
	n := len(q.terms)
	calls, units, markups, amounts := make([]uuid.UUID, n), make([]*string, n), make([]string, n), make([]*int64, n)
	for i, t := range q.terms {
		unit, markup := t.terms.Decimals()
		calls[i], markups[i] = in[t.place].call.CallID, markup
		if unit != "" {
			units[i] = &unit
		}
		if unit != "" || in[t.place].call.Reserved != nil {
			amounts[i] = bounded(&t.amount)
		}
	}
	return []any{calls, units, markups, amounts}
}

func (q *quotas) ids() []int64 {
	ids := make([]int64, len(q.list))
	for i, b := range q.list {
		ids[i] = b.ID
	}
	return ids
}

func (q *quotas) reservations(in []beginIn) (calls []uuid.UUID, budgets, amounts []int64) {
	for _, r := range q.taken {
		calls, budgets, amounts = append(calls, in[r.place].call.CallID), append(budgets, r.budget), append(amounts, int64(r.amount))
	}
	return calls, budgets, amounts
}

func (q *quotas) stopped() (budgets, needs []int64) {
	for _, b := range slices.Backward(q.list) {
		if b.needs != nil {
			budgets, needs = append(budgets, b.ID), append(needs, int64(*b.needs))
		}
	}
	return budgets, needs
}

const (
	// renewSQL begins the next period of budgets whose last one is over.
	renewSQL = `
		UPDATE budgets b
		SET began_at = ` + budgetBegan + `, spent_nano = 0, reserved_nano = 0, stopped_until = NULL
		WHERE b.id = ANY ($1) AND b.began_at < ` + budgetBegan

	// reserveSQL writes what the calls that were begun in this transaction reserve.
	reserveSQL = `
		WITH reserved AS (
			INSERT INTO charges (call_id, budget_id, wallet, began_at, reserved_nano)
			SELECT w.call_id, w.budget_id, b.wallet, b.began_at, w.amount
			FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS w (call_id, budget_id, amount)
			CROSS JOIN LATERAL (SELECT wallet, began_at FROM budgets WHERE id = w.budget_id) b
			CROSS JOIN LATERAL (SELECT FROM calls WHERE id = w.call_id) c
			RETURNING budget_id, reserved_nano
		)
		UPDATE budgets b
		SET reserved_nano = saturated(b.reserved_nano + r.amount)
		FROM (SELECT budget_id, sum(reserved_nano) AS amount FROM reserved GROUP BY budget_id) r
		WHERE b.id = r.budget_id`

	// termsSQL writes down by which terms the calls that were begun are charged.
	termsSQL = `
		UPDATE calls c
		SET unit_nano = w.unit, markup = w.markup, charge_reserved_nano = w.amount
		FROM unnest($1::uuid[], $2::numeric[], $3::numeric[], $4::bigint[]) AS w (id, unit, markup, amount)
		WHERE c.id = ANY (ARRAY[w.id]) AND c.state = 'running'`

	// stopSQL notes the budgets that a call did not fit in.
	stopSQL = `
		UPDATE budgets b
		SET stopped_until = coalesce(` + budgetEnds + `, 'infinity'), stopped_needs = w.needs, refused_at = now()
		FROM unnest($1::bigint[], $2::bigint[]) AS w (id, needs)
		WHERE b.id = w.id`
)
