package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	lockPrefix   = "oneflow:storetest:number:" // in database 0, and the number: who has taken it
	lockLifetime = 2 * time.Hour               // a killed process' number is free again after that, if it is empty
	ordinary     = 16                          // database numbers of a Redis that nobody configured and that does not tell
	ours         = 1024                        // of devstack's
)

// numbers hands out the database numbers of a Redis, from 1 on; 0 is where everybody's data is.
type numbers struct {
	options *redis.Options
	raw     string
	token   string
	locks   *redis.Client // to database 0
	count   int

	mu    sync.Mutex
	taken map[int]bool // by this process, for the case that a test flushes the locks away
}

// release deletes a lock that is still ours. KEYS[1] is the lock, ARGV[1] our token; it returns how many were deleted.
const release = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`

func newNumbers(ctx context.Context, raw string, own bool) (*numbers, error) {
	opt, err := redis.ParseURL(raw)
	if err != nil {
		return nil, errors.New("REDIS_URL is no URL: want redis://:password@host:port/number")
	}
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	n := &numbers{options: opt, raw: raw, token: rand.Text(), count: ordinary, taken: make(map[int]bool)}
	n.locks = n.client(0)
	if own {
		n.count = ours
		return n, nil
	}
	// A server of somebody else's may forbid CONFIG: then it is taken to have the usual number.
	if config, err := n.locks.ConfigGet(ctx, "databases").Result(); err == nil {
		if count, err := strconv.Atoi(config["databases"]); err == nil {
			n.count = count
		}
	}
	return n, nil
}

// client talks to one database number.
func (n *numbers) client(number int) *redis.Client {
	opt := *n.options
	opt.DB, opt.PoolSize = number, 4
	return redis.NewClient(&opt)
}

// take finds a number that nobody has taken and that holds nothing.
func (n *numbers) take(ctx context.Context) (int, string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for number := 1; number < n.count; number++ {
		if n.taken[number] {
			continue
		}
		free, err := n.lock(ctx, number)
		if err != nil {
			return 0, "", err
		}
		if free {
			n.taken[number] = true
			u, err := withNumber(n.raw, number)
			return number, u, err
		}
	}
	return 0, "", fmt.Errorf("each of the %d database numbers of the Redis at %s is taken or holds data: empty one (redis-cli -n 1 FLUSHDB), configure more (databases 1024), or unset REDIS_URL to use a Redis of this machine", n.count-1, n.options.Addr)
}

// lock takes a number if it is free and empty, and leaves it as it was otherwise.
func (n *numbers) lock(ctx context.Context, number int) (free bool, err error) {
	key := lockPrefix + strconv.Itoa(number)
	err = n.locks.SetArgs(ctx, key, n.token, redis.SetArgs{Mode: "NX", TTL: lockLifetime}).Err()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("take the Redis database number %d: %w", number, err)
	}
	c := n.client(number)
	size, err := c.DBSize(ctx).Result()
	err = errors.Join(err, c.Close())
	if err == nil && size == 0 {
		return true, nil
	}
	if unlockErr := n.unlock(ctx, number); unlockErr != nil || err != nil {
		return false, fmt.Errorf("look into the Redis database number %d: %w", number, errors.Join(err, unlockErr))
	}
	return false, nil
}

func (n *numbers) unlock(ctx context.Context, number int) error {
	return n.locks.Eval(ctx, release, []string{lockPrefix + strconv.Itoa(number)}, n.token).Err()
}

// giveBack flushes a number and lets others take it. Where the lock is no longer ours, because it was flushed away or has
// aged out, the data may be somebody else's by now and stays.
func (n *numbers) giveBack(ctx context.Context, number int) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer delete(n.taken, number)
	holder, err := n.locks.Get(ctx, lockPrefix+strconv.Itoa(number)).Result()
	if errors.Is(err, redis.Nil) || (err == nil && holder != n.token) {
		return nil
	}
	if err == nil {
		c := n.client(number)
		err = errors.Join(c.FlushDB(ctx).Err(), c.Close())
	}
	if err == nil {
		err = n.unlock(ctx, number)
	}
	if err != nil {
		return fmt.Errorf("give back the Redis database number %d: %w", number, err)
	}
	return nil
}

func (n *numbers) close() error {
	if err := n.locks.Close(); err != nil {
		return fmt.Errorf("close the connection to Redis: %w", err)
	}
	return nil
}

// withNumber is the same server, another database number.
func withNumber(raw string, number int) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", errors.New("REDIS_URL is no URL: want redis://:password@host:port/number")
	}
	query := u.Query()
	if u.Scheme == "unix" {
		query.Set("db", strconv.Itoa(number))
		u.RawQuery = query.Encode()
		return u.String(), nil
	}
	query.Del("db")
	u.RawQuery, u.Path = query.Encode(), "/"+strconv.Itoa(number)
	return u.String(), nil
}
