package store

import (
	"fmt"

	"oneflow/jobs"
)

// The fair order of a queue is start-time fair queueing (Goyal, Vin, Cheng 1996)
// with equal weights: each account's jobs get consecutive start tags when they are
// dispatched, and the lowest go first. An account that had nothing here begins at
// the virtual time, the lowest tag that is still waiting, so that it neither has to
// wait for what others have put in before it came, nor saves up tags while it
// brings nothing. A job that waits for a retry, or in a chunk behind others, has a tag of
// long ago: what lies more than a window behind the last tag does not count, or whoever
// comes would go before all that others have brought since. The last tag of each account is
// kept in last_start_tags until the queue is past it: an account that others have just
// caught up with may have nothing inside.

// isUndispatched and isDispatched hold for a row of job_queue that waits to be
// pushed to Redis, or that was. They are the conditions of its indexes.
const (
	isUndispatched = `dispatched_at IS NULL AND NOT paused AND worker_id IS NULL`
	isDispatched   = `dispatched_at IS NOT NULL AND worker_id IS NULL`
)

// queueSQL holds the expressions that name a queue.
type queueSQL struct{ provider, lane, model string }

// is is the condition of the queue's rows, of job_queue or last_start_tags.
func (q queueSQL) is() string {
	return `provider = ` + q.provider + ` AND lane = ` + q.lane + ` AND model = ` + q.model
}

// insideSQL is a recursive relation "inside" of the accounts that have something
// dispatched in a queue, each with its lowest and its highest start tag, and the pack of the job
// of the lowest: it skips from account to account through the index, and reads nothing in between.
func insideSQL(queue queueSQL) string {
	of := queue.is() + ` AND ` + isDispatched
	last := func(account string) string {
		return `(
			SELECT start_tag FROM job_queue WHERE ` + of + ` AND account = ` + account + ` ORDER BY account DESC, start_tag DESC LIMIT 1)`
	}
	return `inside AS (
		SELECT account, start_tag AS first, ` + last("f.account") + ` AS last, pack
		FROM (SELECT account, start_tag, pack FROM job_queue WHERE ` + of + ` ORDER BY account, start_tag LIMIT 1) f
		UNION ALL
		SELECT n.account, n.start_tag, ` + last("n.account") + `, n.pack
		FROM inside i
		CROSS JOIN LATERAL (
			SELECT account, start_tag, pack
			FROM job_queue
			WHERE ` + of + ` AND account > i.account
			ORDER BY account, start_tag
			LIMIT 1
		) n
	)`
}

// windowSQL is an expression for the number of jobs, of which so many may share a call, that a
// queue may hold in Redis.
func windowSQL(queue queueSQL, pack string) string {
	window := fmt.Sprintf(`coalesce(
		(SELECT dispatch_window FROM provider_models WHERE provider = %s AND model = %s),
		(SELECT dispatch_window FROM providers WHERE name = %[1]s), %[3]d)`, queue.provider, queue.model, jobs.Window(1))
	return fmt.Sprintf(`(SELECT greatest(w.size, least(w.size * %s, %d)) FROM (SELECT %s AS size) w)`, pack, maxPackedWindow, window)
}

// virtualTime is an expression for the virtual time of a queue.
func virtualTime(queue queueSQL) string {
	return `coalesce(
		(WITH RECURSIVE ` + insideSQL(queue) + `
			SELECT greatest(min(first), max(last) - ` + windowSQL(queue, "max(pack)") + ` + 1) FROM inside),
		(SELECT max(start_tag) + 1 FROM last_start_tags WHERE ` + queue.is() + `),
		0)`
}

// nextStartTag is an expression for the tag that the next job of an account gets in
// a queue whose virtual time is now.
func nextStartTag(now string, queue queueSQL, account string) string {
	of := queue.is() + ` AND account = ` + account
	return `greatest(` + now + `,
		(SELECT start_tag + 1 FROM last_start_tags WHERE ` + of + `),
		(SELECT max(start_tag) + 1 FROM job_queue WHERE ` + of + ` AND ` + isDispatched + `))`
}
