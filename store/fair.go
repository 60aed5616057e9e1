package store

// The fair order of a queue is start-time fair queueing (Goyal, Vin, Cheng 1996)
// with equal weights: each account's jobs get consecutive start tags when they are
// dispatched, and the lowest go first. An account that had nothing here begins at
// the virtual time, the lowest tag that is still waiting, so that it neither has to
// wait for what others have put in before it came, nor saves up tags while it
// brings nothing. The last tag of each account is kept in last_start_tags until the
// queue is past it: an account that others have just caught up with may have
// nothing inside.

// isUndispatched and isDispatched hold for a row of job_queue that waits to be
// pushed to Redis, or that was. They are the conditions of its indexes.
const (
	isUndispatched = `dispatched_at IS NULL AND NOT paused AND worker_id IS NULL`
	isDispatched   = `dispatched_at IS NOT NULL AND worker_id IS NULL`
)

// virtualTime is an expression for the virtual time of a queue; provider and lane
// are expressions.
func virtualTime(provider, lane string) string {
	of := `provider = ` + provider + ` AND lane = ` + lane
	return `coalesce(
		(SELECT min(start_tag) FROM job_queue WHERE ` + of + ` AND ` + isDispatched + `),
		(SELECT max(start_tag) + 1 FROM last_start_tags WHERE ` + of + `),
		0)`
}

// nextStartTag is an expression for the tag that the next job of an account gets in
// a queue whose virtual time is now.
func nextStartTag(now, provider, lane, account string) string {
	of := `provider = ` + provider + ` AND lane = ` + lane + ` AND account = ` + account
	return `greatest(` + now + `,
		(SELECT start_tag + 1 FROM last_start_tags WHERE ` + of + `),
		(SELECT max(start_tag) + 1 FROM job_queue WHERE ` + of + ` AND ` + isDispatched + `))`
}
