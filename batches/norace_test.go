//go:build !race

package batches_test

// slower is how much less the tests of memory take in under the race detector.
const slower = 1
