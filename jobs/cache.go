package jobs

import (
	"crypto/sha256"
	"time"

	"github.com/google/uuid"
)

// CacheKey names a request in the cache: see billing.CacheKey.
type CacheKey [sha256.Size]byte

// Look asks the cache for the answer to the request of a job that its holder has claimed.
type Look struct {
	Key        CacheKey
	JobID      uuid.UUID
	LeaseToken uuid.UUID
	// Account, Provider and Model are kept with the answer, for lists.
	Account, Provider, Model string
	// Simulated reports whether a call would spend simulated money.
	Simulated bool
	// For bounds the age of the answer.
	For time.Duration
}

// Found answers a Look.
type Found string

// What a look into the cache may find.
const (
	// CacheHit: there was an answer, and the job has ended with it.
	CacheHit Found = "hit"
	// CacheLead: there is none, and this job makes the call, for all others that want it.
	CacheLead Found = "lead"
	// CacheFollow: another job makes the call. This one was given back, and is woken when
	// there is an answer, or when it is its turn to make the call.
	CacheFollow Found = "follow"
	// CacheNone: the job may not go on, as beginning a call will tell.
	CacheNone Found = "none"
)

// FollowFor is the time after which a job that follows another looks again by itself,
// should the one that it follows have died.
const FollowFor = 30 * time.Second

// WaitForCache is the reason of its wait.
const WaitForCache = "cache"

// Keep has an answer kept in the cache, under the key that its job leads.
type Keep struct {
	Key CacheKey
	For time.Duration
}

// CacheStats sums up the cache.
type CacheStats struct {
	// Answers counts those that are kept, of Bytes in all, files among them; Leading counts
	// requests that are being answered, and Following the jobs that wait for these.
	Answers   int64 `json:"answers"`
	Bytes     int64 `json:"bytes"`
	Leading   int64 `json:"leading"`
	Following int64 `json:"following"`
	// Oldest and Expires are when the oldest was kept, and when the next is forgotten; both
	// zero where there is none.
	Oldest  time.Time `json:"oldest,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
}

// CacheScope selects answers in the cache: those of all that is named.
type CacheScope struct{ Account, Provider, Model string }
