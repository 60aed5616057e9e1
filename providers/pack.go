package providers

import (
	"errors"
	"math/bits"
)

// maxPack is the number of jobs that one call may serve at most.
const maxPack = 200

// PackSize returns the number of jobs like this one that a call may serve; 1: it has calls
// of its own. A provider may take fewer: see TaskCapabilities.
func (r Request) PackSize() int {
	switch {
	case r.Body != nil, r.CacheSeconds > 0:
		return 1
	case r.Task == Embedding && r.Prompt != "":
		return maxPack
	case r.Task == Text && r.Prompt != "" && r.Combine > 1:
		return min(r.Combine, MaxCombine)
	}
	return 1
}

// Pack returns the one request for several that have a PackSize and differ in their
// prompts alone.
func Pack(all []Request) Request {
	if all[0].Task == Text {
		return combined(all)
	}
	packed := all[0]
	packed.With = nil
	for _, r := range all[1:] {
		packed.With = append(packed.With, r.Prompt)
	}
	return packed
}

// errNotSplit is the cause of a failure where an answer does not hold one part for each
// request.
var errNotSplit = errors.New("the answer does not have one vector for each input")

// Split returns each request's part of the answer to all of them, packed; nil for one that
// it holds none for. What was used is split by how long the prompts are.
func Split(all []Request, res Response) ([]*Response, error) {
	texts := all[0].Task == Text
	if !texts && len(res.With)+1 != len(all) {
		return nil, errNotSplit
	}
	weights := make([]int64, len(all))
	for i, r := range all {
		weights[i] = int64(r.Weight())
	}
	answers := make([]*string, len(all))
	if texts {
		answers = uncombined(res.Text, len(all), FinishOf(res.FinishReason) != FinishStop)
	}
	used := res.Usage.split(weights)
	parts := make([]*Response, len(all))
	for i := range parts {
		part := res
		part.With, part.Usage, part.Raw = nil, used[i], nil
		switch {
		case texts && answers[i] == nil:
			continue
		case texts:
			part.Text = *answers[i]
		case i > 0:
			part.Vector = res.With[i-1]
		}
		parts[i] = &part
	}
	return parts, nil
}

// split splits what a call used by weights: the parts sum up to it. What the provider says
// that it costs is a share of the job's elsewhere.
func (u Usage) split(weights []int64) []Usage {
	parts := make([]Usage, len(weights))
	for i := range parts {
		parts[i].Variant, parts[i].Tier = u.Variant, u.Tier
	}
	for _, count := range []func(*Usage) *int64{
		func(u *Usage) *int64 { return &u.InputTokens },
		func(u *Usage) *int64 { return &u.CachedInputTokens },
		func(u *Usage) *int64 { return &u.CacheWriteTokens },
		func(u *Usage) *int64 { return &u.CacheWrite1hTokens },
		func(u *Usage) *int64 { return &u.OutputTokens },
		func(u *Usage) *int64 { return &u.ReasoningTokens },
		func(u *Usage) *int64 { return &u.WebSearches },
	} {
		if *count(&u) == 0 {
			continue
		}
		for i, share := range Shares(*count(&u), weights) {
			*count(&parts[i]) = share
		}
	}
	return parts
}

// Weight is the request's part in what a call costs that it shares with others.
func (r Request) Weight() int { return len(r.Prompt) + 1 }

// Shares splits an amount by weights, which must be positive: each share is within one of
// the exact part, and they sum up to the amount.
func Shares(amount int64, weights []int64) []int64 {
	total := uint64(0)
	for _, w := range weights {
		total += uint64(w) //nolint:gosec // they are positive
	}
	shares := make([]int64, len(weights))
	upto, before := uint64(0), int64(0)
	for i, w := range weights {
		upto += uint64(w) //nolint:gosec // they are positive
		high, low := bits.Mul64(uint64(max(amount, 0)), upto)
		part, _ := bits.Div64(high, low, total)
		shares[i] = int64(part) - before //nolint:gosec // it is no more than the amount
		before = int64(part)             //nolint:gosec // as above
	}
	return shares
}
