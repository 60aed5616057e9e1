package store

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/fleet"
)

// spendingColumns are the dimensions of the roll-up s, as text; $3 is the time zone.
var spendingColumns = map[billing.Dimension]string{ //nolint:gochecknoglobals // a table
	billing.ByProvider: `s.provider`,
	billing.ByModel:    `s.model`,
	billing.ByHour:     `to_char(s.hour AT TIME ZONE $3, 'YYYY-MM-DD HH24:MI')`,
	billing.ByDay:      `to_char(s.hour AT TIME ZONE $3, 'YYYY-MM-DD')`,
	billing.ByAccount:  `s.account`,
	billing.ByTag:      `coalesce(t.tag, '')`,
	billing.ByBatch:    `s.batch_id`,
	billing.ByKind:     `s.kind`,
}

// Spending returns what calls have cost, the dearest first, or, by days or hours, in their
// order. It reads the roll-up, never the ledger.
func (s *Store) Spending(ctx context.Context, q billing.SpendingQuery) ([]billing.Spending, error) {
	if q.Zone == "" {
		q.Zone = "UTC"
	}
	if err := q.Check(); err != nil {
		return nil, err
	}
	if !utf8.ValidString(q.Tag) || strings.ContainsRune(q.Tag, 0) {
		return nil, fmt.Errorf("%w: tag: must be a text", billing.ErrBadOrder)
	}
	var columns, times []string
	tags := ""
	for _, d := range q.By {
		columns = append(columns, spendingColumns[d])
		if d == billing.ByDay || d == billing.ByHour {
			times = append(times, spendingColumns[d])
		}
		if d == billing.ByTag {
			tags = `LEFT JOIN LATERAL (
				SELECT key || '=' || value AS tag
				FROM batches b, jsonb_each_text(b.tags)
				WHERE b.id = s.batch_id AND CASE $6::text WHEN '' THEN NOT (b.tags ? '` + batches.TagComparison + `' AND key = ANY ($7::text[])) ELSE ` + hasTag("key", "value", "$6") + ` END
			) t ON true`
		}
	}
	group := ""
	if len(columns) > 0 {
		group = `GROUP BY ` + strings.Join(columns, ", ")
	}
	order := append(times, `cost DESC`, `simulated DESC`, `calls DESC`) //nolint:gocritic // a new slice
	rows, err := s.pool.Query(ctx, `
		SELECT ARRAY[`+strings.Join(columns, ", ")+`]::text[] AS of, coalesce(sum(calls) FILTER (WHERE kind <> 'cache'), 0)::bigint AS calls,
			coalesce(sum(calls) FILTER (WHERE kind = 'cache'), 0)::bigint AS hits,
			saturated(coalesce(sum(saved_nano) FILTER (WHERE NOT simulated), 0)) AS saved,
			saturated(coalesce(sum(saved_nano) FILTER (WHERE simulated), 0)) AS saved_simulated,
			coalesce(sum(failed), 0)::bigint AS failed, coalesce(sum(unpriced), 0)::bigint AS unpriced,
			saturated(coalesce(sum(cost_nano) FILTER (WHERE NOT simulated), 0)) AS cost,
			saturated(coalesce(sum(cost_nano) FILTER (WHERE simulated), 0)) AS simulated,
			saturated(coalesce(sum(charge_nano) FILTER (WHERE NOT simulated), 0)) AS charge,
			coalesce(sum(overruns), 0)::bigint AS overruns, saturated(coalesce(sum(overrun_nano), 0)) AS overrun
		FROM spending s
		`+tags+`
		WHERE ($1::timestamptz IS NULL OR s.hour >= date_trunc('hour', $1))
		AND ($2::timestamptz IS NULL OR s.hour < $2)
		AND $3 <> '' AND ($4 = '' OR s.batch_id = $4) AND ($5 = '' OR s.account = $5)
		AND ($6 = '' OR s.batch_id IN (SELECT id FROM batches, jsonb_each_text(tags) WHERE `+hasTag("key", "value", "$6")+`)) AND $7::text[] IS NOT NULL
		`+group+`
		HAVING sum(calls) <> 0 OR sum(cost_nano) <> 0 OR sum(charge_nano) <> 0
		ORDER BY `+strings.Join(order, ", ")+`, 1`, timeOrNull(q.Since), timeOrNull(q.Until), q.Zone, q.Batch, q.Account, q.Tag,
		[]string{batches.TagComparison, batches.TagModel, batches.TagJudge})
	if err != nil {
		return nil, fmt.Errorf("sum up what was spent: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[billing.Spending])
	if err != nil {
		return nil, fmt.Errorf("sum up what was spent: %w", err)
	}
	return list, nil
}

// hasTag holds where the tag of this name and value is the one that $n is: NAME=VALUE, or
// NAME with any value.
func hasTag(name, value, n string) string {
	return n + ` IN (` + name + `, ` + name + ` || '=' || ` + value + `)`
}

// MetricsByHour returns the figures of each model's calls, hour by hour.
func (s *Store) MetricsByHour(ctx context.Context, since, until time.Time) ([]fleet.Metrics, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT date_trunc('hour', minute, 'UTC') AS hour, provider, model, sum(requests)::bigint AS requests, sum(succeeded)::bigint AS succeeded,
			sum(failed_unbilled)::bigint AS failed_unbilled, sum(failed_billed)::bigint AS failed_billed, sum(unknown)::bigint AS unknown,
			sum(rate_limited)::bigint AS rate_limited, sum(refused)::bigint AS refused, saturated(sum(input_tokens)) AS input_tokens,
			saturated(sum(output_tokens)) AS output_tokens, saturated(sum(cost_nano)) AS cost, saturated(sum(simulated_nano)) AS simulated,
			sum(unpriced)::bigint AS unpriced, saturated(round(sum(latency_ms_sum) / greatest(sum(requests), 1))) AS mean_latency,
			max(latency_ms_max) AS max_latency
		FROM provider_metrics
		WHERE ($1::timestamptz IS NULL OR minute >= date_trunc('hour', $1)) AND ($2::timestamptz IS NULL OR minute < $2)
		GROUP BY 1, provider, model
		HAVING sum(requests) > 0
		ORDER BY 1, provider, model`, timeOrNull(since), timeOrNull(until))
	if err != nil {
		return nil, fmt.Errorf("read figures by the hour: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[fleet.Metrics])
	if err != nil {
		return nil, fmt.Errorf("read figures by the hour: %w", err)
	}
	return list, nil
}
