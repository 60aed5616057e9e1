package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"oneflow/billing"
	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/providers"
)

// cache sets how old the answers of rows may be which do not say so, where the flags do: else
// what the configuration says holds for them, as for jobs from elsewhere.
func (c common) cache(defaults map[string]json.RawMessage) error {
	if c.Cache == nil {
		if c.CacheVaried {
			return errors.New("--cache-varied: says of which requests --cache holds: give that, too")
		}
		return nil
	}
	age := *c.Cache
	if age < 0 || age.Seconds() > providers.MaxCacheSeconds || age > 0 && age < time.Second {
		return fmt.Errorf("--cache %s: must be a second to ten years, or 0", age)
	}
	defaults["cache_seconds"] = json.RawMessage(strconv.FormatInt(int64(age.Seconds()), 10))
	if age > 0 && c.CacheVaried {
		defaults["cache_varied"] = json.RawMessage("true")
	}
	return nil
}

// varied counts the jobs that --cache does nothing for, since they ask for variety.
type varied struct{ n, of int64 }

// add counts a job.
func (v *varied) add(job jobs.New) {
	v.of++
	if job.Request.CacheSeconds > 0 && !billing.Cacheable(job.Request) {
		v.n++
	}
}

// String says so; empty: there are none.
func (v *varied) String() string {
	switch {
	case v.n == 0:
		return ""
	case v.of == 1:
		return "it asks for variety (" + varies + "), and is asked anew all the same, unless --cache-varied"
	}
	return fmt.Sprintf("%s of %s ask for variety (%s), and are asked anew all the same, unless --cache-varied", cli.Count(v.n), cli.Things(v.of, "job"), varies)
}

// varies says what makes a request ask for variety.
const varies = "no seed, and a temperature above 0, which is the default, or a picture or film"

// cacheForecast tells which rows the cache will answer: those of an answer that is there,
// and all but the first of those that are the same.
type cacheForecast struct {
	cfg  config.Config
	seen map[jobs.CacheKey]bool
	rows []cachedRow // since the last look
}

// cachedRow is a row that may be answered from the cache.
type cachedRow struct {
	job jobs.New
	key jobs.CacheKey
	hit bool
}

// add reports whether a row may be answered from the cache: look tells then.
func (c *cacheForecast) add(job jobs.New) bool {
	if !billing.Cacheable(job.Request) {
		return false
	}
	key, err := billing.CacheKey(billing.CacheScope{
		Account: job.Account, Provider: job.Provider, BaseURL: c.cfg.Providers[job.Provider].CalledAt(),
	}, job.Request)
	if err != nil {
		return false
	}
	c.rows = append(c.rows, cachedRow{job: job, key: key})
	return true
}

// cachedStore knows what is in the cache.
type cachedStore interface {
	Cached(ctx context.Context, keys []jobs.CacheKey) ([]jobs.CacheKey, error)
}

// look returns the rows since the last look.
func (c *cacheForecast) look(ctx context.Context, db cachedStore) ([]cachedRow, error) {
	rows := c.rows
	c.rows = nil
	keys := make([]jobs.CacheKey, len(rows))
	for i, row := range rows {
		keys[i] = row.key
	}
	there, err := db.Cached(ctx, keys)
	for _, key := range there {
		c.seen[key] = true
	}
	for i := range rows {
		rows[i].hit = c.seen[rows[i].key]
		c.seen[rows[i].key] = true
	}
	return rows, err
}
