package app

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"oneflow/config"
	"oneflow/providers"
	"oneflow/providers/keys"
)

// deployed is a provider that is several places, each with a client of its own: a call goes
// to the one that its limits have let it through to.
type deployed struct {
	name  string
	names []string // in order
	at    map[string]providers.Provider
}

// newDeployed makes the clients of all deployments of a provider.
func newDeployed(cfg config.Config, name string, store *keys.Store) (providers.Provider, error) {
	p := cfg.Providers[name]
	all := &deployed{name: name, names: p.DeploymentNames(), at: map[string]providers.Provider{}}
	for _, deployment := range all.names {
		c, err := ClientAt(cfg, name, deployment, store)
		if err != nil {
			return nil, err
		}
		all.at[deployment] = c
	}
	return all, nil
}

// Name implements providers.Provider.
func (d *deployed) Name() string { return d.name }

// Generate implements providers.Provider. What a call orders is known by its deployment.
func (d *deployed) Generate(ctx context.Context, req providers.Request) (providers.Response, error) {
	deployment := providers.DeploymentOfScope(providers.ScopeOf(ctx))
	if deployment == "" {
		deployment = d.names[0] // nothing has chosen one
	}
	c, ok := d.at[deployment]
	if !ok {
		return providers.Response{}, d.unknown(deployment, providers.Unbilled)
	}
	ctx = providers.MapOrders(ctx, func(handle string) string {
		if handle == "" {
			return ""
		}
		return deployment + orderDeploymentEnd + handle
	})
	return c.Generate(ctx, req)
}

// orderDeploymentEnd ends the name of the deployment that stands before the handle of an
// order.
const orderDeploymentEnd = "/"

// Resume implements providers.Resumer: what was ordered in a deployment is looked for there.
func (d *deployed) Resume(ctx context.Context, req providers.Request, handle string) (providers.Response, error) {
	deployment, rest, _ := strings.Cut(handle, orderDeploymentEnd)
	c, ok := d.at[deployment]
	if !ok {
		return providers.Response{}, d.unknown(deployment, providers.BillingUnknown)
	}
	return providers.Resume(providers.WithScope(ctx, providers.ScopeName("", deployment, "")), c, req, rest)
}

func (d *deployed) unknown(deployment string, billed providers.Billing) error {
	return &providers.Error{
		Provider: d.name, Kind: providers.NotFound, Billing: billed,
		Err: fmt.Errorf("deployment %.40q is not configured any longer; there are %s", deployment, strings.Join(d.names, ", ")),
	}
}

// Close implements io.Closer.
func (d *deployed) Close() (err error) {
	for _, c := range d.at {
		if closer, ok := c.(interface{ Close() error }); ok {
			err = errors.Join(err, closer.Close())
		}
	}
	return err
}

// keyName is the name under which a deployment's keys stand now: its own where there are any,
// else its provider's.
func keyName(store *keys.Store, provider, deployment string) string {
	names := config.KeysOf(provider, deployment)
	for _, name := range names[:len(names)-1] {
		if store.Has(name) {
			return name
		}
	}
	return provider
}

// keySource returns the function that gives a client of a deployment its keys, see
// keys.Store.Source.
func keySource(store *keys.Store, provider, deployment, baseURL string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		return store.Source(keyName(store, provider, deployment), baseURL)(ctx)
	}
}

// places lists the deployments of a provider; the empty one where it is one place.
func places(p config.Provider) []string {
	if names := p.DeploymentNames(); len(names) > 0 {
		return names
	}
	return []string{""}
}

// usableKeys returns the keys of a deployment that are not paused.
func usableKeys(store *keys.Store, provider, deployment string) []keys.Key {
	return store.Usable(keyName(store, provider, deployment))
}
