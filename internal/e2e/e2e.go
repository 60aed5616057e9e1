// Package e2e holds the tests that run the built commands as a user would:
// separate processes against a real Postgres and a real Redis. It has no code of
// its own, and its tests may import everything but the commands.
package e2e
