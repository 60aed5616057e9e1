package batches

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"oneflow/batches/rows"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// route checks who is to be asked. A row with a chain begins with its first
// provider.
func (in Input) route(r *row) error {
	switch r.Fallback {
	case "", providers.FallbackAuto, providers.FallbackNever, providers.FallbackAlways:
	default:
		return fmt.Errorf("fallback %s: must be auto, never or always", rows.Quoted(string(r.Fallback)))
	}
	if r.Chain == nil {
		return nil
	}
	if len(r.Chain) == 0 {
		return errors.New("chain: must name at least one provider, or be left out")
	}
	for i, name := range r.Chain {
		kind, ok := in.Kind(name)
		if !ok {
			return fmt.Errorf("chain: provider %s: is not configured", rows.Quoted(name))
		}
		if slices.Contains(r.Chain[:i], name) {
			return fmt.Errorf("chain: %s is there twice", name)
		}
		can, _ := kinds.CapabilitiesOf(kind)
		_, takes := can.Endpoint(r.Endpoint)
		if _, ok := can.Tasks[r.Task]; !ok && !takes {
			return fmt.Errorf("chain: provider %s cannot do %s", name, rows.Quoted(string(r.Task)))
		}
	}
	switch {
	case r.Provider == "":
		r.Provider = r.Chain[0]
	case r.Provider != r.Chain[0]:
		return fmt.Errorf("chain: must begin with the provider, which is %s; or leave provider out", rows.Quoted(r.Provider))
	}
	if r.Fallback == providers.FallbackNever && len(r.Chain) > 1 {
		return fmt.Errorf("fallback: never means that only %s is asked, and chain names %d providers: leave one of them out", r.Provider, len(r.Chain))
	}
	return nil
}

// take makes the fields ask this model of this provider alone.
func (k ModelKey) take(fields Fields) {
	var body Fields
	if fields.has("body") && json.Unmarshal(fields["body"], &body) == nil && body.has("model") {
		body["model"] = quote(k.Model)
		fields["body"] = encoded(body)
	}
	delete(fields, "chain")
	fields["provider"], fields["model"], fields["fallback"] = quote(k.Provider), quote(k.Model), quote(string(providers.FallbackNever))
}
