package webhooks

import "time"

// Signature is signature, for tests.
func Signature(secrets []Secret, id string, at time.Time, payload string) string {
	return signature(secrets, id, at, payload)
}
