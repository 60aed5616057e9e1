//go:build !race

package frontdoor_test

// measurable reports whether memory can be told in plain numbers: the race detector adds its own.
const measurable = true
