// Package structure has tests alone: they read the source of the whole module, and
// hold it to what CONTRIBUTING.md says of its shape. It imports nothing of ours.
package structure
