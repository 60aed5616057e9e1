//go:build !race

package main

// measurable reports whether a child's memory can be told: what it had as a copy of
// this process counts as its own, and the race detector makes that large.
const measurable = true
