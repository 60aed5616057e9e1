package providers

import (
	"context"
	"strings"
)

type scopeKey struct{}

// WithScope returns a context for a call that the limits of this scope have let through:
// it is made with the scope's key.
func WithScope(ctx context.Context, scope string) context.Context {
	return context.WithValue(ctx, scopeKey{}, scope)
}

// ScopeOf returns the scope of limits that has let a call under ctx through; empty: that of
// the provider as a whole.
func ScopeOf(ctx context.Context) string {
	scope, _ := ctx.Value(scopeKey{}).(string)
	return scope
}

// KeyOfScope returns the id of the key with which a call under ctx is to be made; empty
// where any will do.
func KeyOfScope(ctx context.Context) string {
	_, key, _ := strings.Cut(ScopeOf(ctx), "@")
	return key
}

// ScopeName names the scope of the limits of a class of models with one key; without a
// key, that of the provider's only one.
func ScopeName(class, key string) string {
	if key == "" {
		return class
	}
	return class + "@" + key
}

// ClassOfScope is the inverse of ScopeName.
func ClassOfScope(scope string) string {
	class, _, _ := strings.Cut(scope, "@")
	return class
}

// OtherModels is the class of the models for which the configuration names none, of a
// provider that by itself counts all of its calls together.
const OtherModels = "*"

// Undated cuts the date off the name of a snapshot of a model, such as
// gpt-4o-mini-2024-07-18 or claude-haiku-4-5-20251001: vendors count the calls of all of
// them together.
func Undated(model string) string {
	name, _, _ := strings.Cut(model, "-20")
	return name
}
