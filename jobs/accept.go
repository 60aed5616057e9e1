package jobs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"

	"oneflow/internal/failpoint"
	"oneflow/providers"
)

// Producer accepts jobs: into Postgres first, then to Redis.
type Producer struct {
	store    AcceptStore
	dispatch *Dispatcher
	estimate func(ctx context.Context, rows []New) error
}

// NewProducer makes a Producer.
func NewProducer(store AcceptStore, dispatch *Dispatcher) *Producer {
	return &Producer{store: store, dispatch: dispatch}
}

// Estimating has the estimates of a batch's rows filled in by this, before they are accepted.
func (p *Producer) Estimating(by func(ctx context.Context, rows []New) error) *Producer {
	return &Producer{store: p.store, dispatch: p.dispatch, estimate: by}
}

// accept accepts rows, with their estimates.
func (p *Producer) accept(ctx context.Context, batchID string, rows []New, dispatch bool) (Accepted, error) {
	if batchID != "" && p.estimate != nil {
		if err := p.estimate(ctx, rows); err != nil {
			return Accepted{}, err
		}
	}
	return p.store.AcceptJobs(ctx, batchID, rows, dispatch)
}

// Enqueue accepts rows and pushes what is new, as far as the windows of their
// queues have room. dispatchErr reports that Redis did not take some of these: a
// worker will see to them, as to the others. err reports that nothing was accepted.
func (p *Producer) Enqueue(ctx context.Context, batchID string, rows []New) (acc Accepted, dispatchErr, err error) {
	acc, err = p.accept(ctx, batchID, rows, true)
	if err != nil || len(acc.Deliveries) == 0 {
		return acc, nil, err
	}
	failpoint.Hit("accepted", "")
	_, dispatchErr = p.dispatch.Push(ctx, acc.Deliveries)
	return acc, dispatchErr, nil
}

// Accept accepts rows as Enqueue does and leaves it to a worker to push them.
func (p *Producer) Accept(ctx context.Context, batchID string, rows []New) (acc Accepted, dispatchErr, err error) {
	acc, err = p.accept(ctx, batchID, rows, false)
	return acc, nil, err
}

// Keys gives the rows of one batch their keys, and remembers what it has seen,
// about 100 bytes a row.
type Keys struct {
	customIDs map[string]int64
	equals    map[[16]byte]int
}

// NewKeys makes an empty Keys.
func NewKeys() *Keys {
	return &Keys{customIDs: map[string]int64{}, equals: map[[16]byte]int{}}
}

// Assign fills in Encoded, ContentSHA256 and Key: the key is the row's custom id,
// else the hash of its content with its ordinal among equal rows, so that the same
// file gives the same keys again. It fails if the custom id was used before.
func (k *Keys) Assign(row *New) error {
	if err := row.encode(); err != nil {
		return err
	}
	if row.CustomID != "" {
		if first, used := k.customIDs[row.CustomID]; used {
			return &UsedIDError{row.CustomID, first}
		}
		k.customIDs[row.CustomID] = row.Seq
		row.Key = "c:" + row.CustomID
		return nil
	}
	short := [16]byte(row.ContentSHA256[:16])
	k.equals[short]++
	row.Key = "h:" + base64.RawURLEncoding.EncodeToString(short[:]) + ":" + strconv.Itoa(k.equals[short])
	return nil
}

// UsedIDError reports that a custom id was used by an earlier row of the same input.
type UsedIDError struct {
	CustomID string
	First    int64 // the Seq of that row
}

// Error names the id.
func (e *UsedIDError) Error() string {
	return fmt.Sprintf("custom_id %q: used before in row %d", e.CustomID, e.First)
}

// encode writes the request as JSON, and hashes that with all else that decides what
// the job does: not when, how urgently or for whom. What is left out counts as its
// default.
func (n *New) encode() error {
	request, err := json.Marshal(n.Request)
	if err != nil {
		return fmt.Errorf("the request does not encode: %w", err)
	}
	n.Encoded = request
	if n.Request.CacheSeconds > 0 || n.Request.CacheVaried { // how old an answer may be is no part of what is asked
		asked := n.Request
		asked.CacheSeconds, asked.CacheVaried = 0, false
		if request, err = json.Marshal(asked); err != nil {
			return fmt.Errorf("the request does not encode: %w", err)
		}
	}
	content, err := json.Marshal(struct {
		Provider    string             `json:"provider"`
		Chain       []string           `json:"chain"`
		Fallback    providers.Fallback `json:"fallback"`
		OnUnknown   OnUnknown          `json:"on_unknown"`
		MaxAttempts int                `json:"max_attempts"`
	}{n.Provider, n.Chain, cmp.Or(n.Fallback, providers.FallbackAuto), cmp.Or(n.OnUnknown, RetryUnknown), cmp.Or(n.MaxAttempts, DefaultMaxAttempts)})
	if err != nil {
		return err
	}
	n.ContentSHA256 = sha256.Sum256(append(content, request...))
	return nil
}
