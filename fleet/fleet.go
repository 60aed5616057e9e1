// Package fleet holds what all workers together know of the providers, and what
// operators order: the settings in force, each provider's health, the best
// provider for a task, and the orders themselves. It may import jobs and
// providers; what it needs of a store it declares.
package fleet
