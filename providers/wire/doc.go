// Package wire holds what every HTTP client of a provider shares: a Caller that makes
// each paid call at most once, keeps keys on their host, decodes and bounds what
// comes back and says what a refusal means and whether it is billed; the reading of
// waits, rate limits and reports of use; a guard for addresses that come from
// outside; and the recognition of media by their bytes.
//
// It knows what vendors have in common. What one of them says in its own words are
// Rules in that client's package. It does not retry, wait or log.
//
// It imports providers, the standard library, and decoders of what net/http does
// not decode.
package wire
