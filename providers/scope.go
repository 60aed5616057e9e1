package providers

import (
	"context"
	"strings"
)

type scopeKey struct{}

// WithScope returns a context for a call that the limits of this scope have let through:
// it is made at the scope's deployment, with the scope's key.
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
// where any will do. Of a scope that names a deployment only, it returns that name, which
// is no key's.
func KeyOfScope(ctx context.Context) string {
	_, place, _ := strings.Cut(ScopeOf(ctx), "@")
	return place[strings.Index(place, "/")+1:]
}

// DeploymentOfScope returns the deployment in which calls of a scope are made, of a provider
// that has several; of any other provider's scope nobody asks.
func DeploymentOfScope(scope string) string {
	_, place, _ := strings.Cut(scope, "@")
	deployment, _, _ := strings.Cut(place, "/")
	return deployment
}

// ScopeName names the scope of the limits of a class of models at one deployment with one
// key: CLASS@KEY, CLASS@DEPLOYMENT or CLASS@DEPLOYMENT/KEY. Without a key it is that of the
// only one, without a deployment that of a provider which is not made of several.
func ScopeName(class, deployment, key string) string {
	switch {
	case deployment == "" && key == "":
		return class
	case deployment == "":
		return class + "@" + key
	case key == "":
		return class + "@" + deployment
	}
	return class + "@" + deployment + "/" + key
}

// ClassOfScope returns the class of models that a scope holds for.
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
