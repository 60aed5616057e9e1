//go:build !race

package batches_test

// slower divides what the tests of memory take in under the race detector.
const slower = 1
