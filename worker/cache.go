package worker

import (
	"context"
	"time"

	"github.com/google/uuid"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

// CacheStore keeps answers for requests that are made again.
type CacheStore interface {
	// LookUp ends a job with the answer that is kept for its request, makes it the leader
	// of its request, or gives it back to follow the leader.
	LookUp(ctx context.Context, l jobs.Look) (jobs.Found, error)
	// Release ends the lead of a lease that brought no answer which is kept. One of those
	// that follow is woken, to lead.
	Release(ctx context.Context, key jobs.CacheKey, lease uuid.UUID) error
}

// fromCache answers a job from the cache, or has it wait for another that makes the same
// call; done reports whether its claim has ended with that. Else its call is made, and
// its answer is kept if it leads.
func (h *handler) fromCache(j *journal) (done bool, result error) {
	// What the answer leads to in the next step of a pipeline is made with its result.
	if j.follow != nil || !billing.Cacheable(j.job.Request) {
		return false, nil
	}
	scope := billing.CacheScope{Account: j.job.Account, Provider: j.job.Provider, BaseURL: h.cfg.baseURL(j.job.Provider)}
	key, err := billing.CacheKey(scope, j.job.Request)
	if err != nil {
		j.log.Warn().Err(err).Msg("request has no key in the cache: it is made")
		return false, nil
	}
	found, err := h.cfg.Store.Cache.LookUp(h.writing, jobs.Look{
		Key: key, JobID: j.job.ID, LeaseToken: j.job.LeaseToken, Account: j.job.Account, Provider: j.job.Provider,
		Model: j.job.Request.Model, Simulated: h.cfg.simulated(j.job.Provider), For: time.Duration(j.job.Request.CacheSeconds) * time.Second,
	})
	if err != nil {
		j.log.Warn().Err(err).Msg("cache not looked into: the call is made")
		return false, nil
	}
	switch found {
	case jobs.CacheHit:
		j.log.Info().Msg("answered from the cache")
		j.trace(jobs.Succeeded, "")
		return true, nil
	case jobs.CacheFollow:
		j.log.Info().Msg("follows a job that makes the same call")
		var next *jobs.Delivery
		if j.inChunk {
			next = nextOf(&j.job)
		}
		return true, &requeue{after: jobs.FollowFor, next: next}
	case jobs.CacheLead:
		j.cache = &jobs.Keep{Key: key, For: time.Duration(j.job.Request.CacheSeconds) * time.Second}
	case jobs.CacheNone:
	}
	return false, nil
}

// keeps returns what has an answer kept in the cache; nil: it is not kept. Kept are whole
// answers that the first provider gave to the request as it was made.
func (j *journal) keeps(c *openCall, res providers.Response) *jobs.Keep {
	if c.provider != j.job.Provider || len(j.misses) > 0 {
		return nil
	}
	switch providers.FinishOf(res.FinishReason) {
	case providers.FinishStop, providers.FinishToolCalls, "":
	case providers.FinishLength, providers.FinishFilter, providers.FinishPause, providers.FinishOther:
		return nil
	}
	return j.cache
}

// releaseCache lets another job make the call that this one has led without an answer that
// is kept.
func (h *handler) releaseCache(j *journal) {
	if j.cache == nil || j.kept {
		return
	}
	err := h.waitForWrite(func() error { return h.cfg.Store.Cache.Release(h.writing, j.cache.Key, j.job.LeaseToken) })
	if err != nil {
		j.log.Warn().Err(err).Msg("request in the cache not released: those that wait for it look again by themselves")
	}
}
