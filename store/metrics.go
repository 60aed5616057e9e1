package store

import (
	"math"
	"slices"
)

// Conditions on a call of which it is no failure of the provider's that it brought
// nothing. The trigger calls_to_metrics counts by the same.
const (
	isRateLimited = `error_kind IN ('rate_limited', 'concurrency_limit')`
	isRefused     = `error_kind IN ('invalid_request', 'moderated', 'not_found', 'too_large', 'cancelled', 'not_asked')`
)

// histogram counts latencies by the buckets of the function latency_bucket in the
// schema: bucket b begins at 2^(b/8) - 1 ms.
type histogram map[int]int64

// percentile returns the latency in ms that a share p of all do not exceed, to within
// the 9 % that a bucket is wide; 0 where there is none. What was counted cannot be
// above most.
func (h histogram) percentile(p float64, most int64) int64 {
	buckets := make([]int, 0, len(h))
	var total int64
	for b, n := range h {
		buckets = append(buckets, b)
		total += n
	}
	slices.Sort(buckets)
	rank := int64(math.Ceil(p * float64(total)))
	for _, b := range buckets {
		if rank -= h[b]; rank <= 0 && total > 0 {
			from, to := math.Exp2(float64(b)/8)-1, math.Exp2(float64(b+1)/8)-1
			share := 1 + float64(rank)/float64(max(h[b], 1)) // of the bucket, up to the rank
			return min(int64(math.Round(from+share*(to-from))), most)
		}
	}
	return 0
}

// with returns the histogram with so many more in a bucket.
func (h histogram) with(bucket int, n int64) histogram {
	if h == nil {
		h = histogram{}
	}
	h[bucket] += n
	return h
}

// mean returns the mean latency in ms, as if all of a bucket were in its middle; 0 where there
// is none.
func (h histogram) mean() int64 {
	var sum float64
	var total int64
	for b, n := range h {
		sum += float64(n) * (math.Exp2(float64(b)/8) + math.Exp2(float64(b+1)/8) - 2) / 2
		total += n
	}
	return int64(math.Round(sum / float64(max(total, 1))))
}
