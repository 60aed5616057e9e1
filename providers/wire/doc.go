// Package wire is what every HTTP client of a provider shares: a client that
// keeps keys on their host and sends a paid request at most once, bounded reads
// of answers, the reading of Retry-After and rate-limit headers, the one table
// that says what a refusal means and whether it is billed, a guard for addresses
// that come from outside, and the recognition of media by their bytes.
//
// It knows the words of the vendors, but none of their requests. It does not
// retry, wait or log.
//
// It imports providers and the standard library, nothing else.
package wire
