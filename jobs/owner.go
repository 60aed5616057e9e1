package jobs

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// ownerKey holds the id of the fleet whose deliveries Redis holds.
const ownerKey = "oneflow:fleet"

// FleetStore knows the fleet's id.
type FleetStore interface {
	// FleetID returns the id of the fleet that the database belongs to; it is made at
	// the first call.
	FleetID(ctx context.Context) (uuid.UUID, error)
}

// ForeignRedisError reports that Redis holds the deliveries of another fleet, which
// workers of this one would take for stale, and drop.
type ForeignRedisError struct {
	// Theirs is the id that stands in Redis, Ours the one that stands in Postgres.
	Theirs, Ours string
}

func (e *ForeignRedisError) Error() string {
	return fmt.Sprintf("this Redis belongs to the fleet %s of another database, and this fleet is %s: "+
		"write another database number at the end of REDIS_URL, or give this fleet a server of its own; "+
		"where the other fleet is gone, run `worker adopt-redis`", e.Theirs, e.Ours)
}

// Owner keeps two fleets that were given the same Redis from taking each other's
// deliveries: the id of the one that came first stands there.
type Owner struct {
	redis redis.UniversalClient
	store FleetStore

	mu    sync.Mutex
	fleet string // empty: not read yet
}

// NewOwner makes an Owner. The caller closes client.
func NewOwner(client redis.UniversalClient, store FleetStore) *Owner {
	return &Owner{redis: client, store: store}
}

// Check takes a Redis that nobody has, such as one that has lost its memory, and
// fails with a *ForeignRedisError where another fleet has it. It asks Redis each
// time, in one round trip.
func (o *Owner) Check(ctx context.Context) error {
	ours, err := o.id(ctx)
	if err != nil {
		return err
	}
	pipe := o.redis.Pipeline()
	pipe.SetNX(ctx, ownerKey, ours, 0)
	theirs := pipe.Get(ctx, ownerKey)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("ask Redis which fleet it belongs to: %w", err)
	}
	if theirs.Val() != ours {
		return &ForeignRedisError{Theirs: theirs.Val(), Ours: ours}
	}
	return nil
}

// Adopt makes Redis this fleet's, and returns the id of the fleet whose it was:
// empty where nobody had it, or this one.
func (o *Owner) Adopt(ctx context.Context) (before string, err error) {
	ours, err := o.id(ctx)
	if err != nil {
		return "", err
	}
	before, err = o.redis.SetArgs(ctx, ownerKey, ours, redis.SetArgs{Get: true}).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("adopt Redis: %w", err)
	}
	if before == ours {
		before = ""
	}
	return before, nil
}

func (o *Owner) id(ctx context.Context) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fleet == "" {
		id, err := o.store.FleetID(ctx)
		if err != nil {
			return "", err
		}
		o.fleet = id.String()
	}
	return o.fleet, nil
}
